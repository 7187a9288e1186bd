package perf

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/testenv"
)

const (
	// latency of a simulated host, unless a world has another.
	latency = 20 * time.Millisecond
	// creators is how many objects are created or deleted at a time.
	creators = 16
	// clusterVariable names an existing cluster for tests.
	clusterVariable = "MOLLYMAWK_TEST_KUBECONFIG"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if body := os.Getenv(ceilingVariable); body != "" {
		serveCeiling(body)
	}
	os.Exit(m.Run())
}

// world is an API server, simulated hosts and a web server with an image, for one benchmark alone.
type world struct {
	*figures
	client.WithWatch
	env *testenv.Environment
	// namespace has the objects, system is the operator's.
	namespace, system string
	imageStore        string
	// latency is that of the hosts.
	latency time.Duration
	image   v1alpha1.ImageSource
	hosts   []*host
	seen    *watcher
}

// host is a simulated one with the name of its AlbatrossInstance.
type host struct {
	*albatrosstest.Host
	instance string
}

// newWorld has so many hosts, which the operator will look at every poll.
func newWorld(b *testing.B, hosts int, poll time.Duration) *world {
	b.Helper()
	w := newWorldWithoutHosts(b)
	for i := range hosts {
		w.addHost(fmt.Sprintf("host%d", i), poll)
	}
	return w
}

func newWorldWithoutHosts(b *testing.B) *world {
	b.Helper()
	if os.Getenv(clusterVariable) != "" {
		b.Fatalf("%s is set: benchmarks need an API server of their own, in which they leave thousands of objects", clusterVariable)
	}
	w := &world{figures: newFigures(b), imageStore: b.TempDir(), image: serveImage(b), latency: latency}
	var err error
	if w.env, err = testenv.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := w.env.Stop(); err != nil {
			b.Error(err)
		}
	})
	scheme, err := operator.Scheme()
	if err != nil {
		b.Fatal(err)
	}
	if w.WithWatch, err = client.NewWithWatch(w.env.Config(), client.Options{Scheme: scheme}); err != nil {
		b.Fatal(err)
	}
	w.namespace, w.system = testenv.Namespace(b, w), testenv.Namespace(b, w)
	w.seen = watch(w)
	return w
}

// addHost starts a host and declares it.
func (w *world) addHost(name string, poll time.Duration) {
	w.Helper()
	h := &host{albatrosstest.Start(w, albatrosstest.Options{Latency: w.latency}), name}
	w.hosts = append(w.hosts, h)
	address, text, err := net.SplitHostPort(h.Addr())
	if err != nil {
		w.Fatal(err)
	}
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		w.Fatal(err)
	}
	credentials := h.Credentials()
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.system},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	})
	w.create(&v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: v1alpha1.Host(address), Port: int32(port)},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: name},
			PollInterval:         &metav1.Duration{Duration: poll},
			Tenants: []v1alpha1.Tenant{{
				Namespace: w.namespace,
				Policy:    &v1alpha1.Policy{Unikernels: 1000, CPUIDs: []v1alpha1.CPUID{0, 1}, Memory: v1alpha1.FromMiB(20_000), Storage: new(v1alpha1.FromMiB(2048))},
			}},
		},
	})
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.Create(w.Context(), o); err != nil {
		w.Errorf("create %T %s: %v", o, o.GetName(), err)
	}
}

// unikernel is small and runs for ever.
func (w *world) unikernel(name, instance string) *v1alpha1.Unikernel {
	return &v1alpha1.Unikernel{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: v1alpha1.UnikernelSpec{
			InstanceRef: v1alpha1.InstanceReference{Name: instance}, Image: &w.image, Memory: new(v1alpha1.FromMiB(16)),
			Arguments: []string{"--ipv4=10.0.0.2/24", "--name=" + name},
		},
	}
}

// unikernels are spread evenly over some hosts.
func (w *world) unikernels(prefix string, count int, on []*host) (all []*v1alpha1.Unikernel) {
	for i := range count {
		all = append(all, w.unikernel(prefix+strconv.Itoa(i), on[i%len(on)].instance))
	}
	return all
}

// createAll creates objects as fast as the API server takes them.
func (w *world) createAll(all []*v1alpha1.Unikernel) {
	w.Helper()
	inParallel(all, func(uk *v1alpha1.Unikernel) {
		w.seen.declared(uk.Name)
		w.create(uk)
	})
}

// createPaced creates an object every interval, whatever becomes of those before it.
func (w *world) createPaced(all []*v1alpha1.Unikernel, interval time.Duration) {
	w.Helper()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var creating sync.WaitGroup
	for _, uk := range all {
		creating.Go(func() {
			w.seen.declared(uk.Name)
			w.create(uk)
		})
		<-ticker.C
	}
	creating.Wait()
}

// deleteAll deletes objects as fast as the API server takes that.
func (w *world) deleteAll(all []*v1alpha1.Unikernel) {
	w.Helper()
	inParallel(all, func(uk *v1alpha1.Unikernel) {
		if err := w.Delete(w.Context(), uk); client.IgnoreNotFound(err) != nil {
			w.Errorf("delete %s: %v", uk.Name, err)
		}
	})
}

func inParallel[T any](all []T, do func(T)) {
	work := make(chan T)
	var workers sync.WaitGroup
	for range creators {
		workers.Go(func() {
			for one := range work {
				do(one)
			}
		})
	}
	for _, one := range all {
		work <- one
	}
	close(work)
	workers.Wait()
}

// commands counts those that are meant to change something, on all hosts.
func (w *world) commands() (n int) {
	for _, h := range w.hosts {
		n += h.Mutations("")
	}
	return n
}

// queries counts the questions to all hosts.
func (w *world) queries() (n int) {
	for _, h := range w.hosts {
		n += h.Received("", "") - h.Mutations("")
	}
	return n
}

// serveImage serves an image without devices.
func serveImage(b *testing.B) v1alpha1.ImageSource {
	b.Helper()
	content, err := solo5.Build(solo5.Image{}, []byte(strings.Repeat("mirage", 10_000)))
	if err != nil {
		b.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write(content) // whoever left does not need it
	}))
	b.Cleanup(site.Close)
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	return v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{URL: site.URL + "/" + digest, SHA256: v1alpha1.SHA256(digest)}}
}

package faults

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/testenv"
	"mollymawk.dev/operator/internal/testenv/website"
)

const (
	// limit is how long something may take that normally takes milliseconds.
	limit = 90 * time.Second
	// probeTimeout is the operator's for a look at a host.
	probeTimeout = time.Second
	// canary stands for a secret in the arguments of a unikernel.
	canary = "canary-d41d8cd98f00b204"
	// worldLabel is on the instances of a world.
	worldLabel = "world"
	// tenantStorage of the declared policy, in MiB.
	tenantStorage = 100
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests mostly wait.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

// world is a namespace with an operator, a simulated host and a web server with
// images, all its own. What is checked in every test (the rules of conditions,
// the commands that hosts got, secrets in texts) is checked at its end.
type world struct {
	*testing.T
	client.WithWatch
	namespace string
	// system is the operator's namespace.
	system string
	// instance is the name of the AlbatrossInstance for host.
	instance string
	// otherNamespaces are watched by the operator too.
	otherNamespaces []string

	host *machine
	web  *website.Site
	// access is to the API server, as administrator.
	access   *rest.Config
	operator *process
	imageDir string
	log      *logBuffer
	seen     *observer

	mu       sync.Mutex
	machines []*machine
	kills    []time.Time
}

// newWorld starts the operator with an instance that is ready.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := newSilentWorld(t, albatrosstest.Options{})
	w.begin()
	return w
}

// begin starts the operator with an instance, until that is ready.
func (w *world) begin() {
	w.Helper()
	w.create(w.newSecret(w.instance, w.host))
	w.create(w.newInstance(w.instance, w.host))
	w.startOperator()
	w.untilReady(w.theInstance())
}

// newSilentWorld is a world without an operator and an instance.
func newSilentWorld(t *testing.T, options albatrosstest.Options) *world {
	t.Helper()
	return newWorldAt(t, testenv.Config(t), options)
}

// newWorldAt is a silent world at an API server.
func newWorldAt(t *testing.T, access *rest.Config, options albatrosstest.Options) *world {
	t.Helper()
	scheme, err := operator.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(rest.CopyConfig(access), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, WithWatch: c, access: access, instance: "host-" + utilrand.String(8), web: website.New(t), imageDir: t.TempDir(), log: &logBuffer{},
	}
	w.namespace, w.system = w.newNamespace(), w.newNamespace()
	w.host = w.newHost(options)
	t.Cleanup(w.checkMachines)
	t.Cleanup(w.checkTexts)
	t.Cleanup(w.cleanUp)
	w.observe()
	return w
}

// cleanUp lets go of objects that no operator looks after any more.
func (w *world) cleanUp() {
	ctx := context.Background()
	for _, o := range w.seen.objects() {
		if w.Get(ctx, client.ObjectKeyFromObject(o), o) != nil {
			continue
		}
		if len(o.GetFinalizers()) > 0 {
			o.SetFinalizers(nil)
			_ = w.Update(ctx, o)
		}
		_ = w.Delete(ctx, o)
	}
	var secrets corev1.SecretList
	if err := w.List(ctx, &secrets, client.InNamespace(w.system)); err != nil {
		w.Error(err)
	}
	for i := range secrets.Items {
		secrets.Items[i].Finalizers = nil
		_ = w.Update(ctx, &secrets.Items[i])
	}
}

func (w *world) newNamespace() string { return testenv.Namespace(w.T, w.WithWatch) }

func (w *world) killed(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kills = append(w.kills, at)
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.Create(w.Context(), o); err != nil {
		w.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

// change reads an object anew, changes it and writes it.
func change[T client.Object](w *world, o T, f func(T)) {
	w.Helper()
	if err := w.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.Fatal(err)
	}
	before := o.DeepCopyObject().(client.Object)
	f(o)
	if err := w.Patch(w.Context(), o, client.MergeFrom(before)); err != nil {
		w.Fatalf("change %s: %v", o.GetName(), err)
	}
}

func (w *world) delete(o client.Object) {
	w.Helper()
	if err := w.Delete(w.Context(), o); client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
}

// until waits for a condition on an object that is read again and again.
func (w *world) until(what string, o client.Object, holds func() bool) {
	w.Helper()
	w.wait(what, func() (bool, string) {
		if err := w.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return false, err.Error()
		}
		return holds(), describe(o)
	})
}

// untilGone waits for an object's end and gives how long that took.
func (w *world) untilGone(o client.Object) time.Duration {
	w.Helper()
	began := time.Now()
	w.wait("gone", func() (bool, string) {
		err := w.Get(w.Context(), client.ObjectKeyFromObject(o), o)
		return err != nil && client.IgnoreNotFound(err) == nil, describe(o)
	})
	return time.Since(began)
}

func (w *world) wait(what string, holds func() (bool, string)) {
	w.Helper()
	deadline := time.Now().Add(limit)
	for {
		ok, last := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("still not %s: %s", what, last)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// untilReady waits until the present generation is ready.
func (w *world) untilReady(o client.Object) {
	w.Helper()
	w.until("ready: "+o.GetName(), o, func() bool {
		c := condition(o, v1alpha1.ConditionReady)
		return c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.GetGeneration()
	})
}

// untilReason waits for a reason of Ready.
func (w *world) untilReason(o client.Object, want string) {
	w.Helper()
	w.until(want, o, func() bool { return condition(o, v1alpha1.ConditionReady).Reason == want })
}

func conditionsOf(o client.Object) []metav1.Condition {
	if with, ok := o.(interface{ GetConditions() []metav1.Condition }); ok {
		return with.GetConditions()
	}
	return nil
}

// condition gives one of an object, empty when it has none.
func condition(o client.Object, conditionType string) metav1.Condition {
	if c := apimeta.FindStatusCondition(conditionsOf(o), conditionType); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func describe(o client.Object) string {
	var lines []string
	for _, c := range conditionsOf(o) {
		lines = append(lines, c.Type+"="+string(c.Status)+" "+c.Reason+": "+c.Message)
	}
	return strings.Join(lines, "; ")
}

// theInstance is the world's instance, to be read.
func (w *world) theInstance() *v1alpha1.AlbatrossInstance {
	return &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: w.instance}}
}

func (w *world) newSecret(name string, host *machine) *corev1.Secret {
	credentials := host.Credentials()
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.system},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	}
}

func (w *world) newInstance(name string, host *machine) *v1alpha1.AlbatrossInstance {
	address, port := host.HostPort()
	return &v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{worldLabel: w.instance}},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: v1alpha1.Host(address), Port: port},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: name},
			PollInterval:         &metav1.Duration{Duration: time.Second},
			Tenants: []v1alpha1.Tenant{{
				Namespace: w.namespace,
				Policy: &v1alpha1.Policy{
					Unikernels: 10, CPUIDs: []v1alpha1.CPUID{0, 1}, Memory: v1alpha1.FromMiB(512), Storage: new(v1alpha1.FromMiB(tenantStorage)),
					Bridges: []v1alpha1.BridgeName{"service"},
				},
			}},
		},
	}
}

// newUnikernel has an image without devices and a secret in its arguments.
func (w *world) newUnikernel(name string) *v1alpha1.Unikernel {
	return &v1alpha1.Unikernel{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: v1alpha1.UnikernelSpec{
			InstanceRef: v1alpha1.InstanceReference{Name: w.instance},
			Image:       w.image(1),
			Arguments:   []string{"--token=" + canary},
		},
	}
}

func (w *world) newVolume(name string, mib int64) *v1alpha1.Volume {
	return &v1alpha1.Volume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec:       v1alpha1.VolumeSpec{InstanceRef: v1alpha1.InstanceReference{Name: w.instance}, Size: v1alpha1.FromMiB(mib)},
	}
}

// hostName is an object's full name on the host.
func (w *world) hostName(o client.Object) string { return w.namespace + ":" + o.GetName() }

// nothingLeft checks that nothing of the world is on its host.
func (w *world) nothingLeft() {
	w.Helper()
	if unikernels, blocks := w.host.Unikernels(w.namespace), w.host.Blocks(w.namespace); len(unikernels)+len(blocks) != 0 {
		w.Errorf("left on the host: %v %v", unikernels, blocks)
	}
}

// untilNothingLeft waits until nothing of the world is on its host.
func (w *world) untilNothingLeft() {
	w.Helper()
	w.wait("empty", func() (bool, string) {
		unikernels, blocks := w.host.Unikernels(w.namespace), w.host.Blocks(w.namespace)
		return len(unikernels)+len(blocks) == 0, fmt.Sprintf("on the host: %v %v", unikernels, blocks)
	})
}

// imageSize is that of what images are filled with, so that an upload can be cut
// in several places.
const imageSize = 300_000

// noise is data that does not compress; it is the same for the same seed.
func noise(seed uint64, size int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// image puts an image on the site; variant makes its digest another.
func (w *world) image(variant uint64) *v1alpha1.ImageSource {
	w.Helper()
	return w.web.Image(w.T, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, string(noise(variant, imageSize)))
}

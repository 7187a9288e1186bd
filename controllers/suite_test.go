package controllers_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/controllers"
	"mollymawk.dev/operator/internal/egress"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/probe"
	"mollymawk.dev/operator/internal/status/statusrules"
	"mollymawk.dev/operator/internal/testenv"
	"mollymawk.dev/operator/internal/testenv/website"
)

// limit is how long something may take that normally takes milliseconds.
const limit = 60 * time.Second

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

// world is an API server with the operator, a simulated host and a web server
// with images; everything in it is the test's own.
type world struct {
	*testing.T
	client.WithWatch
	host      *albatrosstest.Host
	namespace string
	// system is the operator's namespace.
	system string
	// instance is the name of the AlbatrossInstance for host.
	instance string
	web      *website.Site
	// byHand has nobody make namespaces for users.
	byHand bool
	// stop ends the operator and start begins it anew.
	stop  func()
	start func()
	// ahead is by how much the operator's clock is ahead.
	ahead atomic.Int64
	// store is where the operator keeps images.
	store *images.Store
}

// now is the operator's clock.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// later puts the operator's clock forward and has an object looked at.
func (w *world) later(o client.Object, by time.Duration) {
	w.Helper()
	w.ahead.Add(int64(by))
	w.wake(o)
}

// wake has an object looked at.
func (w *world) wake(o client.Object) {
	w.Helper()
	annotate(w, o, "example.org/test", strconv.Itoa(rand.Int()))
}

// annotate sets an annotation, or with an empty value removes it.
func annotate(w *world, o client.Object, name, value string) {
	w.Helper()
	change(w, o, func(o client.Object) {
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[name] = value
		if value == "" {
			delete(annotations, name)
		}
		o.SetAnnotations(annotations)
	})
}

// newWorld starts the operator; the instance admits the test's namespace.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := newSilentWorld(t)
	w.create(w.newSecret(w.instance, w.host))
	w.create(w.newInstance(w.instance, w.host))
	return w
}

// newSilentWorld is a world without an instance.
func newSilentWorld(t *testing.T) *world {
	t.Helper()
	scheme, err := operator.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(testenv.Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, WithWatch: c, instance: "host-" + rand.String(6), web: website.New(t)}
	w.namespace, w.system = testenv.Namespace(t, c), testenv.Namespace(t, c)
	w.host = albatrosstest.Start(t, albatrosstest.Options{})
	w.checkRules()
	t.Cleanup(w.cleanUp)
	w.runOperator()
	return w
}

// runOperator starts the parts of the operator, for the test's objects only.
func (w *world) runOperator() {
	w.Helper()
	imageDir := w.TempDir()
	w.start = func() {
		mgr, err := ctrl.NewManager(testenv.Config(w.T), ctrl.Options{
			Scheme: w.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
			Controller: config.Controller{SkipNameValidation: new(true)},
			Logger:     logr.Discard(),
		})
		if err != nil {
			w.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		w.addParts(ctx, mgr, imageDir)
		done := make(chan error, 1)
		go func() { done <- mgr.Start(ctx) }()
		w.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				w.Errorf("operator: %v", err)
			}
		})
	}
	w.start()
	w.Cleanup(func() { w.stop() })
}

func (w *world) addParts(ctx context.Context, mgr ctrl.Manager, imageDir string) {
	w.Helper()
	pool := hosts.New(hosts.Options{Log: logr.Discard(), RetryDelay: 50 * time.Millisecond, ProbeTimeout: time.Second})
	store, err := images.OpenStore(ctx, imageDir)
	if err != nil {
		w.Fatal(err)
	}
	wakeups := &controllers.Wakeups{}
	w.store = store
	fetcher := images.NewFetcher(store, images.Options{Egress: egress.Policy{AllowLoopback: true}, Now: w.now}, wakeups.Wake)
	prober := probe.New(probe.Options{}, wakeups.Wake)
	for _, err := range []error{
		mgr.Add(pool), mgr.Add(fetcher), mgr.Add(prober),
		controllers.Setup(ctx, mgr, controllers.Config{Namespace: w.system, Hosts: pool, Images: fetcher, Probes: prober, Wakeups: wakeups, Workers: 8, Now: w.now, ProvisionNamespaces: !w.byHand}),
	} {
		if err != nil {
			w.Fatal(err)
		}
	}
}

// cleanUp lets go of what would hold up the next test: instances are shared by
// the whole server.
func (w *world) cleanUp() {
	var unikernels v1alpha1.UnikernelList
	var volumes v1alpha1.VolumeList
	var instances v1alpha1.AlbatrossInstanceList
	var all []client.Object
	var users v1alpha1.UserList
	var secrets corev1.SecretList
	for _, list := range []client.ObjectList{&unikernels, &volumes, &instances, &users} {
		if err := w.List(context.Background(), list); err != nil {
			w.Error(err)
		}
	}
	if err := w.List(context.Background(), &secrets, client.InNamespace(w.system)); err != nil {
		w.Error(err)
	}
	for i := range secrets.Items {
		all = append(all, &secrets.Items[i])
	}
	for i := range users.Items {
		all = append(all, &users.Items[i])
	}
	for i := range unikernels.Items {
		all = append(all, &unikernels.Items[i])
	}
	for i := range volumes.Items {
		all = append(all, &volumes.Items[i])
	}
	for i := range instances.Items {
		all = append(all, &instances.Items[i])
	}
	for _, o := range all {
		if len(o.GetFinalizers()) > 0 {
			o.SetFinalizers(nil)
			_ = w.Update(context.Background(), o)
		}
		_ = w.Delete(context.Background(), o)
	}
}

// checkRules has the rules of kstatus checked on every state that objects of the
// test go through.
func (w *world) checkRules() {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, list := range []client.ObjectList{&v1alpha1.UnikernelList{}, &v1alpha1.VolumeList{}, &v1alpha1.AlbatrossInstanceList{}, &v1alpha1.UserList{}} {
		changes, err := w.Watch(ctx, list)
		if err != nil {
			w.Fatal(err)
		}
		done.Go(func() {
			for change := range changes.ResultChan() {
				if o, ok := change.Object.(client.Object); ok {
					for _, problem := range statusProblems(o) {
						w.Errorf("%T %s: %s", o, o.GetName(), problem)
					}
				}
			}
		})
	}
	w.Cleanup(func() {
		cancel()
		done.Wait()
	})
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

func (w *world) untilGone(o client.Object) {
	w.Helper()
	w.wait("gone", func() (bool, string) {
		err := w.Get(w.Context(), client.ObjectKeyFromObject(o), o)
		return err != nil && client.IgnoreNotFound(err) == nil, describe(o)
	})
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

func conditionsOf(o client.Object) []metav1.Condition {
	if with, ok := o.(interface{ GetConditions() []metav1.Condition }); ok {
		return with.GetConditions()
	}
	return nil
}

func describe(o client.Object) string {
	var lines []string
	for _, c := range conditionsOf(o) {
		lines = append(lines, c.Type+"="+string(c.Status)+" "+c.Reason+": "+c.Message)
	}
	return strings.Join(lines, "; ")
}

// reason gives the reason of a condition if it has the status.
func reason(o client.Object, conditionType string, status metav1.ConditionStatus) string {
	c := apimeta.FindStatusCondition(conditionsOf(o), conditionType)
	if c == nil || c.Status != status {
		return ""
	}
	return c.Reason
}

// untilReady waits until the present generation is ready.
func (w *world) untilReady(o client.Object) {
	w.Helper()
	w.until("ready", o, func() bool { return isReady(o) })
}

func isReady(o client.Object) bool {
	c := apimeta.FindStatusCondition(conditionsOf(o), v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.GetGeneration()
}

// untilReason waits for a reason of Ready with the given status.
func (w *world) untilReason(o client.Object, status metav1.ConditionStatus, want string) {
	w.Helper()
	w.until(want, o, func() bool { return reason(o, v1alpha1.ConditionReady, status) == want })
}

func (w *world) newSecret(name string, host *albatrosstest.Host) *corev1.Secret {
	credentials := host.Credentials()
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.system},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	}
}

func (w *world) newInstance(name string, host *albatrosstest.Host) *v1alpha1.AlbatrossInstance {
	address, port := host.HostPort()
	return &v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: v1alpha1.Host(address), Port: port},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: name},
			PollInterval:         &metav1.Duration{Duration: time.Second},
			Tenants: []v1alpha1.Tenant{{
				Namespace: w.namespace,
				Policy: &v1alpha1.Policy{
					Unikernels: 10, CPUIDs: []v1alpha1.CPUID{0, 1}, Memory: v1alpha1.FromMiB(512), Storage: new(v1alpha1.FromMiB(100)),
					Bridges: []v1alpha1.BridgeName{"service"},
				},
			}},
		},
	}
}

// newUnikernel has an image without devices.
func (w *world) newUnikernel(name string) *v1alpha1.Unikernel {
	return &v1alpha1.Unikernel{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: v1alpha1.UnikernelSpec{
			InstanceRef: v1alpha1.InstanceReference{Name: w.instance},
			Image:       w.web.Image(w.T, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "first"),
		},
	}
}

// hostName is the unikernel's full name on the host.
func (w *world) hostName(uk *v1alpha1.Unikernel) string { return w.namespace + ":" + uk.Name }

func statusProblems(o client.Object) []string { return statusrules.Check(o) }

package services_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/controllers"
	"mollymawk.dev/operator/internal/egress"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/probe"
	"mollymawk.dev/operator/internal/services"
	"mollymawk.dev/operator/internal/testenv"
	"mollymawk.dev/operator/internal/testenv/website"
)

// limit is how long something may take that normally takes milliseconds.
const limit = time.Minute

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

// world is an API server with the operator and its services, a simulated host, a
// user and an administrator.
type world struct {
	testing.TB
	client.Client
	*services.Services
	host     *albatrosstest.Host
	instance string
	system   string
	web      *website.Site
	user     services.Identity
	admin    services.Identity
	pool     *hosts.Pool
	store    *images.Store
}

// newWorld starts all of it; the instance admits the user's namespace. change may
// change the options of the services.
func newWorld(t testing.TB, change ...func(*services.Options)) *world {
	t.Helper()
	scheme, err := operator.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(testenv.Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, Client: c, instance: "host-" + rand.String(6), web: website.New(t), system: testenv.Namespace(t, c)}
	if w.store, err = images.OpenStore(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	w.user = w.newUser()
	w.admin = w.newUser()
	w.admin.SuperUser = true
	w.mustCreate(loadAll(t, "../../config/rbac/api_admin_role.yaml")...)
	w.host = albatrosstest.Start(t, albatrosstest.Options{})
	t.Cleanup(w.cleanUp)
	w.Services, w.pool = w.runOperator(change)
	w.addInstance(w.instance, w.host, w.user.Namespace)
	w.untilConnected(w.instance)
	w.untilPooled(w.pool)
	return w
}

// newUser makes a namespace in which the user has the rights of a tenant.
func (w *world) newUser() services.Identity {
	w.Helper()
	namespace := testenv.Namespace(w.TB, w.Client)
	id := services.Identity{Name: namespace, Namespace: namespace}
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tenant"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"unikernels", "volumes"},
			Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"},
		}},
	}
	w.mustCreate(role, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: id.Impersonate()}},
	})
	return id
}

func (w *world) mustCreate(all ...client.Object) {
	w.Helper()
	for _, o := range all {
		if err := w.Create(w.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
			w.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// loadAll reads cluster roles and their bindings.
func loadAll(t testing.TB, file string) (all []client.Object) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range bytes.Split(raw, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		role, binding := &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}
		if err := errors.Join(yaml.Unmarshal(document, &kind), yaml.Unmarshal(document, role), yaml.Unmarshal(document, binding)); err != nil {
			t.Fatal(err)
		}
		if kind.Kind == "ClusterRole" {
			all = append(all, role)
		} else {
			all = append(all, binding)
		}
	}
	return all
}

// runOperator starts a replica of the operator. The first is the leader.
func (w *world) runOperator(change []func(*services.Options)) (*services.Services, *hosts.Pool) {
	w.Helper()
	mgr, err := ctrl.NewManager(testenv.Config(w.TB), ctrl.Options{
		Scheme: w.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller:     config.Controller{SkipNameValidation: new(true)},
		Logger:         logr.Discard(),
		LeaderElection: true, LeaderElectionID: "test", LeaderElectionNamespace: w.system,
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	pool := hosts.New(hosts.Options{Log: logr.Discard(), RetryDelay: 50 * time.Millisecond, ProbeTimeout: time.Second, Elected: mgr.Elected()})
	w.addControllers(ctx, mgr, pool)
	s := w.newServices(mgr, pool, change)
	if err := mgr.Add(s); err != nil {
		w.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("operator: %v", err)
		}
	})
	return s, pool
}

func (w *world) addControllers(ctx context.Context, mgr ctrl.Manager, pool *hosts.Pool) {
	w.Helper()
	wakeups := &controllers.Wakeups{}
	fetcher := images.NewFetcher(w.store, images.Options{Egress: egress.Policy{AllowLoopback: true}}, wakeups.Wake)
	prober := probe.New(probe.Options{}, wakeups.Wake)
	for _, err := range []error{
		mgr.Add(pool), mgr.Add(fetcher), mgr.Add(prober),
		controllers.Setup(ctx, mgr, controllers.Config{Namespace: w.system, Hosts: pool, Images: fetcher, Probes: prober, Wakeups: wakeups, Workers: 8}),
	} {
		if err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) newServices(mgr ctrl.Manager, pool *hosts.Pool, change []func(*services.Options)) *services.Services {
	w.Helper()
	o := services.Options{
		Config: rest.CopyConfig(mgr.GetConfig()), Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Cache: mgr.GetCache(), Hosts: pool,
		Store: w.store, Namespace: w.system, Log: logr.Discard(),
	}
	for _, f := range change {
		f(&o)
	}
	s, err := services.New(o)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// cleanUp lets go of what would hold up the next test.
func (w *world) cleanUp() {
	ctx := context.Background()
	var unikernels v1alpha1.UnikernelList
	var volumes v1alpha1.VolumeList
	var instances v1alpha1.AlbatrossInstanceList
	var secrets corev1.SecretList
	var all []client.Object
	if err := errors.Join(w.List(ctx, &unikernels), w.List(ctx, &volumes), w.List(ctx, &instances), w.List(ctx, &secrets, client.InNamespace(w.system))); err != nil {
		w.Error(err)
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
	for i := range secrets.Items {
		all = append(all, &secrets.Items[i])
	}
	for _, o := range all {
		if len(o.GetFinalizers()) > 0 {
			o.SetFinalizers(nil)
			_ = w.Update(ctx, o)
		}
		_ = w.Delete(ctx, o)
	}
}

// addInstance declares a host that admits the namespaces.
func (w *world) addInstance(name string, host *albatrosstest.Host, namespaces ...string) {
	w.Helper()
	credentials := host.Credentials()
	address, port := host.HostPort()
	instance := &v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: v1alpha1.Host(address), Port: port},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: name},
			PollInterval:         &metav1.Duration{Duration: time.Second},
		},
	}
	for _, namespace := range namespaces {
		instance.Spec.Tenants = append(instance.Spec.Tenants, v1alpha1.Tenant{Namespace: namespace, Policy: somePolicy()})
	}
	w.mustCreate(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.system},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	}, instance)
}

func somePolicy() *v1alpha1.Policy {
	return &v1alpha1.Policy{
		Unikernels: 10, CPUIDs: []v1alpha1.CPUID{0, 1}, Memory: v1alpha1.FromMiB(512), Storage: new(v1alpha1.FromMiB(100)),
		Bridges: []v1alpha1.BridgeName{"service"},
	}
}

// untilPooled waits until a replica has looked at the host with the user's policy.
func (w *world) untilPooled(pool *hosts.Pool) {
	w.Helper()
	w.wait("the replica knows the host", func() (bool, string) {
		state, _ := pool.State(w.instance)
		if state.Snapshot == nil {
			return false, state.Problem()
		}
		_, ok := state.Snapshot.Policies[w.user.Namespace]
		return ok, "no policy"
	})
}

// untilConnected waits until an instance is ready in its present generation, with
// its policies in force.
func (w *world) untilConnected(name string) {
	w.Helper()
	w.wait("the instance is ready", func() (bool, string) {
		o := &v1alpha1.AlbatrossInstance{}
		if err := w.Get(w.Context(), client.ObjectKey{Name: name}, o); err != nil {
			return false, err.Error()
		}
		ready := apimeta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			return false, "no condition"
		}
		return ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == o.Generation, ready.Message
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
			w.Fatalf("still not: %s: %s", what, last)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// unikernel reads an object of the user; nil when there is none.
func (w *world) unikernel(name string) *v1alpha1.Unikernel {
	w.Helper()
	uk := &v1alpha1.Unikernel{}
	if err := w.Get(w.Context(), client.ObjectKey{Namespace: w.user.Namespace, Name: name}, uk); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		w.Fatal(err)
	}
	return uk
}

// hostName is the full name of something of the user's on the host.
func (w *world) hostName(name string) string { return w.user.Namespace + ":" + name }

// spec is that of a unikernel whose image has no devices.
func (w *world) spec(variant string) v1alpha1.UnikernelSpec {
	return v1alpha1.UnikernelSpec{Image: w.web.Image(w.TB, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, variant)}
}

func (w *world) request(name, variant string) services.CreateRequest {
	return services.CreateRequest{Instance: w.instance, Name: name, Spec: w.spec(variant)}
}

func (w *world) mustRun(name string) {
	w.Helper()
	if err := w.CreateUnikernel(w.Context(), w.user, w.request(name, "first")); err != nil {
		w.Fatalf("create %s: %v", name, err)
	}
}

// is tells whether an error is of a type.
func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

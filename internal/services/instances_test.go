package services_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

func (w *world) instanceRequest(name string, host *albatrosstest.Host) services.InstanceRequest {
	address, port := host.HostPort()
	credentials := host.Credentials()
	return services.InstanceRequest{Name: name, Host: address, Port: port, Certificate: string(credentials.Cert), Key: string(credentials.Key)}
}

func (w *world) object(name string) *v1alpha1.AlbatrossInstance {
	w.Helper()
	o := &v1alpha1.AlbatrossInstance{}
	if err := w.Get(w.Context(), client.ObjectKey{Name: name}, o); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		w.Fatal(err)
	}
	return o
}

func TestInstanceLife(t *testing.T) {
	w := newWorld(t)
	host := albatrosstest.Start(t, albatrosstest.Options{})
	name := "api-" + w.instance
	request := w.instanceRequest(name, host)
	if err := w.CreateInstance(t.Context(), w.admin, request); err != nil {
		t.Fatal(err)
	}
	w.untilConnected(name)
	if err := w.CreateInstance(t.Context(), w.admin, request); !is[*services.Conflict](err) {
		t.Errorf("created twice: %v", err)
	}
	list, err := w.Instances(t.Context(), w.admin)
	if err != nil || len(list) != 2 || list[0].Name != name || !list[0].Online || list[0].Port != request.Port {
		t.Errorf("listed %v, %v", list, err)
	}
	if list, err := w.Instances(t.Context(), w.user); err != nil || len(list) != 1 || list[0].Name != w.instance {
		t.Errorf("a user sees %v, %v", list, err)
	}

	// Its tenants are declared here too; a change of the address keeps them.
	policy := albatross.Policy{Unikernels: 3, Memory: 256, CPUIDs: []int64{0}, Bridges: []string{"service"}, Block: new(int64(10))}
	if err := w.SetPolicy(t.Context(), w.admin, services.Policy{Instance: name, Namespace: w.user.Namespace, Policy: policy}); err != nil {
		t.Fatal(err)
	}
	if inForce, ok := host.Policy(w.user.Namespace); !ok || !inForce.Equal(policy) {
		t.Errorf("in force: %v", inForce)
	}
	moved := albatrosstest.Start(t, albatrosstest.Options{})
	if err := w.UpdateInstance(t.Context(), w.admin, w.instanceRequest(name, moved)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the policy is set on the new host", func() bool { _, ok := moved.Policy(w.user.Namespace); return ok })
	if tenants := w.object(name).Spec.Tenants; len(tenants) != 1 {
		t.Errorf("tenants: %v", tenants)
	}

	w.untilConnected(name)
	on := services.CreateRequest{Instance: name, Name: "web", Spec: w.spec("x")}
	if err := w.CreateUnikernel(t.Context(), w.user, on); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteInstance(t.Context(), w.admin, name); !is[*services.Refused](err) || !w.object(name).DeletionTimestamp.IsZero() {
		t.Errorf("deleted though it is used: %v", err)
	}
	if err := w.DestroyUnikernel(t.Context(), w.user, name, "web"); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteInstance(t.Context(), w.admin, name); err != nil {
		t.Fatal(err)
	}
	if w.object(name) != nil {
		t.Error("left")
	}
	eventually(t, "its Secret is gone", func() bool {
		err := w.Get(t.Context(), client.ObjectKey{Namespace: w.system, Name: name + "-credentials"}, &corev1.Secret{})
		return err != nil && client.IgnoreNotFound(err) == nil
	})
	for what, err := range map[string]error{
		"retry":  w.RetryInstance(t.Context(), w.admin, name),
		"update": w.UpdateInstance(t.Context(), w.admin, request),
		"delete": w.DeleteInstance(t.Context(), w.admin, name),
	} {
		if !is[*services.NotFound](err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestInstanceThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	host := albatrosstest.Start(t, albatrosstest.Options{})
	good, other := w.instanceRequest("api-"+w.instance, host), w.instanceRequest("x", w.host)
	for what, test := range map[string]struct {
		change func(*services.InstanceRequest)
		is     func(error) bool
	}{
		"no key":         {func(r *services.InstanceRequest) { r.Key = "" }, is[*services.Invalid]},
		"another key":    {func(r *services.InstanceRequest) { r.Key = other.Key }, is[*services.Invalid]},
		"another host":   {func(r *services.InstanceRequest) { r.Port = other.Port }, is[*services.Unreachable]},
		"nobody":         {func(r *services.InstanceRequest) { r.Port = 1 }, is[*services.Unreachable]},
		"no host at all": {func(r *services.InstanceRequest) { r.Host = "" }, is[*services.Invalid]},
	} {
		request := good
		test.change(&request)
		err := w.CreateInstance(t.Context(), w.admin, request)
		if !test.is(err) {
			t.Errorf("%s: %T %v", what, err, err)
		}
		if w.object(good.Name) != nil {
			t.Errorf("%s: left", what)
		}
		if text := fmt.Sprint(err); len(request.Key) > 100 && len(text) > 400 {
			t.Errorf("%s: says a lot: %s", what, text)
		}
	}
	var secrets corev1.SecretList
	if err := w.List(t.Context(), &secrets, client.InNamespace(w.system)); err != nil || len(secrets.Items) != 1 {
		t.Errorf("%d Secrets, %v", len(secrets.Items), err)
	}
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	// The instance is declared by somebody else, who owns the tenants.
	policy := albatross.Policy{Unikernels: 3, Memory: 256, CPUIDs: []int64{0}, Bridges: []string{"service"}, Block: new(int64(10))}
	set := func(instance string, p albatross.Policy) error {
		return w.SetPolicy(t.Context(), w.admin, services.Policy{Instance: instance, Namespace: w.user.Namespace, Policy: p})
	}
	if err := set(w.instance, policy); !is[*services.Conflict](err) {
		t.Errorf("changed what others declare: %v", err)
	}
	if list, err := w.Policies(t.Context(), w.user); err != nil || len(list) != 1 || list[0].Unikernels != 10 {
		t.Errorf("%v, %v", list, err)
	}

	host := albatrosstest.Start(t, albatrosstest.Options{})
	name := "api-" + w.instance
	if err := w.CreateInstance(t.Context(), w.admin, w.instanceRequest(name, host)); err != nil {
		t.Fatal(err)
	}
	w.untilConnected(name)
	if err := set(name, policy); err != nil {
		t.Fatal(err)
	}
	if root, err := w.RootPolicy(t.Context(), w.admin, name); err != nil || root.Memory != 24105 {
		t.Errorf("root: %v, %v", root, err)
	}
	for i := range 2 {
		if err := w.CreateUnikernel(t.Context(), w.user, services.CreateRequest{Instance: name, Name: fmt.Sprintf("web%d", i), Spec: w.spec("x")}); err != nil {
			t.Fatal(err)
		}
	}
	before := mustJSON(t, w.object(name).Spec)
	for what, p := range map[string]albatross.Policy{
		"unusable":         {Memory: 256, CPUIDs: []int64{0}},
		"above the host's": {Unikernels: 3, Memory: 1 << 30, CPUIDs: []int64{0}},
		"below what runs":  {Unikernels: 1, Memory: 256, CPUIDs: []int64{0}},
	} {
		if err := set(name, p); !is[*services.Refused](err) {
			t.Errorf("%s: %v", what, err)
		}
		if now := mustJSON(t, w.object(name).Spec); now != before {
			t.Errorf("%s: declared is %s instead of %s", what, now, before)
		}
	}
	if inForce, _ := host.Policy(w.user.Namespace); !inForce.Equal(policy) {
		t.Errorf("in force: %v", inForce)
	}
	// Several at a time lose nothing; namespaces may be still to come.
	var all sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		all.Go(func() {
			errs[i] = w.SetPolicy(t.Context(), w.admin, services.Policy{Instance: name, Namespace: fmt.Sprintf("later-%d", i), Policy: policy})
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if tenants := w.object(name).Spec.Tenants; len(tenants) != 5 {
		t.Errorf("tenants: %v", tenants)
	}
	if err := w.RemoveTenant(t.Context(), w.admin, name, "later-1"); err != nil || len(w.object(name).Spec.Tenants) != 4 {
		t.Errorf("remove: %v", err)
	}
	if err := w.RemoveTenant(t.Context(), w.admin, name, "later-1"); !is[*services.NotFound](err) {
		t.Errorf("remove again: %v", err)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWithPolicy(t *testing.T) {
	everybody := v1alpha1.Tenant{NamespaceSelector: &v1alpha1.NamespaceSelector{}}
	alice := v1alpha1.Tenant{Namespace: "alice", Path: "customers:alice"}
	policy := somePolicy()
	got := services.WithPolicy([]v1alpha1.Tenant{everybody, alice}, "bob", policy)
	if len(got) != 3 || got[0].Namespace != "bob" || got[0].Policy != policy {
		t.Errorf("a new one must come before who admits all: %v", got)
	}
	got = services.WithPolicy([]v1alpha1.Tenant{everybody, alice}, "alice", policy)
	if len(got) != 2 || got[1].Policy != policy || got[1].Path != alice.Path || alice.Policy != nil {
		t.Errorf("changed: %v", got)
	}
}

// TestSecretsOfOthers has Secrets that were not made here: they are neither taken
// over nor removed.
func TestSecretsOfOthers(t *testing.T) {
	w := newWorld(t)
	host := albatrosstest.Start(t, albatrosstest.Options{})
	name := "api-" + w.instance
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.system, Name: name + "-credentials"}, Data: map[string][]byte{"theirs": []byte("x")}}
	w.mustCreate(theirs)
	if err := w.CreateInstance(t.Context(), w.admin, w.instanceRequest(name, host)); !is[*services.Conflict](err) {
		t.Errorf("%v", err)
	}
	// The operator may have put its finalizer on it meanwhile.
	w.wait("taken back", func() (bool, string) { return w.object(name) == nil, "" })
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil || len(theirs.Data) != 1 {
		t.Errorf("their Secret: %v, %v", theirs.Data, err)
	}
	// The instance of the test was declared by somebody else, with its Secret.
	before := mustJSON(t, w.object(w.instance).Spec)
	moved := w.instanceRequest(w.instance, host)
	if err := w.UpdateInstance(t.Context(), w.admin, moved); !is[*services.Conflict](err) {
		t.Errorf("%v", err)
	}
	if now := mustJSON(t, w.object(w.instance).Spec); now != before {
		t.Errorf("declared is %s instead of %s", now, before)
	}
	if err := w.DeleteInstance(t.Context(), w.admin, w.instance); err != nil {
		t.Fatal(err)
	}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: w.system, Name: w.instance}, &corev1.Secret{}); err != nil {
		t.Errorf("their Secret: %v", err)
	}
}

package services_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

// catalogued has an entry of the catalogue without devices.
func (w *world) catalogued() *v1alpha1.UnikernelImage {
	w.Helper()
	entry := &v1alpha1.UnikernelImage{ObjectMeta: metav1.ObjectMeta{Name: "hello-" + rand.String(6)}}
	entry.Spec.Image.ContentSource = w.web.Image(w.TB, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "catalogued").ContentSource
	w.mustCreate(entry)
	w.Cleanup(func() { _ = w.Delete(context.Background(), entry) })
	w.wait("the cache knows the entry", func() (bool, string) {
		all, err := w.CatalogImages(w.Context(), w.admin)
		return slices.ContainsFunc(all, func(e v1alpha1.UnikernelImage) bool { return e.Name == entry.Name }), errorText(err)
	})
	return entry
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// deployment is for the user, from the catalogue.
func (w *world) deployment(name string, entry *v1alpha1.UnikernelImage) services.Deployment {
	return services.Deployment{
		Instance: w.instance, Namespace: w.user.Namespace, Name: name, CPUs: 1,
		Annotations: map[string]string{v1alpha1.AnnotationPanelName: "My " + name},
		Spec:        v1alpha1.UnikernelSpec{Image: &v1alpha1.ImageSource{Catalog: &v1alpha1.CatalogReference{Name: entry.Name}}, Memory: new(v1alpha1.FromMiB(32))},
	}
}

func (w *world) deploy(name string, entry *v1alpha1.UnikernelImage) *v1alpha1.Unikernel {
	w.Helper()
	uk, err := w.DeployUnikernel(w.Context(), w.admin, w.deployment(name, entry))
	if err != nil {
		w.Fatalf("deploy %s: %v", name, err)
	}
	return uk
}

// untilReady waits until an object is ready for a reason.
func (w *world) untilReady(uk *v1alpha1.Unikernel, reason string) {
	w.Helper()
	w.wait(uk.Name+" is "+reason, func() (bool, string) {
		now := &v1alpha1.Unikernel{}
		if err := w.Get(w.Context(), client.ObjectKeyFromObject(uk), now); err != nil {
			return false, err.Error()
		}
		ready := apimeta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == reason && ready.ObservedGeneration == now.Generation, "otherwise"
	})
}

// listed gives the names of the user's unikernels as they are listed.
func (w *world) listed() (names []string) {
	w.Helper()
	all, err := w.DeclaredUnikernels(w.Context(), w.admin, w.user.Namespace)
	if err != nil {
		w.Fatal(err)
	}
	for i := range all {
		names = append(names, all[i].Name)
	}
	return names
}

// TestDeployment is declared at once, runs afterwards, is suspended, runs again and
// is deleted.
func TestDeployment(t *testing.T) {
	w := newWorld(t)
	entry := w.catalogued()
	uk := w.deploy("web", entry)
	if uk.UID == "" || uk.Annotations[v1alpha1.AnnotationPanelName] != "My web" || len(uk.Spec.CPUIDs) != 1 {
		t.Errorf("%+v", uk)
	}
	if entry := managed(uk, services.FieldManager); entry == nil || entry.Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("written by %v", uk.ManagedFields)
	}
	if names := w.listed(); !slices.Equal(names, []string{"web"}) {
		t.Errorf("listed at once: %q", names)
	}
	w.untilReady(uk, v1alpha1.ReasonSucceeded)
	other := w.deploy("other", entry)
	if other.Spec.CPUIDs[0] == uk.Spec.CPUIDs[0] {
		t.Errorf("both on CPU %d", other.Spec.CPUIDs[0])
	}
	if _, err := w.DeployUnikernel(t.Context(), w.admin, w.deployment("web", entry)); !is[*services.Refused](err) {
		t.Errorf("twice: %v", err)
	}
	w.untilReady(other, v1alpha1.ReasonSucceeded)

	suspended, err := w.SuspendUnikernel(t.Context(), w.admin, uk, true)
	if err != nil || !suspended.Spec.Suspended || suspended.Annotations[v1alpha1.AnnotationPanelName] != "My web" || suspended.Spec.MemoryMiB() != 32 || suspended.Spec.Image == nil {
		t.Fatalf("%+v, %v", suspended, err)
	}
	w.untilReady(uk, v1alpha1.ReasonSuspended)
	if _, runs := w.host.Unikernel(w.hostName("web")); runs {
		t.Error("it runs still")
	}
	version := w.unikernel("web").ResourceVersion
	if again, err := w.SuspendUnikernel(t.Context(), w.admin, uk, true); err != nil || again.ResourceVersion != version {
		t.Errorf("suspended again: %v", err)
	}
	if _, err := w.SuspendUnikernel(t.Context(), w.admin, uk, false); err != nil {
		t.Fatal(err)
	}
	w.untilReady(uk, v1alpha1.ReasonSucceeded)
	if _, runs := w.host.Unikernel(w.hostName("web")); !runs {
		t.Error("it does not run again")
	}

	if err := w.RemoveUnikernel(t.Context(), w.admin, uk); err != nil {
		t.Fatal(err)
	}
	if names := w.listed(); !slices.Equal(names, []string{"other"}) {
		t.Errorf("listed after it was deleted: %q", names)
	}
	w.wait("destroyed", func() (bool, string) {
		_, runs := w.host.Unikernel(w.hostName("web"))
		return !runs && w.unikernel("web") == nil, "there"
	})
	if err := w.RemoveUnikernel(t.Context(), w.admin, uk); err != nil {
		t.Errorf("deleted again: %v", err)
	}
	if _, err := w.SuspendUnikernel(t.Context(), w.admin, uk, true); !is[*services.NotFound](err) {
		t.Errorf("suspended when it is gone: %v", err)
	}
	// A namesake is another.
	namesake := w.deploy("web", entry)
	if _, err := w.SuspendUnikernel(t.Context(), w.admin, uk, true); !is[*services.NotFound](err) {
		t.Errorf("suspended a namesake: %v", err)
	}
	if err := w.RemoveUnikernel(t.Context(), w.admin, uk); !is[*services.Conflict](err) || w.unikernel("web").UID != namesake.UID {
		t.Errorf("deleted a namesake: %v", err)
	}
}

// TestDeploymentsThatCannotBe are refused, and those that only a host refuses are
// declared.
func TestDeploymentsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	entry := w.catalogued()
	stranger := w.newUser()
	for name, tt := range map[string]struct {
		as     services.Identity
		change func(*services.Deployment)
		want   func(error) bool
	}{
		"by the user":       {w.user, func(*services.Deployment) {}, func(err error) bool { return errors.Is(err, services.ErrForbidden) }},
		"by nobody":         {services.Identity{SuperUser: true}, func(*services.Deployment) {}, func(err error) bool { return errors.Is(err, services.ErrForbidden) }},
		"another host":      {w.admin, func(d *services.Deployment) { d.Instance = "none" }, is[*services.NotFound]},
		"not admitted":      {w.admin, func(d *services.Deployment) { d.Namespace = stranger.Namespace }, is[*services.NotAdmitted]},
		"no namespace":      {w.admin, func(d *services.Deployment) { d.Namespace = "none-of-that-name" }, is[*services.NotAdmitted]},
		"no name":           {w.admin, func(d *services.Deployment) { d.Namespace = "a:b" }, is[*services.Invalid]},
		"a bad name":        {w.admin, func(d *services.Deployment) { d.Name = "-" }, is[*services.Invalid]},
		"too many CPUs":     {w.admin, func(d *services.Deployment) { d.CPUs = 3 }, is[*services.Invalid]},
		"no memory":         {w.admin, func(d *services.Deployment) { d.Spec.Memory = new(v1alpha1.FromMiB(0)) }, is[*services.Invalid]},
		"a bad argument":    {w.admin, func(d *services.Deployment) { d.Spec.Arguments = []string{"\x00"} }, is[*services.Invalid]},
		"two sources":       {w.admin, func(d *services.Deployment) { d.Spec.Image.URL = "https://example.org/x" }, is[*services.Invalid]},
		"another's account": {services.Identity{Name: "system:admin", SuperUser: true}, func(*services.Deployment) {}, func(err error) bool { return errors.Is(err, services.ErrForbidden) }},
	} {
		d := w.deployment("web", entry)
		tt.change(&d)
		if _, err := w.DeployUnikernel(t.Context(), tt.as, d); !tt.want(err) {
			t.Errorf("%s: %T %v", name, err, err)
		}
	}
	if names := w.listed(); len(names) > 0 {
		t.Errorf("declared all the same: %q", names)
	}
	d := w.deployment("greedy", entry)
	d.Spec.Memory, d.CPUs = new(v1alpha1.FromMiB(100_000)), 2
	uk, err := w.DeployUnikernel(t.Context(), w.admin, d)
	if err != nil || len(uk.Spec.CPUIDs) != 2 {
		t.Fatalf("%v", err)
	}
	w.untilReady(uk, v1alpha1.ReasonPolicyExceeded)
}

// TestSuspendWhatOthersDeclare takes the field where nobody has it, and takes it
// from nobody.
func TestSuspendWhatOthersDeclare(t *testing.T) {
	w := newWorld(t)
	manifest := func(name string, says ...bool) *unstructured.Unstructured {
		spec := w.spec("first")
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Unikernel", "metadata": map[string]any{"name": name, "namespace": w.user.Namespace},
			"spec": map[string]any{
				"instanceRef": map[string]any{"name": w.instance}, "image": map[string]any{"url": spec.Image.URL, "sha256": string(spec.Image.SHA256)},
				"arguments": []any{"--git"},
			},
		}}
		if len(says) > 0 {
			_ = unstructured.SetNestedField(u.Object, says[0], "spec", "suspended")
		}
		return u
	}
	apply := func(u *unstructured.Unstructured) {
		t.Helper()
		if err := w.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("argocd-controller")); err != nil {
			t.Fatal(err)
		}
	}
	apply(manifest("silent"))
	apply(manifest("says-no", false))
	apply(manifest("says-yes", true))
	for name, tt := range map[string]struct {
		suspended bool
		conflict  bool
	}{"silent": {true, false}, "says-no": {true, true}, "says-yes": {false, true}} {
		before := w.unikernel(name)
		now, err := w.SuspendUnikernel(t.Context(), w.admin, before, tt.suspended)
		conflict, _ := errors.AsType[*services.Conflict](err)
		if (conflict != nil) != tt.conflict {
			t.Errorf("%s: %v", name, err)
		}
		if conflict != nil && (!slices.Equal(conflict.Owners, []string{"argocd-controller"}) || !slices.Equal(conflict.Fields, []string{"spec.suspended"})) {
			t.Errorf("%s: %+v", name, conflict)
		}
		if conflict == nil && (now.Spec.Suspended != tt.suspended || !slices.Equal(now.Spec.Arguments, []string{"--git"})) {
			t.Errorf("%s: %+v", name, now.Spec)
		}
		if after := w.unikernel(name); after.Spec.Suspended == before.Spec.Suspended != tt.conflict {
			t.Errorf("%s: suspended %v", name, after.Spec.Suspended)
		}
	}
	// The next synchronization of who does not say it changes nothing.
	apply(manifest("silent"))
	silent := w.unikernel("silent")
	if !silent.Spec.Suspended {
		t.Error("a synchronization started it")
	}
	w.untilReady(silent, v1alpha1.ReasonSuspended)
	if _, err := w.SuspendUnikernel(t.Context(), w.admin, silent, false); err != nil {
		t.Error(err)
	}
	w.untilReady(silent, v1alpha1.ReasonSucceeded)
	for name, err := range map[string]error{
		"suspend": second(w.SuspendUnikernel(t.Context(), w.user, silent, true)), "remove": w.RemoveUnikernel(t.Context(), w.user, silent),
	} {
		if !errors.Is(err, services.ErrForbidden) {
			t.Errorf("%s by a user: %v", name, err)
		}
	}
}

// TestWhatThePanelSaidStays when an object is declared anew by other calls.
func TestWhatThePanelSaidStays(t *testing.T) {
	w := newWorld(t)
	uk := w.deploy("web", w.catalogued())
	w.untilReady(uk, v1alpha1.ReasonSucceeded)
	spec := v1alpha1.UnikernelSpec{Memory: new(v1alpha1.FromMiB(64))}
	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web", Spec: &spec}); err != nil {
		t.Fatal(err)
	}
	if now := w.unikernel("web"); now.Annotations[v1alpha1.AnnotationPanelName] != "My web" || now.Spec.MemoryMiB() != 64 {
		t.Errorf("%+v", now)
	}
	host := albatrosstest.Start(t, albatrosstest.Options{})
	credentials := host.Credentials()
	address, port := host.HostPort()
	node := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: "node-" + rand.String(6), Annotations: map[string]string{v1alpha1.AnnotationPanelTags: `"a"`}}}
	node.Spec.Endpoint = v1alpha1.Endpoint{Host: v1alpha1.Host(address), Port: port}
	w.mustCreate(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name + "-tls", Namespace: w.system},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	})
	w.wait("the cache knows the Secret", func() (bool, string) {
		made, err := w.DeclareInstance(t.Context(), w.admin, node, "")
		if err == nil && !made.Configured {
			err = errors.Join(errors.New("without credentials"), w.DeleteInstance(t.Context(), w.admin, node.Name))
		}
		return err == nil, errorText(err)
	})
	w.untilConnected(node.Name)
	policy := services.Policy{Instance: node.Name, Namespace: w.user.Namespace, Policy: albatross.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 64}}
	if err := w.SetPolicy(t.Context(), w.admin, policy); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveTenant(t.Context(), w.admin, node.Name, w.user.Namespace); err != nil {
		t.Fatal(err)
	}
	update := services.InstanceRequest{Name: node.Name, Host: address, Port: port, Certificate: string(credentials.Cert), Key: string(credentials.Key)}
	w.wait("updated", func() (bool, string) {
		err := w.UpdateInstance(t.Context(), w.admin, update)
		if err != nil && !is[*services.Conflict](err) { // its status changes meanwhile
			t.Fatal(err)
		}
		return err == nil, errorText(err)
	})
	now := &v1alpha1.AlbatrossInstance{}
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(node), now); err != nil || now.Annotations[v1alpha1.AnnotationPanelTags] != `"a"` || len(now.Spec.Tenants) > 0 {
		t.Errorf("%+v, %v", now, err)
	}
}

// TestDeclaredInstances are hosts that need not answer, with the credentials that
// there are.
func TestDeclaredInstances(t *testing.T) {
	w := newWorld(t)
	w.mustCreate(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shared", Namespace: w.system}})
	node := func(name string) *v1alpha1.AlbatrossInstance {
		o := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: name}}
		o.Spec.Endpoint = v1alpha1.Endpoint{Host: "192.0.2.1", Port: 1025}
		return o
	}
	bare := node("bare-" + rand.String(6))
	made, err := w.DeclareInstance(t.Context(), w.admin, bare, "")
	if err != nil || made.Configured || made.Spec.CredentialsSecretRef.Name != bare.Name+"-tls" || made.UID == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := w.DeclareInstance(t.Context(), w.admin, bare, ""); !is[*services.Conflict](err) {
		t.Errorf("twice: %v", err)
	}
	fallback, err := w.DeclareInstance(t.Context(), w.admin, node("fallback-"+rand.String(6)), "shared")
	if err != nil || !fallback.Configured || fallback.Spec.CredentialsSecretRef.Name != "shared" {
		t.Errorf("%+v, %v", fallback, err)
	}
	own := node("own-" + rand.String(6))
	w.mustCreate(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: own.Name + "-tls", Namespace: w.system}})
	if made, err = w.DeclareInstance(t.Context(), w.admin, own, "shared"); err != nil || !made.Configured || made.Spec.CredentialsSecretRef.Name != own.Name+"-tls" {
		t.Errorf("%+v, %v", made, err)
	}
	w.mustCreate(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: bare.Name + "-tls", Namespace: w.system}})
	w.wait("it is configured", func() (bool, string) {
		all, err := w.DeclaredInstances(t.Context(), w.admin)
		i := slices.IndexFunc(all, func(o services.DeclaredInstance) bool { return o.Name == bare.Name })
		if i < 0 {
			t.Fatalf("not listed: %v", err)
		}
		return all[i].Configured, "not configured"
	})
	bad := node("bad")
	bad.Spec.Endpoint.Host = "a host"
	_, err = w.DeclareInstance(t.Context(), w.admin, bad, "")
	if invalid, ok := errors.AsType[*services.Invalid](err); !ok || !strings.Contains(invalid.Field, "endpoint.host") {
		t.Errorf("a bad host: %v", err)
	}
	if _, err := w.DeclareInstance(t.Context(), w.user, node("user"), ""); !errors.Is(err, services.ErrForbidden) {
		t.Errorf("by a user: %v", err)
	}
	if err := w.DeleteInstance(t.Context(), w.admin, bare.Name); err != nil {
		t.Error(err)
	}
	secret := &corev1.Secret{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: w.system, Name: bare.Name + "-tls"}, secret); err != nil {
		t.Errorf("a Secret of somebody else went with it: %v", err)
	}
}

// TestListsAreForAdministrators, and for nobody else.
func TestListsAreForAdministrators(t *testing.T) {
	w := newWorld(t)
	for _, id := range []services.Identity{w.user, {SuperUser: true}, {}} {
		for name, err := range map[string]error{
			"unikernels": second(w.DeclaredUnikernels(t.Context(), id, id.Namespace)), "instances": second(w.DeclaredInstances(t.Context(), id)), "images": second(w.CatalogImages(t.Context(), id)),
		} {
			if !errors.Is(err, services.ErrForbidden) {
				t.Errorf("%s for %+v: %v", name, id, err)
			}
		}
	}
}

// TestOrderOfCreation is that of lists; what is being deleted is in none.
func TestOrderOfCreation(t *testing.T) {
	w := newWorld(t)
	entry := w.catalogued()
	for _, name := range []string{"b", "a"} {
		w.deploy(name, entry)
	}
	all, err := w.DeclaredUnikernels(t.Context(), w.admin, "")
	if err != nil || len(all) != 2 {
		t.Fatalf("%d, %v", len(all), err)
	}
	sorted := slices.IsSortedFunc(all, func(a, b v1alpha1.Unikernel) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	if !sorted {
		t.Errorf("%s before %s", all[0].Name, all[1].Name)
	}
	// A host that cannot be asked keeps the object, and the list does not.
	defer w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})()
	if err := w.RemoveUnikernel(t.Context(), w.admin, &all[0]); err != nil {
		t.Fatal(err)
	}
	if names := w.listed(); !slices.Equal(names, []string{all[1].Name}) {
		t.Errorf("%q", names)
	}
}

func TestLeastUsedCPUs(t *testing.T) {
	used := map[v1alpha1.CPUID]int{0: 3, 1: 1, 2: 1, 7: 9}
	for _, tt := range []struct {
		allowed []v1alpha1.CPUID
		count   int
		want    []v1alpha1.CPUID
	}{
		{[]v1alpha1.CPUID{0, 1, 2}, 1, []v1alpha1.CPUID{1}},
		{[]v1alpha1.CPUID{2, 1, 0}, 1, []v1alpha1.CPUID{1}},
		{[]v1alpha1.CPUID{0, 1, 2}, 2, []v1alpha1.CPUID{1, 2}},
		{[]v1alpha1.CPUID{0, 7}, 1, []v1alpha1.CPUID{0}},
		{[]v1alpha1.CPUID{7, 5}, 2, []v1alpha1.CPUID{5, 7}},
		{[]v1alpha1.CPUID{3, 0}, 1, []v1alpha1.CPUID{3}},
	} {
		if got := services.LeastUsed(tt.allowed, used, tt.count); !slices.Equal(got, tt.want) {
			t.Errorf("%d of %v: %v", tt.count, tt.allowed, got)
		}
	}
}

// TestInstanceOfWhatGoes can be deleted at once after the last of what was on it, but
// not before the host has let that go.
func TestInstanceOfWhatGoes(t *testing.T) {
	w := newWorld(t)
	uk := w.deploy("leaving", w.catalogued())
	w.untilReady(uk, v1alpha1.ReasonSucceeded)
	var refused *services.Refused
	if err := w.DeleteInstance(t.Context(), w.admin, w.instance); !errors.As(err, &refused) || refused.Reason != v1alpha1.ReasonInUse {
		t.Errorf("in use: %v", err)
	}
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})
	defer lift()
	if err := w.RemoveUnikernel(t.Context(), w.admin, uk); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteInstance(t.Context(), w.admin, w.instance); !errors.As(err, &refused) || refused.Reason != v1alpha1.ReasonInUse {
		t.Errorf("the host still has it: %v", err)
	}
	lift()
	w.wait("the host has let it go", func() (bool, string) {
		err := w.DeleteInstance(t.Context(), w.admin, w.instance)
		return err == nil, errorText(err)
	})
	if o := w.object(w.instance); o != nil {
		t.Errorf("it is there: %+v", o)
	}
}

// TestInstanceWithUnikernels takes what is on an instance with it, but for volumes,
// which have all of that refused.
func TestInstanceWithUnikernels(t *testing.T) {
	w := newWorld(t)
	for name, err := range map[string]error{
		"a user": w.DeleteInstanceWithUnikernels(t.Context(), w.user, w.instance), "nobody": w.DeleteInstanceWithUnikernels(t.Context(), services.Identity{}, w.instance),
	} {
		if err == nil {
			t.Errorf("%s may", name)
		}
	}
	if err := w.DeleteInstanceWithUnikernels(t.Context(), w.admin, "absent"); !is[*services.NotFound](err) {
		t.Errorf("absent: %v", err)
	}
	uk, other := w.deploy("leaving", w.catalogued()), w.deploy("leaving-too", w.catalogued())
	w.untilReady(uk, v1alpha1.ReasonSucceeded)
	w.untilReady(other, v1alpha1.ReasonSucceeded)
	if err := w.CreateVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "data", Size: 1}); err != nil {
		t.Fatal(err)
	}
	var refused *services.Refused
	err := w.DeleteInstanceWithUnikernels(t.Context(), w.admin, w.instance)
	if !errors.As(err, &refused) || refused.Reason != v1alpha1.ReasonInUse || !strings.Contains(refused.Text, "Volume "+w.user.Namespace+"/data") {
		t.Errorf("with a volume: %v", err)
	}
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(uk), uk); err != nil || !uk.DeletionTimestamp.IsZero() {
		t.Fatalf("a refusal deletes: %v", err)
	}
	if err := w.DeleteVolume(t.Context(), w.user, w.instance, "data"); err != nil {
		t.Fatal(err)
	}
	w.move(other, "elsewhere")
	err = w.DeleteInstanceWithUnikernels(t.Context(), w.admin, w.instance)
	if !errors.As(err, &refused) || !strings.Contains(refused.Text, other.Name) {
		t.Errorf("with one that moves: %v", err)
	}
	for _, o := range []*v1alpha1.Unikernel{uk, other} {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil || !o.DeletionTimestamp.IsZero() {
			t.Fatalf("a refusal deletes %s: %v", o.Name, err)
		}
	}
	w.move(other, w.instance)
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})
	defer lift()
	if err := w.DeleteInstanceWithUnikernels(t.Context(), w.admin, w.instance); !errors.As(err, &refused) || refused.Reason != v1alpha1.ReasonInUse {
		t.Errorf("the host still has them: %v", err)
	}
	if o := w.object(w.instance); o == nil || !o.DeletionTimestamp.IsZero() {
		t.Errorf("it is gone before them: %+v", o)
	}
	lift()
	w.wait("the host has let them go", func() (bool, string) {
		err := w.DeleteInstanceWithUnikernels(t.Context(), w.admin, w.instance)
		return err == nil, errorText(err)
	})
	if o := w.object(w.instance); o != nil {
		t.Errorf("it is there: %+v", o)
	}
	if names := w.host.Unikernels(""); len(names) != 0 {
		t.Errorf("left on the host: %v", names)
	}
}

// move declares a unikernel on another instance and waits until the services know.
func (w *world) move(uk *v1alpha1.Unikernel, instance string) {
	w.Helper()
	before := uk.DeepCopy()
	uk.Spec.InstanceRef.Name = instance
	if err := w.Patch(w.Context(), uk, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
	w.wait("the move is known", func() (bool, string) {
		all, err := w.DeclaredUnikernels(w.Context(), w.admin, uk.Namespace)
		return slices.ContainsFunc(all, func(o v1alpha1.Unikernel) bool { return o.Name == uk.Name && o.Spec.InstanceRef.Name == instance }), errorText(err)
	})
}

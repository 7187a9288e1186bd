package services_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

func TestUnikernelLife(t *testing.T) {
	w := newWorld(t)
	request := w.request("Web", "first") // names are as good in lower case
	if err := w.CreateUnikernel(t.Context(), w.user, request); err != nil {
		t.Fatal(err)
	}
	info, runs := w.host.Unikernel(w.hostName("web"))
	uk := w.unikernel("web")
	if !runs || uk == nil || hex.EncodeToString(info.Digest) != string(request.Spec.Image.SHA256) {
		t.Fatalf("runs: %v, object: %v", runs, uk)
	}
	if entry := managed(uk, services.FieldManager); entry == nil || entry.Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("written by %v", uk.ManagedFields)
	}
	list, problems, err := w.Unikernels(t.Context(), w.user)
	if err != nil || len(problems) != 0 || len(list) != 1 || len(list[0].Unikernels) != 1 || list[0].Instance != w.instance || list[0].Unikernels[0].Name.Label != "web" {
		t.Errorf("listed: %v %v %v", list, problems, err)
	}

	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if n := w.host.Received("unikernel restart", w.hostName("web")); n != 1 {
		t.Errorf("restarted %d times", n)
	}
	spec := v1alpha1.UnikernelSpec{Memory: new(v1alpha1.FromMiB(64)), Arguments: []string{"--hello"}}
	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web", Spec: &spec}); err != nil {
		t.Fatal(err)
	}
	if info, _ := w.host.Unikernel(w.hostName("web")); info.Memory != 64 || len(info.Argv) != 1 {
		t.Errorf("restarted with arguments it has %d MiB and %q", info.Memory, info.Argv)
	}

	if err := w.DestroyUnikernel(t.Context(), w.user, w.instance, "web"); err != nil {
		t.Fatal(err)
	}
	if _, runs := w.host.Unikernel(w.hostName("web")); runs || w.unikernel("web") != nil {
		t.Errorf("destroyed, it runs: %v", runs)
	}
	err = w.DestroyUnikernel(t.Context(), w.user, w.instance, "web")
	if refused, ok := errors.AsType[*services.Refused](err); !ok || refused.Text != "destroy: not found" {
		t.Errorf("destroyed again: %v", err)
	}
}

func managed(o client.Object, manager string) *metav1.ManagedFieldsEntry {
	for _, entry := range o.GetManagedFields() {
		if entry.Manager == manager && entry.Subresource == "" {
			return &entry
		}
	}
	return nil
}

func TestRefusedCreateLeavesNothing(t *testing.T) {
	w := newWorld(t)
	network := w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2, Devices: []solo5.Device{{Name: "service", Type: solo5.Network}}}, "net")
	for _, test := range []struct {
		name   string
		spec   v1alpha1.UnikernelSpec
		text   string
		fault  albatrosstest.Fault
		isKind func(error) bool
	}{
		{name: "policy", spec: with(w.spec("a"), func(s *v1alpha1.UnikernelSpec) { s.Memory = new(v1alpha1.FromMiB(1024)) }), text: "maximum allowed memory"},
		{name: "manifest", spec: v1alpha1.UnikernelSpec{Image: network}, text: "service"},
		{name: "cpu", spec: with(w.spec("a"), func(s *v1alpha1.UnikernelSpec) { s.CPUIDs = []v1alpha1.CPUID{7} }), text: "not allowed by policy"},
		{name: "device", spec: with(v1alpha1.UnikernelSpec{
			Image: w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2, Devices: []solo5.Device{{Name: "storage", Type: solo5.Block}}}, "blk"),
		}, func(s *v1alpha1.UnikernelSpec) {
			s.BlockDevices = []v1alpha1.BlockDevice{{Name: "storage", HostDevice: "absent"}}
		}), text: "not found"},
		{name: "host", spec: w.spec("a"), text: "could not create unikernel: console failed", fault: albatrosstest.Fault{
			Kind: albatrosstest.Fail, Command: "unikernel create", Text: "could not create unikernel: console failed", Times: 1,
		}, isKind: is[*services.Unreachable]},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.fault.Kind != 0 {
				defer w.host.Inject(test.fault)()
			}
			err := w.CreateUnikernel(t.Context(), w.user, services.CreateRequest{Instance: w.instance, Name: test.name, Spec: test.spec})
			if isKind := test.isKind; isKind != nil && !isKind(err) || isKind == nil && !is[*services.Refused](err) {
				t.Fatalf("%T: %v", err, err)
			}
			if !strings.Contains(err.Error(), test.text) {
				t.Errorf("said %q", err)
			}
			if _, runs := w.host.Unikernel(w.hostName(test.name)); runs || w.unikernel(test.name) != nil {
				t.Errorf("left: %v, runs: %v", w.unikernel(test.name), runs)
			}
		})
	}
}

func with(spec v1alpha1.UnikernelSpec, f func(*v1alpha1.UnikernelSpec)) v1alpha1.UnikernelSpec {
	f(&spec)
	return spec
}

func TestForceCreate(t *testing.T) {
	w := newWorld(t)
	w.mustRun("web")
	again := w.request("web", "second")
	if err := w.CreateUnikernel(t.Context(), w.user, again); err == nil || err.Error() != "Unikernel with same name is already running" {
		t.Fatalf("created twice: %v", err)
	}
	again.Force = true
	again.Spec.Arguments = []string{"--second"}
	if err := w.CreateUnikernel(t.Context(), w.user, again); err != nil {
		t.Fatal(err)
	}
	if info, _ := w.host.Unikernel(w.hostName("web")); hex.EncodeToString(info.Digest) != string(again.Spec.Image.SHA256) {
		t.Error("not replaced")
	}
	declared, mutations := w.unikernel("web").Spec, w.host.Mutations(w.hostName("web"))

	refused := w.request("web", "third")
	refused.Force = true
	refused.Spec.Memory = new(v1alpha1.FromMiB(4096))
	err := w.CreateUnikernel(t.Context(), w.user, refused)
	if !is[*services.Refused](err) {
		t.Fatalf("%T: %v", err, err)
	}
	now := w.unikernel("web")
	if got := now.Spec; got.Memory != nil || got.Image.SHA256 != declared.Image.SHA256 || len(got.Arguments) != 1 {
		t.Errorf("after a refusal %v is declared", got)
	}
	if n := w.host.Mutations(w.hostName("web")); n != mutations {
		t.Errorf("the host was told %d things for what was refused", n-mutations)
	}
	if entry := managed(now, services.FieldManager); entry == nil || strings.Contains(entry.FieldsV1.GetRawString(), "f:memory") {
		t.Errorf("the memory is still ours: %v", entry)
	}

	// The same once more begins anew.
	started := w.host.Received("unikernel restart", w.hostName("web"))
	if err := w.CreateUnikernel(t.Context(), w.user, again); err != nil {
		t.Fatal(err)
	}
	if n := w.host.Received("unikernel restart", w.hostName("web")); n != started+1 {
		t.Errorf("what is declared already was restarted %d times", n-started)
	}
}

func TestOneOfTwoCreatesAName(t *testing.T) {
	w := newWorld(t)
	for round := range 3 {
		name := "web" + rand.String(4)
		errs := make([]error, 4)
		var all sync.WaitGroup
		for i := range errs {
			request := w.request(name, string(rune('a'+i)))
			all.Go(func() { errs[i] = w.CreateUnikernel(t.Context(), w.user, request) })
		}
		all.Wait()
		won := 0
		for i, err := range errs {
			switch {
			case err == nil:
				won++
				info, _ := w.host.Unikernel(w.hostName(name))
				if want := w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, string(rune('a'+i))).SHA256; hex.EncodeToString(info.Digest) != string(want) {
					t.Errorf("round %d: who won does not have its image", round)
				}
			case err.Error() != "Unikernel with same name is already running":
				t.Errorf("round %d: %v", round, err)
			}
		}
		if won != 1 {
			t.Errorf("round %d: %d won", round, won)
		}
	}
}

func TestNamesAreChecked(t *testing.T) {
	w := newWorld(t)
	other := w.newUser()
	before := w.host.Received("", "")
	tricks := []string{"", ".", "..", "a..b", "a.", ".a", "-a", "a-", other.Namespace + ":web", ":web", "web:", "a/b", "../a", "a b", "a\x00", "ä", strings.Repeat("a", 64)}
	for _, name := range tricks {
		for what, err := range map[string]error{
			"create":          w.CreateUnikernel(t.Context(), w.user, w.request(name, "x")),
			"destroy":         w.DestroyUnikernel(t.Context(), w.user, w.instance, name),
			"restart":         w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: name}),
			"create volume":   w.CreateVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: name, Size: 1}),
			"delete volume":   w.DeleteVolume(t.Context(), w.user, w.instance, name),
			"upload":          w.UploadVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: name, Data: strings.NewReader("x")}),
			"download":        second(w.DownloadVolume(t.Context(), w.user, w.instance, name, 0)),
			"console":         second(w.Console(t.Context(), w.user, w.instance, name)),
			"instance":        w.DestroyUnikernel(t.Context(), w.user, name, "web"),
			"create instance": w.CreateInstance(t.Context(), w.admin, services.InstanceRequest{Name: name, Host: "127.0.0.1"}),
			"retry":           w.RetryInstance(t.Context(), w.admin, name),
		} {
			if !is[*services.Invalid](err) {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
	}
	var all v1alpha1.UnikernelList
	if err := w.List(t.Context(), &all); err != nil || len(all.Items) != 0 {
		t.Errorf("%d objects, %v", len(all.Items), err)
	}
	if n := w.host.Mutations(""); n != 0 {
		t.Errorf("%d commands changed something, of %d", n, w.host.Received("", "")-before)
	}
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

// TestNamespacesThatAreNotLookedAfter has an installation with rights in single
// namespaces, which may read no Namespace.
func TestNamespacesThatAreNotLookedAfter(t *testing.T) {
	var watched []string
	w := newWorld(t, func(o *services.Options) { o.WatchNamespaces = []string{"another"}; watched = o.WatchNamespaces })
	if err := w.CreateUnikernel(t.Context(), w.user, w.request("web", "x")); !is[*services.NotAdmitted](err) {
		t.Errorf("%v", err)
	}
	watched[0] = w.user.Namespace
	w.mustRun("web")
	if list, _, err := w.Unikernels(t.Context(), w.user); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestWithoutNamespace has a selector that chooses every namespace: it must choose
// none for who has none, which would be the host's root.
func TestWithoutNamespace(t *testing.T) {
	w := newWorld(t)
	instance := w.object(w.instance)
	before := instance.DeepCopy()
	instance.Spec.Tenants = append(instance.Spec.Tenants, v1alpha1.Tenant{NamespaceSelector: &v1alpha1.NamespaceSelector{}})
	if err := w.Patch(t.Context(), instance, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []services.Identity{{Name: "alice"}, {Name: "alice", Namespace: "never-made"}} {
		for what, err := range map[string]error{
			"create":  w.CreateUnikernel(t.Context(), id, w.request("web", "x")),
			"destroy": w.DestroyUnikernel(t.Context(), id, w.instance, "web"),
			"console": second(w.Console(t.Context(), id, w.instance, "web")),
			"volume":  w.CreateVolume(t.Context(), id, services.VolumeRequest{Instance: w.instance, Name: "data", Size: 1}),
		} {
			if !is[*services.NotAdmitted](err) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if list, problems, err := w.Unikernels(t.Context(), id); len(list)+len(problems) != 0 || err != nil {
			t.Errorf("sees %v, %v, %v", list, problems, err)
		}
	}
	if n := w.host.Mutations(""); n != 0 {
		t.Errorf("%d commands", n)
	}
}

func TestOthersAreOutOfReach(t *testing.T) {
	w := newWorld(t)
	w.mustRun("web")
	stranger := w.newUser()
	for what, err := range map[string]error{
		"create":   w.CreateUnikernel(t.Context(), stranger, w.request("web", "x")),
		"destroy":  w.DestroyUnikernel(t.Context(), stranger, w.instance, "web"),
		"console":  second(w.Console(t.Context(), stranger, w.instance, "web")),
		"download": second(w.DownloadVolume(t.Context(), stranger, w.instance, "web", 0)),
	} {
		if !is[*services.NotAdmitted](err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"nobody":         w.DestroyUnikernel(t.Context(), services.Identity{Namespace: w.user.Namespace}, w.instance, "web"),
		"no upload":      third(w.Upload(t.Context(), services.Identity{Name: "alice"}, strings.NewReader("x"), 1)),
		"not their own":  w.DestroyUnikernel(t.Context(), services.Identity{Name: stranger.Name, Namespace: w.user.Namespace}, w.instance, "web"),
		"no admin":       second(services.ForNamespace(stranger, w.user.Namespace)),
		"retry":          w.RetryInstance(t.Context(), stranger, w.instance),
		"policy":         w.SetPolicy(t.Context(), stranger, services.Policy{Instance: w.instance, Namespace: stranger.Namespace}),
		"an odd name":    w.DestroyUnikernel(t.Context(), services.Identity{Name: "a:b", Namespace: w.user.Namespace}, w.instance, "web"),
		"add an istance": w.CreateInstance(t.Context(), stranger, services.InstanceRequest{Name: "x"}),
	} {
		if !errors.Is(err, services.ErrForbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if list, problems, err := w.Unikernels(t.Context(), stranger); len(list) != 0 || len(problems) != 0 || err != nil {
		t.Errorf("a stranger sees %v %v %v", list, problems, err)
	}
	if _, runs := w.host.Unikernel(w.hostName("web")); !runs {
		t.Error("gone")
	}
	// An administrator names the namespace.
	asUser, err := services.ForNamespace(w.admin, w.user.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.DestroyUnikernel(t.Context(), asUser, w.instance, "web"); err != nil {
		t.Error(err)
	}
}

// TestDeclaredByGitOps has an object that another manager declares.
func TestDeclaredByGitOps(t *testing.T) {
	w := newWorld(t)
	spec := w.spec("git")
	spec.InstanceRef.Name = w.instance
	git := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: w.user.Namespace, Name: "web"}, Spec: spec}
	if err := w.Create(t.Context(), git, client.FieldOwner("argocd-controller")); err != nil {
		t.Fatal(err)
	}
	w.wait("it runs", func() (bool, string) {
		_, runs := w.host.Unikernel(w.hostName("web"))
		list, _, _ := w.Unikernels(t.Context(), w.user)
		return runs && len(list) == 1 && len(list[0].Unikernels) == 1, "not listed"
	})
	force := w.request("web", "other")
	force.Force = true
	err := w.CreateUnikernel(t.Context(), w.user, force)
	conflict, ok := errors.AsType[*services.Conflict](err)
	if !ok || len(conflict.Owners) != 1 || conflict.Owners[0] != "argocd-controller" || len(conflict.Fields) == 0 {
		t.Fatalf("changed: %v", err)
	}
	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web"}); err != nil {
		t.Fatalf("restart: %v", err)
	}
	if n := w.host.Received("unikernel restart", w.hostName("web")); n != 1 {
		t.Errorf("restarted %d times", n)
	}
	if now := w.unikernel("web"); now.Generation != 1 || now.Spec.Image.SHA256 != spec.Image.SHA256 {
		t.Errorf("the declaration changed: %v", now.Spec)
	}
	if err := w.DestroyUnikernel(t.Context(), w.user, w.instance, "web"); err != nil {
		t.Errorf("destroy: %v", err)
	}
}

// TestWithoutObject has something on the host that nobody declared.
func TestWithoutObject(t *testing.T) {
	w := newWorld(t)
	w.runDirectly("old")
	host, err := w.pool.Get(w.instance)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, _, _ := w.Unikernels(t.Context(), w.user); len(list) != 1 || len(list[0].Unikernels) != 1 {
		t.Fatalf("listed: %v", list)
	}
	if err := w.CreateUnikernel(t.Context(), w.user, w.request("old", "first")); err == nil || err.Error() != "Unikernel with same name is already running" {
		t.Errorf("created: %v", err)
	}
	restart := services.RestartRequest{Instance: w.instance, Name: "old"}
	if err := w.RestartUnikernel(t.Context(), w.user, restart); err != nil {
		t.Errorf("restart: %v", err)
	}
	restart.Spec = &v1alpha1.UnikernelSpec{Memory: new(v1alpha1.FromMiB(64)), Arguments: []string{"x"}}
	if err := w.RestartUnikernel(t.Context(), w.user, restart); err != nil {
		t.Errorf("restart with arguments: %v", err)
	}
	if info, _ := w.host.Unikernel(w.hostName("old")); info.Memory != 64 {
		t.Errorf("it has %d MiB", info.Memory)
	}
	before := w.host.Mutations("")
	for what, spec := range map[string]v1alpha1.UnikernelSpec{
		"policy":  {Memory: new(v1alpha1.FromMiB(4096))},
		"devices": {NetworkInterfaces: []v1alpha1.NetworkInterface{{Name: "service"}}},
	} {
		restart.Spec = &spec
		if err := w.RestartUnikernel(t.Context(), w.user, restart); !is[*services.Refused](err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := w.host.Mutations(""); n != before {
		t.Errorf("%d commands were sent that a host refuses too late", n-before)
	}
	if err := w.DestroyUnikernel(t.Context(), w.user, w.instance, "old"); err != nil {
		t.Errorf("destroy: %v", err)
	}
	if _, runs := w.host.Unikernel(w.hostName("old")); runs || w.unikernel("old") != nil {
		t.Errorf("runs: %v", runs)
	}

	// With force it becomes what an object declares.
	w.runDirectly("old")
	force := w.request("old", "first")
	force.Force = true
	if err := w.CreateUnikernel(t.Context(), w.user, force); err != nil {
		t.Errorf("force: %v", err)
	}
	if info, _ := w.host.Unikernel(w.hostName("old")); hex.EncodeToString(info.Digest) != string(force.Spec.Image.SHA256) {
		t.Error("not replaced")
	}
}

// runDirectly runs something at the user's path without an object.
func (w *world) runDirectly(name string) {
	w.Helper()
	host, err := w.pool.Get(w.instance)
	if err != nil {
		w.Fatal(err)
	}
	scope, missing := host.Snapshot().Scope(albatross.Path{w.user.Namespace})
	if missing != nil {
		w.Fatal(missing)
	}
	image, err := solo5.Build(solo5.Image{Target: solo5.HVT, ABIVersion: 2}, []byte("direct"))
	if err != nil {
		w.Fatal(err)
	}
	config := albatross.Config{Arguments: albatross.Arguments{Memory: 32, CPUIDs: []int64{0}, NumCPUs: 1}}
	if _, err := host.Client().Create(w.Context(), scope, name, config, albatross.Image{Reader: strings.NewReader(string(image)), Size: int64(len(image))}); err != nil {
		w.Fatal(err)
	}
}

func TestHostAway(t *testing.T) {
	w := newWorld(t)
	w.mustRun("web")
	second := albatrosstest.Start(t, albatrosstest.Options{})
	w.addInstance("second-"+w.instance, second, w.user.Namespace)
	w.untilConnected("second-" + w.instance)
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})
	defer lift()
	w.wait("it is lost", func() (bool, string) {
		_, err := w.pool.Get(w.instance)
		return err != nil, "connected"
	})
	list, problems, err := w.Unikernels(t.Context(), w.user)
	if err != nil || len(list) != 1 || len(problems) != 1 || problems[0].Instance != w.instance || problems[0].Text == "" {
		t.Errorf("%v %v %v", list, problems, err)
	}
	for what, err := range map[string]error{
		"create":  w.CreateUnikernel(t.Context(), w.user, w.request("other", "x")),
		"destroy": w.DestroyUnikernel(t.Context(), w.user, w.instance, "web"),
		"restart": w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web"}),
		"retry":   w.RetryInstance(t.Context(), w.admin, w.instance),
	} {
		if !is[*services.Unreachable](err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if uk := w.unikernel("web"); uk == nil || !uk.DeletionTimestamp.IsZero() || w.unikernel("other") != nil {
		t.Errorf("declared: %v", uk)
	}
	lift()
	w.wait("it is back", func() (bool, string) { return w.RetryInstance(t.Context(), w.admin, w.instance) == nil, "away" })
}

// TestCallerGoesAway has a caller who does not wait for a refusal: it is taken back
// all the same.
func TestCallerGoesAway(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: "unikernel create", Delay: 300 * time.Millisecond})
	defer lift()
	request := w.request("web", "first")
	request.Spec.CPUIDs = []v1alpha1.CPUID{9}
	done := make(chan error, 1)
	go func() { done <- w.CreateUnikernel(ctx, w.user, request) }()
	w.wait("it is declared", func() (bool, string) { return w.unikernel("web") != nil, "not declared" })
	cancel()
	if err := <-done; !is[*services.Refused](err) {
		t.Errorf("%v", err)
	}
	if w.unikernel("web") != nil {
		t.Error("left")
	}
}

func TestTimeout(t *testing.T) {
	w := newWorld(t, func(o *services.Options) { o.Patience = 500 * time.Millisecond })
	defer w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: "unikernel create", Delay: 2 * time.Second})()
	if err := w.CreateUnikernel(t.Context(), w.user, w.request("web", "first")); !is[*services.Timeout](err) {
		t.Errorf("%v", err)
	}
	w.wait("nothing is left", func() (bool, string) {
		_, runs := w.host.Unikernel(w.hostName("web"))
		return !runs && w.unikernel("web") == nil, "left"
	})
}

// TestUpdatesAndRollbacks updates to a build that there is none of, and rolls back
// to what was there.
func TestUpdatesAndRollbacks(t *testing.T) {
	w := newWorld(t)
	w.mustRun("web")
	if _, err := w.RollbackUnikernel(t.Context(), w.user, w.instance, "web"); !is[*services.NotFound](err) {
		t.Errorf("rolled back to nothing: %v", err)
	}
	again := w.request("web", "second")
	again.Force = true
	if err := w.CreateUnikernel(t.Context(), w.user, again); err != nil {
		t.Fatal(err)
	}
	before := w.unikernel("web")
	update := services.UpdateRequest{Instance: w.instance, Name: "web", Server: w.web.URL, Job: "hello", Build: "6cc1a49d-eb1e-4f46-8471-6452206d1475"}
	if err := w.UpdateUnikernel(t.Context(), w.user, update); !is[*services.Refused](err) {
		t.Errorf("update: %v", err)
	}
	now := w.unikernel("web")
	if now.Spec.Image.SHA256 != before.Spec.Image.SHA256 || now.Spec.Image.Build != nil {
		t.Errorf("declared: %v", now.Spec.Image)
	}
	w.runs("web", string(again.Spec.Image.SHA256))
	update.Name = "none"
	if err := w.UpdateUnikernel(t.Context(), w.user, update); !is[*services.NotFound](err) {
		t.Errorf("update of nothing: %v", err)
	}

	first := w.spec("first").Image
	if build, err := w.RollbackUnikernel(t.Context(), w.user, w.instance, "web"); err != nil || build == "" {
		t.Errorf("rollback to %q: %v", build, err)
	}
	w.runs("web", string(first.SHA256))
	// It stays so until another declaration.
	third := w.request("web", "third")
	third.Force = true
	if err := w.CreateUnikernel(t.Context(), w.user, third); err != nil {
		t.Fatal(err)
	}
	w.runs("web", string(third.Spec.Image.SHA256))
	if uk := w.unikernel("web"); uk.Annotations[v1alpha1.AnnotationRollback] != "" {
		t.Errorf("annotations: %v", uk.Annotations)
	}
}

// runs demands that a unikernel runs with an image.
func (w *world) runs(name, digest string) {
	w.Helper()
	info, runs := w.host.Unikernel(w.hostName(name))
	if got := hex.EncodeToString(info.Digest); !runs || got != digest {
		w.Errorf("%s runs %t with %s instead of %s", name, runs, got, digest)
	}
}

// TestUploads has an upload run for who made it, and for nobody else.
func TestUploads(t *testing.T) {
	w := newWorld(t)
	image, err := solo5.Build(solo5.Image{Target: solo5.HVT, ABIVersion: 2}, []byte("upload"))
	if err != nil {
		t.Fatal(err)
	}
	digest, size, err := w.Upload(t.Context(), w.user, bytes.NewReader(image), int64(len(image)))
	if err != nil || size != int64(len(image)) {
		t.Fatalf("%s, %d, %v", digest, size, err)
	}
	if err := w.CreateUnikernel(t.Context(), w.user, services.CreateRequest{Instance: w.instance, Name: "web", Digest: digest}); err != nil {
		t.Fatal(err)
	}
	w.runs("web", digest)
	stranger := w.newUser()
	instance := w.object(w.instance)
	before := instance.DeepCopy()
	instance.Spec.Tenants = append(instance.Spec.Tenants, v1alpha1.Tenant{Namespace: stranger.Namespace, Policy: somePolicy()})
	if err := w.Patch(t.Context(), instance, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	w.untilConnected(w.instance)
	if err := w.CreateUnikernel(t.Context(), stranger, services.CreateRequest{Instance: w.instance, Name: "web", Digest: digest}); !is[*services.Refused](err) {
		t.Errorf("a stranger uses it: %v", err)
	}
	_, _, err = w.Upload(t.Context(), w.user, bytes.NewReader(image), int64(len(image))-1)
	if _, ok := errors.AsType[*services.Invalid](err); !ok {
		t.Errorf("beyond the limit: %v", err)
	}
	if _, _, err := w.Upload(t.Context(), services.Identity{}, bytes.NewReader(image), 1); !errors.Is(err, services.ErrForbidden) {
		t.Errorf("of nobody: %v", err)
	}
}

// TestDestroyThenCreate does so at once, again and again: no cache is up to date.
func TestDestroyThenCreate(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.mustRun("web")
		if err := w.DestroyUnikernel(t.Context(), w.user, w.instance, "web"); err != nil {
			t.Fatal(err)
		}
	}
}

package services_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

// TestNamesOnTwoInstances has one name asked for on two hosts: an object has one
// place.
func TestNamesOnTwoInstances(t *testing.T) {
	w := newWorld(t)
	second := albatrosstest.Start(t, albatrosstest.Options{})
	other := "second-" + w.instance
	w.addInstance(other, second, w.user.Namespace)
	w.untilConnected(other)
	w.mustRun("web")
	for _, force := range []bool{false, true} {
		request := w.request("web", "second")
		request.Instance, request.Force = other, force
		err := w.CreateUnikernel(t.Context(), w.user, request)
		if conflict, ok := errors.AsType[*services.Conflict](err); !ok || !strings.Contains(conflict.Text, w.instance) {
			t.Errorf("force %t: %v", force, err)
		}
	}
	if err := w.DestroyUnikernel(t.Context(), w.user, other, "web"); !is[*services.Refused](err) {
		t.Errorf("destroyed where it is not: %v", err)
	}
	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: other, Name: "web"}); !is[*services.Refused](err) {
		t.Errorf("restarted where it is not: %v", err)
	}
	if _, runs := w.host.Unikernel(w.hostName("web")); !runs || w.host.Mutations(w.hostName("web")) != 1 {
		t.Error("it was touched")
	}
	list, _, err := w.Unikernels(t.Context(), w.user)
	if err != nil || len(list) != 2 || list[0].Instance != w.instance || list[1].Instance != other || len(list[1].Unikernels) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestExitedIsCreatedAnew has what exited for good: its name is free, as it is on a
// host.
func TestExitedIsCreatedAnew(t *testing.T) {
	w := newWorld(t)
	request := w.request("web", "first")
	request.Spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}
	if err := w.CreateUnikernel(t.Context(), w.user, request); err != nil {
		t.Fatal(err)
	}
	exit := func() {
		w.host.Exit(w.hostName("web"), 0)
		w.wait("it exited", func() (bool, string) {
			uk := w.unikernel("web")
			for _, c := range uk.Status.Conditions {
				if c.Type == v1alpha1.ConditionReady && c.Reason == v1alpha1.ReasonExited {
					return true, ""
				}
			}
			return false, fmt.Sprint(uk.Status.Conditions)
		})
	}
	exit()
	request.Spec.Image = w.spec("second").Image
	if err := w.CreateUnikernel(t.Context(), w.user, request); err != nil {
		t.Errorf("another image: %v", err)
	}
	exit()
	if err := w.CreateUnikernel(t.Context(), w.user, request); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	if _, runs := w.host.Unikernel(w.hostName("web")); !runs {
		t.Error("it does not run")
	}
	exit()
	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web"}); err != nil {
		t.Errorf("restart: %v", err)
	}
	if _, runs := w.host.Unikernel(w.hostName("web")); !runs {
		t.Error("it does not run")
	}
}

func TestRestartOfWhatWillNotRun(t *testing.T) {
	w := newWorld(t)
	w.mustRun("web")
	restart := services.RestartRequest{Instance: w.instance, Name: "web"}
	for name, change := range map[string]func(*v1alpha1.Unikernel){
		"paused":    func(uk *v1alpha1.Unikernel) { uk.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} },
		"suspended": func(uk *v1alpha1.Unikernel) { uk.Spec.Suspended = true },
	} {
		uk := w.unikernel("web")
		before := uk.DeepCopy()
		change(uk)
		if err := w.Patch(t.Context(), uk, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		err := w.RestartUnikernel(t.Context(), w.user, restart)
		if refused, ok := errors.AsType[*services.Refused](err); !ok || !strings.Contains(refused.Text, name) {
			t.Errorf("%s: %v", name, err)
		}
		back := w.unikernel("web")
		after := back.DeepCopy()
		after.Annotations, after.Spec.Suspended = nil, false
		if err := w.Patch(t.Context(), after, client.MergeFrom(back)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "none"}); !is[*services.Refused](err) {
		t.Errorf("of nothing: %v", err)
	}
	// A host that refuses it says so to the caller.
	w.wait("it runs again", func() (bool, string) {
		_, runs := w.host.Unikernel(w.hostName("web"))
		uk := w.unikernel("web")
		ready := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady)
		// Whoever asks for a restart while it is being created gets that one.
		return runs && ready != nil && ready.Reason == v1alpha1.ReasonSucceeded && ready.ObservedGeneration == uk.Generation, "not as before"
	})
	defer w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Command: "unikernel restart", Text: "CPUids 0 are not allowed by policy"})()
	err := w.RestartUnikernel(t.Context(), w.user, restart)
	if refused, ok := errors.AsType[*services.Refused](err); !ok || refused.Text != "CPUids 0 are not allowed by policy" {
		t.Errorf("refused by the host: %v", err)
	}
}

// TestGitOpsSeesNoDifference has a manager that applies the same manifest before
// and after everything that the API may do to what it owns.
func TestGitOpsSeesNoDifference(t *testing.T) {
	w := newWorld(t)
	image := w.spec("git").Image
	manifest := func() *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Unikernel",
			"metadata": map[string]any{"namespace": w.user.Namespace, "name": "web", "labels": map[string]any{"app": "web"}},
			"spec": map[string]any{
				"instanceRef": map[string]any{"name": w.instance}, "memory": "32Mi",
				"image": map[string]any{"url": image.URL, "sha256": string(image.SHA256)},
			},
		}}
	}
	sync := func() {
		t.Helper()
		if err := w.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(manifest()), client.FieldOwner("argocd-controller")); err != nil {
			t.Fatalf("the manager meets a conflict: %v", err)
		}
	}
	sync()
	w.wait("it runs", func() (bool, string) {
		_, runs := w.host.Unikernel(w.hostName("web"))
		list, _, _ := w.Unikernels(t.Context(), w.user)
		return runs && len(list[0].Unikernels) == 1, "no"
	})
	if err := w.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web"}); err != nil {
		t.Fatal(err)
	}
	restart := services.RestartRequest{Instance: w.instance, Name: "web", Spec: &v1alpha1.UnikernelSpec{Memory: new(v1alpha1.FromMiB(64))}}
	if err := w.RestartUnikernel(t.Context(), w.user, restart); !is[*services.Conflict](err) {
		t.Errorf("the memory was changed: %v", err)
	}
	// What the manager does not declare may be, and what is refused of it goes again.
	restart.Spec = &v1alpha1.UnikernelSpec{Memory: new(v1alpha1.FromMiB(32)), CPUIDs: []v1alpha1.CPUID{9}}
	if err := w.RestartUnikernel(t.Context(), w.user, restart); !is[*services.Refused](err) {
		t.Errorf("the CPU was taken: %v", err)
	}
	before := w.unikernel("web")
	if len(before.Spec.CPUIDs) != 0 {
		t.Errorf("left: %v", before.Spec)
	}
	sync()
	after := w.unikernel("web")
	if after.Generation != before.Generation || mustJSON(t, after.Spec) != mustJSON(t, before.Spec) {
		t.Errorf("a difference: %s and %s", mustJSON(t, before.Spec), mustJSON(t, after.Spec))
	}
	if entry := managed(after, services.FieldManager); entry != nil && strings.Contains(entry.FieldsV1.GetRawString(), "f:memory") && entry.Operation == metav1.ManagedFieldsOperationApply {
		t.Errorf("the memory is ours besides: %s", entry.FieldsV1.GetRawString())
	}
}

// TestManyCallers has users at work at the same time, each with things of the same
// names.
func TestManyCallers(t *testing.T) {
	w := newWorld(t)
	users := []services.Identity{w.user}
	for range 3 {
		users = append(users, w.newUser())
	}
	instance := w.object(w.instance)
	before := instance.DeepCopy()
	for _, user := range users[1:] {
		instance.Spec.Tenants = append(instance.Spec.Tenants, v1alpha1.Tenant{Namespace: user.Namespace, Policy: somePolicy()})
	}
	if err := w.Patch(t.Context(), instance, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	w.untilConnected(w.instance)
	var all sync.WaitGroup
	problems := make(chan error, 100)
	for _, user := range users {
		for _, name := range []string{"web", "api"} {
			all.Go(func() { problems <- w.liveThrough(t.Context(), user, name) })
		}
	}
	all.Wait()
	close(problems)
	for err := range problems {
		if err != nil {
			t.Error(err)
		}
	}
	for _, user := range users {
		if left := w.host.Unikernels(user.Namespace); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// liveThrough creates, replaces, restarts and destroys a unikernel.
func (w *world) liveThrough(ctx context.Context, user services.Identity, name string) error {
	request := w.request(name, "first")
	if err := w.CreateUnikernel(ctx, user, request); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	request.Force, request.Spec.Arguments = true, []string{user.Name}
	if err := w.CreateUnikernel(ctx, user, request); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	info, runs := w.host.Unikernel(user.Namespace + ":" + name)
	if !runs || len(info.Argv) != 1 || info.Argv[0] != user.Name {
		return fmt.Errorf("%s of %s runs %t with %v", name, user.Name, runs, info.Argv)
	}
	if err := w.RestartUnikernel(ctx, user, services.RestartRequest{Instance: w.instance, Name: name}); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if err := w.DestroyUnikernel(ctx, user, w.instance, name); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	return nil
}

// TestUnansweredCommand has a host that does what it is told and says nothing: the
// controllers look, and so the caller is told the truth.
func TestUnansweredCommand(t *testing.T) {
	w := newWorld(t, func(o *services.Options) { o.Patience = 30 * time.Second })
	w.runDirectly("old")
	host, err := w.pool.Get(w.instance)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.CutReply, Command: "unikernel destroy", Times: 1})
	defer lift()
	if err := w.DestroyUnikernel(t.Context(), w.user, w.instance, "old"); !is[*services.Unreachable](err) {
		t.Errorf("not answered: %v", err)
	}
	// The look that follows shows that it is gone, so it is not told twice.
	err = w.DestroyUnikernel(t.Context(), w.user, w.instance, "old")
	if refused, ok := errors.AsType[*services.Refused](err); !ok || refused.Text != "destroy: not found" {
		t.Errorf("again: %v", err)
	}
	if n := w.host.Received("unikernel destroy", w.hostName("old")); n != 1 {
		t.Errorf("told %d times", n)
	}
}

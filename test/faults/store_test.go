package faults

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
)

// orphaned is how long an object may stay that needs nothing of its host.
const orphaned = 5 * time.Second

// storm has somebody write labels and annotations of objects all the time, until
// it is stopped.
func (w *world) storm(objects ...client.Object) (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	var done sync.WaitGroup
	for _, o := range objects {
		mine := o.DeepCopyObject().(client.Object)
		done.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				patch := []byte(`{"metadata":{"annotations":{"storm":"` + strconv.Itoa(i) + `"},"labels":{"storm":"` + strconv.Itoa(i) + `"}}}`)
				// It may be gone, or the storm over.
				_ = w.Patch(ctx, mine, client.RawPatch("application/merge-patch+json", patch))
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	w.Cleanup(cancel)
	return func() {
		cancel()
		done.Wait()
	}
}

// TestConflictStorm has somebody else write to the objects some fifty times a
// second, so that most versions that the operator read are old when it writes:
// everything is done, and hardly anything twice.
func TestConflictStorm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.seen.neverStalled.Store(true)
	uk, v := w.newUnikernel("uk"), filledVolume(w)
	w.create(uk)
	w.create(v)
	stop := w.storm(uk, v, w.theInstance())
	w.untilReady(uk)
	w.untilReady(v)
	newArguments(w, uk)
	w.untilReady(uk)
	newImage(w, uk)
	w.untilReady(uk)
	asDeclared(t, w, uk)
	thereOnce(t, w, v)
	change(w, uk, func(uk *v1alpha1.Unikernel) {
		uk.Annotations[v1alpha1.AnnotationRestartedAt] = "now"
	})
	w.until("restarted", uk, func() bool { return uk.Status.RestartedAt == "now" })
	w.delete(uk)
	w.delete(v)
	w.untilGone(uk)
	w.untilGone(v)
	stop()
	w.nothingLeft()
	got, filled := w.host.Mutations(w.hostName(uk)), w.host.Mutations(w.hostName(v))
	t.Logf("%d commands for five to the unikernel, %d for three to the volume", got, filled)
	if got > 10 || filled > 8 {
		t.Error("too many")
	}
}

// TestAPIServerAway has the API server refuse everything from the operator at
// every moment of a change, and come back.
func TestAPIServerAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.seen.neverStalled.Store(true)
	uk, v := w.newUnikernel("uk"), filledVolume(w)
	w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: "unikernel create", Delay: 500 * time.Millisecond, Times: 1})
	w.create(uk)
	w.wait("sent", func() (bool, string) { return w.host.Received("unikernel create", w.hostName(uk)) > 0, describe(uk) })
	w.operator.away.Store(true) // while the host carries the command out
	w.create(v)
	w.wait("carried out", func() (bool, string) { return runs(w, uk), "" })
	time.AfterFunc(time.Second, func() { w.operator.away.Store(false) })
	w.untilReady(uk)
	w.untilReady(v)
	asDeclared(t, w, uk)
	w.operator.away.Store(true)
	w.delete(uk)
	w.delete(v)
	time.AfterFunc(time.Second, func() { w.operator.away.Store(false) })
	w.untilGone(uk)
	w.untilGone(v)
	w.nothingLeft()
	if got := w.host.Mutations(""); got > 6 {
		t.Errorf("%d commands for five", got)
	}
}

// TestCreatedAndDeleted has objects live for less than it takes to make them.
func TestCreatedAndDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
		uk, v := w.newUnikernel("brief-"+strconv.Itoa(i)), w.newVolume("brief-"+strconv.Itoa(i), 1)
		w.create(uk)
		w.create(v)
		time.Sleep(after) // what is tried, and not a way to wait for something
		w.delete(uk)
		w.delete(v)
		w.untilGone(uk)
		w.untilGone(v)
		w.untilNothingLeft()
	}
	// Nothing arrives later either: the operator has looked since.
	instance := w.theInstance()
	w.until("counted nothing", instance, func() bool {
		return instance.Status.Unowned == nil && instance.Status.Unikernels != nil && *instance.Status.Unikernels == 0
	})
	w.nothingLeft()
}

// TestVanished has objects disappear while the command for them is carried out,
// as an API server has it that was asked to delete an object just before it got
// our finalizer.
func TestVanished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for command, o := range map[string]client.Object{"unikernel create": w.newUnikernel("uk"), "block add": w.newVolume("vol", 1)} {
		w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: command, Delay: 500 * time.Millisecond, Times: 1})
		w.create(o)
		w.wait("sent", func() (bool, string) { return w.host.Received(command, w.hostName(o)) > 0, describe(o) })
		if err := w.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
			t.Fatal(err)
		}
		w.delete(o)
		w.untilGone(o)
		before := w.host.Mutations(w.hostName(o))
		w.wait("cleaned up", func() (bool, string) { return w.host.Mutations(w.hostName(o)) > before, "" })
		w.untilNothingLeft()
	}
}

// TestNamespaceDeletedWhileTheHostIsDown frees at once what is to be orphaned and
// what was never made, says how to free the rest, and goes on when the host is
// back.
func TestNamespaceDeletedWhileTheHostIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kept, orphan, v := w.newUnikernel("kept"), w.newUnikernel("orphan"), w.newVolume("kept", 1)
	orphan.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
	for _, o := range []client.Object{kept, orphan, v} {
		ready(w, o)
	}
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	w.untilReason(kept, v1alpha1.ReasonHostUnreachable)
	never := w.newUnikernel("never")
	w.create(never)
	w.untilReason(never, v1alpha1.ReasonHostUnreachable)

	// The Secret goes first, as it may when everything is deleted at once.
	w.delete(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: w.instance, Namespace: w.system}})
	w.deleteNamespace()
	for _, o := range []client.Object{orphan, never} {
		if took := w.untilGone(o); took > orphaned {
			t.Errorf("%s is gone only after %s", o.GetName(), took)
		}
	}
	for _, o := range []client.Object{kept, v} {
		w.until("told how to free it", o, func() bool {
			c := condition(o, v1alpha1.ConditionReady)
			return c.Reason == v1alpha1.ReasonHostUnreachable && strings.Contains(c.Message, "kubectl patch") && strings.Contains(c.Message, "Orphan") &&
				condition(o, v1alpha1.ConditionReconciling).Status == metav1.ConditionTrue && condition(o, v1alpha1.ConditionStalled).Status == ""
		})
	}
	lift()
	w.untilGone(kept)
	w.untilGone(v)
	if left := w.host.Unikernels(w.namespace); len(left) != 1 || left[0].Name.Label != "orphan" || len(w.host.Blocks(w.namespace)) != 0 {
		t.Errorf("on the host: %v %v", left, w.host.Blocks(w.namespace))
	}
}

// deleteNamespace deletes the objects too, which an API server without controllers
// would leave.
func (w *world) deleteNamespace() {
	w.Helper()
	w.delete(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}})
	for _, o := range []client.Object{&v1alpha1.Unikernel{}, &v1alpha1.Volume{}} {
		if err := w.DeleteAllOf(w.Context(), o, client.InNamespace(w.namespace)); err != nil {
			w.Fatal(err)
		}
	}
}

// TestFreedByTheCommand gives an object up that waits for a host which is gone
// for good, by what the message says.
func TestFreedByTheCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uk, v := w.newUnikernel("uk"), w.newVolume("vol", 1)
	ready(w, uk)
	ready(w, v)
	w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})
	for _, o := range []client.Object{uk, v} {
		w.delete(o)
		const option = "--type=merge -p '"
		w.until("told how to free it", o, func() bool { return strings.Contains(condition(o, v1alpha1.ConditionReady).Message, option) })
		_, patch, _ := strings.Cut(condition(o, v1alpha1.ConditionReady).Message, option)
		patch, _, _ = strings.Cut(patch, "'")
		if err := w.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
		if took := w.untilGone(o); took > orphaned {
			t.Errorf("%s is gone only after %s", o.GetName(), took)
		}
	}
}

// TestRestartWithNothingToDo starts the operator anew with everything as declared:
// not one command is sent.
func TestRestartWithNothingToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uk, v := w.newUnikernel("uk"), filledVolume(w)
	ready(w, uk)
	ready(w, v)
	before, looks := w.host.Mutations(""), w.host.Received("unikernel info", "")
	version := uk.ResourceVersion
	w.operator.stop()
	w.startOperator()
	w.wait("looked at", func() (bool, string) { return w.host.Received("unikernel info", "") > looks+3, "" })
	w.until("unchanged", uk, func() bool { return true })
	if got := w.host.Mutations("") - before; got != 0 || uk.ResourceVersion != version {
		t.Errorf("%d commands; version %s, now %s", got, version, uk.ResourceVersion)
	}
}

// TestSecrets has keys and secret arguments go through every text that the
// operator writes; what is looked for is looked for in all other tests, too.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uk := w.newUnikernel("uk")
	uk.Spec.NetworkInterfaces = []v1alpha1.NetworkInterface{{Name: "service"}} // which the image lacks
	w.create(uk)
	w.untilReason(uk, v1alpha1.ReasonImageInvalid)
	change(w, uk, func(uk *v1alpha1.Unikernel) {
		uk.Spec.NetworkInterfaces, uk.Spec.Memory = nil, new(v1alpha1.FromMiB(1024))
	})
	w.untilReason(uk, v1alpha1.ReasonPolicyExceeded)
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.Memory = nil })
	w.untilReady(uk)
	newArguments(w, uk)
	w.untilReady(uk)

	// A pair that does not belong together, and something that is no key.
	secret := w.newSecret(w.instance, w.host)
	key := secret.Data["tls.key"]
	for _, broken := range [][]byte{w.newHost(albatrosstest.Options{}).Credentials().Key, []byte(canary), append([]byte("-----BEGIN PRIVATE KEY-----\n"), canary...)} {
		change(w, secret, func(s *corev1.Secret) { s.Data["tls.key"] = broken })
		w.untilReason(w.theInstance(), v1alpha1.ReasonCredentialsInvalid)
	}
	change(w, secret, func(s *corev1.Secret) { s.Data["tls.key"] = key })
	w.untilReady(w.theInstance())
	w.delete(uk)
	w.untilGone(uk)
}

// TestHarmfulPolicies declares what locks tenants out on a host: it is not sent.
func TestHarmfulPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	instance := w.theInstance()
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) {
		i.Spec.Tenants[0].Path = v1alpha1.Path("nobody:" + w.namespace)
	})
	w.untilReason(instance, v1alpha1.ReasonPolicyRefused)
	uk := w.newUnikernel("uk")
	w.create(uk)
	w.untilReason(uk, v1alpha1.ReasonNoPolicy)
	if _, ok := w.host.Policy("nobody"); ok || w.host.Mutations("") != 0 {
		t.Error("something was sent below a path without a policy")
	}
	w.delete(uk)
	w.untilGone(uk)
}

// TestContentThatDoesNotFit declares what has a host wait for ever: it is not sent.
func TestContentThatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	large, broken := w.newVolume("large", 1), w.newVolume("broken", 1)
	large.Spec.Source = &v1alpha1.VolumeSource{ContentSource: w.web.Publish(noise(1, 1<<20+1))}
	broken.Spec.Source = &v1alpha1.VolumeSource{ContentSource: w.web.Publish(noise(2, 1000)), Compressed: true}
	w.create(large)
	w.create(broken)
	w.untilReason(large, v1alpha1.ReasonContentTooLarge)
	w.until("refused", broken, func() bool { return condition(broken, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue })
	if got := w.host.Received("block set", w.hostName(large)); got != 0 {
		t.Errorf("%d times too much was sent", got)
	}
	for _, o := range []client.Object{large, broken} {
		w.delete(o)
		w.untilGone(o)
	}
	w.nothingLeft()
}

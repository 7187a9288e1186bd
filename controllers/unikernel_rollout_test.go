package controllers_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// patient answers probes as if it were the unikernel.
type patient struct {
	*httptest.Server
	ill atomic.Bool
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if p.ill.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// probe asks the patient often and is soon convinced.
func (p *patient) probe() *v1alpha1.Probe {
	return &v1alpha1.Probe{
		HTTP: &v1alpha1.HTTPProbe{URL: p.URL}, Period: &metav1.Duration{Duration: time.Second},
		Timeout: &metav1.Duration{Duration: time.Second}, FailureThreshold: 1,
	}
}

// probed is a unikernel with a probe that has little time to become healthy.
func (w *world) probed(p *patient) *v1alpha1.Unikernel {
	uk := w.newUnikernel("hello")
	uk.Spec.Probe = p.probe()
	uk.Spec.Update = &v1alpha1.UpdateStrategy{ProgressDeadline: &metav1.Duration{Duration: 2 * time.Second}}
	return uk
}

func (w *world) otherImage(uk *v1alpha1.Unikernel, variant string) {
	w.Helper()
	image := &v1alpha1.ImageSource{ContentSource: w.web.Publish(binary(w.T, variant))}
	change(w, uk, func(uk *v1alpha1.Unikernel) {
		uk.Spec.Image = image
		uk.Spec.Arguments = []string{"--variant=" + variant}
	})
}

// TestProbe has Ready follow the probe.
func TestProbe(t *testing.T) {
	w := newWorld(t)
	p := newPatient(t)
	p.ill.Store(true)
	uk := w.probed(p)
	w.create(uk)
	w.until("waited for", uk, func() bool {
		return reason(uk, v1alpha1.ConditionHealthy, metav1.ConditionUnknown) == v1alpha1.ReasonProbing
	})
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonProgressDeadlineExceeded)
	if m := w.message(uk, v1alpha1.ConditionReady); !strings.Contains(m, "status 503") {
		t.Errorf("the message is %q", m)
	}
	p.ill.Store(false)
	w.untilReady(uk)
	if !uk.Status.History[0].Healthy {
		t.Error("not noted as good")
	}
	p.ill.Store(true)
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonUnhealthy)
	p.ill.Store(false)
	w.untilReady(uk)

	// An operator that starts anew does not doubt it, and then asks.
	w.stop()
	p.ill.Store(true)
	version := uk.ResourceVersion
	w.start()
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonUnhealthy)
	if n := w.transitions(version, uk); n > 1 {
		t.Errorf("%d changes of Ready", n)
	}
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.Probe = nil })
	w.untilReady(uk)
	if reason(uk, v1alpha1.ConditionHealthy, metav1.ConditionTrue) != "" {
		t.Error("claims to be probed")
	}
	if uk.Status.Restarts != 0 || w.host.Mutations(w.hostName(uk)) != 1 {
		t.Error("a probe that failed had it restarted")
	}
}

func (w *world) message(o client.Object, conditionType string) string {
	c := apimeta.FindStatusCondition(conditionsOf(o), conditionType)
	if c == nil {
		return ""
	}
	return c.Message
}

// transitions is 1 when Ready became what it is after a version of the object.
func (w *world) transitions(version string, o client.Object) int {
	if o.GetResourceVersion() == version {
		return 0
	}
	return 1
}

// TestRollback brings back image and arguments when a change does not become
// healthy, and tries it again only when something else is declared.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	p := newPatient(t)
	uk := w.probed(p)
	w.create(uk)
	w.untilReady(uk)
	first := uk.Status.Digest

	p.ill.Store(true)
	w.otherImage(uk, "bad")
	w.until("deployed", uk, func() bool {
		return uk.Status.Digest == string(uk.Spec.Image.SHA256) && uk.Status.ObservedGeneration == uk.Generation
	})
	w.stop() // in the middle
	w.start()
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
	p.ill.Store(false)
	w.until("healthy as before", uk, func() bool {
		return reason(uk, v1alpha1.ConditionHealthy, metav1.ConditionTrue) != "" && uk.Status.Digest == first
	})
	running, _ := w.host.Unikernel(w.hostName(uk))
	if len(running.Argv) != 0 {
		t.Errorf("runs with %q", running.Argv)
	}
	if reason(uk, v1alpha1.ConditionStalled, metav1.ConditionTrue) != v1alpha1.ReasonRolledBack ||
		reason(uk, v1alpha1.ConditionRolledBack, metav1.ConditionTrue) != v1alpha1.ReasonRolledBack ||
		!strings.Contains(w.message(uk, v1alpha1.ConditionReady), "status 503") {
		t.Error(describe(uk))
	}
	var reasons []string
	for _, r := range uk.Status.History {
		reasons = append(reasons, r.Reason)
	}
	if want := []string{v1alpha1.ReasonRollingBack, v1alpha1.ReasonReplacing, v1alpha1.ReasonCreating}; !slices.Equal(reasons, want) {
		t.Errorf("history is %v, want %v", reasons, want)
	}

	// Neither a restart of the operator nor other news have it tried again.
	commands := w.host.Mutations(w.hostName(uk))
	w.stop()
	w.start()
	w.wake(uk)
	annotate(w, uk, v1alpha1.AnnotationRestartedAt, "now")
	w.until("restarted", uk, func() bool { return uk.Status.RestartedAt == "now" })
	if got := w.host.Mutations(w.hostName(uk)) - commands; got != 1 || uk.Status.Digest != first {
		t.Errorf("%d commands, runs %s", got, uk.Status.Digest)
	}
	w.otherImage(uk, "better")
	w.untilReady(uk)
	if uk.Status.Digest != string(uk.Spec.Image.SHA256) || uk.Status.Rollback != nil || reason(uk, v1alpha1.ConditionRolledBack, metav1.ConditionTrue) != "" {
		t.Errorf("%+v", uk.Status)
	}
	w.delete(uk)
	w.untilGone(uk)
}

// TestRollbackOfAConfiguration has only arguments change, so that nothing is sent
// again.
func TestRollbackOfAConfiguration(t *testing.T) {
	w := newWorld(t)
	p := newPatient(t)
	uk := w.probed(p)
	w.create(uk)
	w.untilReady(uk)
	p.ill.Store(true)
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.Memory = new(v1alpha1.FromMiB(64)) })
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
	p.ill.Store(false)
	if running, _ := w.host.Unikernel(w.hostName(uk)); running.Memory != v1alpha1.DefaultMemoryMiB {
		t.Errorf("runs with %d MiB", running.Memory)
	}
	if got := w.host.Received("unikernel create", w.hostName(uk)) + w.host.Received("unikernel force create", w.hostName(uk)); got != 1 {
		t.Errorf("the image was sent %d times", got)
	}
}

// TestRollbackAsAsked goes back and forth by annotation.
func TestRollbackAsAsked(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("hello")
	w.create(uk)
	w.untilReady(uk)
	first := uk.Status.Digest
	w.otherImage(uk, "second")
	w.untilReady(uk)
	second := uk.Status.Digest
	annotate(w, uk, v1alpha1.AnnotationRollback, "7")
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonRevisionNotFound)
	annotate(w, uk, v1alpha1.AnnotationRollback, "2") // what runs
	w.until("held", uk, func() bool {
		return reason(uk, v1alpha1.ConditionReady, metav1.ConditionTrue) == v1alpha1.ReasonRolledBack
	})
	if got := w.host.Mutations(w.hostName(uk)); got != 2 {
		t.Errorf("%d commands", got)
	}
	annotate(w, uk, v1alpha1.AnnotationRollback, "1")
	w.until("back", uk, func() bool {
		return uk.Status.Digest == first && reason(uk, v1alpha1.ConditionReady, metav1.ConditionTrue) == v1alpha1.ReasonRolledBack
	})
	if reason(uk, v1alpha1.ConditionRolledBack, metav1.ConditionTrue) == "" {
		t.Error(describe(uk))
	}
	w.stop()
	w.start()
	w.otherImage(uk, "third") // waits for the annotation to go
	w.until("seen", uk, func() bool { return uk.Status.ObservedGeneration == uk.Generation })
	if uk.Status.Digest != first {
		t.Errorf("runs %s", uk.Status.Digest)
	}
	annotate(w, uk, v1alpha1.AnnotationRollback, "")
	w.until("forth", uk, func() bool { return isReady(uk) && uk.Status.Digest == string(uk.Spec.Image.SHA256) })
	if uk.Status.Digest == second {
		t.Error("went back to the second")
	}

	if n := w.events(uk, "DriftRepaired"); n != 0 {
		t.Errorf("%d times told of drift", n)
	}

	// What is kept of it goes with it.
	var kept corev1.Secret
	key := client.ObjectKey{Namespace: w.system, Name: "revisions-" + string(uk.UID)}
	if err := w.Get(t.Context(), key, &kept); err != nil || len(kept.Data) == 0 {
		t.Fatal(err)
	}
	w.delete(uk)
	w.untilGone(uk)
	w.wait("gone too", func() (bool, string) {
		err := w.Get(t.Context(), key, &kept)
		return err != nil && client.IgnoreNotFound(err) == nil, ""
	})
}

// TestEndsAtOnce shows the end of a unikernel that does not come up.
func TestEndsAtOnce(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("hello")
	uk.Spec.Arguments = []string{"--sim-print=cannot find my key", "--sim-exit=3", "--sim-after=0s"}
	w.create(uk)
	w.until("told how it ended", uk, func() bool {
		return reason(uk, v1alpha1.ConditionRunning, metav1.ConditionFalse) == v1alpha1.ReasonExited &&
			strings.Contains(w.message(uk, v1alpha1.ConditionRunning), "cannot find my key")
	})
	if isReady(uk) {
		t.Error(describe(uk))
	}
	w.wait("an event", func() (bool, string) { return w.events(uk, "cannot find my key") > 0, "" })
}

// events counts those about an object whose reason or text has the words.
func (w *world) events(o client.Object, words string) (n int) {
	w.Helper()
	var events eventsv1.EventList
	if err := w.List(w.Context(), &events, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Regarding.Name == o.GetName() && strings.Contains(e.Reason+" "+e.Note, words) {
			n++
		}
	}
	return n
}

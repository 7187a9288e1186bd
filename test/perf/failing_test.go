package perf

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/wire"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/controllers"
	"mollymawk.dev/operator/internal/egress"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/probe"
)

// ways are those in which something may fail for good: a text of each class that a create is refused with, and a unikernel that ends
// as soon as it runs.
var ways = map[string]string{
	"transient":       "something that nobody has seen before",
	"waiting":         "interface service does not exist",
	"name taken":      "Unikernel with same name is already running",
	"policy exceeded": "maximum amount of unikernels (0) reached",
	"refused":         "unsupported solo5 target xen",
	"ends at once":    "",
}

// BenchmarkFailing counts what an object costs a host that never works. Hours cannot be waited for, so there are two parts.
//
// In the first a clock is turned forward from one attempt to the next. Everything but that clock and the queue is real: the
// reconciler of Unikernels with the pauses that the operator uses, the pool of hosts with its polls, a simulated host, the API
// server. The queue is played as controller-runtime works: after an error the rate limiter says when, a result may say when, and news
// of the host come at once. The first hour has the growing pauses, the second hour is as all later ones.
//
// The second part shows that the first says the truth: the built operator has the same object for somewhat more than a minute.
func BenchmarkFailing(b *testing.B) {
	w := newWorld(b, 1, time.Second)
	var first, later int
	for way, text := range ways {
		v := w.failingFor(text)
		inFirst := v.run(time.Hour)
		inLater := v.run(time.Hour)
		v.stop()
		b.Logf("%s: %d commands in the first hour, then %d an hour", way, inFirst, inLater)
		first, later = max(first, inFirst), max(later, inLater)
	}
	w.report("failing-commands/first-hour", float64(first))
	w.report("failing-commands/hour", float64(later))

	const minute = 75 * time.Second // between the pauses of 32 and of 64 seconds
	v := w.failingFor(ways["transient"])
	expected := v.run(minute)
	v.stop()
	w.hosts[0].Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Command: "unikernel create", Text: ways["transient"]})
	w.startManager()
	w.seen.untilConnected()
	before := w.commands()
	w.create(w.unikernel("failing", w.hosts[0].instance))
	time.Sleep(minute)
	b.Logf("in %v: %d commands, %d with the clock turned forward", minute, w.commands()-before, expected)
	w.report("failing-commands/minute", float64(w.commands()-before))
	w.report("failing-ratio-to-turned-clock", float64(w.commands()-before)/float64(expected))
}

// turned is one Unikernel and its reconciler, with a clock that is turned forward.
type turned struct {
	*world
	host       *host
	reconciler *controllers.UnikernelReconciler
	retries    workqueue.TypedRateLimiter[ctrl.Request]
	clock      *clocktesting.FakeClock
	request    ctrl.Request
	uk         *v1alpha1.Unikernel
	// due is when it is looked at next, unless there are news of the host.
	due  time.Time
	news chan struct{}
	// stop ends it and removes the Unikernel.
	stop func()
}

// failingFor declares a Unikernel whose creation fails with a text, or that ends at once when there is none.
func (w *world) failingFor(text string) *turned {
	w.Helper()
	h := w.hosts[0]
	uk := w.unikernel("turned", h.instance)
	lift := func() {}
	if text != "" {
		lift = h.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Command: "unikernel create", Text: text})
	} else {
		uk.Spec.Arguments = append(uk.Spec.Arguments, "--sim-exit=1")
	}
	w.create(uk)
	if err := h.SetPolicy(w.namespace, wire.Policy{Unikernels: 1000, CPUIDs: []int64{0, 1}, Memory: 20_000}); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	began := time.Now()
	t := &turned{
		world: w, host: h, uk: uk, request: ctrl.Request{NamespacedName: client.ObjectKeyFromObject(uk)},
		retries: controllers.NewRetries(), clock: clocktesting.NewFakeClock(began), due: began, news: make(chan struct{}, 1),
	}
	ended := t.start(ctx)
	t.stop = func() {
		lift()
		cancel()
		ended()
		w.forget(uk)
	}
	return t
}

// start makes the reconciler and runs what it needs.
func (t *turned) start(ctx context.Context) (ended func()) {
	t.Helper()
	store, err := images.OpenStore(ctx, t.imageStore)
	if err != nil {
		t.Fatal(err)
	}
	pool := hosts.New(hosts.Options{Log: logr.Discard()})
	fetcher := images.NewFetcher(store, images.Options{Egress: egress.Policy{AllowLoopback: true}}, func(string) { t.wake() })
	credentials := t.host.Credentials()
	if err := pool.Set(t.host.instance, hosts.Target{
		Addr: t.host.Addr(), Certificate: string(credentials.Cert), Key: string(credentials.Key), ServerCA: string(credentials.ServerCA),
		PollInterval: 100 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	pool.Subscribe(ctx, func(hosts.Change) { t.wake() })
	parts := make(chan error, 2)
	go func() { parts <- pool.Start(ctx) }()
	go func() { parts <- fetcher.Start(ctx) }()
	comebacks := controllers.NewComebacks()
	comebacks.Clock = t.clock
	t.reconciler = &controllers.UnikernelReconciler{
		Client: t, Live: t, Recorder: &events.FakeRecorder{}, Hosts: pool, Images: fetcher, Probes: probe.New(probe.Options{}, func(string) {}),
		Comebacks: comebacks, Now: t.clock.Now,
	}
	waitFor(t, "connected", t.seen.explain, func() (bool, string) {
		_, err := pool.Get(t.host.instance)
		return err == nil, t.host.instance
	})
	return func() {
		for range cap(parts) {
			if err := <-parts; err != nil {
				t.Error(err)
			}
		}
	}
}

func (t *turned) wake() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// run lets some time go by on the clock, and counts the commands.
func (t *turned) run(d time.Duration) (commands int) {
	t.Helper()
	// pollsBetween is how long the host is polled after each attempt, for news that come of it.
	const pollsBetween = 500 * time.Millisecond
	before, end := t.commands(), t.clock.Now().Add(d)
	for {
		select {
		case <-t.news:
		case <-time.After(pollsBetween):
			if t.due.After(end) {
				t.clock.SetTime(end)
				return t.commands() - before
			}
			t.clock.SetTime(t.due)
		}
		t.reconcile()
	}
}

// never is when something is due that only news bring back.
const never = 1000 * time.Hour

// reconcile looks at the object once, and works out when to do so again. Of what the queue has already the earlier stays.
func (t *turned) reconcile() {
	t.Helper()
	now := t.clock.Now()
	if !t.due.After(now) {
		t.due = now.Add(never)
	}
	result, err := t.reconciler.Reconcile(t.Context(), t.request)
	pause := never
	if err != nil {
		pause = t.retries.When(t.request)
	} else {
		t.retries.Forget(t.request)
		if result.RequeueAfter > 0 {
			pause = result.RequeueAfter
		}
	}
	if due := now.Add(pause); due.Before(t.due) {
		t.due = due
	}
}

// forget removes a Unikernel that no operator looks after.
func (w *world) forget(uk *v1alpha1.Unikernel) {
	w.Helper()
	waitFor(w, "removed", w.seen.explain, func() (bool, string) {
		if err := w.Get(w.Context(), client.ObjectKeyFromObject(uk), uk); err != nil {
			return client.IgnoreNotFound(err) == nil, err.Error()
		}
		uk.Finalizers = nil
		if err := w.Update(w.Context(), uk); err != nil {
			return false, err.Error()
		}
		return false, "deleting: " + errorText(w.Delete(w.Context(), uk))
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

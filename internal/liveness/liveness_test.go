package liveness_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"mollymawk.dev/operator/internal/liveness"
)

// limit is how long something may take that normally takes milliseconds.
const limit = time.Minute

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	// The queue of controller-runtime sees its end only when it next writes its state.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue.(*priorityqueue[...]).logState"))
}

// rig is a controller with its queue watched, and a clock that is set by hand.
type rig struct {
	*testing.T
	monitor *liveness.Monitor
	clock   atomic.Int64
	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
	// begun and ended get each request; block has every reconcile wait.
	begun, ended chan string
	block        chan struct{}
}

const name = "looked-at"

func newRig(t *testing.T, workers int, work func(*rig)) *rig {
	t.Helper()
	r := &rig{T: t, monitor: &liveness.Monitor{}, begun: make(chan string, 1000), ended: make(chan string, 1000), block: make(chan struct{})}
	r.monitor.Now = func() time.Time { return time.Unix(r.clock.Load(), 0) }
	c, err := controller.NewTypedUnmanaged(name, controller.TypedOptions[reconcile.Request]{
		SkipNameValidation: new(true), MaxConcurrentReconciles: workers, NewQueue: r.monitor.NewQueue,
		Reconciler: reconcile.Func(func(_ context.Context, request reconcile.Request) (reconcile.Result, error) {
			r.begun <- request.Name
			work(r)
			r.ended <- request.Name
			return reconcile.Result{}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	err = c.Watch(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		r.queue = queue
		close(started)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		close(r.block)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-started
	return r
}

func (r *rig) add(name string) {
	r.queue.Add(reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
}

func (r *rig) next(from chan string) {
	r.Helper()
	select {
	case <-from:
	case <-time.After(limit):
		r.Fatal("nothing happens")
	}
}

func (r *rig) passes(d time.Duration) { r.clock.Add(int64(d / time.Second)) }

// healthz asks as a kubelet does.
func (r *rig) healthz() (status int, text string) {
	handler := &healthz.Handler{Checks: map[string]healthz.Checker{"ping": healthz.Ping, "controllers": r.monitor.Check}}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	return recorder.Code, recorder.Body.String()
}

func (r *rig) wantHealthy(want bool, when string) {
	r.Helper()
	status, text := r.healthz()
	if (status == http.StatusOK) != want {
		r.Errorf("%s: status %d: %s", when, status, text)
	}
}

func blocked(r *rig) { <-r.block }

// TestStuck has all workers hang while there is more to do.
func TestStuck(t *testing.T) {
	r := newRig(t, 2, blocked)
	for i := range 3 {
		r.add(strconv.Itoa(i))
	}
	r.next(r.begun)
	r.next(r.begun)
	r.wantHealthy(true, "at the beginning")
	r.passes(liveness.Patience - time.Second)
	r.wantHealthy(true, "just before")
	r.passes(time.Second)
	r.wantHealthy(false, "afterwards")
	if err := r.monitor.Check(nil); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("does not name the controller: %v", err)
	}
	// One comes back, and takes what waits.
	r.block <- struct{}{}
	r.next(r.ended)
	r.next(r.begun)
	r.wantHealthy(true, "with nothing more to do")
}

// TestStuckWithOne has one object hang, which is to be looked at again.
func TestStuckWithOne(t *testing.T) {
	r := newRig(t, 4, blocked)
	r.add("it")
	r.next(r.begun)
	r.wantHealthy(true, "while it is looked at")
	r.passes(time.Hour)
	r.wantHealthy(true, "while nothing else is to be done")
	r.add("it")
	r.wantHealthy(true, "when it changed")
	r.passes(liveness.Patience)
	r.wantHealthy(false, "when it changed long ago")
}

// TestIdle has nothing to do for hours.
func TestIdle(t *testing.T) {
	r := newRig(t, 2, func(*rig) {})
	for range 3 {
		r.wantHealthy(true, "idle")
		r.passes(3 * time.Hour)
	}
	r.add("one")
	r.next(r.ended)
	r.wantHealthy(true, "after work")
	r.passes(3 * time.Hour)
	r.wantHealthy(true, "idle again")
	if err := (&liveness.Monitor{}).Check(nil); err != nil {
		t.Error("without a controller, as in a replica that waits for the lease:", err)
	}
}

// TestBusy always has more to do than it can.
func TestBusy(t *testing.T) {
	r := newRig(t, 1, blocked)
	for i := range 10 {
		r.add(strconv.Itoa(i))
	}
	r.next(r.begun)
	for range 8 {
		r.wantHealthy(true, "busy")
		r.passes(liveness.Patience - time.Second)
		r.block <- struct{}{}
		r.next(r.begun) // after the end of the one before
	}
}

// TestUpload has all workers at something long that goes on.
func TestUpload(t *testing.T) {
	r := newRig(t, 1, func(r *rig) {
		content := r.monitor.Upload(name, strings.NewReader(strings.Repeat("x", 100)))
		for range r.block {
			if _, err := io.ReadFull(content, make([]byte, 1)); err != nil {
				r.Error(err)
			}
			r.ended <- "a piece"
		}
	})
	r.add("large")
	r.add("waits")
	r.next(r.begun)
	for range 5 {
		r.wantHealthy(true, "goes on")
		r.passes(liveness.Patience - time.Second)
		r.block <- struct{}{}
		r.next(r.ended)
	}
	r.wantHealthy(true, "went on a moment ago")
	r.passes(liveness.Patience)
	r.wantHealthy(false, "does not go on any more")
}

// TestNobodyWatches is for reconcilers that run without a monitor.
func TestNobodyWatches(t *testing.T) {
	var none *liveness.Monitor
	queue := none.NewQueue(name, workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	request := reconcile.Request{NamespacedName: client.ObjectKey{Name: "one"}}
	queue.Add(request)
	if got, _ := queue.Get(); got != request {
		t.Errorf("got %v", got)
	}
	queue.Done(request)
	for _, m := range []*liveness.Monitor{none, {}} {
		if text, err := io.ReadAll(m.Upload(name, strings.NewReader("content"))); err != nil || string(text) != "content" {
			t.Errorf("%q, %v", text, err)
		}
	}
}

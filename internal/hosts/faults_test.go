package hosts_test

import (
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/internal/hosts"
)

const (
	unreachable = "the host cannot be reached: "
	noAnswer    = "the host does not answer in time"
)

// All that a network or a host can do to a query.
var faults = []struct {
	what    string
	fault   albatrosstest.Fault
	problem string
	// slow faults show only when the deadline of a look has passed.
	slow bool
}{
	{"refuse", albatrosstest.Fault{Kind: albatrosstest.Refuse}, unreachable + "connection refused", false},
	{"reset", albatrosstest.Fault{Kind: albatrosstest.Reset}, unreachable + "the connection breaks off", false},
	{"stall", albatrosstest.Fault{Kind: albatrosstest.Stall}, noAnswer, true},
	{"not TLS", albatrosstest.Fault{Kind: albatrosstest.NotTLS}, "what answers at this address does not speak TLS", false},
	{"wrong certificate", albatrosstest.Fault{Kind: albatrosstest.WrongCertificate},
		"the host's certificate does not verify with ca.crt of the credentials", false},
	{"client certificate", albatrosstest.Fault{Kind: albatrosstest.ClientCertificate},
		"the host's certificate does not verify with ca.crt of the credentials", false},
	{"daemon down", albatrosstest.Fault{Kind: albatrosstest.Unreachable}, "the host refuses to answer: couldn't reach service", false},
	{"failure", albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "out of\nluck"}, "the host refuses to answer: out of luck", false},
	{"no reply", albatrosstest.Fault{Kind: albatrosstest.NoReply}, noAnswer, true},
	{"cut before the reply", albatrosstest.Fault{Kind: albatrosstest.CutUpload}, unreachable + "the connection breaks off", false},
	{"cut at its start", albatrosstest.Fault{Kind: albatrosstest.CutReply}, unreachable + "the connection breaks off", false},
	{"cut in its length", albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 2}, unreachable + "the connection breaks off", false},
	{"cut in the middle", albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 20}, unreachable + "the connection breaks off", false},
	{"garbage", albatrosstest.Fault{Kind: albatrosstest.Garbage},
		"the host's answer is not understood: check that an Albatross of a supported version answers at this address", false},
	{"slow", albatrosstest.Fault{Kind: albatrosstest.Slow, Delay: time.Hour}, noAnswer, true},
	{"slow drop by drop", albatrosstest.Fault{Kind: albatrosstest.Slow, BytesPerSecond: 1}, noAnswer, true},
}

func TestEveryFault(t *testing.T) {
	for _, tt := range faults {
		t.Run(tt.what, func(t *testing.T) {
			r := newRig(t, hosts.Options{})
			before := r.connect().Snapshot()
			lift := r.Inject(tt.fault)
			if tt.slow {
				r = withDeadline(r, 100*time.Millisecond)
				before = nil
			}
			h := r.set(target(r.Host))
			for failures := 1; failures <= 4; failures++ {
				state := r.failLook(h)
				if state.Problem() != tt.problem || hosts.Classify(state.Err) != hosts.Transient {
					t.Fatalf("failure %d: %q (%v), want %q", failures, state.Problem(), state.Err, tt.problem)
				}
				if state.Snapshot != before {
					t.Error("what was known is lost")
				}
			}
			_, err := r.pool.Get("one")
			notConnected(t, err, tt.problem)
			lift()
			eventually(t, "it answers again", func() bool { _, err := h.Refresh(t.Context()); return err == nil })
			if got, err := r.pool.Get("one"); err != nil || got != h {
				t.Errorf("after the fault: %v, %v", got, err)
			}
		})
	}
}

// withDeadline gives another pool for the same host, whose looks end soon.
func withDeadline(old *rig, probeTimeout time.Duration) *rig {
	r := newRig(old.t, hosts.Options{ProbeTimeout: probeTimeout})
	r.Host = old.Host
	return r
}

func TestThreeFailuresFlipAndOneGoodLookFlipsBack(t *testing.T) {
	r := newRig(t, hosts.Options{})
	h := r.connect()
	known := h.Snapshot()
	connected := func(want bool) {
		t.Helper()
		if _, err := r.pool.Get("one"); (err == nil) != want {
			t.Errorf("connected: %v, want %v", err == nil, want)
		}
	}
	for range 2 {
		lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Reset})
		r.failLook(h)
		connected(true)
		r.failLook(h)
		connected(true)
		lift()
		if got := r.news(h); got != nil {
			t.Errorf("two failed looks are news: %+v", got)
		}
		if state := h.State(); !state.Connected || state.Failures != 0 || state.Err != nil {
			t.Errorf("two failed looks and a good one: %+v", state)
		}
	}
	lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Reset})
	for range 10 {
		r.failLook(h)
	}
	connected(false)
	if got := r.told(); !reflect.DeepEqual(got, []hosts.Change{all()}) {
		t.Errorf("lost: told %+v", got)
	}
	if state := h.State(); state.Failures != 10 || state.Snapshot == nil || state.Snapshot.At.Before(known.At) {
		t.Errorf("lost: %+v", state)
	}
	lift()
	r.look(h)
	connected(true)
	if got := r.news(h); !reflect.DeepEqual(got, []hosts.Change{all()}) {
		t.Errorf("found: told %+v", got)
	}
}

// Who quotes the problem must hear of another one.
func TestAnotherProblemIsNews(t *testing.T) {
	r := newRig(t, hosts.Options{})
	h := r.connect()
	lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Reset})
	for range 5 {
		r.failLook(h)
	}
	lift()
	lift = r.Inject(albatrosstest.Fault{Kind: albatrosstest.WrongCertificate})
	defer lift()
	for range 5 {
		r.failLook(h)
	}
	if got := r.told(); !reflect.DeepEqual(got, []hosts.Change{all(), all()}) {
		t.Errorf("told %+v", got)
	}
}

// A host that never answered is lost, too.
func TestNeverConnected(t *testing.T) {
	r := newRig(t, hosts.Options{})
	lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	h := r.set(target(r.Host))
	for h.State().Failures < 6 {
		r.failLook(h)
	}
	if got := r.told(); !reflect.DeepEqual(got, []hosts.Change{all()}) {
		t.Errorf("told %+v", got)
	}
	lift()
	if got := r.news(h); !reflect.DeepEqual(got, []hosts.Change{all()}) {
		t.Errorf("connected: told %+v", got)
	}
}

// Every tenth connection fails; each query is tried twice, so no look does.
func TestFewRandomFailuresDoNotShow(t *testing.T) {
	var dials atomic.Int64
	r := newRig(t, hosts.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1)%10 == 0 {
			return nil, errors.New("bad luck")
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}})
	h := r.connect()
	for range 40 {
		r.look(h)
	}
	if got := r.told(); got != nil || h.State().Failures != 0 {
		t.Errorf("told %+v", got)
	}
	if dials.Load() < 130 {
		t.Errorf("only %d connections", dials.Load())
	}
}

// Without being asked to, a pool notices both.
func TestLossAndRecoveryByItself(t *testing.T) {
	r := newRig(t, hosts.Options{RetryDelay: time.Millisecond})
	to := target(r.Host)
	to.PollInterval = time.Millisecond
	r.set(to)
	lost := func() bool { state, _ := r.pool.State("one"); return !state.Connected }
	eventually(t, "connected", func() bool { return !lost() })
	lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	eventually(t, "lost", lost)
	lift()
	eventually(t, "found", func() bool { return !lost() })
}

// While a host is silent nothing but the look at it waits.
func TestASilentHostHoldsNothingUp(t *testing.T) {
	network := newGate()
	r := newRig(t, hosts.Options{Dial: network.dial})
	h := r.connect()
	unshut := network.shut()
	defer unshut()
	dials := network.count()
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := h.Refresh(ctx)
		waiting <- err
	}()
	eventually(t, "a look is under way", func() bool { return network.count() == dials+3 })

	if got, err := r.pool.Get("one"); err != nil || got.Snapshot() == nil {
		t.Errorf("get: %v, %v", got, err)
	}
	release, ok := h.TryAcquire("key")
	if !ok {
		t.Error("no place for a command")
	}
	release()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("a refresh whose context ended: %v", err)
	}
	to := target(r.Host)
	to.PollInterval = never / 2
	r.set(to) // does not wait for the look at the old one
	r.pool.Remove("one")
}

func TestRefreshIsServedByALookThatBeganLater(t *testing.T) {
	network := newGate()
	r := newRig(t, hosts.Options{Dial: network.dial})
	h := r.connect()
	looks := func() int { return r.Received("policy info", "") }
	before := looks()
	unshut := network.shut()
	dials := network.count()
	type result struct {
		s   *hosts.Snapshot
		err error
	}
	results := make(chan result)
	refresh := func() {
		s, err := h.Refresh(t.Context())
		results <- result{s, err}
	}
	asked := h.Asked()
	go refresh()
	eventually(t, "the first look is under way", func() bool { return network.count() == dials+3 })
	const callers = 50
	for range callers - 1 {
		go refresh()
	}
	eventually(t, "all have asked", func() bool { return h.Asked() == asked+callers })
	late := time.Now()
	unshut()
	early := 0
	for range callers {
		got := <-results
		if got.err != nil {
			t.Fatal(got.err)
		}
		if got.s.At.Before(late) {
			early++
		}
	}
	if early != 1 {
		t.Errorf("%d callers were served by the look that began before they asked", early-1)
	}
	r.look(h)
	if got := looks() - before; got != 3 {
		t.Errorf("%d looks, want one for the first, one for all others, and one for the last", got)
	}
}

// Places for commands stay taken over a rotation, and are given by order.
func TestPlacesForCommands(t *testing.T) {
	r := newRig(t, hosts.Options{MaxCommands: 1})
	h := r.connect()
	release, ok := h.TryAcquire("a")
	if !ok {
		t.Fatal("no place on an idle host")
	}
	to := target(r.Host)
	to.PollInterval = never / 2
	h = r.set(to)
	if _, ok := h.TryAcquire("b"); ok {
		t.Fatal("a rotation made room")
	}
	r.news(h)
	release()
	release() // a second time does nothing
	if got := r.told(); !reflect.DeepEqual(got, []hosts.Change{{Instance: "one", Granted: []string{"b"}}}) {
		t.Errorf("told %+v", got)
	}
	if _, ok := h.TryAcquire("c"); ok {
		t.Error("c overtakes b")
	}
	if _, ok := h.TryAcquire("b"); !ok {
		t.Error("b was told, and gets nothing")
	}
}

// Everybody waits only for being told: a grant that got lost would show.
func TestManyWaitForPlaces(t *testing.T) {
	const limit, askers = 3, 200
	r := newRig(t, hosts.Options{MaxCommands: limit})
	h := r.connect()
	var mu sync.Mutex
	wake := map[string]chan struct{}{}
	for i := range askers {
		wake[key(i)] = make(chan struct{}, 1)
	}
	r.pool.Subscribe(t.Context(), func(c hosts.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, k := range c.Granted {
			wake[k] <- struct{}{} // has room, since each is told once
		}
	})
	var running, most atomic.Int64
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			for {
				release, ok := h.TryAcquire(key(i))
				if !ok {
					<-wake[key(i)]
					continue
				}
				now := running.Add(1)
				for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
					runtime.Gosched()
				}
				runtime.Gosched()
				running.Add(-1)
				release()
				return
			}
		})
	}
	all.Wait()
	if most.Load() > limit {
		t.Errorf("%d at a time, want at most %d", most.Load(), limit)
	}
}

func key(i int) string {
	return "k" + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
}

// Nothing is left over by 100 losses and 1000 refreshes.
func TestNothingLeaks(t *testing.T) {
	r := newRig(t, hosts.Options{})
	h := r.connect()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	lose := func() {
		lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
		for range hosts.FailuresToDisconnect {
			r.failLook(h)
		}
		if h.State().Connected {
			t.Fatal("still connected")
		}
		lift()
		r.look(h)
	}
	for range 100 {
		lose()
	}
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range 30 {
				if _, err := h.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if h.Asked() < 1000 {
		t.Errorf("only %d refreshes", h.Asked())
	}
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	eventually(t, "as many files open as before", func() bool { return openFiles(t) <= files+2 })
}

func openFiles(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// TestDoubt has a command go unanswered: until the next look, which begins by
// itself, nobody can know what it did. A refusal is an answer.
func TestDoubt(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(2, 64))
	h := r.connect()
	send := func(label string) error {
		return h.Measure("create", func() error { return r.tryCreate(h, "alice", label, small) })
	}
	if err := send("web"); err != nil || h.Doubtful() {
		t.Fatalf("an answer leaves doubt (%v)", err)
	}
	if err := send("web"); err == nil || h.Doubtful() {
		t.Fatalf("a refusal leaves doubt (%v)", err)
	}
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.CutReply, Command: "unikernel create"})
	lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: "block info", Delay: time.Second})
	if err := send("db"); err == nil || !h.Doubtful() {
		t.Fatalf("no answer leaves no doubt (%v)", err)
	}
	lift()
	eventually(t, "the doubt is gone without being asked for a look", func() bool { return !h.Doubtful() })
	if _, ok := h.Snapshot().Unikernels["alice:db"]; !ok {
		t.Error("the look does not show what the unanswered command did")
	}
}

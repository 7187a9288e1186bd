package hosts_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/metrics"
)

func all() hosts.Change { return hosts.Change{Instance: "one", All: true} }

func names(which ...string) hosts.Change {
	c := hosts.Change{Instance: "one", Names: map[string]bool{}}
	for _, name := range which {
		c.Names[name] = true
	}
	return c
}

func TestGet(t *testing.T) {
	r := newRig(t, hosts.Options{})
	_, err := r.pool.Get("one")
	notConnected(t, err, "no credentials yet")
	if state, known := r.pool.State("one"); known {
		t.Errorf("unknown, and its state is %+v", state)
	}
	h := r.connect()
	got, err := r.pool.Get("one")
	if err != nil || got != h || h.Client().Addr() != r.Addr() {
		t.Errorf("connected: %v, %v", got, err)
	}
	state, known := r.pool.State("one")
	if !known || !state.Connected || state.Failures != 0 || state.Err != nil || state.Snapshot == nil || !state.NotAfter.After(time.Now()) {
		t.Errorf("connected: %+v, %v", state, known)
	}
	r.pool.Remove("one")
	r.pool.Remove("one")
	_, err = r.pool.Get("one")
	notConnected(t, err, "no credentials yet")
}

func TestBeforeTheFirstLook(t *testing.T) {
	network := newGate()
	defer network.shut()()
	r := newRig(t, hosts.Options{Dial: network.dial})
	r.set(target(r.Host))
	_, err := r.pool.Get("one")
	notConnected(t, err, "not asked yet")
}

func TestChangesAreTold(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(5, 128))
	h := r.set(target(r.Host))
	expect := func(what string, want ...hosts.Change) {
		t.Helper()
		if got := r.news(h); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: told %+v, want %+v", what, got, want)
		}
	}
	expect("connected", all())
	expect("nothing new")
	r.create(h, "alice", "web")
	expect("created", names("alice:web"))
	r.create(h, "alice", "db")
	if _, err := h.Client().AddBlock(t.Context(), r.scope(h, "alice"), "data", 1); err != nil {
		t.Fatal(err)
	}
	r.Kill("alice:web")
	eventually(t, "alice:web is gone", func() bool { _, runs := r.Unikernel("alice:web"); return !runs })
	told := hosts.Change{Names: map[string]bool{}}
	for _, c := range r.news(h) { // the look of scope may have seen some of it
		for name := range c.Names {
			told.Names[name] = true
		}
	}
	if want := names("alice:web", "alice:db", "alice:data").Names; !reflect.DeepEqual(told.Names, want) {
		t.Errorf("created, added and killed: told %v, want %v", told.Names, want)
	}
	expect("nothing new")
	r.setPolicy("alice", policy(6, 128))
	expect("another policy", hosts.Change{Instance: "one", All: true, Names: map[string]bool{}})
	r.setPolicy("bob", policy(1, 32))
	expect("one more policy", hosts.Change{Instance: "one", All: true, Names: map[string]bool{}})
}

func TestRestartIsAChange(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(5, 128))
	h := r.connect()
	r.create(h, "alice", "web")
	r.news(h)
	if _, err := h.Client().Restart(t.Context(), r.scope(h, "alice"), "web", nil); err != nil {
		t.Fatal(err)
	}
	if got := r.news(h); !reflect.DeepEqual(got, []hosts.Change{names("alice:web")}) {
		t.Errorf("told %+v", got)
	}
}

func TestSetOfTheSame(t *testing.T) {
	r := newRig(t, hosts.Options{})
	h := r.connect()
	if again := r.set(target(r.Host)); again != h {
		t.Error("an equal target made another host")
	}
}

func TestBrokenCredentialsKeepTheHost(t *testing.T) {
	r := newRig(t, hosts.Options{})
	h := r.connect()
	other := albatrosstest.Start(t, albatrosstest.Options{})
	for what, breakIt := range map[string]func(*hosts.Target){
		"no certificate": func(to *hosts.Target) { to.Certificate = "" },
		"no key":         func(to *hosts.Target) { to.Key = "" },
		"key of another": func(to *hosts.Target) { to.Key = target(other).Key },
		"garbage": func(to *hosts.Target) {
			to.Certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
		},
		"no server CA":       func(to *hosts.Target) { to.ServerCA = "" },
		"server CA is a key": func(to *hosts.Target) { to.ServerCA = to.Key },
		"no address":         func(to *hosts.Target) { to.Addr = "" },
	} {
		to := target(r.Host)
		breakIt(&to)
		err := r.pool.Set("one", to)
		if err == nil || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := r.pool.Get("one"); err != nil || got != h {
			t.Errorf("%s: the host is now %v, %v", what, got, err)
		}
		if err := r.pool.Set("two", to); err == nil {
			t.Errorf("%s: a new host was made", what)
		}
	}
	if _, known := r.pool.State("two"); known {
		t.Error("a host without credentials is known")
	}
	r.look(h)
}

func TestRotation(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(5, 128))
	old := r.connect()
	before := old.Snapshot()
	waiting := make(chan error, 1)
	h := r.set(r.delegated("alice", policy(5, 128)))
	if h == old {
		t.Fatal("other credentials, and the same host")
	}
	if got, err := r.pool.Get("one"); err != nil || got != h {
		t.Errorf("right after the rotation: %v, %v", got, err)
	}
	if got := h.State(); !got.Connected || got.Snapshot == nil {
		t.Errorf("what was known is lost: %+v", got)
	}
	// Names are others below a delegated credential, so it shows which was used.
	eventually(t, "the new credential is used without being asked to", func() bool { _, root := h.Snapshot().Policies[""]; return root && len(h.Snapshot().Policies) == 1 })
	go func() {
		_, err := old.Refresh(t.Context())
		waiting <- err
	}()
	notConnected(t, <-waiting, "its instance or credentials changed meanwhile")
	if old.Snapshot() != before {
		t.Error("the old host looked again")
	}
}

func TestOtherAddress(t *testing.T) {
	r := newRig(t, hosts.Options{})
	before := r.connect().Snapshot()
	other := albatrosstest.Start(t, albatrosstest.Options{})
	h := r.set(target(other))
	if h.Snapshot() == before {
		t.Error("another host inherits what was known of this one")
	}
	r.look(h)
	if h.Client().Addr() != other.Addr() {
		t.Errorf("talks to %s", h.Client().Addr())
	}
}

func TestWrongThenRightCredentials(t *testing.T) {
	r := newRig(t, hosts.Options{})
	other := albatrosstest.Start(t, albatrosstest.Options{})
	wrong := target(other)
	wrong.Addr, wrong.ServerCA = r.Addr(), target(r.Host).ServerCA
	h := r.set(wrong)
	var state hosts.State
	for state.Failures < hosts.FailuresToDisconnect {
		state = r.failLook(h)
	}
	const text = "the host closes the connection without an answer, as it does when it does not accept the credentials: " +
		"check that tls.crt is signed by the host's CA and that the clocks agree"
	_, err := r.pool.Get("one")
	notConnected(t, err, text)
	if !errors.Is(state.Err, albatross.ErrRejected) {
		t.Errorf("failed with %v", state.Err)
	}
	r.set(target(r.Host))
	eventually(t, "it is connected", func() bool { _, err := r.pool.Get("one"); return err == nil })
}

func TestSubscribersComeAndGo(t *testing.T) {
	r := newRig(t, hosts.Options{})
	h := r.connect()
	var mu sync.Mutex
	var calls int
	ctx, cancel := context.WithCancel(t.Context())
	r.pool.Subscribe(ctx, func(c hosts.Change) {
		mu.Lock()
		defer mu.Unlock()
		calls++
		// All of the pool may be used here.
		if _, err := r.pool.Get(c.Instance); err != nil {
			t.Error(err)
		}
		r.pool.State(c.Instance)
		if err := r.pool.Set("two", target(r.Host)); err != nil {
			t.Error(err)
		}
		r.pool.Remove("two")
	})
	r.setPolicy("alice", policy(5, 128))
	r.news(h)
	mu.Lock()
	if calls != 1 {
		t.Errorf("called %d times", calls)
	}
	mu.Unlock()
	cancel()
	ended, end := context.WithCancel(t.Context())
	end()
	r.pool.Subscribe(ended, func(hosts.Change) { t.Error("called after the end") })
	eventually(t, "subscribers are forgotten", func() bool { return r.pool.Subscribers() == 1 })
	r.setPolicy("alice", policy(6, 128))
	r.news(h)
	mu.Lock()
	defer mu.Unlock()
	if calls != 1 {
		t.Errorf("called %d times, once after the end", calls)
	}
}

func TestSetBeforeStart(t *testing.T) {
	sim := albatrosstest.Start(t, albatrosstest.Options{})
	pool := hosts.New(hosts.Options{RetryDelay: never})
	if pool.NeedLeaderElection() {
		t.Error("runs on the leader only, and the other replicas serve requests about hosts too")
	}
	for _, instance := range []string{"one", "two"} {
		if err := pool.Set(instance, target(sim)); err != nil {
			t.Fatal(err)
		}
	}
	answers := map[string]chan error{"one": make(chan error, 1), "two": make(chan error, 1)}
	for instance, answer := range answers {
		h := pool.HostOf(instance)
		go func() {
			_, err := h.Refresh(t.Context())
			answer <- err
		}()
		eventually(t, "it waits", func() bool { return h.Asked() == 1 })
	}
	pool.Remove("two")
	notConnected(t, <-answers["two"], "its instance or credentials changed meanwhile")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- pool.Start(ctx) }()
	if err := <-answers["one"]; err != nil {
		t.Errorf("a look asked for before the start: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := pool.Set("three", target(sim)); err != nil {
		t.Error(err)
	}
	for _, instance := range []string{"one", "three"} {
		_, err := pool.HostOf(instance).Refresh(t.Context())
		notConnected(t, err, "its instance or credentials changed meanwhile")
	}
}

func TestTry(t *testing.T) {
	r := newRig(t, hosts.Options{ProbeTimeout: time.Second})
	good := target(r.Host)
	if snapshot, err := r.pool.Try(t.Context(), good); err != nil || snapshot.Policies[""].Memory == 0 {
		t.Errorf("%v, %v", snapshot, err)
	}
	if _, known := r.pool.State("one"); known {
		t.Error("it was kept")
	}
	broken := good
	broken.Key = "no key"
	if _, err := r.pool.Try(t.Context(), broken); !errors.Is(err, albatross.ErrInvalid) {
		t.Errorf("without a key: %v", err)
	}
	defer r.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})()
	if _, err := r.pool.Try(t.Context(), good); !errors.Is(err, albatross.ErrTimeout) {
		t.Errorf("of a silent host: %v", err)
	}
}

func TestRefreshOfALostHost(t *testing.T) {
	r := newRig(t, hosts.Options{})
	_, err := r.pool.Refresh(t.Context(), "one")
	notConnected(t, err, "no credentials yet")
	h := r.connect()
	lift := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	for range 3 {
		r.failLook(h)
	}
	if _, err := r.pool.Refresh(t.Context(), "one"); err == nil {
		t.Error("a host that is down was looked at")
	}
	lift()
	if _, err := r.pool.Refresh(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	if _, err := r.pool.Get("one"); err != nil {
		t.Errorf("after a good look: %v", err)
	}
}

// noSink takes nothing.
type noSink struct{}

func (noSink) Set(string, string, metrics.Usage)   {}
func (noSink) Keep(string, func(name string) bool) {}

func TestStatisticsAreForTheLeader(t *testing.T) {
	elected := make(chan struct{})
	r := newRig(t, hosts.Options{Statistics: noSink{}, Elected: elected})
	r.look(r.connect())
	if n := r.Received("stats subscribe", ""); n != 0 {
		t.Errorf("subscribed %d times before it leads", n)
	}
	close(elected)
	eventually(t, "it subscribes", func() bool { return r.Received("stats subscribe", "") == 1 })
}

func TestPolls(t *testing.T) {
	r := newRig(t, hosts.Options{})
	to := target(r.Host)
	to.PollInterval = time.Millisecond
	h := r.set(to)
	eventually(t, "five looks nobody asked for", func() bool { return r.Received("policy info", "") >= 5 })
	if h.Asked() != 0 {
		t.Error("somebody asked")
	}
	to.PollInterval = 0
	h = r.set(to)
	r.look(h)
	if before := r.set(to); before != h {
		t.Error("a target without an interval is not equal to itself")
	}
}

func TestPauses(t *testing.T) {
	defaults := hosts.Options{}
	for _, tt := range []struct {
		interval time.Duration
		failures int
		want     time.Duration
	}{
		{30 * time.Second, 0, 30 * time.Second},
		{30 * time.Second, 1, time.Second},
		{30 * time.Second, 2, time.Second},
		{30 * time.Second, 3, 2 * time.Second},
		{30 * time.Second, 4, 4 * time.Second},
		{30 * time.Second, 5, 8 * time.Second},
		{30 * time.Second, 1000, 8 * time.Second},
		{5 * time.Second, 1000, 5 * time.Second},
		{500 * time.Millisecond, 1, 500 * time.Millisecond},
	} {
		low, high := time.Duration(math.MaxInt64), time.Duration(0)
		for range 1000 {
			got := hosts.Pause(defaults, tt.interval, tt.failures)
			low, high = min(low, got), max(high, got)
		}
		tenth := tt.want / 10
		if low < tt.want-tenth || high > tt.want+tenth || high-low < tenth {
			t.Errorf("after %d failures: %v to %v, want a tenth around %v", tt.failures, low, high, tt.want)
		}
	}
}

// The slowest way to fail is to take connections and be silent.
func TestLossIsKnownWithin15Seconds(t *testing.T) {
	looks := hosts.FailuresToDisconnect * hosts.DefaultProbeTimeout
	pauses := time.Duration(0)
	for failures := 1; failures < hosts.FailuresToDisconnect; failures++ {
		pauses += hosts.DefaultRetryDelay + hosts.DefaultRetryDelay/10
	}
	if looks+pauses > 15*time.Second {
		t.Errorf("takes %v", looks+pauses)
	}
}

// TestLooksAreSpaced has many ask for a look one after the other: who comes after
// a pause is served at once, and those who follow share looks.
func TestLooksAreSpaced(t *testing.T) {
	const spacing = 8 * time.Second
	r := newRig(t, hosts.Options{LookSpacing: spacing})
	h := r.connect()
	time.Sleep(spacing)
	before, began := r.Received("unikernel info", ""), time.Now()
	r.look(h)
	if took := time.Since(began); took > spacing/2 {
		t.Errorf("after a pause a look took %v", took)
	}
	var wait sync.WaitGroup
	for range 20 {
		time.Sleep(spacing / 40)
		wait.Go(func() { r.look(h) })
	}
	wait.Wait()
	if looks := r.Received("unikernel info", "") - before; looks > 3 {
		t.Errorf("%d looks", looks)
	}
}

// TestLoneCommandsAreLookedAfterAtOnce has looks spaced so far apart that only
// those after commands can come.
func TestLoneCommandsAreLookedAfterAtOnce(t *testing.T) {
	r := newRig(t, hosts.Options{LookSpacing: never})
	h := r.set(target(r.Host))
	eventually(t, "the first look", func() bool { return h.State().Connected })
	done := func() error { return nil }
	for range 5 {
		before := r.Received("unikernel info", "")
		if err := h.Measure("test", done); err != nil {
			t.Fatal(err)
		}
		r.look(h)
		if looks := r.Received("unikernel info", "") - before; looks != 1 {
			t.Errorf("%d looks after a command", looks)
		}
	}
}

// TestCommandsAtATimeShareALook ends commands one after the other: the looks for
// all but the last wait for it.
func TestCommandsAtATimeShareALook(t *testing.T) {
	const commands = 10
	r := newRig(t, hosts.Options{LookSpacing: 10 * time.Second})
	h := r.set(target(r.Host))
	eventually(t, "the first look", func() bool { return h.State().Connected })
	before, asked := r.Received("unikernel info", ""), h.Asked()
	var wait sync.WaitGroup
	var ends []chan struct{}
	for range commands {
		began, end := make(chan struct{}), make(chan struct{})
		ends = append(ends, end)
		wait.Go(func() {
			_ = h.Measure("test", func() error { close(began); <-end; return nil })
			r.look(h)
		})
		<-began
	}
	for i, end := range ends {
		close(end)
		eventually(t, "a look is asked for", func() bool { return h.Asked() == asked+uint64(i)+1 })
	}
	wait.Wait()
	// The last may ask when the look for the others has just begun.
	if looks := r.Received("unikernel info", "") - before; looks > 2 {
		t.Errorf("%d looks for %d commands", looks, commands)
	}
}

package probe

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// TestMain has the tests trust the certificate of servers of httptest.
func TestMain(m *testing.M) {
	code, err := withTrust(m.Run)
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withTrust(run func() int) (code int, err error) {
	folder, err := os.MkdirTemp("", "probe-test")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(folder)
	server := httptest.NewTLSServer(nil)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	server.Close()
	file := filepath.Join(folder, "ca.pem")
	// The system's authorities are read once, when the first certificate is checked.
	err = errors.Join(os.WriteFile(file, certificate, 0o600), os.Setenv("SSL_CERT_FILE", file), os.Setenv("SSL_CERT_DIR", folder))
	if err != nil {
		return 1, err
	}
	return run(), nil
}

// errSilent is what a peer fails with that never answers.
var errSilent = errors.New("silent")

// rig is a prober in a network that exists in memory only, where each unikernel
// has its key as its address. Tests that use one run in a bubble of synctest, so
// that its clock moves only when everybody waits.
type rig struct {
	t      *testing.T
	prober *Prober
	stop   func()

	mu sync.Mutex
	// broken says how connecting to a unikernel fails.
	broken map[string]error
	// dialed is when each was connected to.
	dialed map[string][]time.Time
	// open and most are how many connections are being opened now and were at most.
	open, most int
	woken      []string
}

// newRig starts a prober that ends with the test.
func newRig(t *testing.T, options Options) *rig {
	t.Helper()
	r := &rig{t: t, broken: map[string]error{}, dialed: map[string][]time.Time{}}
	options.Dial = r.dial
	r.prober = New(options, r.wake)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.prober.Start(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *rig) dial(ctx context.Context, network, address string) (net.Conn, error) {
	key := strings.TrimSuffix(address, ":1")
	r.mu.Lock()
	r.dialed[key] = append(r.dialed[key], time.Now())
	err := r.broken[key]
	r.open++
	r.most = max(r.most, r.open)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open--
	}()
	if errors.Is(err, errSilent) {
		<-ctx.Done()
		err = ctx.Err()
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

func (r *rig) wake(key string) {
	state := r.prober.State(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.woken = append(r.woken, strings.TrimSpace(fmt.Sprintf("%s %s %s", key, state.Health, state.Message)))
}

// breaks has connecting to a unikernel fail from now on, or work when err is nil.
func (r *rig) breaks(key string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken[key] = err
}

// probes gives how often a unikernel was probed.
func (r *rig) probes(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.dialed[key])
}

// expectWoken compares who was woken since the last call.
func (r *rig) expectWoken(want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.woken, want) {
		r.t.Errorf("woken: %q, want %q", r.woken, want)
	}
	r.woken = nil
}

// pass lets time pass until all that happens at its end has happened.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// tcpSpec has a unikernel probed every 10 s, with a timeout of 5 s.
func tcpSpec(key string) Spec {
	return Spec{TCP: &TCP{Address: key + ":1"}, Period: 10 * time.Second, Timeout: 5 * time.Second, SuccessThreshold: 1, FailureThreshold: 3}
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		if got := r.prober.State("a/web"); got != (State{}) {
			t.Errorf("of what is not set: %+v", got)
		}
		r.prober.Set("a/web", tcpSpec("a/web"), "1")
		r.expectWoken("a/web Healthy")
		since := time.Now()
		pass(time.Hour)
		r.expectWoken()
		if got := r.prober.State("a/web"); got != (State{Health: Healthy, Since: since}) {
			t.Errorf("%+v", got)
		}
		r.breaks("a/web", syscall.ECONNREFUSED)
		pass(time.Minute)
		r.expectWoken("a/web Unhealthy tcp: connection refused")
		r.breaks("a/web", errSilent)
		pass(time.Minute)
		r.expectWoken("a/web Unhealthy tcp: no answer in time")
		r.breaks("a/web", nil)
		pass(time.Minute)
		r.expectWoken("a/web Healthy")
		r.prober.Remove("a/web")
		before := r.probes("a/web")
		pass(time.Hour)
		if after := r.probes("a/web"); after != before || r.prober.State("a/web") != (State{}) {
			t.Errorf("%d probes after it was removed, state %+v", after-before, r.prober.State("a/web"))
		}
		r.prober.Remove("a/web")
	})
}

func TestPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.prober.Set("a/web", tcpSpec("a/web"), "")
		pass(time.Hour)
		r.breaks("a/web", errSilent)
		pass(time.Hour)
		if got := r.probes("a/web"); got < 700 || got > 740 {
			t.Errorf("%d probes in two hours, one every 10 s", got)
		}
		for i, at := range r.dialed["a/web"][1:] {
			if pause := at.Sub(r.dialed["a/web"][i]); pause < 9*time.Second || pause > 11*time.Second {
				t.Fatalf("a pause of %s", pause)
			}
		}
	})
}

// TestSetAgain has the same declaration change nothing, and another begin anew.
func TestSetAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.prober.Set("a/web", tcpSpec("a/web"), "1")
		pass(time.Minute)
		r.expectWoken("a/web Healthy")
		was, before := r.prober.State("a/web"), r.probes("a/web")
		for range 100 {
			r.prober.Set("a/web", tcpSpec("a/web"), "1")
		}
		synctest.Wait()
		if got := r.prober.State("a/web"); got != was || r.probes("a/web") != before {
			t.Errorf("%+v after %d probes, before %+v after %d", got, r.probes("a/web"), was, before)
		}

		r.breaks("a/web", syscall.ECONNREFUSED)
		r.prober.Set("a/web", tcpSpec("a/web"), "2")
		if got := r.prober.State("a/web"); got != (State{Since: time.Now()}) {
			t.Errorf("what is new is %+v", got)
		}
		pass(time.Minute)
		r.expectWoken("a/web Unhealthy tcp: connection refused")

		patient := tcpSpec("a/web")
		patient.FailureThreshold = 100
		r.prober.Set("a/web", patient, "2")
		pass(time.Minute)
		if got := r.prober.State("a/web"); got.Health != Unknown || got.Message != "tcp: connection refused" {
			t.Errorf("with another spec it is %+v", got)
		}
		r.expectWoken()
	})
}

// TestResultOfWhatRanBefore has the answer of what ran before come after the
// new declaration: it says nothing about what runs now.
func TestResultOfWhatRanBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.breaks("a/web", errSilent)
		impatient := tcpSpec("a/web")
		impatient.FailureThreshold = 1
		r.prober.Set("a/web", impatient, "1")
		pass(7 * time.Second) // the second probe is under way, until 10 s
		r.breaks("a/web", nil)
		r.prober.Set("a/web", impatient, "2")
		r.expectWoken("a/web Healthy")
		pass(8 * time.Second)
		r.expectWoken()
		r.breaks("a/web", errSilent)
		pass(4 * time.Second) // the next is under way, until 14 s at the earliest
		r.prober.Remove("a/web")
		pass(time.Minute)
		r.expectWoken()
	})
}

// TestStartsQuickly has a unikernel that is up a second after it was started.
func TestStartsQuickly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.breaks("a/web", syscall.ECONNREFUSED)
		r.prober.Set("a/web", tcpSpec("a/web"), "1")
		pass(time.Second)
		r.expectWoken()
		r.breaks("a/web", nil)
		pass(time.Second)
		r.expectWoken("a/web Healthy")
	})
}

// TestOperatorsOwnTrouble has the operator run out of files: no unikernel is
// unhealthy for that.
func TestOperatorsOwnTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.prober.Set("a/web", tcpSpec("a/web"), "1")
		r.expectWoken("a/web Healthy")
		r.breaks("a/web", syscall.EMFILE)
		pass(time.Hour)
		r.expectWoken()
		if got := r.probes("a/web"); got < 300 {
			t.Errorf("tried %d times in an hour", got)
		}
	})
}

// TestSpreadAtTheStart has an operator that starts and finds thousands.
func TestSpreadAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 5000
		r := newRig(t, Options{})
		began := time.Now()
		for i := range count {
			key := fmt.Sprintf("n%d/web", i%50)
			r.prober.Set(fmt.Sprintf("%s%d", key, i), tcpSpec(fmt.Sprintf("%s%d", key, i)), "1")
		}
		pass(8 * time.Second)
		if len(r.woken) != count {
			t.Errorf("%d of %d are known to be healthy", len(r.woken), count)
		}
		seconds := map[int]int{}
		for _, times := range r.dialed {
			seconds[int(times[0].Sub(began)/time.Second)]++
		}
		if most := slices.Max(slices.Collect(maps.Values(seconds))); most > 1001 {
			t.Errorf("%d first probes in one second: %v", most, seconds)
		}
	})
}

func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Parallel: 7})
		for i := range 100 {
			key := fmt.Sprintf("a/%d", i)
			r.breaks(key, errSilent)
			r.prober.Set(key, tcpSpec(key), "1")
		}
		pass(100 * time.Second)
		if r.most != 6 {
			t.Errorf("%d at a time: one tenant may have 6 of the 7 places", r.most)
		}
		// 6 places for 5 s each make 120 probes; each has its turn before any has a third.
		for i := range 100 {
			if got := r.probes(fmt.Sprintf("a/%d", i)); got < 1 || got > 2 {
				t.Errorf("a/%d was probed %d times", i, got)
			}
		}
	})
}

// TestFairness has a tenant whose thousand unikernels are silent hold all the
// places: the others are probed as if it were not there.
func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Parallel: 10})
		for i := range 1000 {
			key := fmt.Sprintf("silent/%d", i)
			r.breaks(key, errSilent)
			r.prober.Set(key, tcpSpec(key), "1")
		}
		pass(time.Minute)
		for tenant := range 2 {
			for i := range 100 {
				key := fmt.Sprintf("other%d/%d", tenant, i)
				r.prober.Set(key, tcpSpec(key), "1")
			}
		}
		pass(10 * time.Minute)
		for tenant := range 2 {
			for i := range 100 {
				if key := fmt.Sprintf("other%d/%d", tenant, i); r.probes(key) < 55 {
					t.Fatalf("%s was probed %d times in ten minutes", key, r.probes(key))
				}
			}
		}
		if got := len(r.prober.waiting); got != 1 {
			t.Errorf("%d tenants wait", got)
		}
	})
}

// TestRemoveWhileWaiting has those that wait for a place go.
func TestRemoveWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Parallel: 1})
		for _, key := range []string{"a/1", "a/2", "a/3", "b/1"} {
			r.breaks(key, errSilent)
			r.prober.Set(key, tcpSpec(key), "1")
		}
		pass(time.Second)
		for _, key := range []string{"a/2", "a/1", "b/1", "a/3"} {
			r.prober.Remove(key)
		}
		synctest.Wait()
		p := r.prober
		if p.late != 0 || p.busy != 0 || len(p.waiting) != 0 || len(p.underway) != 0 || len(p.targets) != 0 || p.pending.first() != nil {
			t.Errorf("late %d, busy %d, waiting %v, underway %v, targets %v", p.late, p.busy, p.waiting, p.underway, p.targets)
		}
		r.prober.Set("a/1", tcpSpec("a/1"), "2")
		pass(time.Minute)
		r.expectWoken("a/1 Unhealthy tcp: no answer in time")
	})
}

// TestStop ends what is under way, and counts it for nothing.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.breaks("a/web", errSilent)
		impatient := tcpSpec("a/web")
		impatient.FailureThreshold = 1
		r.prober.Set("a/web", impatient, "1")
		pass(12 * time.Second)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("stopped %s later", took)
		}
		r.prober.Set("a/late", tcpSpec("a/late"), "1")
		pass(time.Hour)
		r.prober.Remove("a/web")
		if got := r.probes("a/late"); got != 0 {
			t.Errorf("%d probes after the end", got)
		}
	})
}

// TestSetBeforeStart has a declaration wait for the prober.
func TestSetBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		woken := make(chan string, 1)
		p := New(Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			near, _ := net.Pipe()
			return near, nil
		}}, func(key string) { woken <- key })
		p.Set("a/web", tcpSpec("a/web"), "1")
		time.Sleep(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Start(ctx) }()
		if key := <-woken; key != "a/web" || p.State(key).Health != Healthy {
			t.Errorf("%s is %+v", key, p.State(key))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAllMustSucceed has two of two kinds, of which one fails.
func TestAllMustSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		both := tcpSpec("a/web")
		both.DNS = &DNS{Server: "a/dns:1", Name: "example.org"}
		r.breaks("a/dns", syscall.EHOSTUNREACH)
		r.prober.Set("a/web", both, "1")
		pass(time.Minute)
		r.expectWoken("a/web Unhealthy dns: no route to host")
		r.breaks("a/web", syscall.ECONNREFUSED)
		pass(time.Minute)
		r.expectWoken("a/web Unhealthy tcp: connection refused")
	})
}

func TestLeaderOnly(t *testing.T) {
	if !New(Options{}, nil).NeedLeaderElection() {
		t.Error("every replica probes")
	}
}

package albatrosstest

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// realTime is a scheduler for the time of a bubble.
func realTime() *scheduler {
	var o Options
	o.setDefaults()
	return &scheduler{start: o.After}
}

// watched is a unikernel that runs in a test, in the time of a bubble.
type watched struct {
	*guest
	mu    sync.Mutex
	lines []string
	exits []exit
	at    time.Duration
}

func watch(timers *scheduler, s start) *watched {
	w := &watched{}
	begin := time.Now()
	if s.image == nil {
		s.image = &image{program: "test_tick", manifest: solo5.Image{Target: solo5.HVT}}
	}
	w.guest = run(timers, s, func(line string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lines = append(w.lines, line)
	}, func(e exit) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.exits = append(w.exits, e)
		w.at = time.Since(begin)
	})
	return w
}

func ordinary(argv ...string) start {
	return start{memory: 16, cpuIDs: []int64{0}, cpus: 2, argv: argv}
}

// after is what a unikernel printed behind Solo5's own lines.
func (w *watched) after() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := slices.IndexFunc(w.lines, func(l string) bool { return strings.Contains(l, "stack <") })
	return w.lines[last+1:]
}

func TestGuestExits(t *testing.T) {
	for _, tt := range []struct {
		argv string
		code int
		at   time.Duration
		last string
	}{
		{"after=1 exit=3", 3, time.Second, "Solo5: solo5_exit(3) called"},
		{"after=3", 0, 3 * time.Second, "Solo5: solo5_exit(0) called"},
		{"after=0 exit=5", 5, bootTime, "Solo5: solo5_exit(5) called"},
		{"exit=255 after=1", 255, time.Second, "Solo5: solo5_exit(255) called"},
		{"--sim-exit=2 --sim-after=1500ms", 2, 1500 * time.Millisecond, "Solo5: solo5_exit(2) called"},
		{"--sim-exit=2", 2, bootTime, "Solo5: solo5_exit(2) called"},
		{"--sim-after=2s", 0, 2 * time.Second, "Solo5: solo5_exit(0) called"},
		{"--name=web --sim-no-name", 64, bootTime, "Solo5: solo5_exit(64) called"},
		{"after=2 exit=1", 1, 2 * time.Second, "tick 2"},
	} {
		synctest.Test(t, func(t *testing.T) {
			timers := realTime()
			w := watch(timers, ordinary(strings.Fields(tt.argv)...))
			time.Sleep(time.Minute)
			synctest.Wait()
			if !slices.Equal(w.exits, []exit{{code: tt.code}}) || w.at != tt.at {
				t.Errorf("%s: exits %+v after %s, want %d after %s", tt.argv, w.exits, w.at, tt.code, tt.at)
			}
			if lines := w.after(); lines[len(lines)-1] != tt.last {
				t.Errorf("%s: prints %q, want %q at last", tt.argv, lines, tt.last)
			}
		})
	}
}

func TestGuestPrints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timers := realTime()
		w := watch(timers, ordinary("first", "", "--sim-print=hello=world", "--sim-no-name", "after=x", "--sim-exit=x", "--sim-after=x"))
		time.Sleep(2500 * time.Millisecond)
		w.say("by request")
		w.kill()
		time.Sleep(time.Minute)
		w.say("too late")
		synctest.Wait()
		want := []string{"test_tick cmdline: 'first  --sim-print=hello=world --sim-no-name after=x --sim-exit=x --sim-after=x'", "hello=world", "tick 1", "tick 2", "by request"}
		if got := w.after(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if !slices.Equal(w.exits, []exit{{signal: true}}) {
			t.Errorf("%+v", w.exits)
		}
	})
}

func TestGuestPrograms(t *testing.T) {
	macs := []wire.MAC{{0, 0x80, 0x41, 1, 2, 3}, {0, 0x80, 0x41, 4, 5, 6}}
	for program, want := range map[string][]string{
		"test_net_2if": {"**** Solo5 standalone test_net_2if ****", "[service0] Serving ping on 10.0.0.2, with MAC: 008041010203", "[service1] Serving ping on 10.1.0.2, with MAC: 008041040506"},
		"test_blk":     {"**** Solo5 standalone test_blk ****", "SUCCESS", "Solo5: solo5_exit(0) called"},
		"other":        {},
	} {
		synctest.Test(t, func(t *testing.T) {
			timers := realTime()
			s := ordinary()
			s.image, s.macs, s.bridges = &image{program: program}, macs, []string{"service0", "service1"}
			w := watch(timers, s)
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := w.after(); !slices.Equal(got, want) {
				t.Errorf("%s prints %q", program, got)
			}
		})
	}
}

// TestTenderFails has what keeps a unikernel from starting at all.
func TestTenderFails(t *testing.T) {
	for line, change := range map[string]func(*start){
		"solo5-spt: Malformed argument to --mem":                    func(s *start) { s.memory = -5 },
		"taskset: failed to parse CPU list: ":                       func(s *start) { s.cpuIDs = nil },
		"taskset: failed to set pid 0's affinity: Invalid argument": func(s *start) { s.cpuIDs = []int64{2, 7} },
	} {
		synctest.Test(t, func(t *testing.T) {
			timers := realTime()
			s := ordinary("after=100")
			s.image = &image{program: "test_tick", manifest: solo5.Image{Target: solo5.SPT}}
			change(&s)
			w := watch(timers, s)
			time.Sleep(time.Second)
			synctest.Wait()
			if !slices.Equal(w.lines, []string{line}) || w.guest != nil {
				t.Errorf("%q, %+v", w.lines, w.guest)
			}
		})
	}
}

func TestGuestTerminates(t *testing.T) {
	for target, lines := range map[solo5.Target]int{solo5.HVT: 1, solo5.SPT: 0} {
		synctest.Test(t, func(t *testing.T) {
			timers := realTime()
			s := ordinary()
			s.image = &image{program: "quiet", manifest: solo5.Image{Target: target}}
			w := watch(timers, s)
			w.terminate(time.Second)
			w.terminate(time.Second) // as often as one likes
			w.leave(3)
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if !slices.Equal(w.exits, []exit{{code: 3}}) {
				t.Errorf("%s: %+v", target, w.exits)
			}
			again := watch(timers, s)
			again.terminate(time.Second)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := again.after(); len(got) != lines || !slices.Equal(again.exits, []exit{{signal: true}}) {
				t.Errorf("%s: %q, %+v", target, got, again.exits)
			}
		})
	}
}

func TestScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := realTime()
		var ran []string
		var mu sync.Mutex
		note := func(what string) func() {
			return func() {
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, what)
			}
		}
		s.after(time.Second, note("first"))
		stop := s.after(time.Second, note("stopped"))
		s.after(time.Hour, note("late"))
		stop()
		time.Sleep(time.Minute)
		slow := make(chan struct{})
		s.after(0, func() { <-slow; note("slow")() })
		time.Sleep(time.Second)
		go func() { time.Sleep(time.Minute); close(slow) }()
		s.close()
		time.Sleep(2 * time.Hour)
		s.after(0, note("after close"))
		time.Sleep(time.Second)
		if !slices.Equal(ran, []string{"first", "slow"}) {
			t.Errorf("%v", ran)
		}
	})
}

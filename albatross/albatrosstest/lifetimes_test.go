package albatrosstest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// timed is a rig whose unikernels live in a time of their own. Not more than five
// minutes may pass, after which certificates have ended.
func timed(t *testing.T, options albatrosstest.Options) (*rig, *clock) {
	c := newClock()
	options.Now, options.After = c.Now, c.After
	return newRig(t, options), c
}

// starts counts how often a unikernel has started, by what it prints.
func (r *rig) starts(name string) int {
	n := 0
	for _, line := range r.Console(name) {
		if strings.HasPrefix(line, "test_tick cmdline") {
			n++
		}
	}
	return n
}

// TestRestartsInTime lets a minute pass for each fail behaviour and counts starts.
func TestRestartsInTime(t *testing.T) {
	all := wire.FailBehaviour{Restart: true}
	some := func(codes ...int64) wire.FailBehaviour { return wire.FailBehaviour{Restart: true, ExitCodes: codes} }
	for _, tt := range []struct {
		what   string
		fail   wire.FailBehaviour
		name   bool
		argv   string
		starts int
		runs   bool
	}{
		{"quit", wire.FailBehaviour{}, false, "--sim-exit=3 --sim-after=10s", 1, false},
		{"quit ignores codes", wire.FailBehaviour{ExitCodes: []int64{3}}, false, "--sim-exit=3 --sim-after=10s", 1, false},
		{"every code", all, false, "--sim-exit=3 --sim-after=10s", 6, true},
		{"every code is also 0", all, false, "--sim-after=25s", 3, true},
		{"every code but 1", all, false, "--sim-exit=1 --sim-after=10s", 1, false},
		{"every code but 60", all, false, "--sim-exit=60 --sim-after=10s", 1, false},
		{"every code, 59 too", all, false, "--sim-exit=59 --sim-after=10s", 6, true},
		{"every code, 65 too", all, false, "--sim-exit=65 --sim-after=10s", 6, true},
		{"these codes", some(2, 3), false, "--sim-exit=3 --sim-after=10s", 6, true},
		{"other codes", some(2, 4), false, "--sim-exit=3 --sim-after=10s", 1, false},
		{"64 by name", some(64), false, "--sim-exit=64 --sim-after=10s", 1, false},
		{"64 once without the added name", wire.FailBehaviour{}, true, "--sim-exit=64 --sim-after=10s", 2, false},
		{"an added name alone restarts nothing", wire.FailBehaviour{}, true, "--sim-exit=3 --sim-after=10s", 1, false},
		{"an added name stays with other codes", all, true, "--sim-exit=3 --sim-after=10s", 6, true},
		{"ticks", all, false, "after=20 exit=7", 3, true},
		{"nothing happens", all, false, "", 1, true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r, clock := timed(t, albatrosstest.Options{})
			c := config(standIn(t, "test_tick"), strings.Fields(tt.argv)...)
			c.FailBehaviour, c.AddName = tt.fail, tt.name
			r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
			clock.advance(59 * time.Second)
			info, runs := r.Unikernel("alice:web")
			if got := r.starts("alice:web"); got != tt.starts || runs != tt.runs {
				t.Errorf("started %d times, runs %v, want %d and %v\n%s", got, runs, tt.starts, tt.runs, strings.Join(r.Console("alice:web"), "\n"))
			}
			if period := 59 * time.Second / time.Duration(tt.starts); runs && clock.Now().Sub(info.Started) > period+time.Second {
				t.Errorf("runs for %s", clock.Now().Sub(info.Started))
			}
			named := strings.Count(strings.Join(r.Console("alice:web"), "\n"), "--name=web")
			if want := map[bool]int{true: tt.starts}[tt.name]; named != want && tt.what != "64 once without the added name" {
				t.Errorf("%d of %d starts had the name", named, tt.starts)
			}
		})
	}
}

// TestFailBehaviourChanges with a restart by command, and ends with a destroy.
func TestFailBehaviourChanges(t *testing.T) {
	r, clock := timed(t, albatrosstest.Options{})
	c := config(standIn(t, "test_tick"), "--sim-exit=3", "--sim-after=10s")
	c.FailBehaviour.Restart = true
	command := func(text string, command wire.Command) {
		t.Helper()
		defer clock.flow(time.Millisecond)()
		r.expect(text, "web", command)
	}
	command("created unikernel", wire.UnikernelCreate{Config: c})
	command("created unikernel", wire.UnikernelRestart{})
	clock.advance(25 * time.Second)
	if got := r.starts("alice:web"); got != 4 {
		t.Errorf("started %d times, want once each by create and restart, and twice after an exit", got)
	}
	quit := c.Clone()
	quit.FailBehaviour = wire.FailBehaviour{}
	command("created unikernel", wire.UnikernelRestart{Arguments: &quit})
	clock.advance(25 * time.Second)
	if _, runs := r.Unikernel("alice:web"); runs || r.starts("alice:web") != 5 {
		t.Errorf("runs %v after %d starts, though it shall quit", runs, r.starts("alice:web"))
	}
	command("created unikernel", wire.UnikernelForceCreate{Config: c})
	clock.advance(5 * time.Second)
	command("destroyed unikernel", wire.UnikernelDestroy{})
	clock.advance(time.Minute)
	if _, runs := r.Unikernel("alice:web"); runs || r.starts("alice:web") != 6 {
		t.Errorf("runs %v after %d starts, though it was destroyed", runs, r.starts("alice:web"))
	}
	if got := r.Received("", "alice:web"); got != 5 {
		t.Errorf("%d commands; restarts by the host are none", got)
	}
}

// TestRestartThatFails gives up a unikernel with what it used, when nothing can be
// kept any more.
func TestRestartThatFails(t *testing.T) {
	r, clock := timed(t, albatrosstest.Options{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	c := config(standIn(t, "test_tick", solo5.Device{Name: "data", Type: solo5.Block}), "--sim-exit=3", "--sim-after=10s")
	c.FailBehaviour.Restart, c.Blocks = true, []wire.BlockDevice{{Name: "data"}}
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	folder := filepath.Join(r.Dir(), "unikernels")
	if err := os.Rename(folder, folder+"-gone"); err != nil {
		t.Fatal(err)
	}
	clock.advance(11 * time.Second)
	if _, runs := r.Unikernel("alice:web"); runs || r.starts("alice:web") != 1 {
		t.Errorf("runs %v after %d starts", runs, r.starts("alice:web"))
	}
	if got := say(r.ask("new", wire.UnikernelCreate{Config: config(standIn(t, "test"))})); !strings.Contains(got, "save state") {
		t.Errorf("a create is answered with %q", got)
	}
	r.expect("removed block", "data", wire.BlockRemove{})
	if entries, err := os.ReadDir(filepath.Join(r.Dir(), "images")); err != nil || len(entries) != 0 {
		t.Errorf("%d images stay, %v", len(entries), err)
	}
	if err := os.Rename(folder+"-gone", folder); err != nil {
		t.Fatal(err)
	}
	r.create("new")
}

// TestExitMeetsDestroy has a unikernel exit while it is told to end: the command
// is answered, and it is not restarted.
func TestExitMeetsDestroy(t *testing.T) {
	for what, exit := range map[string]func(*rig) bool{
		"exit": func(r *rig) bool { return r.Exit("alice:web", 3) },
		"kill": func(r *rig) bool { return r.Kill("alice:web") },
	} {
		r, clock := timed(t, albatrosstest.Options{StopTime: time.Minute})
		c := config(standIn(t, "test_tick"))
		c.FailBehaviour.Restart = true
		r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
		destroy := r.subscribe("web", wire.UnikernelDestroy{})
		eventually(t, "the end is under way", func() bool { return clock.waiting(time.Minute) })
		if !exit(r) {
			t.Fatalf("%s: it is gone already", what)
		}
		clock.advance(time.Millisecond)
		destroy.expect(wire.Text{Text: "destroyed unikernel"})
		clock.advance(2 * time.Minute)
		if _, runs := r.Unikernel("alice:web"); runs || r.starts("alice:web") != 1 {
			t.Errorf("%s: runs %v after %d starts", what, runs, r.starts("alice:web"))
		}
	}
}

// waiting tells whether a timer will be due between half of d and d from now.
func (c *clock) waiting(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.timers, func(t *timer) bool { return t.at.After(c.now.Add(d/2)) && !t.at.After(c.now.Add(d)) })
}

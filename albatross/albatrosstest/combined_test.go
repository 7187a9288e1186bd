package albatrosstest_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/wire"
)

// TestCombinedFaults has several faults at a time: the first that fits strikes,
// as often as it says, and then the next.
func TestCombinedFaults(t *testing.T) {
	fail := func(text string, times int, command, name string) albatrosstest.Fault {
		return albatrosstest.Fault{Kind: albatrosstest.Fail, Text: text, Times: times, Command: command, Name: name}
	}
	const destroy, info = "destroy: not found", "data"
	for _, tt := range []struct {
		what   string
		faults []albatrosstest.Fault
		// asked are commands: "name" destroys, "?name" asks for infos.
		asked string
		want  []string
	}{
		{"two that always fit", []albatrosstest.Fault{fail("a", 1, "", ""), fail("b", 2, "", "")}, "x x x x", []string{"a", "b", "b", destroy}},
		{"until it is lifted", []albatrosstest.Fault{fail("a", 0, "", "")}, "x ?x x", []string{"a", "a", "a"}},
		{"by command", []albatrosstest.Fault{fail("a", 1, "unikernel destroy", "")}, "?x ?x x x", []string{info, info, "a", destroy}},
		{"by name", []albatrosstest.Fault{fail("a", 2, "", "alice:x")}, "y ?y x ?x x", []string{destroy, info, "a", "a", destroy}},
		{"by both", []albatrosstest.Fault{fail("a", 1, "unikernel destroy", "alice:x")}, "?x y x x", []string{info, destroy, "a", destroy}},
		{"a narrow one before a wide one", []albatrosstest.Fault{fail("a", 1, "", "alice:x"), fail("b", 0, "", "")}, "y x x", []string{"b", "a", "b"}},
		{"a wide one hides a narrow one", []albatrosstest.Fault{fail("b", 2, "", ""), fail("a", 0, "", "alice:x")}, "x x x y", []string{"b", "b", "a", destroy}},
		{"a name is in lower case", []albatrosstest.Fault{fail("a", 0, "", "alice:X"), fail("b", 0, "", "alice:x")}, "X x", []string{"b", "b"}},
		{"a name of a path", []albatrosstest.Fault{fail("a", 0, "", "alice:")}, "?. x", []string{"a", destroy}},
		{"a command that there is not", []albatrosstest.Fault{fail("a", 0, "unikernel remove", "")}, "x", []string{destroy}},
		{"of the connection first", []albatrosstest.Fault{fail("a", 1, "", ""), {Kind: albatrosstest.NotTLS, Times: 2}}, "x x x x", []string{"lost", "lost", "a", destroy}},
		{"each kind its own count", []albatrosstest.Fault{{Kind: albatrosstest.Reset, Times: 1}, {Kind: albatrosstest.Unreachable, Times: 1}, {Kind: albatrosstest.Garbage, Times: 1}},
			"x x x x", []string{"lost", "couldn't reach service", "lost", destroy}},
		{"the name of a connection's fault means nothing", []albatrosstest.Fault{{Kind: albatrosstest.Reset, Name: "alice:y", Times: 1}}, "x x", []string{"lost", destroy}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r := newRig(t, albatrosstest.Options{})
			for _, f := range tt.faults {
				r.Inject(f)
			}
			var got []string
			for _, cn := range strings.Fields(tt.asked) {
				var command wire.Command = wire.UnikernelDestroy{}
				cn, isInfo := strings.CutPrefix(cn, "?")
				if isInfo {
					command = wire.UnikernelInfo{}
				}
				text, err := r.outcome(cn, command)
				if err != nil {
					text = "lost"
				} else if text == "" {
					text = info
				}
				got = append(got, text)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestLiftedFaults ends a fault in the middle of its count, and no other.
func TestLiftedFaults(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	same := albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "no", Times: 3}
	first, second := r.Inject(same), r.Inject(same)
	r.expect("no", "x", wire.UnikernelDestroy{})
	first()
	first()
	for range 3 {
		r.expect("no", "x", wire.UnikernelDestroy{})
	}
	r.expect("destroy: not found", "x", wire.UnikernelDestroy{})
	second()
	r.expect("destroy: not found", "x", wire.UnikernelDestroy{})
}

// TestSlowAndCut has a fault of the upload and one of the answer strike at the
// same command one after the other, and tells what was carried out.
func TestSlowAndCut(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	image := standIn(t, "test")
	create := func() error {
		_, err := r.outcome("web", wire.UnikernelCreate{Config: config(nil)}, upload{data: image})
		return err
	}
	for i, step := range []struct {
		fault   albatrosstest.Fault
		created bool
		outcome string
	}{
		{albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: int64(len(image))}, false, "upload cut"},
		{albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: int64(len(image)) + 4}, false, "upload cut"},
		{albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 3}, true, "reply cut"},
	} {
		step.fault.Times = 1
		r.Inject(step.fault)
		if err := create(); err == nil {
			t.Errorf("step %d: answered", i)
		}
		eventually(t, "the command is complete", func() bool { return r.Log()[i].Outcome != "" })
		if _, created := r.Unikernel("alice:web"); created != step.created || r.Log()[i].Outcome != step.outcome {
			t.Errorf("step %d: created %v, %q", i, created, r.Log()[i].Outcome)
		}
	}
	if text, err := r.outcome("web", wire.UnikernelCreate{Config: config(nil)}, upload{data: image}); err != nil || text != "Unikernel with same name is already running" {
		t.Errorf("tried again: %q, %v", text, err)
	}
	if r.Mutations("alice:web") != 4 || r.Received("unikernel create", "alice:web") != 4 {
		t.Errorf("%d mutations; those that were cut are counted too", r.Mutations("alice:web"))
	}
}

// TestCounters counts each kind of command for what it is, under its name in
// lower case, and keeps copies apart.
func TestCounters(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("Web")
	r.ask("WEB", wire.UnikernelInfo{})
	r.ask("data", wire.OldBlockAdd{Size: 1})
	r.ask("data", wire.OldBlockSet{})
	r.ask("data", wire.OldBlockDump{})
	r.ask("data", wire.BlockSet{}, upload{})
	r.ask("data", wire.BlockRemove{})
	r.ask("web", wire.UnikernelGet{})
	r.ask(".", wire.PolicyInfo{})
	r.ask(":", wire.BlockList{})
	r.ask(".", wire.ConsoleListInactive{})
	r.ask("web", wire.UnikernelRestart{})
	r.ask("web", wire.UnikernelForceCreate{Config: config(standIn(t, "test"))})
	r.ask("web", wire.UnikernelDestroy{})
	for key, want := range map[[2]string]int{
		{"", ""}: 14, {"", "alice:web"}: 6, {"", "alice:Web"}: 0, {"", "alice:data"}: 5, {"", "alice:"}: 3, {"block set", "alice:data"}: 2,
		{"block add", ""}: 1, {"block dump", "alice:data"}: 1, {"unikernel force create", "alice:web"}: 1, {"unikernel", ""}: 0,
	} {
		if got := r.Received(key[0], key[1]); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
	if got := fmt.Sprint(r.Mutations(""), r.Mutations("alice:web"), r.Mutations("alice:data"), r.Mutations("alice:")); got != "8 4 4 0" {
		t.Errorf("mutations %s", got)
	}
	log := r.Log()
	log[0].Command = "changed"
	if got := r.Log(); got[0].Command != "unikernel create" || len(got) != 14 || !slices.IsSortedFunc(got, func(a, b albatrosstest.Entry) int { return a.Time.Compare(b.Time) }) {
		t.Errorf("the log is shared, or not in order: %+v", got)
	}
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.Reset, Times: 1})
	if _, err := r.outcome("web", wire.UnikernelDestroy{}); err == nil || r.Received("", "") != 14 {
		t.Errorf("a command that was not received is counted: %v", err)
	}
}

// TestViewersOfOneConsole has those of another console and those who come again
// left alone; who is evicted finds all lines when it comes again.
func TestViewersOfOneConsole(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("web")
	r.create("db")
	view := func(cn string, from wire.ConsoleSubscribe) *subscription {
		s := r.subscribe(cn, from)
		s.expect(wire.Text{Text: "subscribed"})
		return s
	}
	first, other := view("web", wire.ConsoleSubscribe{}), view("db", wire.ConsoleSubscribe{})
	r.Print("alice:web", "one")
	first.expect(wire.ConsoleLine{Line: "one"})
	since := time.Now().Add(-time.Minute)
	for range 5 {
		view("web", wire.ConsoleSubscribe{})
	}
	first.expect(wire.Failure{Text: "exception while reading from fd"})
	r.Print("alice:web", "two")
	again := view("web", wire.ConsoleSubscribe{Since: &since})
	again.skipTo("one")
	again.expect(wire.ConsoleLine{Line: "two"})
	r.Print("alice:db", "still here")
	other.expect(wire.ConsoleLine{Line: "still here"})
}

// TestLongConsole keeps the last 1024 lines, over the end and a new start of the
// unikernel.
func TestLongConsole(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("web")
	for i := range 1500 {
		r.Print("alice:web", fmt.Sprint("line ", i))
	}
	r.expect("destroyed unikernel", "web", wire.UnikernelDestroy{})
	r.create("web", "--sim-print=again")
	kept := r.Console("alice:web")
	if len(kept) != 1024 || kept[1023] != "again" || !slices.Contains(kept, "line 1499") || slices.Contains(kept, "line 400") {
		t.Fatalf("%d lines from %q to %q", len(kept), kept[0], kept[len(kept)-1])
	}
	for _, count := range []int64{1024, 5000, 1 << 40} {
		s := r.subscribe("web", wire.ConsoleSubscribe{Count: count})
		s.expect(wire.Text{Text: "subscribed"})
		for i, want := range kept {
			if got := s.next().Payload.(wire.ConsoleLine).Line; got != want {
				t.Fatalf("count %d: line %d is %q, want %q", count, i, got, want)
			}
		}
	}
}

// TestStreamsThatBreak end with the connection of whoever reads them.
func TestStreamsThatBreak(t *testing.T) {
	r := newRig(t, albatrosstest.Options{StatsPeriod: 5 * time.Millisecond})
	r.create("web")
	for cn, command := range map[string]wire.Command{"web": wire.ConsoleSubscribe{Count: 100}, ".": wire.StatsSubscribe{}} {
		kind := wire.CommandName(command)
		r.Inject(albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 200, Times: 1, Command: kind})
		s := r.subscribe(cn, command)
		if _, err := io.Copy(io.Discard, s.Conn); err == nil {
			t.Errorf("%s ends properly", kind)
		}
		whole := r.subscribe(cn, command)
		whole.expect(wire.Text{Text: "subscribed"})
		if _, isFailure := whole.next().Payload.(wire.Failure); isFailure {
			t.Errorf("%s: the next one is refused", kind)
		}
	}
}

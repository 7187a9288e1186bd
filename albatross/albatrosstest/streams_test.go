package albatrosstest_test

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// subscription is a stream that stays open.
type subscription struct {
	*tls.Conn
	t testing.TB
}

func (r *rig) subscribe(cn string, command wire.Command) *subscription {
	r.t.Helper()
	conn, err := r.dial(r.request(cn), command)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &subscription{conn, r.t}
}

func (s *subscription) next() wire.Frame {
	s.t.Helper()
	frame, err := readFrame(s.Conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return frame
}

// skipTo reads console lines up to one.
func (s *subscription) skipTo(line string) {
	s.t.Helper()
	for {
		if got, ok := s.next().Payload.(wire.ConsoleLine); !ok || got.Line == line {
			return
		}
	}
}

func (s *subscription) expect(want wire.Payload) {
	s.t.Helper()
	got := s.next().Payload
	if line, ok := got.(wire.ConsoleLine); ok {
		line.Time = time.Time{}
		got = line
	}
	if got != want {
		s.t.Errorf("%+v, want %+v", got, want)
	}
}

// TestConsoleOverRecreation keeps both history and subscriber.
func TestConsoleOverRecreation(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	early := r.subscribe("web", wire.ConsoleSubscribe{Count: 0})
	early.expect(wire.Text{Text: "waiting for VM"})
	r.create("web", "--sim-print=one")
	early.skipTo("one")
	r.Print("alice:web", "by hand")
	early.expect(wire.ConsoleLine{Line: "by hand"})
	r.expect("destroyed unikernel", "web", wire.UnikernelDestroy{})
	early.expect(wire.ConsoleLine{Line: "solo5-hvt: Exiting on signal 15"})
	if got := r.ask(".", wire.ConsoleListInactive{}).(wire.Consoles); len(got.Names) != 1 || got.Names[0].String() != ":web" {
		t.Errorf("%+v", got)
	}
	late := r.subscribe("web", wire.ConsoleSubscribe{Count: 2})
	late.expect(wire.Text{Text: "subscribed"})
	late.expect(wire.ConsoleLine{Line: "by hand"})
	late.expect(wire.ConsoleLine{Line: "solo5-hvt: Exiting on signal 15"})
	r.create("web", "--sim-print=two")
	for _, s := range []*subscription{early, late} {
		s.skipTo("two")
	}
}

func TestConsoleEvictsOldest(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("web")
	var all []*subscription
	for range 6 {
		s := r.subscribe("web", wire.ConsoleSubscribe{})
		s.expect(wire.Text{Text: "subscribed"})
		all = append(all, s)
	}
	all[0].expect(wire.Failure{Text: "exception while reading from fd"})
	if _, err := readFrame(all[0].Conn); err == nil || err.Error() != "EOF" {
		t.Errorf("after the eviction: %v", err)
	}
	r.Print("alice:web", "hello")
	for _, s := range all[1:] {
		s.expect(wire.ConsoleLine{Line: "hello"})
	}
	// One that goes makes room.
	all[1].Close()
	eventually(t, "there is room again", func() bool {
		s := r.subscribe("web", wire.ConsoleSubscribe{})
		s.next()
		defer s.Close()
		r.Print("alice:web", "again")
		line := all[2].next().Payload
		_, ok := line.(wire.ConsoleLine)
		return ok
	})
}

func TestStatistics(t *testing.T) {
	r := newRig(t, albatrosstest.Options{StatsPeriod: 50 * time.Millisecond})
	c := config(standIn(t, "test", solo5.Device{Name: "net0", Type: solo5.Network}))
	c.Bridges = []wire.Bridge{{Name: "net0", HostDevice: new("service")}}
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	r.create("db")
	names := func(s *subscription) []string {
		s.expect(wire.Text{Text: "subscribed"})
		var all []string
		for range 4 {
			f := s.next()
			stats, ok := f.Payload.(wire.Stats)
			if !ok || stats.Memory == nil || stats.Memory.VirtualSize < 16<<20 || (f.Name.Label == "web") != (len(stats.Interfaces) == 1) {
				t.Errorf("%+v", f)
			}
			all = append(all, f.Name.String())
		}
		return all
	}
	if got := names(r.subscribe(".", wire.StatsSubscribe{})); !slices.Equal(got, []string{":web", ":db", ":web", ":db"}) {
		t.Errorf("below alice: %v", got)
	}
	if got := names(r.subscribe("db", wire.StatsSubscribe{})); !slices.Equal(got, []string{":db", ":db", ":db", ":db"}) {
		t.Errorf("db: %v", got)
	}
	r.domain = ""
	if got := names(r.subscribe(".", wire.StatsSubscribe{})); !slices.Equal(got, []string{"alice:web", "alice:db", "alice:web", "alice:db"}) {
		t.Errorf("all: %v", got)
	}
}

func TestStatisticsEvict(t *testing.T) {
	r := newRig(t, albatrosstest.Options{StatsPeriod: time.Hour})
	first := r.subscribe(".", wire.StatsSubscribe{})
	first.expect(wire.Text{Text: "subscribed"})
	other := r.subscribe("web", wire.StatsSubscribe{})
	other.expect(wire.Text{Text: "subscribed"})
	second := r.subscribe(".", wire.StatsSubscribe{})
	second.expect(wire.Text{Text: "subscribed"})
	first.expect(wire.Failure{Text: "exception while reading from fd"})
	for _, s := range []*subscription{other, second} {
		_ = s.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if f, err := readFrame(s.Conn); err == nil {
			t.Errorf("%+v", f)
		}
	}
}

package albatrosstest

import (
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

func (s *statsSubscriber) gone() bool {
	select {
	case <-s.evicted:
		return true
	default:
		return false
	}
}

// TestStatisticsSubscribers has one for a name: a path is not what has its name,
// and one that goes late does not take its successor along.
func TestStatisticsSubscribers(t *testing.T) {
	var s statistics
	path, thing, root := parsed("alice:"), parsed(":alice"), parsed(":")
	first, other, all := s.subscribe(path), s.subscribe(thing), s.subscribe(root)
	second := s.subscribe(path)
	if !first.gone() || second.gone() || other.gone() || all.gone() {
		t.Errorf("evicted: %v %v %v %v", first.gone(), second.gone(), other.gone(), all.gone())
	}
	s.unsubscribe(path, first)
	third := s.subscribe(path)
	if !second.gone() {
		t.Error("the second was forgotten with the first")
	}
	s.unsubscribe(path, third)
	s.unsubscribe(path, third)
	if s.subscribe(path); third.gone() || len(s.subs) != 3 {
		t.Errorf("one that has gone is evicted, or %d are left", len(s.subs))
	}
}

// TestMeasure names what runs relative to what was asked for, and has numbers
// that grow with time but never run backwards.
func TestMeasure(t *testing.T) {
	d := bare(t)
	now := time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC)
	d.options.Now = func() time.Time { return now }
	d.runs("a:web", wire.Arguments{Memory: 32, Bridges: []wire.Bridge{{Name: "net0"}, {Name: "net1"}}})
	d.runs("a:web:deep", wire.Arguments{Memory: 16})
	d.runs("b:web", wire.Arguments{Memory: 16})
	for _, m := range d.unikernels.list(nil) {
		m.value.started = now
	}
	for query, want := range map[string]string{"a:": ":web web:deep", "a:web": ":web", "a:web:": ":deep", ":": "b:web a:web a:web:deep", ":web": "", "a:w": "", "c:": ""} {
		var got string
		for _, s := range d.measure(parsed(query)) {
			got += " " + s.name.String()
		}
		if got != "" {
			got = got[1:]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	measure := func() wire.Stats { return d.measure(parsed("a:web"))[0].stats }
	atStart := measure()
	now = now.Add(100 * time.Second)
	later := measure()
	if got := later.Usage; got.UserTime != (wire.Timeval{Microseconds: 500_000}) || got.SystemTime != (wire.Timeval{Microseconds: 500_000}) || got.VoluntaryContextSwitches != 1000 {
		t.Errorf("after 100 s: %+v", got)
	}
	if len(later.Interfaces) != 2 || later.Interfaces[1].Bridge != "net1" || later.Interfaces[1].InputBytes != 6400 || atStart.Interfaces[1].InputBytes != 0 {
		t.Errorf("interfaces %+v", later.Interfaces)
	}
	if later.Memory.VirtualSize != 32<<20+tenderSize || later.Memory.Start != atStart.Memory.Start {
		t.Errorf("memory %+v", later.Memory)
	}
	now = now.Add(-time.Hour)
	if early := measure(); early.Usage.UserTime != (wire.Timeval{}) || early.Interfaces[0].InputPackets != 0 {
		t.Errorf("before its start: %+v", early)
	}
}

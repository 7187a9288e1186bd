package albatrosstest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// clock moves by a millisecond with every look.
func clock() func() time.Time {
	at := time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC)
	return func() time.Time {
		at = at.Add(time.Millisecond)
		return at
	}
}

func texts(lines []wire.ConsoleLine) []string {
	var all []string
	for _, l := range lines {
		all = append(all, l.Line)
	}
	return all
}

func TestConsoleHistory(t *testing.T) {
	c := consoles{now: clock()}
	web := parsed("alice:web")
	waiting, text := c.subscribe(web, wire.ConsoleSubscribe{Count: 5})
	if text != "waiting for VM" {
		t.Errorf("unknown: %q", text)
	}
	c.open(web)
	for i := range 10 {
		c.print(web, fmt.Sprint("line ", i))
	}
	if got := texts(c.read(waiting)); len(got) != 10 {
		t.Errorf("who waited has %q", got)
	}
	fifth := c.all.node(labels(web)).value.lines[5].Time
	for _, tt := range []struct {
		from wire.ConsoleSubscribe
		want int
	}{
		{wire.ConsoleSubscribe{Count: 3}, 3}, {wire.ConsoleSubscribe{Count: 0}, 0}, {wire.ConsoleSubscribe{Count: -1}, 0},
		{wire.ConsoleSubscribe{Count: 1 << 40}, 10}, {wire.ConsoleSubscribe{Since: &fifth}, 5},
		{wire.ConsoleSubscribe{Since: new(fifth.Add(time.Hour))}, 0}, {wire.ConsoleSubscribe{Since: new(fifth.Add(-time.Hour))}, 10},
	} {
		s, text := c.subscribe(web, tt.from)
		if got := c.read(s); len(got) != tt.want || text != "subscribed" {
			t.Errorf("%+v: %q %q", tt.from, text, texts(got))
		}
		c.print(web, "live")
		if got := texts(c.read(s)); !slices.Equal(got, []string{"live"}) {
			t.Errorf("%+v: then %q", tt.from, got)
		}
		c.unsubscribe(s)
		lines := c.all.node(labels(web)).value.lines
		c.all.node(labels(web)).value.lines = lines[:len(lines)-1]
	}
}

// TestConsoleOfPath is not that of the unikernel with the path's name.
func TestConsoleOfPath(t *testing.T) {
	c := consoles{now: clock()}
	c.open(parsed(":alice"))
	if _, text := c.subscribe(parsed("alice:"), wire.ConsoleSubscribe{}); text != "waiting for VM" {
		t.Errorf("%q", text)
	}
}

func TestConsoleRing(t *testing.T) {
	c := consoles{now: clock()}
	web := parsed("alice:web")
	c.open(web)
	slow, _ := c.subscribe(web, wire.ConsoleSubscribe{Count: 0})
	for i := range ringSize + 100 {
		c.print(web, fmt.Sprint("line ", i))
	}
	got := texts(c.read(slow))
	if len(got) != ringSize || got[0] != "line 100" || got[ringSize-1] != fmt.Sprint("line ", ringSize+99) {
		t.Errorf("%d lines from %q to %q", len(got), got[0], got[len(got)-1])
	}
}

func TestConsoleEviction(t *testing.T) {
	c := consoles{now: clock()}
	web := parsed("alice:web")
	c.open(web)
	var all []*subscriber
	for range maxSubscribers + 1 {
		s, _ := c.subscribe(web, wire.ConsoleSubscribe{})
		all = append(all, s)
	}
	for i, s := range all {
		select {
		case <-s.evicted:
			if i != 0 {
				t.Errorf("subscriber %d is evicted", i)
			}
		default:
			if i == 0 {
				t.Error("the oldest is not evicted")
			}
		}
		c.unsubscribe(s)
	}
}

func TestConsolesInactive(t *testing.T) {
	c := consoles{now: clock()}
	for _, name := range []string{"a:web", "a:db", "a:sub:x", "b:web"} {
		c.open(parsed(name))
		c.close(parsed(name))
	}
	c.open(parsed("a:db"))
	waiting, _ := c.subscribe(parsed("a:never"), wire.ConsoleSubscribe{})
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"a:", []string{":web", "sub:x"}}, {":", []string{"b:web", "a:web", "a:sub:x"}}, {"a:web", []string{"a:web"}}, {"a:db", nil}, {"a:never", nil}, {"c:", nil},
	} {
		var got []string
		for _, n := range c.inactive(parsed(tt.name)) {
			got = append(got, n.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	c.unsubscribe(waiting)
	if c.all.node([]string{"a", "never"}) != nil {
		t.Error("a console that never was is kept")
	}
}

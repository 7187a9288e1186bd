package albatross_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
)

// nextLine waits for a line that contains something, among the last count ones
// and those to come.
func nextLine(t *testing.T, p *place, label string, count int64, contains string) albatross.ConsoleLine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for line, err := range p.client.Console(ctx, p.scope, label, albatross.ConsoleOptions{Count: count}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line.Line, contains) {
			return line
		}
	}
	t.Fatalf("the console of %s ended without an error", label)
	return albatross.ConsoleLine{}
}

func testConsole(t *testing.T, p *place) {
	p.create(t, "web", p.config("hello", "world"))
	history := nextLine(t, p, "web", 100, "test_tick cmdline")
	if !strings.Contains(history.Line, "hello world") {
		t.Errorf("%q", history.Line)
	}
	if first := nextLine(t, p, "web", 0, "tick"); first.Line == history.Line || first.Time.Before(history.Time) {
		t.Errorf("without history the first line is %+v", first)
	}
	var ticks []string
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for line, err := range p.client.Console(ctx, p.scope, "web", albatross.ConsoleOptions{Count: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line.Line, "tick ") {
			ticks = append(ticks, line.Line)
		}
		if len(ticks) == 2 {
			break // ends when the caller has enough
		}
	}
	if want := []string{"tick 1", "tick 2"}; !slices.Equal(ticks, want) {
		t.Errorf("%q", ticks)
	}
}

func testConsoleSince(t *testing.T, p *place) {
	p.create(t, "web", p.config())
	tick := nextLine(t, p, "web", 100, "tick 1")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for line, err := range p.client.Console(ctx, p.scope, "web", albatross.ConsoleOptions{Since: &tick.Time}) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Time.Before(tick.Time) || !strings.HasPrefix(line.Line, "tick ") {
			t.Errorf("since %v: %+v", tick.Time, line)
		}
		break
	}
}

func testConsoleEnds(t *testing.T, p *place) {
	p.create(t, "web", p.config())
	gone := errors.New("the viewer left")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	lines := 0
	var last error
	for _, err := range p.client.Console(ctx, p.scope, "web", albatross.ConsoleOptions{Count: 5}) {
		if last = err; err == nil {
			lines++
			cancel(gone)
		}
	}
	_ = wantKind(t, last, albatross.ErrTimeout)
	if !errors.Is(last, context.Canceled) || !errors.Is(last, gone) || lines == 0 {
		t.Errorf("after %d lines: %v", lines, last)
	}
	p.destroy(t, "web")
	// The console outlives its unikernel.
	nextLine(t, p, "web", 100, "test_tick cmdline")
}

func testConsoleWaits(t *testing.T, p *place) {
	lines := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		for line, err := range p.client.Console(ctx, p.scope, "later", albatross.ConsoleOptions{Count: 100}) {
			if err == nil && line.Line == "" {
				err = fmt.Errorf("an empty line: %+v", line)
			}
			lines <- err
			return
		}
	}()
	// Whether the console or the unikernel is first does not matter here.
	p.create(t, "later", p.config())
	if err := <-lines; err != nil {
		t.Error(err)
	}
}

func testInactiveConsoles(t *testing.T, p *place) {
	p.create(t, "web", p.config())
	if names, err := p.client.InactiveConsoles(t.Context(), p.scope); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	p.destroy(t, "web")
	eventually(t, "console is listed as inactive", func() bool {
		names, err := p.client.InactiveConsoles(t.Context(), p.scope)
		if err != nil {
			t.Fatal(err)
		}
		return len(names) == 1 && names[0].String() == p.tenant+":web"
	})
}

// testStatistics takes up to a period of the host's, which is 10 s on a real one.
func testStatistics(t *testing.T, p *place) {
	if testing.Short() && p.host.images != "" {
		t.Skip("a real host takes 10 s for statistics; this is a short run")
	}
	before := time.Now()
	p.create(t, "web", p.config())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for sample, err := range p.client.Statistics(ctx, p.scope) {
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sample.Name.String(), p.tenant+":web"; got != want {
			t.Errorf("name %s, want %s", got, want)
		}
		if sample.Stats.Memory == nil || sample.Stats.Memory.VirtualSize <= 16*mib {
			t.Errorf("after %v: %+v", time.Since(before), sample.Stats)
		}
		break
	}
}

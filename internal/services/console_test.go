package services_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/internal/services"
)

// collector reads a console.
type collector struct {
	mu    sync.Mutex
	lines []string
	err   error
	done  chan struct{}
}

func (w *world) collect(ctx context.Context, name string) *collector {
	w.Helper()
	view, err := w.Console(ctx, w.user, w.instance, name)
	if err != nil {
		w.Fatal(err)
	}
	c := &collector{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for line, err := range view {
			c.mu.Lock()
			if c.err = err; err == nil {
				c.lines = append(c.lines, line.Text)
			}
			c.mu.Unlock()
		}
	}()
	return c
}

func (c *collector) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

// state says how far it has come.
func (c *collector) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d lines, %v, the last %q", len(c.lines), c.err, c.lines[max(0, len(c.lines)-3):])
}

func (c *collector) has(n int) func() bool { return func() bool { return len(c.all()) >= n } }

func TestConsoleOverCuts(t *testing.T) {
	w := newWorld(t)
	w.mustRun("web")
	name := w.hostName("web")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	printed := 0
	say := func(n int) {
		for range n {
			w.host.Print(name, fmt.Sprintf("line %d", printed))
			printed++
		}
	}
	history := len(w.host.Console(name))
	say(10)
	first, second := w.collect(ctx, "web"), w.collect(ctx, "web")
	eventually(t, "history", first.has(history+10))
	for range 3 {
		lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse}) // cuts what is connected
		say(20)
		lift()
		say(20)
		eventually(t, "all after a cut", first.has(history+printed))
	}
	eventually(t, "the other has all too", second.has(history+printed))
	if consoles, viewers := w.Following(); consoles != 1 || viewers != 2 {
		t.Errorf("%d consoles, %d viewers", consoles, viewers)
	}
	cancel()
	for _, c := range []*collector{first, second} {
		<-c.done
		got, want := c.all(), w.host.Console(name)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	eventually(t, "nobody follows", func() bool { consoles, _ := w.Following(); return consoles == 0 })
}

func TestConsolesOfWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	_, err := w.Console(t.Context(), w.user, w.instance, "never")
	if !is[*services.NotFound](err) {
		t.Errorf("%v", err)
	}
	if _, err := w.Console(t.Context(), w.user, "nowhere", "web"); !is[*services.NotFound](err) {
		t.Errorf("%v", err)
	}
	// A console outlives its unikernel.
	w.mustRun("web")
	w.host.Print(w.hostName("web"), "last words")
	if err := w.DestroyUnikernel(t.Context(), w.user, w.instance, "web"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := w.collect(ctx, "web")
	eventually(t, "history of what is gone", func() bool { return slices.Contains(c.all(), "last words") })
	cancel()
	<-c.done
	if n := w.host.Received("console subscribe", w.hostName("web")); n != 1 {
		t.Errorf("subscribed %d times", n)
	}
}

func TestFiveHundredViewers(t *testing.T) {
	w := newWorld(t)
	w.mustRun("web")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all := make([]*collector, 500)
	for i := range all {
		all[i] = w.collect(ctx, "web")
	}
	const lines = 200
	history := len(w.host.Console(w.hostName("web")))
	eventually(t, "it is subscribed", all[0].has(history))
	for n := range lines {
		w.host.Print(w.hostName("web"), fmt.Sprintf("line %d", n))
		if n%20 == 0 {
			time.Sleep(time.Millisecond) // it is a console, not a flood
		}
	}
	want := fmt.Sprint(w.host.Console(w.hostName("web")))
	for i, c := range all {
		w.wait(fmt.Sprintf("viewer %d has %d lines", i, history+lines), func() (bool, string) {
			return c.has(history + lines)(), c.state()
		})
		if got := fmt.Sprint(c.all()); got != want {
			t.Fatalf("viewer %d got %s, want %s", i, got, want)
		}
	}
	if n := w.host.Received("console subscribe", w.hostName("web")); n != 1 {
		t.Errorf("subscribed %d times", n)
	}
	cancel()
	for _, c := range all {
		<-c.done
	}
}

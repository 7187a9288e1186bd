package services_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mollymawk.dev/operator/internal/services"
)

// script is an upstream that emits what a test wants.
type script struct {
	emit  chan services.Line
	fail  chan error
	mu    sync.Mutex
	begun int
}

func newScript() *script { return &script{emit: make(chan services.Line), fail: make(chan error)} }

func (s *script) follow(ctx context.Context, emit func(services.Line)) error {
	s.mu.Lock()
	s.begun++
	s.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.fail:
			return err
		case line := <-s.emit:
			emit(line)
		}
	}
}

func (s *script) print(n int) { s.emit <- services.Line{Text: strconv.Itoa(n)} }

func (s *script) subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

func TestHubGivesEveryLineOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const viewers, lines = 500, 900
	upstream := newScript()
	hub := services.NewHub(upstream.follow, 1, viewers)
	defer hub.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var done sync.WaitGroup
	problems := make(chan string, viewers)
	for range viewers {
		view, err := hub.View(ctx, "web")
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			next := 0
			for line, err := range view {
				if err != nil || line.Text != strconv.Itoa(next) {
					problems <- fmt.Sprintf("line %d is %q, %v", next, line.Text, err)
					return
				}
				if next++; next == lines {
					return
				}
			}
			problems <- fmt.Sprintf("ended after %d lines", next)
		})
	}
	for n := range lines {
		upstream.print(n)
	}
	done.Wait()
	close(problems)
	for problem := range problems {
		t.Error(problem)
	}
	if n := upstream.subscriptions(); n != 1 {
		t.Errorf("%d subscriptions", n)
	}
	if hub.Consoles() != 0 || hub.Viewers() != 0 {
		t.Errorf("%d consoles and %d viewers are left", hub.Consoles(), hub.Viewers())
	}
}

func TestHubGivesHistory(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	upstream := newScript()
	hub := services.NewHub(upstream.follow, 1, 10)
	defer hub.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, err := hub.View(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	const printed = 100
	go func() {
		for n := range printed {
			upstream.print(n)
		}
	}()
	seen := 0
	for _, err := range first {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == printed {
			break // the console is gone when its only viewer leaves, so the other comes before
		}
		if seen == printed-1 {
			second, err := hub.View(ctx, "web")
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				want := -1
				for line := range second {
					n, _ := strconv.Atoi(line.Text)
					if want < 0 {
						want = n
						if n < printed-1-services.HistoryLines || n > printed-services.HistoryLines {
							t.Errorf("the history begins with line %d", n)
						}
					}
					if n != want {
						t.Errorf("line %d instead of %d", n, want)
					}
					if want++; n == printed-1 {
						break
					}
				}
			}()
		}
	}
}

func TestHubDropsTheSlow(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	upstream := newScript()
	hub := services.NewHub(upstream.follow, 1, 10)
	defer hub.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow, err := hub.View(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	for n := range services.KeptLines + 1 { // nobody reads, and nobody is waited for
		upstream.print(n)
	}
	upstream.print(0) // so the one before was kept
	for _, err = range slow {
		break
	}
	if !errors.Is(err, services.ErrTooSlow) {
		t.Errorf("%v", err)
	}
}

func TestHubEnds(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	upstream := newScript()
	hub := services.NewHub(upstream.follow, 1, 2)
	ctx, cancel := context.WithCancel(t.Context())
	never, err := hub.View(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.View(ctx, "other"); !errors.Is(err, services.ErrBusy) {
		t.Errorf("a second console: %v", err)
	}
	failing, err := hub.View(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.View(ctx, "web"); !errors.Is(err, services.ErrBusy) {
		t.Errorf("a third viewer: %v", err)
	}
	refusal := errors.New("refused")
	upstream.fail <- refusal
	if err := lastError(failing); !errors.Is(err, refusal) {
		t.Errorf("ended with %v", err)
	}
	cancel() // one who never read
	eventually(t, "nobody views", func() bool { return hub.Viewers() == 0 && hub.Consoles() == 0 })
	for range never {
		t.Error("a line after the end")
	}
	// The next viewer begins anew; closing ends it.
	again, err := hub.View(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	hub.Close()
	if lastError(again) == nil {
		t.Error("ended without an error")
	}
	if _, err := hub.View(t.Context(), "web"); err == nil {
		t.Error("viewed after the end")
	}
	if n := upstream.subscriptions(); n != 2 {
		t.Errorf("%d subscriptions", n)
	}
}

// lastError reads a console to its end.
func lastError(view iter.Seq2[services.Line, error]) (err error) {
	for _, e := range view {
		err = e
	}
	return err
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestTail(t *testing.T) {
	at := func(ms int, text string) services.Line {
		return services.Line{Time: time.UnixMilli(int64(1000 + ms)), Text: text}
	}
	for _, test := range []struct {
		name               string
		before, again, new []services.Line
	}{
		{"same time", []services.Line{at(0, "a"), at(5, "b"), at(5, "c")}, []services.Line{at(5, "b"), at(5, "c"), at(5, "d")}, []services.Line{at(5, "d")}},
		{"same text", []services.Line{at(5, "b"), at(5, "b")}, []services.Line{at(5, "b"), at(5, "b"), at(5, "b")}, []services.Line{at(5, "b")}},
		{"inclusive", []services.Line{at(4, "a"), at(5, "b")}, []services.Line{at(4, "a"), at(5, "b"), at(6, "c")}, []services.Line{at(6, "c")}},
		{"exclusive", []services.Line{at(4, "a"), at(5, "b")}, []services.Line{at(5, "b"), at(6, "c")}, []services.Line{at(6, "c")}},
		{"nothing kept", []services.Line{at(5, "b")}, []services.Line{at(9, "x"), at(9, "b")}, []services.Line{at(9, "x"), at(9, "b")}},
		{"clock set back", []services.Line{at(900, "a")}, []services.Line{at(5, "b")}, []services.Line{at(5, "b")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen services.Tail
			for _, line := range test.before {
				if !seen.IsNew(line) {
					t.Errorf("%v is not new", line)
				}
			}
			seen.Replay()
			var fresh []services.Line
			for _, line := range test.again {
				if seen.IsNew(line) {
					fresh = append(fresh, line)
				}
			}
			if fmt.Sprint(fresh) != fmt.Sprint(test.new) {
				t.Errorf("new are %v", fresh)
			}
		})
	}
}

func BenchmarkHub500Viewers(b *testing.B) {
	const viewers = 500
	upstream := newScript()
	hub := services.NewHub(upstream.follow, 1, viewers)
	defer hub.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var done sync.WaitGroup
	round := make([]chan struct{}, viewers)
	for i := range viewers {
		view, err := hub.View(ctx, "web")
		if err != nil {
			b.Fatal(err)
		}
		round[i] = make(chan struct{}, services.KeptLines)
		done.Go(func() {
			for range view {
				round[i] <- struct{}{}
			}
		})
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		upstream.print(n)
		n++
		for _, seen := range round {
			<-seen
		}
	}
	b.ReportMetric(float64(viewers*b.N)/b.Elapsed().Seconds(), "lines/s")
	cancel()
	done.Wait()
}

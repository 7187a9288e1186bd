package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startFetcher runs one to the end of the test.
func startFetcher(t *testing.T, s *Store, options Options) *Fetcher {
	t.Helper()
	f := NewFetcher(s, options, func(string) {})
	run(t, f)
	return f
}

func run(t *testing.T, f *Fetcher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "it runs", func() bool {
		f.fetches.mu.Lock()
		defer f.fetches.mu.Unlock()
		return f.fetches.run != nil
	})
	return stop
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// sleepers counts who was woken how often.
type sleepers struct {
	mu    sync.Mutex
	woken map[string]int
}

func (s *sleepers) wake(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken == nil {
		s.woken = map[string]int{}
	}
	s.woken[key]++
}

func (s *sleepers) count() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.woken)
}

// kitchen is a server that answers a path with its name, once it may.
type kitchen struct {
	mu       sync.Mutex
	requests map[string]int
	open     chan struct{}
	// now and most count requests at a time.
	now  atomic.Int32
	most int32
	url  string
}

func newKitchen(t *testing.T) *kitchen {
	k := &kitchen{requests: map[string]int{}, open: make(chan struct{})}
	k.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		k.requests[r.URL.Path]++
		k.most = max(k.most, k.now.Add(1))
		k.mu.Unlock()
		defer k.now.Add(-1)
		select {
		case <-k.open:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}).URL
	return k
}

func (k *kitchen) source(path string) Source { return at(k.url+path, digestOf(path)) }

func (k *kitchen) asked(path string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.requests[path]
}

func inProgress(t *testing.T, f *Fetcher, key string, source Source) {
	t.Helper()
	if _, err := f.Get(t.Context(), key, source, 0); !errors.Is(err, ErrInProgress) || Permanent(err) {
		t.Fatalf("%s: %v, want that it is in progress", key, err)
	}
}

func TestOneFetchForMany(t *testing.T) {
	k, told := newKitchen(t), &sleepers{}
	f := NewFetcher(newStore(t, t.TempDir()), Options{Egress: loopback}, told.wake)
	run(t, f)
	want := map[string]int{}
	for i := range 50 {
		key := fmt.Sprint("k", i%40) // some ask twice
		inProgress(t, f, key, k.source("/a"))
		want[key] = 1
	}
	patient := make(chan error)
	for i := range 10 {
		go func() {
			blob, err := f.Get(t.Context(), fmt.Sprint("patient", i), k.source("/a"), time.Hour)
			if err == nil && blob.Digest != digestOf("/a") {
				err = errors.New("another image")
			}
			patient <- err
		}()
	}
	if told.count() != nil {
		t.Errorf("woken too early: %v", told.count())
	}
	close(k.open)
	for range 10 {
		if err := <-patient; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "all are woken", func() bool { return reflect.DeepEqual(told.count(), want) })
	for i := range 50 {
		if _, err := f.Get(t.Context(), fmt.Sprint("k", i), k.source("/a"), 0); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	if k.asked("/a") != 1 || !reflect.DeepEqual(told.count(), want) {
		t.Errorf("%d requests; woken %v", k.asked("/a"), told.count())
	}
	if len(f.fetches.all) != 0 {
		t.Errorf("%d jobs are left", len(f.fetches.all))
	}
}

func TestBeforeStart(t *testing.T) {
	k, told := newKitchen(t), &sleepers{}
	close(k.open)
	f := NewFetcher(newStore(t, t.TempDir()), Options{Egress: loopback}, told.wake)
	if !f.NeedLeaderElection() {
		t.Error("runs beside a leader")
	}
	inProgress(t, f, "early", k.source("/a"))
	if k.asked("/a") != 0 {
		t.Error("fetched before the start")
	}
	run(t, f)
	eventually(t, "who asked before is woken", func() bool { return reflect.DeepEqual(told.count(), map[string]int{"early": 1}) })
	if _, err := f.Get(t.Context(), "early", k.source("/a"), 0); err != nil {
		t.Error(err)
	}
}

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time           { return time.Unix(c.at.Load(), 0) }
func (c *clock) advance(by time.Duration) { c.at.Add(int64(by / time.Second)) }

func TestFailuresAreRememberedForAPause(t *testing.T) {
	var requests atomic.Int32
	broken := true
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		if broken {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, "content")
	})
	var c clock
	f := startFetcher(t, newStore(t, t.TempDir()), Options{Egress: loopback, Now: c.now})
	source := at(server.URL, digestOf("content"))
	if got := f.RetryAfter(source); got != 0 {
		t.Errorf("before the first attempt: %v", got)
	}
	for i, pause := range []time.Duration{10, 20, 40, 80, 160, 300, 300, 300} {
		pause *= time.Second
		for range 3 {
			_, err := f.Get(t.Context(), "key", source, time.Minute)
			if err == nil || err.Error() != server.URL+": the server answered with status 502" {
				t.Fatalf("attempt %d: %v", i, err)
			}
			if got := f.RetryAfter(source); got != pause {
				t.Errorf("attempt %d: again after %v, want %v", i, got, pause)
			}
		}
		c.advance(pause - time.Second)
		if _, err := f.Get(t.Context(), "key", source, 0); err == nil || errors.Is(err, ErrInProgress) || int(requests.Load()) != i+1 {
			t.Errorf("attempt %d: %v and %d requests before the pause is over", i, err, requests.Load())
		}
		c.advance(time.Second)
		if got := f.RetryAfter(source); got != 0 {
			t.Errorf("attempt %d: again after %v when the pause is over", i, got)
		}
	}
	broken = false
	if _, err := f.Get(t.Context(), "key", source, time.Minute); err != nil {
		t.Errorf("mended: %v", err)
	}
	if got := f.RetryAfter(source); got != 0 || len(f.fetches.all) != 0 {
		t.Errorf("mended: again after %v, %d jobs", got, len(f.fetches.all))
	}
}

func TestOldFailuresAreForgotten(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	var c clock
	f := startFetcher(t, newStore(t, t.TempDir()), Options{Egress: loopback, Now: c.now})
	for i := range 100 {
		source := at(fmt.Sprint(server.URL, "/", i), digestOf("content"))
		if _, err := f.Get(t.Context(), "key", source, time.Minute); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		c.advance(time.Minute)
	}
	if len(f.fetches.all) > 10 {
		t.Errorf("%d failures are kept", len(f.fetches.all))
	}
}

func TestWhoGivesUpIsNotWoken(t *testing.T) {
	k, told := newKitchen(t), &sleepers{}
	f := NewFetcher(newStore(t, t.TempDir()), Options{Egress: loopback}, told.wake)
	run(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := f.Get(ctx, "gone", k.source("/a"), time.Hour)
		gaveUp <- err
	}()
	eventually(t, "it is being fetched", func() bool { return k.asked("/a") == 1 })
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	inProgress(t, f, "waits", k.source("/a")) // the fetch went on
	close(k.open)
	eventually(t, "the other is woken", func() bool { return len(told.count()) > 0 })
	if want := map[string]int{"waits": 1}; !reflect.DeepEqual(told.count(), want) || k.asked("/a") != 1 {
		t.Errorf("woken %v, %d requests", told.count(), k.asked("/a"))
	}
}

func TestFailuresWakeToo(t *testing.T) {
	release := make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.WriteHeader(http.StatusNotFound)
	})
	told := &sleepers{}
	f := NewFetcher(newStore(t, t.TempDir()), Options{Egress: loopback}, told.wake)
	run(t, f)
	inProgress(t, f, "key", at(server.URL, digestOf("x")))
	close(release)
	eventually(t, "it is woken", func() bool { return told.count()["key"] == 1 })
	if _, err := f.Get(t.Context(), "key", at(server.URL, digestOf("x")), time.Minute); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestFewAtATime(t *testing.T) {
	k, told := newKitchen(t), &sleepers{}
	f := NewFetcher(newStore(t, t.TempDir()), Options{Egress: loopback, Parallel: 2}, told.wake)
	run(t, f)
	const images = 9
	for i := range images {
		inProgress(t, f, fmt.Sprint(i), k.source(fmt.Sprint("/", i)))
	}
	eventually(t, "two are being fetched", func() bool { return k.now.Load() == 2 })
	close(k.open)
	eventually(t, "all are woken", func() bool { return len(told.count()) == images })
	if k.most != 2 {
		t.Errorf("%d at a time", k.most)
	}
}

// What is on the disk does not wait for servers that are slow.
func TestAtHandIsAtHand(t *testing.T) {
	k := newKitchen(t)
	dir := t.TempDir()
	put(t, newStore(t, dir), "/old")
	s := newStore(t, dir)
	f := startFetcher(t, s, Options{Egress: loopback, Parallel: 1})
	if err := s.Grant(t.Context(), digestOf("/old"), k.source("/old").provenance()); err != nil {
		t.Fatal(err)
	}
	inProgress(t, f, "key", k.source("/slow"))
	eventually(t, "it is being fetched", func() bool { return k.asked("/slow") == 1 })
	blob, err := f.Get(t.Context(), "key", k.source("/old"), time.Minute)
	if err != nil || contentOf(t, blob) != "/old" || k.asked("/old") != 0 {
		t.Errorf("%v; %d requests", err, k.asked("/old"))
	}
	close(k.open)
}

// lose removes content behind the store's back.
func lose(t *testing.T, dir, digest string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == digest && !entry.IsDir() {
			err = os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What disappeared from the disk is fetched again.
func TestFetchedAgain(t *testing.T) {
	k := newKitchen(t)
	close(k.open)
	dir := t.TempDir()
	f := startFetcher(t, newStore(t, dir), Options{Egress: loopback})
	for i := range 2 {
		if _, err := f.Get(t.Context(), "key", k.source("/a"), time.Minute); err != nil || k.asked("/a") != i+1 {
			t.Fatalf("%v; %d requests", err, k.asked("/a"))
		}
		lose(t, dir, digestOf("/a"))
	}
}

func TestEndOfStart(t *testing.T) {
	k, told := newKitchen(t), &sleepers{}
	f := NewFetcher(newStore(t, t.TempDir()), Options{Egress: loopback, Parallel: 1}, told.wake)
	stop := run(t, f)
	inProgress(t, f, "fetched", k.source("/a"))
	eventually(t, "it is being fetched", func() bool { return k.asked("/a") == 1 })
	waiting := make(chan error)
	go func() {
		_, err := f.Get(t.Context(), "in line", k.source("/b"), time.Hour)
		waiting <- err
	}()
	eventually(t, "another stands in line", func() bool {
		f.fetches.mu.Lock()
		defer f.fetches.mu.Unlock()
		return len(f.fetches.all) == 2
	})
	stop()
	if err := <-waiting; !errors.Is(err, errStopping) || Permanent(err) {
		t.Errorf("in line: %v", err)
	}
	if _, err := f.Get(t.Context(), "late", k.source("/c"), time.Hour); !errors.Is(err, errStopping) {
		t.Errorf("too late: %v", err)
	}
	if k.asked("/b") != 0 || k.asked("/c") != 0 {
		t.Error("something was begun at the end")
	}
}

func TestNoDigestNoRequest(t *testing.T) {
	k := newKitchen(t)
	f := startFetcher(t, newStore(t, t.TempDir()), Options{Egress: loopback})
	for _, digest := range []string{"", "../x", "sha256:" + digestOf("/a")} {
		if _, err := f.Get(t.Context(), "key", at(k.url+"/a", digest), time.Minute); !errors.Is(err, ErrInvalid) || !Permanent(err) {
			t.Errorf("%q: %v", digest, err)
		}
	}
	if k.asked("/a") != 0 {
		t.Error("it was asked nevertheless")
	}
}

func TestPermanent(t *testing.T) {
	for err, want := range map[error]bool{
		ErrNotFound: true, ErrForbidden: true, ErrDigestMismatch: true, ErrTooLarge: true, ErrInvalid: true,
		ErrInProgress: false, errStopping: false, errIdle: false, io.ErrUnexpectedEOF: false, context.DeadlineExceeded: false,
	} {
		if Permanent(err) != want || Permanent(fmt.Errorf("h: %w", err)) != want {
			t.Errorf("%v: permanent is not %v", err, want)
		}
	}
	if Permanent(nil) {
		t.Error("no error is permanent")
	}
}

func TestDefaults(t *testing.T) {
	f := NewFetcher(nil, Options{}, nil)
	o := f.options
	if o.MaxSize != DefaultMaxSize || o.Parallel != DefaultParallel || o.Deadline != DefaultDeadline || o.IdleTimeout != DefaultIdleTimeout || o.Now == nil {
		t.Errorf("%+v", o)
	}
}

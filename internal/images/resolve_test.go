package images

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// newTimed makes a fetcher whose clock the test moves.
func newTimed(t *testing.T, dir string, wake func(string)) (*Fetcher, *clock) {
	c := &clock{}
	options := quickly()
	options.Now = c.now
	f := NewFetcher(newStore(t, dir), options, wake)
	run(t, f)
	return f, c
}

func TestOneAnswerForMany(t *testing.T) {
	h, told := newHub(t, "", true), &sleepers{}
	manifest := h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	open := make(chan struct{})
	h.meanwhile(func(http.ResponseWriter, *http.Request) bool {
		<-open
		return false
	})
	f, c := newTimed(t, t.TempDir(), told.wake)
	source := h.source("r/hello:1")
	want := map[string]int{}
	for i := range 50 {
		key := fmt.Sprint("k", i)
		source.Namespace = key // makes no difference
		if _, err := f.Resolve(t.Context(), key, source, c.now(), 0); !errors.Is(err, ErrInProgress) {
			t.Fatal(err)
		}
		want[key] = 1
	}
	close(open)
	eventually(t, "all are woken", func() bool { return reflect.DeepEqual(told.count(), want) })
	first := c.now()
	c.advance(time.Hour)
	for _, key := range []string{"a", "b"} {
		source.Namespace = key
		resolved, err := f.Resolve(t.Context(), "late", source, first, 0)
		if err != nil || !resolved.FoundAt.Equal(first) || resolved.Source.Namespace != key || resolved.Version != "1@"+manifest.digest() {
			t.Errorf("the answer of before: %+v, %v", resolved, err)
		}
	}
	if n := h.asked("/manifests/"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// What was good enough for them is not so for one who wants to know what is now.
	newer := h.push(t, "r/hello:1", file{"a newer image", unikernelType, ""})
	resolved, err := f.Resolve(t.Context(), "late", source, first.Add(time.Second), time.Minute)
	if err != nil || resolved.Version != "1@"+newer.digest() || !resolved.FoundAt.Equal(c.now()) || h.asked("/manifests/") != 2 {
		t.Errorf("now: %+v, %v", resolved, err)
	}
	// Nobody can want to know what will be.
	if _, err := f.Resolve(t.Context(), "early", source, c.now().Add(time.Hour), time.Minute); err != nil || h.asked("/manifests/") != 2 {
		t.Errorf("later: %v", err)
	}
}

// A question that was asked before does not answer one that came later.
func TestQuestionsUnderWay(t *testing.T) {
	h := newHub(t, "", true)
	h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	open := make(chan struct{})
	h.meanwhile(func(http.ResponseWriter, *http.Request) bool {
		<-open
		return false
	})
	f, c := newTimed(t, t.TempDir(), func(string) {})
	source := h.source("r/hello:1")
	if _, err := f.Resolve(t.Context(), "key", source, c.now(), 0); !errors.Is(err, ErrInProgress) {
		t.Fatal(err)
	}
	c.advance(time.Minute)
	answered := make(chan Resolved)
	go func() {
		resolved, err := f.Resolve(t.Context(), "key", source, c.now(), time.Minute)
		if err != nil {
			t.Error(err)
		}
		answered <- resolved
	}()
	close(open)
	if resolved := <-answered; !resolved.FoundAt.Equal(c.now()) || h.asked("/manifests/") != 2 {
		t.Errorf("%+v after %q", resolved, h.seen())
	}
}

func TestAnswersThatFail(t *testing.T) {
	h := newHub(t, "", true)
	f, c := newTimed(t, t.TempDir(), func(string) {})
	source := h.source("r/hello:1")
	for i, pause := range []time.Duration{10, 20, 40} {
		pause *= time.Second
		for range 3 {
			if _, err := f.Resolve(t.Context(), "key", source, c.now(), time.Minute); !errors.Is(err, ErrNotFound) || h.asked("/manifests/") != i+1 {
				t.Fatalf("attempt %d: %v after %d", i, err, h.asked("/manifests/"))
			}
		}
		if got := f.RetryAfter(source); got != pause {
			t.Errorf("attempt %d: again after %v, want %v", i, got, pause)
		}
		c.advance(pause)
	}
	h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	if _, err := f.Resolve(t.Context(), "key", source, c.now(), time.Minute); err != nil || f.RetryAfter(source) != 0 {
		t.Errorf("mended: %v, again after %v", err, f.RetryAfter(source))
	}
	// A failure after a success begins with the shortest pause again.
	h.meanwhile(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	c.advance(time.Second)
	if _, err := f.Resolve(t.Context(), "key", source, c.now(), time.Minute); err == nil || f.RetryAfter(source) != firstPause {
		t.Errorf("broken again: %v, again after %v", err, f.RetryAfter(source))
	}
}

func TestOldAnswersAreForgotten(t *testing.T) {
	h := newHub(t, "", true)
	h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	f, c := newTimed(t, t.TempDir(), func(string) {})
	kept := h.source("r/hello:1")
	begin := c.now()
	for i := range 48 {
		source := kept
		source.OCI.Username = fmt.Sprint("user", i) // each another source
		for _, s := range []Source{source, kept} {
			if _, err := f.Resolve(t.Context(), "key", s, begin, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		c.advance(time.Hour)
	}
	if n := len(f.answers.all); n < 20 || n > 30 {
		t.Errorf("%d answers are kept", n)
	}
	if _, err := f.Resolve(t.Context(), "key", kept, begin, 0); err != nil {
		t.Errorf("one that is wanted: %v", err)
	}
}

func TestResolveAtTheEnd(t *testing.T) {
	h := newHub(t, "", true)
	f := NewFetcher(newStore(t, t.TempDir()), quickly(), func(string) {})
	if _, err := f.Resolve(t.Context(), "early", h.source("r/hello:1"), time.Now(), 0); !errors.Is(err, ErrInProgress) || len(h.seen()) != 0 {
		t.Errorf("before the start: %v", err)
	}
	stop := run(t, f)
	eventually(t, "it is asked", func() bool { return h.asked("/manifests/") == 1 })
	stop()
	if _, err := f.Resolve(t.Context(), "late", h.source("r/hello:2"), time.Now(), time.Minute); !errors.Is(err, errStopping) {
		t.Errorf("too late: %v", err)
	}
}

// Knowing a digest gives nobody the content.
func TestContentIsForThoseWhoseSourceDelivered(t *testing.T) {
	h := newHub(t, "basic", true)
	h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	empty := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	f, c := newTimed(t, t.TempDir(), func(string) {})
	mine := h.source("r/hello:1")
	mine.OCI.Username, mine.OCI.Password, mine.SHA256, mine.Namespace = user, password, digestOf("the image"), "mine"
	if _, err := f.Get(t.Context(), "key", mine, time.Minute); err != nil {
		t.Fatal(err)
	}
	asked := len(h.seen())
	for i, source := range []Source{mine, mine} {
		source.Namespace = fmt.Sprint("other", i) // who has the same credentials may have the same
		if _, err := f.Get(t.Context(), "key", source, 0); err != nil || len(h.seen()) != asked {
			t.Errorf("the same source: %v", err)
		}
	}
	stranger := mine
	stranger.OCI.Username, stranger.OCI.Password = "stranger", "guess"
	anonymous := mine
	anonymous.OCI = anonymous.OCI.WithCredentials(Credentials{})
	for want, sources := range map[error][]Source{
		ErrForbidden: {stranger, anonymous},
		ErrNotFound:  {at(empty.URL, mine.SHA256), {Stored: true, Namespace: "mine", SHA256: mine.SHA256}},
	} {
		for _, source := range sources {
			if _, err := f.Get(t.Context(), "key", source, time.Minute); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", source, err, want)
			}
		}
	}
	// Another place where it is to be had, too, is asked once.
	k := newKitchen(t)
	close(k.open)
	put(t, f.store.(*Store), "/a")
	for range 3 {
		c.advance(time.Hour)
		if _, err := f.Get(t.Context(), "key", k.source("/a"), time.Minute); err != nil || k.asked("/a") != 1 {
			t.Errorf("%v after %d requests", err, k.asked("/a"))
		}
	}
}

func TestUploads(t *testing.T) {
	dir := t.TempDir()
	f, _ := newTimed(t, dir, func(string) {})
	store := f.store.(*Store)
	source := Source{Namespace: "mine", Stored: true, SHA256: digestOf("the image")}
	missing := func(s Source) {
		t.Helper()
		_, err := f.Get(t.Context(), "key", s, time.Minute)
		if !errors.Is(err, ErrNotFound) || err.Error() != "not found: nothing with this SHA-256 was uploaded for namespace "+s.Namespace {
			t.Errorf("%v", err)
		}
		if got := f.RetryAfter(s); got != 0 {
			t.Errorf("again after %v, although nobody has to be spared", got)
		}
	}
	missing(source)
	blob, err := store.Add(t.Context(), strings.NewReader("the image"), 100)
	if err != nil {
		t.Fatal(err)
	}
	missing(source) // not granted yet
	if err := store.Grant(t.Context(), blob.Digest, UploadedFor("mine")); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Get(t.Context(), "key", source, 0); err != nil || contentOf(t, got) != "the image" {
		t.Errorf("%v", err)
	}
	other := source
	other.Namespace = "other"
	missing(other)
	later, _ := newTimed(t, dir, func(string) {})
	if _, err := later.Get(t.Context(), "key", source, time.Minute); err != nil {
		t.Errorf("in a later process: %v", err)
	}
	lose(t, dir, blob.Digest)
	missing(source)
}

package images

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// flaky serves a content of which a connection gives so many bytes only, one
// number for each; after the last it gives all.
type flaky struct {
	*httptest.Server
	content string
	// change, when there is one, may alter the header of an answer or give another
	// one; it is told how many requests came before.
	change func(n int, w http.ResponseWriter, r *http.Request) (done bool)

	mu       sync.Mutex
	cuts     []int
	requests []string
	sent     int
}

func newFlaky(t *testing.T, content string, cuts ...int) *flaky {
	f := &flaky{content: content, cuts: cuts}
	f.Server = serve(t, f.serve)
	return f
}

func (f *flaky) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	n := len(f.requests)
	f.requests = append(f.requests, r.Header.Get("Range"))
	left := len(f.content)
	if n < len(f.cuts) {
		left = f.cuts[n]
	}
	f.mu.Unlock()
	w.Header().Set("ETag", `"one"`)
	if f.change != nil && f.change(n, w, r) {
		return
	}
	modified, _ := http.ParseTime(w.Header().Get("Last-Modified"))
	http.ServeContent(&cut{w, f, left}, r, "", modified, strings.NewReader(f.content))
}

// cut breaks a connection off after some bytes.
type cut struct {
	http.ResponseWriter
	of   *flaky
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(c.left, len(p))])
	c.left -= n
	c.of.mu.Lock()
	c.of.sent += n
	c.of.mu.Unlock()
	if err == nil && n < len(p) {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// seen are the ranges that were asked for, one for each request.
func (f *flaky) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// gave is how many bytes were sent.
func (f *flaky) gave() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// quickly goes on after breaks at once.
func quickly() Options {
	return Options{Egress: loopback, ResumePause: time.Microsecond, MaxSize: 64 << 20}
}

func (f *flaky) fetch(t *testing.T) error {
	t.Helper()
	blob, err := fetch(t, at(f.URL+"/image?token=canary", digestOf(f.content)), quickly())
	if err == nil && contentOf(t, blob) != f.content {
		t.Error("kept something else")
	}
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("tells secrets: %v", err)
	}
	return err
}

func randomContent(size int) string {
	content := make([]byte, size)
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	return string(content)
}

func TestDownloadsGoOnWhereTheyBrokeOff(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	for round := range 40 {
		content := randomContent(1 + random.IntN(300_000))
		var cuts []int
		for range 1 + random.IntN(maxTries-1) {
			cuts = append(cuts, random.IntN(1+len(content)/maxTries))
		}
		f := newFlaky(t, content, cuts...)
		if err := f.fetch(t); err != nil {
			t.Fatalf("round %d, %d bytes cut after %v: %v", round, len(content), cuts, err)
		}
		if f.gave() != len(content) || len(f.seen()) != len(cuts)+1 {
			t.Errorf("round %d: %d of %d bytes in %d requests, want %d", round, f.gave(), len(content), len(f.seen()), len(cuts)+1)
		}
	}
}

// Many breaks are no reason to give up while there is progress.
func TestSteadyProgress(t *testing.T) {
	var cuts []int
	for range 3 * maxTries {
		cuts = append(cuts, progress+1)
	}
	f := newFlaky(t, randomContent(3*maxTries*progress+maxTries*100), cuts...)
	if err := f.fetch(t); err != nil || len(f.seen()) != 3*maxTries+1 {
		t.Errorf("%v after %d requests", err, len(f.seen()))
	}
}

func TestGivingUp(t *testing.T) {
	var cuts []int
	for range 100 {
		cuts = append(cuts, 10)
	}
	f := newFlaky(t, randomContent(5000), cuts...)
	if err := f.fetch(t); err == nil || Permanent(err) || err.Error() != f.URL+"/image: the connection broke off" || len(f.seen()) != 1+maxTries {
		t.Errorf("%v after %d requests", err, len(f.seen()))
	}
	if want := fmt.Sprintf("bytes=%d-4999", 10*maxTries); f.seen()[maxTries] != want {
		t.Errorf("asked for %s at the end, want %s", f.seen()[maxTries], want)
	}
}

func TestWhatAnswersToTheRestMean(t *testing.T) {
	const whole = "the content of an image"
	header := func(pairs ...string) func(int, http.ResponseWriter, *http.Request) bool {
		return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(pairs); i += 2 {
				w.Header().Set(pairs[i], pairs[i+1])
			}
			return false
		}
	}
	second := func(status int, pairs ...string) func(int, http.ResponseWriter, *http.Request) bool {
		return func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n != 1 {
				return false
			}
			header(pairs...)(n, w, r)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "canary")
			return true
		}
	}
	for _, tt := range []struct {
		what   string
		change func(int, http.ResponseWriter, *http.Request) bool
		want   string // empty for success
		kind   error
	}{
		{"by its tag", nil, "", nil},
		{"by its time", header("ETag", "", "Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT"), "", nil},
		{"by its time, with a weak tag", header("ETag", `W/"one"`, "Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT"), "", nil},
		{"busy for a moment", second(http.StatusServiceUnavailable), "", nil},
		{"nothing to tell it by", header("ETag", ""), "the connection broke off", nil},
		{"a weak tag", header("ETag", `W/"one"`), "the connection broke off", nil},
		{"a tag that is none", header("ETag", `b25l`), "the connection broke off", nil},
		{"changed just now", header("ETag", "", "Last-Modified", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), "the connection broke off", nil},
		{"whole again", second(http.StatusOK), errNoResume.Error(), nil},
		{"another tag", func(n int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
			return false
		}, errChanged.Error(), nil},
		{"another tag with the rest", second(206, "ETag", `"two"`, "Content-Range", "bytes 7-22/23"), errChanged.Error(), nil},
		{"another size", second(206, "Content-Range", "bytes 7-23/24"), errChanged.Error(), nil},
		{"another part", second(206, "Content-Range", "bytes 6-22/23"), errNoResume.Error(), nil},
		{"an unknown part", second(206), errNoResume.Error(), nil},
		{"a part that is none", second(206, "Content-Range", "bytes canary"), errNoResume.Error(), nil},
		{"shorter now", second(http.StatusRequestedRangeNotSatisfiable), errChanged.Error(), nil},
		{"another one", second(http.StatusPreconditionFailed), errChanged.Error(), nil},
		{"gone", second(http.StatusNotFound), "not found (status 404)", ErrNotFound},
		{"no longer allowed", second(http.StatusForbidden), "forbidden (status 403)", ErrForbidden},
		{"led astray", second(http.StatusFound, "Location", "http://169.254.169.254/canary"),
			"forbidden: the server has a loopback, link-local, multicast or metadata address", ErrForbidden},
	} {
		f := newFlaky(t, whole, 7)
		f.change = tt.change
		err := f.fetch(t)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			continue
		}
		if err == nil || err.Error() != f.URL+"/image: "+tt.want || Permanent(err) != (tt.kind != nil) || tt.kind != nil && !errors.Is(err, tt.kind) {
			t.Errorf("%s: %v, want %s", tt.what, err, tt.want)
		}
	}
}

// A server may give less than what was asked for, a part at a time.
func TestPartsOfTheRest(t *testing.T) {
	f := newFlaky(t, randomContent(100), 20)
	f.change = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		first, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
		if !ok {
			return false
		}
		from, err := strconv.Atoi(strings.TrimSuffix(first, "-99"))
		if err != nil {
			t.Errorf("asked for %q", first)
			return false
		}
		to := min(from+20, 100)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, to-1))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, f.content[from:to])
		return true
	}
	if err := f.fetch(t); err != nil || len(f.seen()) != 5 {
		t.Errorf("%v after %d requests", err, len(f.seen()))
	}
}

// When nothing came yet, there is nothing that could have changed.
func TestBrokenBeforeTheFirstByte(t *testing.T) {
	f := newFlaky(t, "content", 0)
	f.change = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Del("ETag")
		return false
	}
	if err := f.fetch(t); err != nil || fmt.Sprint(f.seen()) != "[ ]" {
		t.Errorf("%v after %q", err, f.seen())
	}
}

func TestServerGoneInTheMiddle(t *testing.T) {
	f := newFlaky(t, randomContent(1000), 100)
	f.change = func(int, http.ResponseWriter, *http.Request) bool {
		f.Listener.Close()
		return false
	}
	if err := f.fetch(t); err == nil || Permanent(err) || err.Error() != f.URL+"/image: connection refused" {
		t.Errorf("%v", err)
	}
}

func TestIdleServersAreAskedAgain(t *testing.T) {
	f := newFlaky(t, "the content of an image")
	f.change = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n > 0 {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
		_, _ = io.WriteString(w, f.content[:3])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	}
	options := quickly()
	options.IdleTimeout = 20 * time.Millisecond
	if _, err := fetch(t, at(f.URL, digestOf(f.content)), options); err != nil || fmt.Sprint(f.seen()) != "[ bytes=3-22]" {
		t.Errorf("%v after %q", err, f.seen())
	}
}

func TestDeadlineBetweenAttempts(t *testing.T) {
	f := newFlaky(t, "the content of an image", 5)
	_, err := fetch(t, at(f.URL, digestOf(f.content)), Options{Egress: loopback, ResumePause: time.Hour, Deadline: 50 * time.Millisecond})
	if err == nil || err.Error() != f.URL+": not complete after 50ms" || Permanent(err) {
		t.Errorf("%v", err)
	}
}

// The digest is what decides in the end.
func TestResumedContentIsVerified(t *testing.T) {
	f := newFlaky(t, "the content of an image", 5)
	_, err := fetch(t, at(f.URL, digestOf("another")), quickly())
	if !errors.Is(err, ErrDigestMismatch) || len(f.seen()) != 2 {
		t.Errorf("%v after %d requests", err, len(f.seen()))
	}
}

// A limit holds for all parts together.
func TestResumedContentIsBounded(t *testing.T) {
	var sent atomic.Int64
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		from := 0
		if text := r.Header.Get("Range"); text != "" {
			_, _ = fmt.Sscanf(text, "bytes=%d-", &from)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, from+99_999))
			w.WriteHeader(http.StatusPartialContent)
		}
		n, _ := w.Write(bytes.Repeat([]byte("x"), 100_000))
		sent.Add(int64(n))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	options := quickly()
	options.MaxSize = 250_000
	if _, err := fetch(t, at(server.URL, digestOf("")), options); !errors.Is(err, ErrTooLarge) || sent.Load() > 400_000 {
		t.Errorf("%v after %d bytes", err, sent.Load())
	}
}

func TestContentRange(t *testing.T) {
	for text, want := range map[string][2]int64{
		"bytes 0-0/1": {0, 1}, "bytes 5-9/10": {5, 10}, "bytes 5-9/*": {5, unknownSize}, "bytes 5-7/100": {5, 100},
	} {
		if first, total, ok := contentRange(text); !ok || first != want[0] || total != want[1] {
			t.Errorf("%q: %d, %d, %v", text, first, total, ok)
		}
	}
	for _, text := range []string{
		"", "bytes", "bytes */10", "bytes 5-4/10", "bytes 5-10/10", "bytes -1-3/10", "items 0-1/2", "bytes 0-1", "bytes 0-1/", "bytes a-b/c",
		"bytes 0-1/-1", "bytes 99999999999999999999-99999999999999999999/*",
	} {
		if first, total, ok := contentRange(text); ok {
			t.Errorf("%q is understood as %d of %d", text, first, total)
		}
	}
}

func TestValidator(t *testing.T) {
	const old, later = "Mon, 02 Jan 2006 15:04:05 GMT", "Mon, 02 Jan 2006 15:04:06 GMT"
	for _, tt := range []struct{ tag, modified, date, want string }{
		{`"a"`, "", "", `"a"`}, {`"a"`, old, later, `"a"`}, {`W/"a"`, "", "", ""}, {`W/"a"`, old, later, old}, {"a", old, later, old},
		{"", old, later, old}, {"", old, old, ""}, {"", later, old, ""}, {"", old, "", ""}, {"", "yesterday", later, ""}, {"", "", later, ""},
	} {
		header := http.Header{}
		for name, value := range map[string]string{"ETag": tt.tag, "Last-Modified": tt.modified, "Date": tt.date} {
			if value != "" {
				header.Set(name, value)
			}
		}
		if got := validator(header); got != tt.want {
			t.Errorf("%v: %q, want %q", header, got, tt.want)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, text := range []string{"bytes 0-0/1", "bytes 5-9/*", "bytes -1-3/10", "items 0-1/2", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, total, ok := contentRange(text)
		if ok && (first < 0 || total != unknownSize && total <= first) {
			t.Errorf("%q is understood as %d of %d", text, first, total)
		}
	})
}

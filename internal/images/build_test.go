package images

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// aBuild is one that a build server knows.
type aBuild struct {
	job, uuid, binary string
	// failed ones have no main binary.
	failed bool
}

func (b aBuild) path() string { return "/job/" + b.job + "/build/" + b.uuid }

// answer is the description as the real server gives it, with what is not used.
func (b aBuild) answer() map[string]any {
	a := map[string]any{
		"job": b.job, "uuid": b.uuid, "platform": "debian-12", "start_time": "2026-01-02T03:04:05Z", "finish_time": "2026-01-02T03:14:05Z",
		"main_binary": !b.failed, "main_binary_size": nil,
	}
	if !b.failed {
		a["main_binary_size"] = len(b.binary)
	}
	return a
}

// buildServer answers in the form of builds.robur.coop: what is asked about the
// latest build, a digest or a main binary is answered elsewhere.
type buildServer struct {
	*httptest.Server
	// before may answer instead.
	before func(w http.ResponseWriter, r *http.Request) (done bool)

	mu       sync.Mutex
	builds   []aBuild // the newest last
	requests []string
}

func newBuildServer(t *testing.T, builds ...aBuild) *buildServer {
	b := &buildServer{builds: builds}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /job/{job}/build/{uuid}/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		rest := r.PathValue("rest")
		switch {
		case r.PathValue("uuid") == "latest":
			b.redirect(w, r, "/"+rest, func(a aBuild) bool { return a.job == r.PathValue("job") && !a.failed })
		case rest == "":
			b.describe(w, r)
		case rest == "main-binary":
			b.redirect(w, r, "/f/bin/"+r.PathValue("job")+".hvt", func(a aBuild) bool { return a.uuid == r.PathValue("uuid") && !a.failed })
		default:
			b.give(w, r)
		}
	})
	mux.HandleFunc("GET /hash", func(w http.ResponseWriter, r *http.Request) {
		b.redirect(w, r, "/", func(a aBuild) bool { return !a.failed && digestOf(a.binary) == r.FormValue("sha256") })
	})
	b.Server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.requests = append(b.requests, r.URL.RequestURI())
		before := b.before
		b.mu.Unlock()
		if before == nil || !before(w, r) {
			mux.ServeHTTP(w, r)
		}
	})
	return b
}

func (b *buildServer) find(is func(aBuild) bool) (aBuild, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.builds) - 1; i >= 0; i-- {
		if is(b.builds[i]) {
			return b.builds[i], true
		}
	}
	return aBuild{}, false
}

func (b *buildServer) redirect(w http.ResponseWriter, r *http.Request, rest string, is func(aBuild) bool) {
	found, ok := b.find(is)
	if !ok {
		http.Error(w, "canary: resource not found", http.StatusNotFound)
		return
	}
	http.Redirect(w, r, found.path()+rest, http.StatusSeeOther)
}

func (b *buildServer) describe(w http.ResponseWriter, r *http.Request) {
	found, ok := b.find(func(a aBuild) bool { return a.uuid == r.PathValue("uuid") })
	switch {
	case !ok:
		http.Error(w, "canary: resource not found", http.StatusNotFound)
	case r.Header.Get("Accept") != "application/json":
		_, _ = io.WriteString(w, "<!DOCTYPE html><title>canary</title>")
	default:
		_ = json.NewEncoder(w).Encode(found.answer())
	}
}

func (b *buildServer) give(w http.ResponseWriter, r *http.Request) {
	found, ok := b.find(func(a aBuild) bool { return a.uuid == r.PathValue("uuid") })
	if !ok {
		http.Error(w, "canary: resource not found", http.StatusNotFound)
		return
	}
	sum, err := hex.DecodeString(digestOf(found.binary))
	if err == nil {
		w.Header().Set("ETag", base64.StdEncoding.EncodeToString(sum)) // without quotes, as it is there
	}
	_, _ = io.WriteString(w, found.binary)
}

func (b *buildServer) add(build aBuild) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.builds = append(b.builds, build)
}

func (b *buildServer) meanwhile(before func(w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = before
}

// seen are the requests.
func (b *buildServer) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

func (b *buildServer) asked(part string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

func (b *buildServer) source(job, uuid string) Source {
	return Source{Build: Build{Server: b.URL, Job: job, UUID: uuid}}
}

func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func TestBuilds(t *testing.T) {
	b := newBuildServer(t,
		aBuild{"website", uuid(1), "an old binary", false}, aBuild{"website", uuid(2), "the binary", false},
		aBuild{"dns", uuid(3), "a name server", false}, aBuild{"website", uuid(4), "", true})
	for _, tt := range []struct{ job, uuid, want, content string }{
		{"website", LatestBuild, uuid(2), "the binary"}, {"website", uuid(1), uuid(1), "an old binary"}, {"dns", LatestBuild, uuid(3), "a name server"},
	} {
		for _, server := range []string{b.URL, b.URL + "/"} {
			for _, pin := range []string{"", digestOf(tt.content)} {
				source := Source{Namespace: "ns", SHA256: pin, Build: Build{Server: server, Job: tt.job, UUID: tt.uuid}}
				resolved, blob, err := pull(t, source, quickly())
				if err != nil || contentOf(t, blob) != tt.content {
					t.Errorf("%+v: %v", tt, err)
					continue
				}
				want := Source{Namespace: "ns", SHA256: digestOf(tt.content), Build: Build{Server: resolved.Source.Build.Server, Job: tt.job, UUID: tt.want}}
				if exact := pin != "" && tt.uuid != LatestBuild; resolved.Source != want || resolved.Version != tt.want || !exact && resolved.Size != int64(len(tt.content)) {
					t.Errorf("%+v: %+v, %s, %d bytes", tt, resolved.Source, resolved.Version, resolved.Size)
				}
			}
		}
	}
}

// Mollymawk asks for the main binary of the latest build in one go; so can we.
func TestLatestBuildOfKnownDigest(t *testing.T) {
	b := newBuildServer(t, aBuild{"website", uuid(1), "the binary", false})
	source := b.source("website", LatestBuild)
	source.SHA256 = digestOf("the binary")
	blob, err := fetch(t, source, quickly())
	if err != nil || contentOf(t, blob) != "the binary" {
		t.Errorf("%v", err)
	}
	source.SHA256 = digestOf("another binary")
	if _, err := fetch(t, source, quickly()); !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("another one: %v", err)
	}
}

// A binary is fetched once for each build, not for each question.
func TestBuildsAreRemembered(t *testing.T) {
	b := newBuildServer(t, aBuild{"website", uuid(1), "the binary", false})
	f := startFetcher(t, newStore(t, t.TempDir()), quickly())
	resolve := func() Resolved {
		t.Helper()
		resolved, err := f.Resolve(t.Context(), "key", b.source("website", LatestBuild), time.Now(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return resolved
	}
	first := resolve()
	time.Sleep(time.Millisecond)
	if again := resolve(); again.Source != first.Source || !again.FoundAt.After(first.FoundAt) || b.asked("/f/bin/") != 1 || b.asked("latest/") != 2 {
		t.Errorf("%+v after %q", again, b.seen())
	}
	if _, err := f.Get(t.Context(), "key", first.Source, 0); err != nil {
		t.Errorf("not at hand: %v", err)
	}
	b.add(aBuild{"website", uuid(2), "a newer binary", false})
	time.Sleep(time.Millisecond)
	if newer := resolve(); newer.Version != uuid(2) || newer.Source.SHA256 != digestOf("a newer binary") || b.asked("/f/bin/") != 2 {
		t.Errorf("%+v after %q", newer, b.seen())
	}
	pinned := b.source("website", LatestBuild)
	pinned.SHA256 = digestOf("the binary")
	if _, err := f.Resolve(t.Context(), "key", pinned, time.Now(), time.Minute); !errors.Is(err, ErrDigestMismatch) || b.asked("/f/bin/") != 2 {
		t.Errorf("a pin that does not fit: %v after %q", err, b.seen())
	}
	for i := range maxBuilt {
		f.built[Build{Job: fmt.Sprint(i)}] = built{}
	}
	b.add(aBuild{"website", uuid(3), "the newest binary", false})
	time.Sleep(time.Millisecond)
	if resolve(); len(f.built) > maxBuilt {
		t.Errorf("%d builds are remembered", len(f.built))
	}
}

func TestBuildsThatAreNotThere(t *testing.T) {
	answer := func(change func(map[string]any)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/build/latest") {
				return false
			}
			a := aBuild{"website", uuid(1), "the binary", false}.answer()
			change(a)
			_ = json.NewEncoder(w).Encode(a)
			return true
		}
	}
	set := func(key string, value any) func(http.ResponseWriter, *http.Request) bool {
		return answer(func(a map[string]any) { a[key] = value })
	}
	respond := func(part string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	notUnderstood := errNoBuild.Error()
	for _, tt := range []struct {
		what, job, uuid string
		before          func(http.ResponseWriter, *http.Request) bool
		kind            error
		want            string
	}{
		{"no such job", "other", LatestBuild, nil, ErrNotFound, "not found (status 404)"},
		{"no such build", "website", uuid(9), nil, ErrNotFound, "not found (status 404)"},
		{"of another job", "dns", uuid(1), nil, nil, notUnderstood},
		{"a failed build", "website", uuid(2), nil, ErrNotFound, "not found: the build has no main binary"},
		{"another job", "website", LatestBuild, set("job", canary), nil, notUnderstood},
		{"no uuid", "website", LatestBuild, set("uuid", "../"+canary), nil, notUnderstood},
		{"another type", "website", LatestBuild, set("uuid", 5), nil, notUnderstood},
		{"an odd size", "website", LatestBuild, set("main_binary_size", "canary"), nil, notUnderstood},
		{"a negative size", "website", LatestBuild, set("main_binary_size", -1), ErrNotFound, "not found: the build has no main binary"},
		{"another size", "website", LatestBuild, set("main_binary_size", 11), ErrDigestMismatch, "digest mismatch: the server has 10 bytes of what should be 11"},
		{"a large one", "website", LatestBuild, set("main_binary_size", 1<<40), ErrTooLarge, "too large: more than 67108864 bytes"},
		{"a page", "website", LatestBuild, respond("/latest", 200, "<html>canary"), nil, notUnderstood},
		{"nothing", "website", LatestBuild, respond("/latest", 200, ""), nil, notUnderstood},
		{"a list", "website", LatestBuild, respond("/latest", 200, `["canary"]`), nil, notUnderstood},
		{"null", "website", LatestBuild, respond("/latest", 200, `null`), nil, notUnderstood},
		{"too much", "website", LatestBuild, respond("/latest", 200, `{"job":"`+strings.Repeat("canary", maxBuildAnswer)+`"}`), nil, notUnderstood},
		{"refused", "website", LatestBuild, respond("/latest", 403, canary), ErrForbidden, "forbidden (status 403)"},
		{"broken", "website", LatestBuild, respond("/latest", 500, canary), nil, "the server answered with status 500"},
		{"no binary", "website", LatestBuild, respond("/main-binary", 404, canary), ErrNotFound, "not found (status 404)"},
		{"another binary", "website", LatestBuild, respond("/f/bin/", 200, "a canary!!"), ErrDigestMismatch,
			"digest mismatch: the build server delivered content with SHA-256 " + digestOf("a canary!!") + ", which it does not know"},
		{"digests are not answered", "website", LatestBuild, respond("/hash", 200, "<html>canary"), nil, notUnderstood},
		{"digests are something else", "website", LatestBuild, respond("/hash", 200, `{"uuid":"canary"}`), nil, notUnderstood},
		{"digests fail", "website", LatestBuild, respond("/hash", 503, canary), nil, "the server answered with status 503"},
		{"led astray", "website", LatestBuild, func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://169.254.169.254/canary", http.StatusFound)
			return true
		}, ErrForbidden, "forbidden: the server has a loopback, link-local, multicast or metadata address"},
	} {
		b := newBuildServer(t, aBuild{"website", uuid(1), "the binary", false}, aBuild{"website", uuid(2), "", true})
		b.meanwhile(tt.before)
		_, _, err := pull(t, b.source(tt.job, tt.uuid), quickly())
		if err == nil || Permanent(err) != (tt.kind != nil) || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.HasPrefix(err.Error(), b.URL+"/") || !strings.HasSuffix(err.Error(), ": "+tt.want) {
			t.Errorf("%s: %v, want %s", tt.what, err, tt.want)
		}
	}
}

func TestBuildServersThatCannotBeAsked(t *testing.T) {
	b := newBuildServer(t, aBuild{"website", uuid(1), "the binary", false})
	if _, _, err := pull(t, b.source("website", LatestBuild), Options{}); !errors.Is(err, ErrForbidden) || len(b.seen()) != 0 {
		t.Errorf("on the operator's own machine: %v", err)
	}
	options := quickly()
	options.Deadline = 50 * time.Millisecond
	b.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.WriteString(w, `{"job":`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	if _, _, err := pull(t, b.source("website", LatestBuild), options); err == nil || !strings.HasSuffix(err.Error(), ": not complete after 50ms") || Permanent(err) {
		t.Errorf("slow: %v", err)
	}
	b.meanwhile(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"job":`)
		return true
	})
	if _, _, err := pull(t, b.source("website", LatestBuild), quickly()); err == nil || !strings.HasSuffix(err.Error(), ": the connection broke off") || Permanent(err) {
		t.Errorf("cut: %v", err)
	}
	b.Close()
	if _, _, err := pull(t, b.source("website", LatestBuild), quickly()); err == nil || !strings.HasSuffix(err.Error(), ": connection refused") || Permanent(err) {
		t.Errorf("gone: %v", err)
	}
	source := b.source("website", LatestBuild)
	source.Build.Server = "ftp://h"
	if _, _, err := pull(t, source, quickly()); err == nil {
		t.Error("asked by ftp")
	}
}

// Large binaries that are on their way keep nobody from asking.
func TestQuestionsBesideLargeBinaries(t *testing.T) {
	const jobs = 2 * questions
	b := newBuildServer(t)
	for i := range jobs {
		b.add(aBuild{fmt.Sprint("job", i), uuid(i), fmt.Sprint("binary", i), false})
	}
	open := make(chan struct{})
	b.meanwhile(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/f/bin/") {
			<-open
		}
		return false
	})
	options := quickly()
	options.Parallel = 1
	told := &sleepers{}
	f := NewFetcher(newStore(t, t.TempDir()), options, told.wake)
	run(t, f)
	for i := range jobs {
		job := fmt.Sprint("job", i)
		if _, err := f.Resolve(t.Context(), job, b.source(job, LatestBuild), time.Now(), 0); !errors.Is(err, ErrInProgress) {
			t.Fatal(err)
		}
	}
	eventually(t, "all are asked", func() bool { return b.asked("/latest/") == jobs && b.asked("/f/bin/") == 1 })
	close(open)
	eventually(t, "all are answered", func() bool { return len(told.count()) == jobs })
}

func TestBinariesThatAreTooLarge(t *testing.T) {
	b := newBuildServer(t, aBuild{"website", uuid(1), strings.Repeat("x", 1000), false})
	options := quickly()
	options.MaxSize = 999
	if _, _, err := pull(t, b.source("website", LatestBuild), options); !errors.Is(err, ErrTooLarge) || b.asked("main-binary") != 0 {
		t.Errorf("%v after %q", err, b.seen())
	}
}

// The present server knows no ranges; one in front of it may.
func TestBinariesGoOnWhereTheyBrokeOff(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	for round := range 10 {
		content := randomContent(100 + random.IntN(100_000))
		b := newBuildServer(t, aBuild{"website", uuid(1), content, false})
		f := newFlaky(t, content, random.IntN(len(content)), random.IntN(50))
		var parts atomic.Int32
		b.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/f/bin/") {
				return false
			}
			parts.Add(1)
			f.serve(w, r)
			return true
		})
		_, blob, err := pull(t, b.source("website", LatestBuild), quickly())
		if err != nil || contentOf(t, blob) != content || f.gave() != len(content) {
			t.Errorf("round %d: %v after %d parts, %d of %d bytes", round, err, parts.Load(), f.gave(), len(content))
		}
	}
}

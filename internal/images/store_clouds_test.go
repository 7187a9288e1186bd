package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cloud is what tests need to know of a cloud's kind of server.
type cloud struct {
	// open opens a store in the bucket "images" of one.
	open func(t *testing.T, server string) (*Store, error)
	// bottomless is one, at this host and port, that keeps nothing of large
	// objects, which have this size.
	bottomless func(size int64, host string) http.Handler
	// refuse answers as they do when they refuse.
	refuse func(w http.ResponseWriter, status int, word string)
}

var clouds = map[string]cloud{
	"S3": {
		inS3,
		func(size int64, _ string) http.Handler { return newBottomless(size) },
		func(w http.ResponseWriter, status int, word string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>secret</Message><RequestId>secret</RequestId></Error>", word)
		},
	},
	"GCS": {
		inGCS,
		func(size int64, host string) http.Handler { return bottomlessGCS{newBottomless(size), host} },
		func(w http.ResponseWriter, status int, word string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error": {"code": %d, "message": "secret", "errors": [{"message": "secret", "reason": %q}]}}`, status, word)
		},
	},
	"Azure": {
		inAzure,
		func(size int64, _ string) http.Handler { return bottomlessAzure{newBottomless(size)} },
		func(w http.ResponseWriter, status int, word string) {
			w.Header().Set("X-Ms-Error-Code", word)
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>secret</Message></Error>", word)
		},
	},
}

// refusing is a server that refuses everything.
func (c cloud) refusing(status int, word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c.refuse(w, status, word)
	})
}

// at is a kind of bucket: one of a server in this process.
func (c cloud) at(handler func(t *testing.T, host string) http.Handler) kind {
	return func(t *testing.T) (open func() *Store) {
		t.Helper()
		server := httptest.NewUnstartedServer(nil)
		server.Config.Handler = handler(t, server.Listener.Addr().String())
		server.Start()
		t.Cleanup(server.Close)
		return func() *Store {
			t.Helper()
			s, err := c.open(t, server.URL)
			return opened(t, s, err)
		}
	}
}

// bottomlessKinds are buckets of each cloud that keep nothing of large objects,
// which have this size. Requests go through what around gives.
func bottomlessKinds(size int64, around func(c cloud, server http.Handler) http.Handler) map[string]kind {
	kinds := map[string]kind{}
	for name, c := range clouds {
		kinds[name] = c.at(func(_ *testing.T, host string) http.Handler { return around(c, c.bottomless(size, host)) })
	}
	return kinds
}

func asIs(_ cloud, server http.Handler) http.Handler { return server }

// What a cloud is sure about is said at the start, without what may be secret;
// what may pass does not keep the operator from starting.
func TestCloudAtTheStart(t *testing.T) {
	for _, tt := range []struct {
		cloud, what string
		status      int
		word        string
		want        string
		starts      bool
	}{
		{"S3", "no such bucket", http.StatusNotFound, "NoSuchBucket", "there is no such bucket", false},
		{"S3", "no rights", http.StatusForbidden, "AccessDenied", "refuses us (AccessDenied)", false},
		{"S3", "wrong key", http.StatusForbidden, "InvalidAccessKeyId", "(InvalidAccessKeyId)", false},
		{"S3", "an odd answer", http.StatusBadRequest, "/secret/", "fails", true},
		{"GCS", "no such bucket", http.StatusNotFound, "notFound", "there is no such bucket", false},
		{"GCS", "no rights", http.StatusForbidden, "forbidden", "refuses us (forbidden)", false},
		{"GCS", "wrong key", http.StatusUnauthorized, "authError", "refuses us (authError)", false},
		{"GCS", "an odd answer", http.StatusConflict, "/secret/", "fails", true},
		{"Azure", "no such bucket", http.StatusNotFound, "ContainerNotFound", "there is no such bucket", false},
		{"Azure", "no rights", http.StatusForbidden, "AuthorizationPermissionMismatch", "refuses us (AuthorizationPermissionMismatch)", false},
		{"Azure", "wrong key", http.StatusForbidden, "AuthenticationFailed", "refuses us (AuthenticationFailed)", false},
		{"Azure", "an odd answer", http.StatusBadRequest, "/secret/", "fails", true},
	} {
		t.Run(tt.cloud+" "+tt.what, func(t *testing.T) {
			server := httptest.NewServer(clouds[tt.cloud].refusing(tt.status, tt.word))
			defer server.Close()
			s, err := clouds[tt.cloud].open(t, server.URL)
			if (err == nil) != tt.starts {
				t.Fatalf("at the start: %v", err)
			}
			if tt.starts {
				defer s.Close()
				_, _, err = s.Get(t.Context(), digestOf("x"))
			}
			saysOnly(t, err, tt.want)
		})
	}
}

// saysOnly wants a text of the store that has nothing of a server but its word.
func saysOnly(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), "image store: ") || !strings.Contains(err.Error(), want) ||
		strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "127.0.0.1") || Permanent(err) {
		t.Errorf("%v, want %q", err, want)
	}
}

// A bucket that refuses says nothing about what is there.
func TestRefusedIsNotGone(t *testing.T) {
	for word, status := range map[string]int{"AccessDenied": http.StatusForbidden, "Unauthorized": http.StatusUnauthorized} {
		t.Run(word, func(t *testing.T) {
			var refuses atomic.Bool
			around := func(c cloud, server http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if refuses.Load() {
						c.refusing(status, word).ServeHTTP(w, r)
						return
					}
					server.ServeHTTP(w, r)
				})
			}
			onEachOf(t, bottomlessKinds(0, around), func(t *testing.T, open func() *Store) {
				s := open()
				put(t, s, "x")
				refuses.Store(true)
				defer refuses.Store(false)
				refused(t, s)
			})
		})
	}
}

// refused wants a store to say that it was refused whatever it is asked for.
func refused(t *testing.T, s *Store) {
	t.Helper()
	const want = "the bucket"
	_, found, err := s.Get(t.Context(), digestOf("x"))
	saysOnly(t, err, want)
	granted, err := s.Granted(t.Context(), digestOf("x"), Provenance{1})
	saysOnly(t, err, want)
	if _, known := s.Known(digestOf("x")); found || granted || known {
		t.Error("it is there all the same")
	}
	_, err = s.Put(t.Context(), strings.NewReader("y"), digestOf("y"), 10)
	saysOnly(t, err, want)
	_, err = s.Add(t.Context(), strings.NewReader("y"), 10)
	saysOnly(t, err, want)
	_, err = s.Collect(t.Context(), nothing, noGrace)
	saysOnly(t, err, want)
	for name, err := range map[string]error{"grant": s.Grant(t.Context(), digestOf("x"), Provenance{1}), "delete": s.bucket.Delete(t.Context(), "x")} {
		if err == nil || isNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A server that fails now and then is asked again, and nobody notices.
func TestNowAndThen(t *testing.T) {
	const size = 2*partSize + 1
	around := func(c cloud, server http.Handler) http.Handler {
		var failed sync.Map // has the methods that have failed once
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, failed := failed.LoadOrStore(r.Method, true); !failed {
				c.refusing(http.StatusServiceUnavailable, "ServerBusy").ServeHTTP(w, r)
				return
			}
			server.ServeHTTP(w, r)
		})
	}
	onEachOf(t, bottomlessKinds(size, around), func(t *testing.T, open func() *Store) {
		s, digest := open(), patternDigest(t, size)
		grantTo(t, s, "x", 1)
		if err := s.bucket.Delete(t.Context(), grant{digestOf("x"), Provenance{1}}.key()); err != nil {
			t.Error(err)
		}
		if _, err := s.Put(t.Context(), io.LimitReader(&pattern{peak: &peak{}}, size), digest, size); err != nil {
			t.Error(err)
		}
		if blob, found, err := open().Get(t.Context(), digest); !found || err != nil || blob.Size != size {
			t.Errorf("%+v, %v, %v", blob, found, err)
		}
	})
}

func TestLocations(t *testing.T) {
	t.Setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1") // no credentials are looked for
	dir := t.TempDir()
	for _, location := range []string{dir + "/new", "file://" + dir + "/new", "file://localhost" + dir + "/new"} {
		put(t, newStore(t, location), location)
	}
	put(t, newStore(t, "mem://"), "x")
	for _, location := range []string{
		"file://relative/path", "file:///path?metadata=secret", "file://", "elsewhere://secret", "s3://images?unknown=secret", "s3://user:secret@images?unknown=1",
		"://secret", "s3://%zz?secret", "azblob://images?protocol=secret", "gs://images?unknown=secret", "gs://images?anonymous=secret",
	} {
		_, err := OpenStore(t.Context(), location)
		if err == nil || !strings.HasPrefix(err.Error(), "image store: ") || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "=secret") || strings.Contains(err.Error(), ":secret") {
			t.Errorf("%s: %v", location, err)
		}
	}
}

// A bucket that does not answer holds up nobody for long.
func TestKnownDoesNotWait(t *testing.T) {
	var silent atomic.Bool
	around := func(_ cloud, server http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if silent.Load() {
				<-r.Context().Done() // ends when who asked has given up
				return
			}
			server.ServeHTTP(w, r)
		})
	}
	onEachOf(t, bottomlessKinds(0, around), func(t *testing.T, open func() *Store) {
		s := open()
		blob := put(t, s, "x")
		silent.Store(true)
		defer silent.Store(false)
		if _, known := s.Known(blob.Digest); known {
			t.Error("known without having been asked")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, _, err := s.Get(ctx, blob.Digest); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer in time") {
			t.Errorf("%v", err)
		}
		silent.Store(false)
		if again, known := s.Known(blob.Digest); !known || again != blob {
			t.Error("unknown when it answers again")
		}
	})
}

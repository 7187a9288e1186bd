package images

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// inS3 gives stores that share a bucket of an S3 server in this process.
func inS3(t *testing.T) (open func() *Store) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("images"); err != nil {
		t.Fatal(err)
	}
	return s3At(t, gofakes3.New(backend).Server(), "images", "")
}

// s3At gives stores that share a bucket of a server.
func s3At(t *testing.T, handler http.Handler, bucket, more string) (open func() *Store) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	location := "s3://" + bucket + "?region=eu-west-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL) + more
	return func() *Store { return newStore(t, location) }
}

// A folder of a bucket can be a store; the rest of the bucket is not touched.
func TestPrefix(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("shared"); err != nil {
		t.Fatal(err)
	}
	handler := gofakes3.New(backend).Server()
	whole, part := s3At(t, handler, "shared", "")(), s3At(t, handler, "shared", "&prefix=mollymawk/")()
	put(t, whole, "others")
	put(t, part, "ours")
	holds(t, part, "ours")
	if _, err := part.Collect(t.Context(), func(string) bool { return false }, -1); err != nil {
		t.Fatal(err)
	}
	holds(t, part)
	holds(t, whole, "others")
}

// What a cloud is sure about is said at the start, without what may be secret;
// what may pass does not keep the operator from starting.
func TestCloudAtTheStart(t *testing.T) {
	answer := func(status int, code string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<Error><Code>" + code + "</Code><Message>secret</Message><RequestId>secret</RequestId></Error>"))
		})
	}
	for _, tt := range []struct {
		what    string
		handler http.Handler
		want    string
	}{
		{"no such bucket", gofakes3.New(s3mem.New()).Server(), "there is no such bucket"},
		{"no rights", answer(http.StatusForbidden, "AccessDenied"), "(AccessDenied)"},
		{"wrong key", answer(http.StatusForbidden, "InvalidAccessKeyId"), "(InvalidAccessKeyId)"},
		{"an odd answer", answer(http.StatusBadRequest, "/secret/"), ""},
	} {
		server := httptest.NewServer(tt.handler)
		defer server.Close()
		t.Setenv("AWS_ACCESS_KEY_ID", "key")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
		s, err := OpenStore(t.Context(), "s3://images?region=eu-west-1&use_path_style=true&endpoint="+url.QueryEscape(server.URL))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
				continue
			}
			_, _, err = s.Get(t.Context(), digestOf("x"))
			s.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "image store: ") || !strings.Contains(err.Error(), tt.want) ||
			strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "127.0.0.1") || Permanent(err) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

func TestLocations(t *testing.T) {
	dir := t.TempDir()
	for _, location := range []string{dir + "/new", "file://" + dir + "/new", "file://localhost" + dir + "/new"} {
		put(t, newStore(t, location), location)
	}
	put(t, newStore(t, "mem://"), "x")
	for _, location := range []string{
		"file://relative/path", "file:///path?metadata=secret", "file://", "elsewhere://secret", "s3://images?unknown=secret", "s3://user:secret@images?unknown=1",
		"://secret", "s3://%zz?secret", "azblob://images?protocol=secret",
	} {
		_, err := OpenStore(t.Context(), location)
		if err == nil || !strings.HasPrefix(err.Error(), "image store: ") || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "=secret") || strings.Contains(err.Error(), ":secret") {
			t.Errorf("%s: %v", location, err)
		}
	}
}

// A bucket that does not answer holds up nobody for long.
func TestKnownDoesNotWait(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("images"); err != nil {
		t.Fatal(err)
	}
	server, silent := gofakes3.New(backend).Server(), atomic.Bool{}
	s := s3At(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if silent.Load() {
			<-r.Context().Done() // ends when who asked has given up
			return
		}
		server.ServeHTTP(w, r)
	}), "images", "")()
	blob := put(t, s, "x")
	silent.Store(true)
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
}

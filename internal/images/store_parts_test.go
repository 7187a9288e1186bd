package images

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// writesSeen is a server that remembers the requests which write.
type writesSeen struct {
	http.Handler
	mu   sync.Mutex
	seen []string
	// refuse has a request with this in its query fail.
	refuse string
}

// ServeHTTP implements http.Handler.
func (s *writesSeen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+strings.Split(r.URL.RawQuery, "=")[0])
		s.mu.Unlock()
	}
	if s.refuse != "" && strings.Contains(r.Method+" "+r.URL.RawQuery, s.refuse) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
		return
	}
	s.Handler.ServeHTTP(w, r)
}

func (s *writesSeen) take() (seen []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, s.seen = s.seen, nil
	return seen
}

func partsBucket(t *testing.T) (*writesSeen, *Store) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("images"); err != nil {
		t.Fatal(err)
	}
	server := &writesSeen{Handler: gofakes3.New(backend).Server()}
	return server, s3At(t, server, "images", "")()
}

// TestParts writes contents of sizes around that of a part, in pieces around it
// too, and wants them back, and no request more than they need.
func TestParts(t *testing.T) {
	server, s := partsBucket(t)
	server.take()
	for _, size := range []int{0, 1, firstBuffer - 1, firstBuffer, firstBuffer + 1, partSize - 1, partSize, partSize + 1, 2 * partSize, 2*partSize + 1} {
		whole := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		for _, piece := range []int{copySize, 1000, partSize, partSize + 1, 3 * partSize} {
			if size > 3*copySize && piece < copySize { // takes long and shows no more
				continue
			}
			w, err := s.bucket.create(t.Context(), "blobs/x")
			if err != nil {
				t.Fatal(err)
			}
			for at := 0; at < size; at += piece {
				if n, err := w.Write(whole[at:min(at+piece, size)]); err != nil || n != min(at+piece, size)-at {
					t.Fatalf("%d of %d in pieces of %d: %d, %v", at, size, piece, n, err)
				}
			}
			if err := w.commit(); err != nil {
				t.Fatal(err)
			}
			if back, err := s.bucket.ReadAll(t.Context(), "blobs/x"); err != nil || !bytes.Equal(back, whole) {
				t.Errorf("%d bytes in pieces of %d: %d came back, %v", size, piece, len(back), err)
			}
			want := 1
			if size > partSize {
				want = 2 + (size+partSize-1)/partSize
			}
			if seen := server.take(); len(seen) != want {
				t.Errorf("%d bytes in pieces of %d took %q", size, piece, seen)
			}
		}
	}
}

// TestPartsAreForgotten ends uploads in the middle: nothing appears, and S3 is told.
func TestPartsAreForgotten(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		size   int
		refuse string
		end    func(*writer) error
		want   string
	}{
		"small, given up": {10, "", func(w *writer) error { w.abort(); return errGone }, ""},
		"large, given up": {partSize + 1, "", func(w *writer) error { w.abort(); return errGone }, "DELETE uploadId"},
		"large, cancelled": {partSize + 1, "", func(w *writer) error {
			cancel()
			return w.commit()
		}, "DELETE uploadId"},
		"small, refused":          {10, "PUT ", (*writer).commit, ""},
		"the last part, refused":  {partSize + 1, "partNumber=2", (*writer).commit, "DELETE uploadId"},
		"the completion, refused": {partSize + 1, "POST uploadId", (*writer).commit, "DELETE uploadId"},
	} {
		t.Run(name, func(t *testing.T) {
			server, s := partsBucket(t)
			server.refuse = c.refuse
			within := t.Context()
			if strings.Contains(name, "cancelled") {
				within = ctx
			}
			w, err := s.bucket.create(within, "blobs/x")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, c.size)); err != nil {
				t.Fatal(err)
			}
			if err := c.end(w); err == nil {
				t.Error("it ended well")
			}
			if found, err := s.bucket.Exists(t.Context(), "blobs/x"); err != nil || found {
				t.Errorf("found: %v, %v", found, err)
			}
			if seen := strings.Join(server.take(), ","); !strings.HasSuffix(seen, c.want) || c.want == "" && strings.Contains(seen, "DELETE") {
				t.Errorf("requests: %s", seen)
			}
		})
	}
}

// TestPartRefused has a part fail in the middle of the content.
func TestPartRefused(t *testing.T) {
	server, s := partsBucket(t)
	server.refuse = "partNumber=1"
	w, err := s.bucket.create(t.Context(), "blobs/x")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(make([]byte, 2*partSize)); err == nil || n != partSize {
		t.Errorf("%d bytes, %v", n, err)
	}
	w.abort()
	if _, err := s.bucket.ReadAll(t.Context(), "blobs/x"); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("it appeared: %v", err)
	}
}

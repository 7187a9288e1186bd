package images

import (
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
)

const gigabyte = 1 << 30

// block is what a pattern repeats.
var block = func() []byte {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i >> 8)
	}
	return block
}()

// pattern gives bytes that are not all the same, and looks at the memory now and
// then.
type pattern struct {
	at   int64
	peak *peak
}

// Read implements io.Reader.
func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, block[p.at%int64(len(block)):])
	p.at += int64(n)
	p.peak.look(n)
	return n, nil
}

// peak is how much memory was in use at most.
type peak struct {
	mu          sync.Mutex
	since, most int64
}

// look measures about once every 8 MiB that pass.
func (p *peak) look(passed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since += int64(passed); p.since > 8<<20 {
		p.since, p.most = 0, max(p.most, inUse())
	}
}

// inUse is the memory that the process has from the system.
func inUse() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// Write implements io.Writer.
func (p *peak) Write(b []byte) (int, error) {
	p.look(len(b))
	return len(b), nil
}

// TestMemory moves a gigabyte into stores and out of them again.
func TestMemory(t *testing.T) {
	const allowed = 32 << 20
	digest := patternDigest(t, gigabyte)
	kinds := bottomlessKinds(gigabyte, asIs)
	kinds["folder"] = folder
	for name, where := range kinds {
		t.Run(name, func(t *testing.T) {
			open := where(t)
			s := open()
			put(t, s, "small") // has connections and the like made
			debug.FreeOSMemory()
			idle, p := inUse(), &peak{}
			blob, err := s.Put(t.Context(), io.LimitReader(&pattern{peak: p}, gigabyte), digest, gigabyte)
			if err != nil {
				t.Fatal(err)
			}
			put := p.most
			blob, found, err := open().Get(t.Context(), blob.Digest)
			if err != nil || !found {
				t.Fatalf("%v, %v", found, err)
			}
			r, err := blob.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if n, err := io.Copy(p, r); n != gigabyte || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
			t.Logf("%d MiB when idle, at most %d MiB more while putting, %d MiB in all", idle>>20, (put-idle)>>20, (p.most-idle)>>20)
			if p.most-idle > allowed {
				t.Errorf("%d MiB more than when idle", (p.most-idle)>>20)
			}
		})
	}
}

// bottomless is an S3 server that keeps nothing of large objects: it remembers how
// large they were and gives the pattern again.
type bottomless struct {
	size int64

	mu    sync.Mutex
	sizes map[string]int64
}

func newBottomless(size int64) *bottomless { return &bottomless{size: size, sizes: map[string]int64{}} }

// ServeHTTP implements http.Handler.
func (b *bottomless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	key, q := r.URL.Path, r.URL.Query()
	switch size, known := b.sizes[key]; {
	case q.Has("list-type"):
		fmt.Fprint(w, `<ListBucketResult></ListBucketResult>`)
	case r.Method == http.MethodPost && q.Has("uploads"):
		fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPut && q.Has("uploadId"):
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum([]byte(q.Get("partNumber")))))
	case r.Method == http.MethodPost && q.Has("uploadId"):
		b.sizes[key] = b.size
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodPut:
		b.sizes[key] = n
		w.Header().Set("ETag", `"1"`)
	case r.Method == http.MethodDelete:
		delete(b.sizes, key)
		w.WriteHeader(http.StatusNoContent)
	case !known:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
	default:
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
		w.Header().Set("Content-Length", fmt.Sprint(size))
		if r.Method == http.MethodGet {
			_, _ = io.CopyN(w, &pattern{peak: &peak{}}, size)
		}
	}
}

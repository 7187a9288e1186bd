package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"testing"
	"time"

	"mollymawk.dev/operator/internal/egress"
)

const mib = 1 << 20

const (
	// leastRatio is how fast a fetch must be at least, measured by a bare copy.
	leastRatio = 0.8
	// maxExtraHeap is what a fetch may need at most, however large the content.
	maxExtraHeap = 8 * mib
)

// largeBlock is what large contents are made of.
var largeBlock = []byte(randomContent(mib))

// largeServer serves a content of so many MiB, of which a bench or test has the
// digest.
func largeServer(t testing.TB, blocks int) (source Source) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(blocks*mib))
		for range blocks {
			if _, err := w.Write(largeBlock); err != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	h := sha256.New()
	for range blocks {
		h.Write(largeBlock)
	}
	return at(server.URL, hex.EncodeToString(h.Sum(nil)))
}

// BenchmarkFetch compares fetching into the store, with all that is verified and
// made durable, with a bare copy of the same bytes from the same server to a
// durable file. They take turns. The fastest of each are compared, since whatever
// else the machine does only slows.
func BenchmarkFetch(b *testing.B) {
	const blocks = 256
	source := largeServer(b, blocks)
	bare := egress.Policy{AllowLoopback: true}.Client(nil)
	defer bare.CloseIdleConnections()
	var raw, ours []time.Duration
	peak := int64(0)
	for b.Loop() {
		start := time.Now()
		copyBare(b, bare, source.URL)
		raw = append(raw, time.Since(start))
		peak = max(peak, extraHeap(func() {
			start = time.Now()
			fetchOnce(b, source)
			ours = append(ours, time.Since(start))
		}))
	}
	ratio := slices.Min(raw).Seconds() / slices.Min(ours).Seconds()
	b.ReportMetric(0, "ns/op") // the sum of both says nothing
	b.ReportMetric(blocks*mib/1e6/slices.Min(ours).Seconds(), "MB/s")
	b.ReportMetric(blocks*mib/1e6/slices.Min(raw).Seconds(), "raw-MB/s")
	b.ReportMetric(ratio, "x-raw-copy")
	b.ReportMetric(float64(peak)/mib, "peak-extra-MiB")
	if len(ours) > 5 && ratio < leastRatio {
		b.Errorf("a fetch runs at %.2f of a bare copy, want at least %v", ratio, leastRatio)
	}
}

func copyBare(t testing.TB, client *http.Client, address string) {
	t.Helper()
	response, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := io.Copy(file, response.Body); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
}

// fetchOnce fetches into a new store, which is removed.
func fetchOnce(t testing.TB, source Source) {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	store, err := OpenStore(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	f := NewFetcher(store, Options{Egress: loopback}, func(string) {})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Start(ctx) }()
	_, err = f.Get(ctx, "key", source, time.Hour)
	cancel()
	if ended := <-ended; err == nil {
		err = ended
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestConstantMemory fetches 128 MiB. The heap is that of both sides.
func TestConstantMemory(t *testing.T) {
	source := largeServer(t, 128)
	if extra := extraHeap(func() { fetchOnce(t, source) }); extra > maxExtraHeap {
		t.Errorf("%.1f MiB of heap more than before", float64(extra)/mib)
	}
}

// extraHeap runs a function and gives the most that the heap had more than
// before meanwhile, in bytes: all objects, those that are garbage already too.
func extraHeap(run func()) int64 {
	runtime.GC()
	before := heap()
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		found := int64(0)
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				found = max(found, heap()-before)
			case <-stop:
				most <- found
				return
			}
		}
	}()
	run()
	close(stop)
	return <-most
}

func heap() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// A content is the same however it is cut.
func TestLargeContentIsWhole(t *testing.T) {
	blob, err := fetch(t, largeServer(t, 3), Options{Egress: loopback, MaxSize: 3 * mib})
	if err != nil || contentOf(t, blob) != string(bytes.Repeat(largeBlock, 3)) {
		t.Errorf("%v", err)
	}
}

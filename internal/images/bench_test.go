package images

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/internal/egress"
)

// leastRatio is how fast a fetch must be at least, measured by a bare copy.
const leastRatio = 0.8

// BenchmarkFetch compares fetching into the store, with all that is verified and
// made durable, with a bare copy of the same bytes from the same server to a
// durable file in the same folder. They take turns, so that both meet the same
// machine.
func BenchmarkFetch(b *testing.B) {
	const size = 256 << 20
	content := randomContent(size)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}))
	defer server.Close()
	source := at(server.URL, digestOf(content))
	bare := egress.Policy{AllowLoopback: true}.Client(nil)
	defer bare.CloseIdleConnections()
	var fetching, copying time.Duration
	b.SetBytes(size)
	for b.Loop() {
		copying += timed(b, func() error { return copyBare(bare, server.URL, filepath.Join(b.TempDir(), "copy")) })
		fetching += timed(b, func() error { return fetchOnce(b, source) })
	}
	ratio := copying.Seconds() / fetching.Seconds()
	b.ReportMetric(float64(size)*float64(b.N)/fetching.Seconds()/1e6, "MB/s-fetched")
	b.ReportMetric(float64(size)*float64(b.N)/copying.Seconds()/1e6, "MB/s-copied")
	b.ReportMetric(ratio, "ratio")
	if ratio < leastRatio {
		b.Errorf("a fetch runs at %.2f of a bare copy, want at least %v", ratio, leastRatio)
	}
}

func timed(b *testing.B, do func() error) time.Duration {
	b.Helper()
	begin := time.Now()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

func copyBare(client *http.Client, address, to string) error {
	response, err := client.Get(address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer os.Remove(to)
	defer file.Close()
	if _, err := io.Copy(file, response.Body); err != nil {
		return err
	}
	return file.Sync()
}

// fetchOnce fetches into a new store, which is removed.
func fetchOnce(b *testing.B, source Source) error {
	dir := b.TempDir()
	defer os.RemoveAll(dir)
	store, err := NewStore(dir)
	if err != nil {
		return err
	}
	f := NewFetcher(store, Options{Egress: loopback}, func(string) {})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- f.Start(ctx) }()
	_, err = f.Get(ctx, "key", source, time.Minute)
	cancel()
	if ended := <-ended; err == nil {
		err = ended
	}
	return err
}

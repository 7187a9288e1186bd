package perf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
	"mollymawk.dev/operator/api/v1alpha1"
)

// fetchSize is that of the images that are moved.
const fetchSize = 256 << 20

// BenchmarkFetch declares a Unikernel with an image of 256 MiB that is on a web server, and waits until it runs: the operator fetches
// it, verifies and keeps it, and sends it to the host over TLS. The raw copy of the same bytes downloads them from the same server into a
// file, makes that durable, and sends it to the same listener of the host, with net/http and crypto/tls alone. They take turns, and the
// fastest of each are compared: what else the machine does only slows.
func BenchmarkFetch(b *testing.B) {
	const rounds = 4
	a := newAPI(b, 0, false)
	site := newImageSite(b)
	var raw, ours []time.Duration
	var memory int64
	a.runFrom(site, "warm")
	a.must(a.rawFetch(site, "rawwarm"))
	for i := range rounds {
		raw = append(raw, a.timed(func() error { return a.rawFetch(site, fmt.Sprintf("raw%d", i)) }))
		idle := a.m.idleMemory()
		memory = max(memory, a.m.moreMemory(idle, func() { ours = append(ours, a.runFrom(site, fmt.Sprintf("uk%d", i))) }))
	}
	b.Logf("%v, raw %v", ours, raw)
	a.report("fetch-to-host-ratio", slices.Min(raw).Seconds()/slices.Min(ours).Seconds())
	a.report("fetch-to-host-memory-mib", float64(memory)/miB)
}

// imageSite serves a large image, each time with another number at its end.
type imageSite struct {
	*httptest.Server
	image  []byte
	number atomic.Uint64
}

func newImageSite(b *testing.B) *imageSite {
	b.Helper()
	image, err := albatrosstest.StandIn("large", solo5.Image{}, fetchSize)
	if err != nil {
		b.Fatal(err)
	}
	s := &imageSite{image: image}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.ParseUint(filepath.Base(r.URL.Path), 10, 64) // none is 0
		w.Header().Set("Content-Length", strconv.Itoa(len(image)+8))
		_, _ = io.Copy(w, s.content(number)) // whoever left does not need it
	}))
	b.Cleanup(s.Close)
	return s
}

// content is the image with a number.
func (s *imageSite) content(number uint64) io.Reader {
	return io.MultiReader(bytes.NewReader(s.image), bytes.NewReader(binary.BigEndian.AppendUint64(nil, number)))
}

// another gives an image that was never fetched.
func (s *imageSite) another() v1alpha1.ContentSource {
	number := s.number.Add(1)
	h := sha256.New()
	_, _ = io.Copy(h, s.content(number)) // neither fails
	return v1alpha1.ContentSource{URL: fmt.Sprintf("%s/%d", s.URL, number), SHA256: v1alpha1.SHA256(hex.EncodeToString(h.Sum(nil)))}
}

// runFrom gives how long a Unikernel with another image took to be Ready.
func (a *api) runFrom(site *imageSite, name string) time.Duration {
	a.Helper()
	uk := a.unikernel(name, "host")
	uk.Spec.Image = &v1alpha1.ImageSource{ContentSource: site.another()}
	a.createAll([]*v1alpha1.Unikernel{uk})
	took, _ := a.seen.untilReady([]*v1alpha1.Unikernel{uk})
	return took[name]
}

// rawFetch copies another image to a file and to the host.
func (a *api) rawFetch(site *imageSite, name string) error {
	source := site.another()
	path := filepath.Join(a.dir, name)
	defer os.Remove(path)
	if err := download(source.URL, path); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	host, err := a.hostConn(name, wire.UnikernelCreate{Config: albatross.Config{Arguments: albatross.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1}}})
	if err != nil {
		return err
	}
	defer host.Close()
	return sendChunk(host, file, fetchSize+8)
}

// download makes a durable file of what is at an address.
func download(address, path string) error {
	response, err := http.Get(address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err1 := copyPlain(file, response.Body)
	err2 := file.Sync()
	return errors.Join(err1, err2, file.Close())
}

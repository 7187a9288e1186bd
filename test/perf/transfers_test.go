package perf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// transferSize is that of the volume whose content is moved.
const transferSize = 1 << 30

// BenchmarkTransfers fills a volume of 1 GiB over the HTTP API and reads it back, both over TLS, and moves the same bytes through a relay
// that knows nothing but crypto/tls: from the client over TLS to the relay, and over TLS to or from the same listener of the same host.
// They take turns, and each is compared with the one beside it, so that both had the same of the machine; the median of that counts.
func BenchmarkTransfers(b *testing.B) {
	const rounds = 5
	a := newAPI(b, 0, true)
	a.must(a.post("/api/volume/create", volumeFields("data"), "block_data", strings.NewReader(""), 0))
	a.must(a.post("/api/volume/create", volumeFields("raw"), "block_data", strings.NewReader(""), 0))
	var rawUp, rawDown, up, down []time.Duration
	var upMemory, downMemory int64
	idle := a.m.idleMemory()
	for range rounds {
		rawUp = append(rawUp, a.timed(func() error { return a.rawUpload("raw") }))
		upMemory = max(upMemory, a.m.moreMemory(idle, func() { up = append(up, a.timed(func() error { return a.upload("data") })) }))
		rawDown = append(rawDown, a.timed(func() error { return a.rawDownload("raw") }))
		downMemory = max(downMemory, a.m.moreMemory(idle, func() { down = append(down, a.timed(func() error { return a.download("data") })) }))
	}
	b.Logf("up %v, raw %v; down %v, raw %v", up, rawUp, down, rawDown)
	a.report("volume-upload-ratio", medianRatio(rawUp, up))
	a.report("volume-download-ratio", medianRatio(rawDown, down))
	a.report("volume-upload-memory-mib", float64(upMemory)/miB)
	a.report("volume-download-memory-mib", float64(downMemory)/miB)
}

// medianRatio compares what took turns, each with its neighbour.
func medianRatio(dividends, divisors []time.Duration) float64 {
	var ratios []float64
	for i := range divisors {
		ratios = append(ratios, dividends[i].Seconds()/divisors[i].Seconds())
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func volumeFields(name string) map[string]string {
	return map[string]string{
		"albatross_instance": "host", "molly_csrf": "",
		"json_data": fmt.Sprintf(`{"block_name":%q,"block_size":%d,"block_compressed":false}`, name, transferSize>>20),
	}
}

func (a *api) timed(do func() error) time.Duration {
	a.Helper()
	began := time.Now()
	a.must(do())
	return time.Since(began)
}

func (a *api) upload(volume string) error {
	request, err := a.formRequest("/api/volume/upload", volumeFields(volume), "block_data", &numbered{left: transferSize}, transferSize)
	if err != nil {
		return err
	}
	return a.exchange(request, func(answer io.Reader) error {
		_, err := io.ReadAll(answer)
		return err
	})
}

func (a *api) download(volume string) error {
	document := strings.NewReader(fmt.Sprintf(`{"albatross_instance":"host","block_name":%q,"compression_level":0}`, volume))
	request, err := a.request(a.Context(), http.MethodPost, "/api/volume/download", document)
	if err != nil {
		return err
	}
	return a.exchange(request, func(answer io.Reader) error {
		check := &numberedCheck{}
		if _, err := copyPlain(check, answer); err != nil {
			return err
		}
		return check.complete()
	})
}

func (a *api) rawUpload(volume string) error {
	address, ended := a.relay(func(client net.Conn) error {
		host, err := a.hostConn(volume, wire.BlockSet{})
		if err != nil {
			return err
		}
		defer host.Close()
		if err := sendChunk(host, client, transferSize); err != nil {
			return err
		}
		_, err = client.Write([]byte{1})
		return err
	})
	client := a.dialTLS(address)
	defer client.Close()
	_, err1 := copyPlain(client, &numbered{left: transferSize})
	_, err2 := io.ReadFull(client, make([]byte, 1))
	return errors.Join(err1, err2, <-ended)
}

// rawDownload copies what the host sends as it is, with the frames that the data are in.
func (a *api) rawDownload(volume string) error {
	address, ended := a.relay(func(client net.Conn) error {
		host, err := a.hostConn(volume, wire.BlockDump{})
		if err != nil {
			return err
		}
		defer host.Close()
		_, err = copyPlain(client, host)
		return err
	})
	client := a.dialTLS(address)
	defer client.Close()
	n, err := copyPlain(io.Discard, client)
	if n < transferSize {
		err = errors.Join(err, fmt.Errorf("only %d bytes came", n))
	}
	return errors.Join(err, <-ended)
}

// numbered gives zeros but for the number of each MiB at its beginning: a host keeps zeros without writing them.
type numbered struct{ at, left int64 }

// Read implements io.Reader; it ends at the borders of MiBs.
func (r *numbered) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	inside := r.at % miB
	n := min(int64(len(p)), r.left, miB-inside)
	clear(p[:n])
	if inside < 8 {
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], uint64(r.at/miB)+1)
		copy(p[:n], number[inside:])
	}
	r.at, r.left = r.at+n, r.left-n
	return int(n), nil
}

// numberedCheck wants what numbered gives. Of what is between the numbers it counts the bytes.
type numberedCheck struct {
	at     int64
	number [8]byte
	err    error
}

// Write implements io.Writer.
func (w *numberedCheck) Write(p []byte) (int, error) {
	for written := 0; written < len(p) && w.err == nil; {
		inside := w.at % miB
		n := int(min(int64(len(p)-written), miB-inside))
		if inside < 8 {
			copy(w.number[inside:], p[written:written+n])
		}
		if inside < 8 && inside+int64(n) >= 8 && binary.BigEndian.Uint64(w.number[:]) != uint64(w.at/miB)+1 {
			w.err = fmt.Errorf("MiB %d begins with %x", w.at/miB, w.number)
		}
		w.at, written = w.at+int64(n), written+n
	}
	return len(p), w.err
}

func (w *numberedCheck) complete() error {
	if w.at != transferSize {
		return fmt.Errorf("%d bytes came", w.at)
	}
	return w.err
}

func TestMedianRatio(t *testing.T) {
	ours := []time.Duration{8, 4, 5}
	if got := medianRatio([]time.Duration{4, 4, 4}, ours); got != 0.8 {
		t.Errorf("it is %v", got)
	}
}

// TestNumbered reads and writes in pieces of odd sizes.
func TestNumbered(t *testing.T) {
	for _, size := range []int{1 << 10, 4093, 64 << 10, 3<<20 + 1} {
		check := &numberedCheck{}
		if _, err := io.CopyBuffer(struct{ io.Writer }{check}, struct{ io.Reader }{&numbered{left: transferSize / 64}}, make([]byte, size)); err != nil || check.at != transferSize/64 {
			t.Errorf("in pieces of %d: %d bytes, %v", size, check.at, err)
		}
	}
	wrong := &numberedCheck{at: miB}
	if _, err := wrong.Write(make([]byte, 8)); err == nil {
		t.Error("what begins with another number is taken")
	}
}

package albatross_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// uploadSize is that of the uploads that are measured.
const uploadSize = 256 * mib

// maxExtraHeap is what an upload or download may need at most, however large.
const maxExtraHeap = 8 * mib

// BenchmarkCommand is what a command costs on the client's side besides the
// network and the handshake: its certificates and the decoding of the answer.
func BenchmarkCommand(b *testing.B) {
	h := script(b, func(*peer) {})
	credential, err := albatross.ParseCredential(h.caCert, h.caKey)
	if err != nil {
		b.Fatal(err)
	}
	minter, err := cert.NewMinter(credential)
	if err != nil {
		b.Fatal(err)
	}
	levels := []albatross.Level{{Label: "alice", Policy: albatross.Policy{Unikernels: 5, CPUIDs: []int64{0}, Memory: 128, Bridges: []string{"service"}}}}
	info := wire.NamedInfo{Name: wire.Name{Label: "web"}, Info: wire.Info{CPUIDs: []int64{0}, Memory: 16, Argv: []string{"hello"}, Digest: make([]byte, 32), NumCPUs: 1}}
	answer, err := wire.EncodeFrame(wire.Frame{Name: wire.Name{Path: wire.Path{"alice"}}, Payload: wire.UnikernelInfos{Form: wire.InfoCurrent, Infos: []wire.NamedInfo{info}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := minter.Mint(levels, "", wire.UnikernelInfo{}, time.Now()); err != nil {
			b.Fatal(err)
		}
		if _, err := wire.DecodeFrame(answer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQuery is a whole command and its answer over the loopback interface,
// with both sides of the handshake in this process.
func BenchmarkQuery(b *testing.B) {
	client := script(b, func(p *peer) { p.say(wire.UnikernelInfos{Form: wire.InfoCurrent}) }).client(b, albatross.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Unikernels(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// sinkHost takes uploads and forgets them; blocks have room for uploadSize.
func sinkHost(t testing.TB) *scripted {
	t.Helper()
	var frames []byte
	for part := range slices.Chunk(noise64k, 4096) {
		der, err := wire.EncodeFrame(wire.Frame{Payload: wire.BlockData{Data: part}})
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, framed(der)...)
	}
	return script(t, func(p *peer) {
		switch p.request.Command.(type) {
		case wire.BlockList:
			p.block(uploadSize / mib)
		case wire.BlockDump:
			p.say(wire.BlockDeviceImage{})
			for range uploadSize / len(noise64k) {
				_, _ = p.Write(frames) // a failure shows at the client
			}
			p.say(wire.BlockDataEnd{})
		default:
			if p.take(discard{}) == nil {
				p.say(wire.Text{Text: "taken"})
			}
		}
	})
}

// discard reads in large pieces, to be no hindrance.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (discard) ReadFrom(r io.Reader) (n int64, err error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		m, err := r.Read(*buffer)
		n += int64(m)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

var buffers = sync.Pool{New: func() any { return new(make([]byte, 64<<10)) }}

// endless gives the same block of data again and again.
type endless struct{ data []byte }

func (r endless) Read(p []byte) (int, error) { return copy(p, r.data), nil }

func content() io.Reader { return io.LimitReader(endless{noise64k}, uploadSize) }

var noise64k = noise(64 << 10)

// rawUpload sends what an upload needs with nothing but crypto/tls and io.Copy:
// a command for the same listener, one chunk with everything, the zero length.
func rawUpload(b *testing.B, h *scripted) {
	b.Helper()
	credential, err := albatross.ParseCredential(h.caCert, h.caKey)
	if err != nil {
		b.Fatal(err)
	}
	minter, err := cert.NewMinter(credential)
	if err != nil {
		b.Fatal(err)
	}
	pair, err := minter.Mint(nil, "data", wire.BlockSet{}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(h.caCert)
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true,
		VerifyConnection: cert.VerifyServer(pool, time.Now),
	}}
	conn, err := dialer.DialContext(b.Context(), "tcp", h.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	_, err1 := conn.Write(binary.BigEndian.AppendUint32(nil, uploadSize))
	_, err2 := io.Copy(struct{ io.Writer }{conn}, content())
	_, err3 := conn.Write(make([]byte, 4))
	_, err4 := io.ReadFull(conn, make([]byte, 8))
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			b.Fatal(err)
		}
	}
}

func setBlock(ctx context.Context, t testing.TB, c *albatross.Client) {
	t.Helper()
	if _, err := c.SetBlock(ctx, nil, "data", albatross.BlockContent{Reader: content()}); err != nil {
		t.Fatal(err)
	}
}

func createUnikernel(ctx context.Context, t testing.TB, c *albatross.Client) {
	t.Helper()
	if _, err := c.Create(ctx, nil, "web", albatross.Config{}, albatross.Image{Reader: content(), Size: uploadSize}); err != nil {
		t.Fatal(err)
	}
}

func dumpBlock(ctx context.Context, t testing.TB, c *albatross.Client) {
	t.Helper()
	if n, err := c.DumpBlock(ctx, nil, "data", 0, io.Discard); err != nil || n != uploadSize {
		t.Fatal(n, err)
	}
}

// BenchmarkUpload compares uploads of 256 MiB with a copy of the same bytes by
// crypto/tls alone. Both go to one listener, which parses chunks and forgets
// them; raw and client take turns. The fastest of each are compared, since
// whatever else the machine does only slows.
func BenchmarkUpload(b *testing.B) {
	for name, upload := range map[string]func(context.Context, testing.TB, *albatross.Client){"set": setBlock, "create": createUnikernel} {
		b.Run(name, func(b *testing.B) {
			h := sinkHost(b)
			client := h.client(b, albatross.Options{})
			upload(b.Context(), b, client) // warms up
			var raw, ours []time.Duration
			peak := int64(0)
			for b.Loop() {
				start := time.Now()
				rawUpload(b, h)
				raw = append(raw, time.Since(start))
				peak = max(peak, extraHeap(func() {
					start = time.Now()
					upload(b.Context(), b, client)
					ours = append(ours, time.Since(start))
				}))
			}
			b.ReportMetric(0, "ns/op") // the sum of both says nothing
			b.ReportMetric(uploadSize/1e6/slices.Min(ours).Seconds(), "MB/s")
			b.ReportMetric(uploadSize/1e6/slices.Min(raw).Seconds(), "raw-MB/s")
			b.ReportMetric(slices.Min(raw).Seconds()/slices.Min(ours).Seconds(), "x-raw-tls")
			b.ReportMetric(float64(peak)/mib, "peak-extra-MiB")
		})
	}
}

// BenchmarkDownload is a dump of 256 MiB in frames of 4 KiB, as hosts send them.
func BenchmarkDownload(b *testing.B) {
	client := sinkHost(b).client(b, albatross.Options{})
	b.SetBytes(uploadSize)
	peak := int64(0)
	for b.Loop() {
		peak = max(peak, extraHeap(func() { dumpBlock(b.Context(), b, client) }))
	}
	b.ReportMetric(float64(peak)/mib, "peak-extra-MiB")
}

// TestConstantMemory moves 256 MiB (32 MiB where each byte is slow to make). The
// heap is that of both sides.
func TestConstantMemory(t *testing.T) {
	client := sinkHost(t).client(t, albatross.Options{})
	for name, move := range map[string]func(context.Context, testing.TB, *albatross.Client){
		"set": setBlock, "create": createUnikernel, "dump": dumpBlock,
		"set, deflated": func(ctx context.Context, t testing.TB, c *albatross.Client) {
			deflated := albatross.BlockContent{Reader: io.LimitReader(zeros{}, 32*mib), Deflate: true}
			if _, err := c.SetBlock(ctx, nil, "data", deflated); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if extra := extraHeap(func() { move(t.Context(), t, client) }); extra > maxExtraHeap {
				t.Errorf("%.1f MiB of heap more than before", float64(extra)/mib)
			}
		})
	}
}

// extraHeap runs a function and gives the most that the heap had more than
// before meanwhile, in bytes: all objects, those that are garbage already too.
func extraHeap(run func()) int64 {
	runtime.GC()
	before := heap()
	stop, done := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		for ticker := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-ticker.C:
				most = max(most, heap()-before)
			case <-stop:
				ticker.Stop()
				done <- most
				return
			}
		}
	}()
	run()
	close(stop)
	return <-done
}

func heap() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

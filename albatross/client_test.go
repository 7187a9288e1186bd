package albatross_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// short is a timeout that is meant to pass.
const short = 200 * time.Millisecond

func simulated(t testing.TB, options albatross.Options) (*albatrosstest.Host, *albatross.Client) {
	t.Helper()
	h := albatrosstest.Start(t, albatrosstest.Options{})
	c := h.Credentials()
	options.Addr = h.Addr()
	return h, newClient(t, options, c.Cert, c.Key, c.ServerCA)
}

// kinds are all kinds of failure.
var kinds = []error{
	albatross.ErrInvalid, albatross.ErrLocal, albatross.ErrRefused, albatross.ErrRejected, albatross.ErrEnded, albatross.ErrUntrusted,
	albatross.ErrUnreachable, albatross.ErrTimeout, albatross.ErrProtocol,
}

// wantOnly demands one kind and none of the others.
func wantOnly(t *testing.T, err, kind error, sent bool) {
	t.Helper()
	e := wantKind(t, err, kind)
	for _, other := range kinds {
		if errors.Is(err, other) != (other == kind) {
			t.Errorf("%v: is %v: %t", err, other, other != kind)
		}
	}
	if e.Sent != sent {
		t.Errorf("%v: sent %t, want %t", err, e.Sent, sent)
	}
}

func TestFaults(t *testing.T) {
	timeout := albatross.Options{Timeout: short, MinRate: 1 << 50}
	for name, c := range map[string]struct {
		fault   albatrosstest.Fault
		options albatross.Options
		kind    error
		sent    bool
	}{
		"Refuse":            {fault: albatrosstest.Fault{Kind: albatrosstest.Refuse}, kind: albatross.ErrUnreachable},
		"Reset":             {fault: albatrosstest.Fault{Kind: albatrosstest.Reset}, kind: albatross.ErrUnreachable},
		"Stall":             {fault: albatrosstest.Fault{Kind: albatrosstest.Stall}, kind: albatross.ErrTimeout, options: timeout},
		"NotTLS":            {fault: albatrosstest.Fault{Kind: albatrosstest.NotTLS}, kind: albatross.ErrProtocol},
		"WrongCertificate":  {fault: albatrosstest.Fault{Kind: albatrosstest.WrongCertificate}, kind: albatross.ErrUntrusted},
		"ClientCertificate": {fault: albatrosstest.Fault{Kind: albatrosstest.ClientCertificate}, kind: albatross.ErrUntrusted},
		"Unreachable":       {fault: albatrosstest.Fault{Kind: albatrosstest.Unreachable}, kind: albatross.ErrRefused, sent: true},
		"Fail":              {fault: albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "no way"}, kind: albatross.ErrRefused, sent: true},
		"NoReply":           {fault: albatrosstest.Fault{Kind: albatrosstest.NoReply}, kind: albatross.ErrTimeout, sent: true, options: timeout},
		"CutReply at 0":     {fault: albatrosstest.Fault{Kind: albatrosstest.CutReply}, kind: albatross.ErrUnreachable, sent: true},
		"CutReply at 3":     {fault: albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 3}, kind: albatross.ErrUnreachable, sent: true},
		"CutReply at 9":     {fault: albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 9}, kind: albatross.ErrUnreachable, sent: true},
		"CutUpload":         {fault: albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: 100_000}, kind: albatross.ErrUnreachable, sent: true},
		"Garbage":           {fault: albatrosstest.Fault{Kind: albatrosstest.Garbage}, kind: albatross.ErrProtocol, sent: true},
	} {
		for way, operation := range operations {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				h, client := simulated(t, c.options)
				h.Inject(c.fault)
				wantOnly(t, operation(t.Context(), client), c.kind, c.sent)
			})
		}
	}
}

func TestFailureText(t *testing.T) {
	h, c := simulated(t, albatross.Options{})
	h.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "no way", Command: "unikernel destroy"})
	_, err := c.Destroy(t.Context(), nil, "web")
	wantRefusal(t, err, "no way")
	if want := "unikernel destroy :web: no way"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// The host refuses the certificate of a client with an alert, which comes when
// the client believes the handshake to be over.
func TestClientNotTrusted(t *testing.T) {
	h := albatrosstest.Start(t, albatrosstest.Options{})
	good, other := h.Credentials(), albatrosstest.Start(t, albatrosstest.Options{}).Credentials()
	clock := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	for name, c := range map[string]struct {
		cert, key []byte
		now       func() time.Time
		alert     string
	}{
		"another CA":    {cert: other.Cert, key: other.Key, alert: "bad certificate"},
		"clock is late": {cert: good.Cert, key: good.Key, now: clock(-10 * time.Minute), alert: "expired certificate"},
		"clock is fast": {cert: good.Cert, key: good.Key, now: clock(10 * time.Minute), alert: "expired certificate"},
	} {
		for way, operation := range operations {
			t.Run(name+"/"+way, func(t *testing.T) {
				client := newClient(t, albatross.Options{Addr: h.Addr(), Now: c.now}, c.cert, c.key, good.ServerCA)
				err := operation(t.Context(), client)
				wantOnly(t, err, albatross.ErrRejected, true)
				if !strings.Contains(err.Error(), c.alert) {
					t.Errorf("%v does not say %q", err, c.alert)
				}
			})
		}
	}
}

// TestScripts has hosts say what they should not.
func TestScripts(t *testing.T) {
	frame := func(payload wire.Payload) []byte {
		der, err := wire.EncodeFrame(wire.Frame{Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		return framed(der)
	}
	infos := frame(wire.UnikernelInfos{Form: wire.InfoCurrent})
	for name, c := range map[string]struct {
		bytes []byte
		kind  error
		text  string
	}{
		"nothing":             {nil, albatross.ErrRejected, "unikernel info :: rejected by the host without an answer: EOF"},
		"half a length":       {infos[:2], albatross.ErrUnreachable, "unexpected EOF"},
		"a length only":       {infos[:4], albatross.ErrUnreachable, "unexpected EOF"},
		"half a frame":        {infos[:len(infos)-1], albatross.ErrUnreachable, "unexpected EOF"},
		"an empty frame":      {make([]byte, 4), albatross.ErrProtocol, ""},
		"an oversized frame":  {binary.BigEndian.AppendUint32(nil, 1<<16+1), albatross.ErrProtocol, "a frame of 65537 bytes is larger than the limit of 65536"},
		"a promise":           {binary.BigEndian.AppendUint32(nil, 1<<16), albatross.ErrUnreachable, "unexpected EOF"},
		"another reply":       {frame(wire.Text{Text: "hello"}), albatross.ErrProtocol, "answered with wire.Text, want wire.UnikernelInfos"},
		"a command":           {frame(wire.Request{Command: wire.UnikernelInfo{}}), albatross.ErrProtocol, "answered with wire.Request"},
		"data":                {frame(wire.BlockDataEnd{}), albatross.ErrProtocol, "answered with wire.BlockDataEnd"},
		"no DER":              {framed([]byte("hello")), albatross.ErrProtocol, ""},
		"two failures":        {append(frame(wire.Failure{Text: "first"}), frame(wire.Failure{Text: "second"})...), albatross.ErrRefused, "unikernel info :: first"},
		"an unknown payload":  {framed([]byte{0x30, 0x15, 0x30, 0x0f, 2, 1, 5, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0c, 0, 0xbf, 0x40, 0}), albatross.ErrProtocol, ""},
		"more after the rest": {append(bytes.Clone(infos), "rest"...), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := script(t, func(p *peer) { _, _ = p.Write(c.bytes) }).client(t, albatross.Options{MaxReply: 1 << 16})
			_, err := client.Unikernels(t.Context(), nil)
			if c.kind == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantOnly(t, err, c.kind, true)
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v does not say %q", err, c.text)
			}
		})
	}
}

// A host that dies does not say that it closes.
func TestEndWithoutClose(t *testing.T) {
	for way, operation := range operations {
		t.Run(way, func(t *testing.T) {
			client := script(t, func(p *peer) { p.raw.Close() }).client(t, albatross.Options{})
			wantOnly(t, operation(t.Context(), client), albatross.ErrUnreachable, true)
		})
	}
}

func TestNoCertificateAskedFor(t *testing.T) {
	h := script(t, func(p *peer) { p.untilGone() })
	h.config.ClientAuth = tls.NoClientCert
	for way, operation := range operations {
		t.Run(way, func(t *testing.T) {
			wantOnly(t, operation(t.Context(), h.client(t, albatross.Options{})), albatross.ErrProtocol, false)
		})
	}
}

func TestOldTLS(t *testing.T) {
	h := script(t, func(p *peer) { p.untilGone() })
	h.config.MaxVersion = tls.VersionTLS12
	wantOnly(t, operations["query"](t.Context(), h.client(t, albatross.Options{})), albatross.ErrProtocol, false)
}

func TestEndInHandshake(t *testing.T) {
	h := script(t, func(*peer) {})
	client := h.client(t, albatross.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Read(make([]byte, 1<<16))
			theirs.Close()
		}()
		return ours, nil
	}})
	wantOnly(t, operations["query"](t.Context(), client), albatross.ErrUnreachable, false)
}

// A host that refuses an upload says why, stops reading and closes, so that the
// client's writes fail.
func TestRefusalInUpload(t *testing.T) {
	endless := func() albatross.Image { return albatross.Image{Reader: zeros{}, Size: 1 << 40} }
	for name, c := range map[string]struct {
		serve func(p *peer)
		kind  error
		text  string
	}{
		"failure":   {func(p *peer) { p.say(wire.Failure{Text: "no room"}) }, albatross.ErrRefused, "unikernel create :web: no room"},
		"failures":  {func(p *peer) { p.say(wire.Failure{Text: "no room"}, wire.Failure{Text: "and more"}) }, albatross.ErrRefused, "unikernel create :web: no room"},
		"success":   {func(p *peer) { p.say(wire.Text{Text: "created unikernel"}) }, albatross.ErrProtocol, `answered "created unikernel" to an upload that it stopped taking`},
		"no answer": {func(*peer) {}, albatross.ErrRejected, "without an answer"},
		"garbage":   {func(p *peer) { _, _ = p.Write(framed([]byte("hello"))) }, albatross.ErrProtocol, ""},
		"reset":     {func(p *peer) { _ = p.raw.(*net.TCPConn).SetLinger(0); p.raw.Close() }, albatross.ErrUnreachable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := script(t, func(p *peer) {
				_, _ = io.CopyN(io.Discard, p, 1<<20)
				c.serve(p)
				_ = p.CloseWrite()
				time.Sleep(10 * time.Millisecond) // the client is busy sending meanwhile
			}).client(t, albatross.Options{})
			_, err := client.Create(t.Context(), nil, "web", albatross.Config{}, endless())
			wantOnly(t, err, c.kind, true)
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v does not say %q", err, c.text)
			}
		})
	}
}

// A host that neither takes more nor closes, but has said why.
func TestRefusalInStalledUpload(t *testing.T) {
	client := script(t, func(p *peer) {
		p.say(wire.Failure{Text: "no room"})
		p.silent()
	}).client(t, albatross.Options{Timeout: short})
	_, err := client.Create(t.Context(), nil, "web", albatross.Config{}, albatross.Image{Reader: zeros{}, Size: 1 << 40})
	wantRefusal(t, err, "no room")
}

// What changes between asking whether a block device can be written and writing
// it shows too.
func TestSetBlockRace(t *testing.T) {
	client := script(t, func(p *peer) {
		if !p.block(1) {
			p.say(wire.Failure{Text: "set block: is in use"})
		}
	}).client(t, albatross.Options{})
	_, err := client.SetBlock(t.Context(), nil, "data", albatross.BlockContent{Reader: bytes.NewReader(noise(mib))})
	wantRefusal(t, err, "set block: is in use")

	failing := script(t, func(*peer) {}).client(t, albatross.Options{})
	_, err = failing.SetBlock(t.Context(), nil, "data", albatross.BlockContent{Reader: strings.NewReader("x")})
	wantOnly(t, err, albatross.ErrRejected, false) // only the question was sent
	if !strings.HasPrefix(err.Error(), "block set :data: ") {
		t.Error(err)
	}
	_, err = failing.SetBlock(t.Context(), nil, "data", albatross.BlockContent{})
	wantOnly(t, err, albatross.ErrInvalid, false)
}

func TestSetBlockSource(t *testing.T) {
	broken := errors.New("the disk is gone")
	client := script(t, func(p *peer) {
		if !p.block(1) && p.take(io.Discard) == nil {
			p.say(wire.Text{Text: "set block device"})
		}
	}).client(t, albatross.Options{})
	zlibbed := compressed(t, noise(300_000))
	wrongSum := bytes.Clone(zlibbed)
	wrongSum[len(wrongSum)-1]++
	for name, c := range map[string]struct {
		content albatross.BlockContent
		kind    error
		sent    bool
	}{
		"end in disguise":   {albatross.BlockContent{Reader: iotest.ErrReader(fmt.Errorf("%w: %w", broken, io.EOF))}, albatross.ErrLocal, true},
		"fails":             {albatross.BlockContent{Reader: iotest.ErrReader(broken)}, albatross.ErrLocal, true},
		"fails in the head": {albatross.BlockContent{Reader: iotest.ErrReader(broken), Compressed: true}, albatross.ErrLocal, false},
		"fails later": {albatross.BlockContent{
			Reader: io.MultiReader(bytes.NewReader(zlibbed[:200_000]), iotest.ErrReader(broken)), Compressed: true,
		}, albatross.ErrLocal, true},
		"fails deflating": {albatross.BlockContent{
			Reader: io.MultiReader(bytes.NewReader(zlibbed), iotest.ErrReader(broken)), Deflate: true,
		}, albatross.ErrLocal, true},
		"no zlib":            {albatross.BlockContent{Reader: strings.NewReader("hello"), Compressed: true}, albatross.ErrInvalid, false},
		"empty zlib":         {albatross.BlockContent{Reader: strings.NewReader(""), Compressed: true}, albatross.ErrInvalid, false},
		"short zlib":         {albatross.BlockContent{Reader: bytes.NewReader(zlibbed[:200_000]), Compressed: true}, albatross.ErrInvalid, true},
		"wrong sum":          {albatross.BlockContent{Reader: bytes.NewReader(wrongSum), Compressed: true}, albatross.ErrInvalid, true},
		"too large":          {albatross.BlockContent{Reader: bytes.NewReader(noise(mib + 1))}, albatross.ErrInvalid, true},
		"too large, deflate": {albatross.BlockContent{Reader: bytes.NewReader(noise(mib + 1)), Deflate: true}, albatross.ErrInvalid, true},
		"fits":               {albatross.BlockContent{Reader: bytes.NewReader(noise(mib))}, nil, true},
		"fits, with an end":  {albatross.BlockContent{Reader: iotest.DataErrReader(bytes.NewReader(noise(mib)))}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := client.SetBlock(t.Context(), nil, "data", c.content)
			if c.kind == nil {
				wantText(t, text, err, "set block device")
				return
			}
			wantOnly(t, err, c.kind, c.sent)
			if errors.Is(err, broken) != (c.kind == albatross.ErrLocal) {
				t.Error(err)
			}
		})
	}
}

// The sizes of chunks are what hosts are known to take, and the zero length is there.
func TestUploadBytes(t *testing.T) {
	var got bytes.Buffer
	client := script(t, func(p *peer) {
		got.Reset()
		if err := p.take(&got); err == nil {
			p.say(wire.Text{Text: "created unikernel"})
		}
	}).client(t, albatross.Options{})
	const chunk = 64<<10 - 4
	for _, size := range []int{1, 4, chunk - 1, chunk, chunk + 1, 3 * chunk, 1<<20 + 17} {
		data := noise(size)
		text, err := client.Create(t.Context(), nil, "web", albatross.Config{}, imageOf(data))
		wantText(t, text, err, "created unikernel")
		if !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d bytes arrived as %d others", size, got.Len())
		}
	}
}

// counted is a connection that counts what is written to it.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestUploadWakes demands that a chunk, which takes four records, goes to the network
// as one.
func TestUploadWakes(t *testing.T) {
	const size, chunk = 1 << 20, 64<<10 - 4
	var writes atomic.Int64
	client := script(t, func(p *peer) {
		if err := p.take(discard{}); err == nil {
			p.say(wire.Text{Text: "created unikernel"})
		}
	}).client(t, albatross.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return counted{conn, &writes}, err
	}})
	create := func(size int) int64 {
		before := writes.Load()
		text, err := client.Create(t.Context(), nil, "web", albatross.Config{}, imageOf(noise(size)))
		wantText(t, text, err, "created unikernel")
		return writes.Load() - before
	}
	if one, all := create(1), create(size); all-one > size/chunk+1 {
		t.Errorf("%d writes more for %d bytes", all-one, size)
	}
}

func TestCreateBHyve(t *testing.T) {
	client := script(t, func(p *peer) {
		if err := p.take(io.Discard); err == nil {
			p.say(wire.Text{Text: "created unikernel"})
		}
	}).client(t, albatross.Options{})
	text, err := client.Create(t.Context(), nil, "vm", albatross.Config{Type: albatross.BHyve}, albatross.Image{})
	wantText(t, text, err, "created unikernel")
}

func TestDownload(t *testing.T) {
	part := wire.BlockData{Data: noise(4096)}
	full := errors.New("the disk is full")
	zlibbed := compressed(t, noise(100_000))
	data := func(b []byte) wire.Payload { return wire.BlockData{Data: b} }
	for name, c := range map[string]struct {
		says []wire.Payload
		to   io.Writer
		n    int64
		kind error
	}{
		"with empty frames":  {[]wire.Payload{wire.BlockDeviceImage{}, data(nil), part, data(nil), wire.BlockDataEnd{}}, nil, 4096, nil},
		"empty":              {[]wire.Payload{wire.BlockDeviceImage{}, wire.BlockDataEnd{}}, nil, 0, nil},
		"no data":            {[]wire.Payload{wire.BlockDeviceImage{}}, nil, 0, albatross.ErrUnreachable},
		"no end":             {[]wire.Payload{wire.BlockDeviceImage{}, part}, nil, 4096, albatross.ErrUnreachable},
		"no beginning":       {[]wire.Payload{part, wire.BlockDataEnd{}}, nil, 0, albatross.ErrProtocol},
		"fails":              {[]wire.Payload{wire.Failure{Text: "one"}, wire.Failure{Text: "two"}}, nil, 0, albatross.ErrRefused},
		"fails later":        {[]wire.Payload{wire.BlockDeviceImage{}, part, wire.Failure{Text: "one"}, wire.Failure{Text: "two"}}, nil, 4096, albatross.ErrRefused},
		"other data":         {[]wire.Payload{wire.BlockDeviceImage{}, part, wire.ConsoleLine{Line: "hello"}}, nil, 4096, albatross.ErrProtocol},
		"writer fails":       {[]wire.Payload{wire.BlockDeviceImage{}, part, part}, failing{full}, 0, albatross.ErrLocal},
		"writer is short":    {[]wire.Payload{wire.BlockDeviceImage{}, part, part}, failing{}, 0, albatross.ErrLocal},
		"zlib":               {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, data(zlibbed[:5]), data(zlibbed[5:]), wire.BlockDataEnd{}}, nil, 100_000, nil},
		"zlib, more":         {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, data(zlibbed), part, wire.BlockDataEnd{}}, nil, 100_000, nil},
		"zlib, no end":       {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, data(zlibbed)}, nil, 100_000, albatross.ErrUnreachable},
		"zlib, short":        {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, data(zlibbed[:5]), wire.BlockDataEnd{}}, nil, 0, albatross.ErrProtocol},
		"zlib, not":          {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, part, wire.BlockDataEnd{}}, nil, 0, albatross.ErrProtocol},
		"zlib, nothing":      {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, wire.BlockDataEnd{}}, nil, 0, albatross.ErrProtocol},
		"zlib, failure":      {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, data(zlibbed[:5]), wire.Failure{Text: "one"}}, nil, 0, albatross.ErrRefused},
		"zlib, writer fails": {[]wire.Payload{wire.BlockDeviceImage{Compressed: true}, data(zlibbed), wire.BlockDataEnd{}}, failing{full}, 0, albatross.ErrLocal},
	} {
		t.Run(name, func(t *testing.T) {
			client := script(t, func(p *peer) { p.say(c.says...) }).client(t, albatross.Options{})
			if c.to == nil {
				c.to = io.Discard
			}
			n, err := client.DumpBlock(t.Context(), nil, "data", 1, c.to)
			if n != c.n {
				t.Errorf("%d bytes, want %d", n, c.n)
			}
			if c.kind == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantOnly(t, err, c.kind, true)
			if e := wantKind(t, err, c.kind); c.kind == albatross.ErrRefused && e.Text != "one" {
				t.Errorf("the host said %q", e.Text)
			}
		})
	}
	client := script(t, func(*peer) {}).client(t, albatross.Options{})
	for _, level := range []int64{-1, 10} {
		_, err := client.DumpBlock(t.Context(), nil, "data", level, io.Discard)
		wantOnly(t, err, albatross.ErrInvalid, false)
	}
}

func TestOpenBlock(t *testing.T) {
	part := wire.BlockData{Data: []byte("hello")}
	for name, c := range map[string]struct {
		says       []wire.Payload
		opens      error
		reads      error
		compressed bool
	}{
		"data":           {says: []wire.Payload{wire.BlockDeviceImage{}, part, wire.BlockDataEnd{}}},
		"as it travels":  {says: []wire.Payload{wire.BlockDeviceImage{Compressed: true}, part, wire.BlockDataEnd{}}, compressed: true},
		"refused":        {says: []wire.Payload{wire.Failure{Text: "dump block: not found"}}, opens: albatross.ErrRefused},
		"no end":         {says: []wire.Payload{wire.BlockDeviceImage{}, part}, reads: albatross.ErrUnreachable},
		"another answer": {says: []wire.Payload{wire.Text{Text: "what"}}, opens: albatross.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			client := script(t, func(p *peer) { p.say(c.says...) }).client(t, albatross.Options{})
			r, compressed, err := client.OpenBlock(t.Context(), nil, "data", 1)
			if c.opens != nil {
				wantOnly(t, err, c.opens, true)
				return
			}
			if err != nil || compressed != c.compressed {
				t.Fatalf("compressed: %t, %v", compressed, err)
			}
			defer r.Close()
			data, err := io.ReadAll(r)
			if string(data) != "hello" {
				t.Errorf("read %q", data)
			}
			if c.reads != nil {
				wantOnly(t, err, c.reads, true)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	client := script(t, func(*peer) {}).client(t, albatross.Options{})
	for _, level := range []int64{-1, 10} {
		_, _, err := client.OpenBlock(t.Context(), nil, "data", level)
		wantOnly(t, err, albatross.ErrInvalid, false)
	}
	_, _, err := client.OpenBlock(t.Context(), nil, "", 0)
	wantOnly(t, err, albatross.ErrInvalid, false)
}

// failing takes nothing, with or without saying so.
type failing struct{ err error }

func (w failing) Write([]byte) (int, error) { return 0, w.err }

func TestStreamEnds(t *testing.T) {
	greeting, line := wire.Text{Text: "subscribed"}, wire.ConsoleLine{Time: time.Unix(1, 0), Line: "hello"}
	for name, c := range map[string]struct {
		says  []wire.Payload
		lines int
		kind  error
		text  string
	}{
		"nothing":          {nil, 0, albatross.ErrRejected, ""},
		"refused":          {[]wire.Payload{wire.Failure{Text: "one"}, wire.Failure{Text: "two"}}, 0, albatross.ErrRefused, "one"},
		"no greeting":      {[]wire.Payload{line}, 0, albatross.ErrProtocol, ""},
		"greeted":          {[]wire.Payload{greeting}, 0, albatross.ErrEnded, ""},
		"lines":            {[]wire.Payload{greeting, line, line}, 2, albatross.ErrEnded, ""},
		"evicted":          {[]wire.Payload{greeting, line, wire.Failure{Text: "exception while reading from fd"}}, 1, albatross.ErrEnded, "exception while reading from fd"},
		"greeted twice":    {[]wire.Payload{greeting, greeting}, 0, albatross.ErrProtocol, ""},
		"data of a device": {[]wire.Payload{greeting, wire.BlockDataEnd{}}, 0, albatross.ErrProtocol, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := script(t, func(p *peer) { p.say(c.says...) }).client(t, albatross.Options{})
			lines := 0
			var last error
			for got, err := range client.Console(t.Context(), nil, "web", albatross.ConsoleOptions{Count: 10}) {
				if last = err; err == nil {
					lines++
					if got.Line != "hello" {
						t.Errorf("%+v", got)
					}
				}
			}
			wantOnly(t, last, c.kind, true)
			if e := wantKind(t, last, c.kind); lines != c.lines || e.Text != c.text {
				t.Errorf("%d lines, then %q", lines, e.Text)
			}
		})
	}
}

// One subscriber of a path gets statistics.
func TestEviction(t *testing.T) {
	_, c := simulated(t, albatross.Options{})
	errs := make(chan error, 1)
	go func() {
		for _, err := range c.Statistics(t.Context(), nil) {
			errs <- err
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	for {
		others.Go(func() {
			for _, err := range c.Statistics(ctx, nil) {
				if err != nil { // ctx is over, or the next one came
					return
				}
			}
		})
		select {
		case err := <-errs:
			wantOnly(t, err, albatross.ErrEnded, true)
			return
		case <-time.After(short): // the first was not there yet
		}
	}
}

func TestAnswerElsewhere(t *testing.T) {
	policy := albatross.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 64}
	named := func(header, listed string) func(p *peer) {
		return func(p *peer) {
			at, _ := wire.ParseName(header)
			name, _ := wire.ParseName(listed)
			der, _ := wire.EncodeFrame(wire.Frame{Name: at, Payload: wire.BlockDevices{Devices: []wire.NamedBlock{{Name: name, Size: 1}}}})
			_, _ = p.Write(framed(der))
		}
	}
	for name, c := range map[string]struct{ header, listed, want string }{
		"relative":         {"alice:", ":data", ":data"},
		"relative, deeper": {"alice:", "sub:data", "sub:data"},
		"below":            {"alice:sub:", ":data", "sub:data"},
		"absolute":         {"alice:data", "alice:data", ":data"},
		"another tenant":   {"bob:", ":data", ""},
		"the root":         {":", ":data", ""},
		"bob's data":       {"alice:data", "bob:data", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := script(t, named(c.header, c.listed))
			certPEM, key := delegate(t, h.caCert, h.caKey, "alice", policy)
			client := newClient(t, albatross.Options{Addr: h.addr}, certPEM, key, h.caCert)
			blocks, err := client.Blocks(t.Context(), nil)
			if c.want == "" {
				wantOnly(t, err, albatross.ErrProtocol, true)
				return
			}
			if err != nil || len(blocks) != 1 || blocks[0].Name.String() != c.want {
				t.Errorf("%+v, %v", blocks, err)
			}
		})
	}
}

// TestContextEnds ends a context at each stage of each way to talk to a host.
func TestContextEnds(t *testing.T) {
	left := errors.New("nobody waits any more")
	stages := map[string]struct {
		serve func(p *peer, reached func())
		sent  bool
	}{
		"dial":      {nil, false},
		"handshake": {nil, false},
		"answer":    {func(p *peer, reached func()) { reached(); p.untilGone() }, true},
	}
	for stage, c := range stages {
		for way, operation := range operations {
			t.Run(stage+"/"+way, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				reached := func() { cancel(left) }
				h := script(t, func(p *peer) { c.serve(p, reached) })
				var options albatross.Options
				switch stage {
				case "dial":
					options.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
						reached()
						<-ctx.Done()
						return nil, ctx.Err()
					}
				case "handshake":
					options.Dial = func(context.Context, string, string) (net.Conn, error) {
						ours, theirs := net.Pipe()
						t.Cleanup(func() { theirs.Close() })
						go func() {
							_, _ = theirs.Read(make([]byte, 1))
							reached()
						}()
						return ours, nil
					}
				}
				err := operation(ctx, h.client(t, options))
				wantOnly(t, err, albatross.ErrTimeout, c.sent)
				if !errors.Is(err, context.Canceled) || !errors.Is(err, left) {
					t.Error(err)
				}
			})
		}
	}
}

func TestContextOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client := script(t, func(*peer) {}).client(t, albatross.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialled")
		return nil, net.ErrClosed
	}})
	for way, operation := range operations {
		t.Run(way, func(t *testing.T) { wantOnly(t, operation(ctx, client), albatross.ErrTimeout, false) })
	}
}

// A host that falls silent is given up after Timeout, at each stage.
func TestSilence(t *testing.T) {
	answer := func(payloads ...wire.Payload) func(p *peer) {
		return func(p *peer) { p.say(payloads...); p.untilGone() }
	}
	for name, c := range map[string]struct {
		serve func(p *peer)
		way   string
	}{
		"query":                   {answer(), "query"},
		"upload that is not read": {(*peer).silent, "long upload"},
		"upload not answered":     {func(p *peer) { _ = p.take(io.Discard); p.untilGone() }, "upload"},
		"download":                {answer(), "download"},
		"download in the middle":  {answer(wire.BlockDeviceImage{}, wire.BlockData{Data: []byte("x")}), "download"},
		"stream":                  {answer(), "stream"},
	} {
		t.Run(name, func(t *testing.T) {
			client := script(t, c.serve).client(t, albatross.Options{Timeout: short, MinRate: 1 << 50})
			operation := operations[c.way]
			if c.way == "long upload" {
				operation = func(ctx context.Context, c *albatross.Client) error {
					_, err := c.Create(ctx, nil, "web", albatross.Config{}, albatross.Image{Reader: zeros{}, Size: 1 << 40})
					return err
				}
			}
			err := operation(t.Context(), client)
			wantOnly(t, err, albatross.ErrTimeout, true)
			if !strings.Contains(err.Error(), " 20") { // milliseconds, perhaps one more
				t.Errorf("%v does not say how long was waited", err)
			}
		})
	}
}

// A host that takes an upload too slowly is given up, though it is never silent.
func TestMinRate(t *testing.T) {
	client := script(t, func(p *peer) {
		for b := make([]byte, 64<<10); ; time.Sleep(time.Millisecond) {
			if _, err := p.Read(b); err != nil {
				return
			}
		}
	}).client(t, albatross.Options{Timeout: 2 * time.Second, MinRate: 1 << 50})
	_, err := client.Create(t.Context(), nil, "web", albatross.Config{}, albatross.Image{Reader: zeros{}, Size: 1 << 40})
	wantOnly(t, err, albatross.ErrTimeout, true)
	if !strings.Contains(err.Error(), "not done within 2.") {
		t.Error(err)
	}
}

// A reader that is slower than Timeout is not the host's fault.
func TestSlowReader(t *testing.T) {
	client := script(t, func(p *peer) {
		if err := p.take(io.Discard); err == nil {
			p.say(wire.Text{Text: "created unikernel"})
		}
	}).client(t, albatross.Options{Timeout: time.Second, MinRate: 1})
	data := noise(64<<10 - 4) // nothing is left to be sent but the zero length
	slow := endsWith(func() { time.Sleep(1200 * time.Millisecond) })
	text, err := client.Create(t.Context(), nil, "web", albatross.Config{}, albatross.Image{
		Reader: io.MultiReader(bytes.NewReader(data), slow), Size: int64(len(data)),
	})
	wantText(t, text, err, "created unikernel")
}

// A stream has no deadline but its context's.
func TestStreamMayBeSilent(t *testing.T) {
	release := make(chan struct{})
	client := script(t, func(p *peer) {
		p.say(wire.Text{Text: "subscribed"})
		<-release
		p.say(wire.ConsoleLine{Time: time.Unix(1, 0), Line: "late"})
	}).client(t, albatross.Options{Timeout: short})
	time.AfterFunc(3*short, func() { close(release) })
	for line, err := range client.Console(t.Context(), nil, "web", albatross.ConsoleOptions{}) {
		if err != nil || line.Line != "late" {
			t.Errorf("%+v, %v", line, err)
		}
		break
	}
}

func TestManyAtOnce(t *testing.T) {
	h, c := simulated(t, albatross.Options{Timeout: patience})
	image, err := albatrosstest.StandIn("test_tick", solo5.Image{}, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		scope := albatross.Scope{{Label: fmt.Sprintf("tenant%d", i%4), Policy: albatross.Policy{Unikernels: 10, CPUIDs: []int64{0}, Memory: 1000}}}
		label := fmt.Sprintf("web%d", i)
		all.Go(func() {
			config := albatross.Config{Arguments: albatross.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1}}
			for range 5 {
				if _, err := c.Create(t.Context(), scope, label, config, imageOf(image)); err != nil {
					t.Error(err)
				}
				for _, err := range c.Console(t.Context(), scope, label, albatross.ConsoleOptions{Count: 1}) {
					if err != nil {
						t.Error(err)
					}
					break
				}
				if _, found, err := c.Unikernel(t.Context(), scope, label); err != nil || !found {
					t.Error(found, err)
				}
				if _, err := c.Destroy(t.Context(), scope, label); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if left := h.Unikernels(""); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// Errors end up in status fields and logs, so they must not have keys in them.
func TestNoSecretsInErrors(t *testing.T) {
	h, c := simulated(t, albatross.Options{Timeout: short, MinRate: 1 << 50})
	credentials := h.Credentials()
	block, _ := pem.Decode(credentials.Key)
	seed := block.Bytes[len(block.Bytes)-32:]
	var texts []string
	note := func(err error) { texts = append(texts, err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)) }
	for kind := albatrosstest.Refuse; kind <= albatrosstest.Garbage; kind++ {
		for _, operation := range operations {
			lift := h.Inject(albatrosstest.Fault{Kind: kind, Text: "no"})
			if err := operation(t.Context(), c); err != nil {
				note(err)
			}
			lift()
		}
	}
	_, err := albatross.ParseCredential(credentials.Cert, credentials.Key[:len(credentials.Key)/2])
	note(err)
	_, err = albatross.ParseCredential(credentials.Key, credentials.Cert)
	note(err)
	for _, text := range texts {
		for _, secret := range []string{
			hex.EncodeToString(seed), base64.StdEncoding.EncodeToString(block.Bytes)[:40], fmt.Sprintf("%d", seed)[1:40], "PRIVATE KEY-----",
		} {
			if strings.Contains(text, secret) {
				t.Errorf("a key is in %q", text)
			}
		}
	}
}

func TestNew(t *testing.T) {
	h := albatrosstest.Start(t, albatrosstest.Options{})
	c := h.Credentials()
	good := albatross.Options{Addr: h.Addr()}
	var err error
	if good.Credential, err = albatross.ParseCredential(c.Cert, c.Key); err != nil {
		t.Fatal(err)
	}
	if good.ServerCAs, err = albatross.ParseServerCA(c.ServerCA); err != nil {
		t.Fatal(err)
	}
	client, err := albatross.New(good)
	if err != nil || client.Addr() != h.Addr() {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*albatross.Options){
		"no address":       func(o *albatross.Options) { o.Addr = "" },
		"no credential":    func(o *albatross.Options) { o.Credential = nil },
		"no CA":            func(o *albatross.Options) { o.ServerCAs = nil },
		"negative timeout": func(o *albatross.Options) { o.Timeout = -1 },
		"negative rate":    func(o *albatross.Options) { o.MinRate = -1 },
		"negative limit":   func(o *albatross.Options) { o.MaxReply = -1 },
	} {
		bad := good
		spoil(&bad)
		if _, err := albatross.New(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("cause")
	for want, e := range map[string]*albatross.Error{
		"block add a:b: text":                {Kind: albatross.ErrRefused, Command: "block add", Name: "a:b", Text: "text", Err: cause},
		"block add: host unreachable: cause": {Kind: albatross.ErrUnreachable, Command: "block add", Err: cause},
		"block add: timed out":               {Kind: albatross.ErrTimeout, Command: "block add"},
		"block add: timed out: it was":       {Kind: albatross.ErrTimeout, Command: "block add", Err: fmt.Errorf("%w: it was", albatross.ErrTimeout)},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e, want)
		}
		if !errors.Is(e, e.Kind) || e.Err != nil && !errors.Is(e, e.Err) {
			t.Errorf("%v does not unwrap", e)
		}
	}
}

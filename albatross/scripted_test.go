package albatross_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// scripted is a host that says what a test wants it to say, for what no host in
// its right mind would do.
type scripted struct {
	addr          string
	caCert, caKey []byte
	listener      net.Listener
	config        *tls.Config
	serve         func(conn *peer)
	over          chan struct{}
	done          sync.WaitGroup
	mu            sync.Mutex
	closing       bool
	connections   map[net.Conn]struct{}
}

// peer is a client's connection as the scripted host sees it.
type peer struct {
	*tls.Conn
	raw     net.Conn
	request cert.Request
	over    <-chan struct{}
}

// script starts a host that serves each connection, after the handshake, with a
// function.
func script(t testing.TB, serve func(conn *peer)) *scripted {
	t.Helper()
	h := &scripted{serve: serve, over: make(chan struct{}), connections: map[net.Conn]struct{}{}}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	public, key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	h.caCert, h.caKey = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM(t, key)
	server, serverKey := issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, key)
	h.config = &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{server}, PrivateKey: serverKey}},
	}
	h.listen(t)
	return h
}

func (h *scripted) listen(t testing.TB) {
	t.Helper()
	var err error
	if h.listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	h.addr = h.listener.Addr().String()
	h.done.Go(func() {
		for {
			raw, err := h.listener.Accept()
			if err != nil {
				return
			}
			h.done.Go(func() { h.handle(raw) })
		}
	})
	t.Cleanup(func() {
		h.listener.Close()
		close(h.over)
		h.mu.Lock()
		h.closing = true
		for c := range h.connections {
			c.Close()
		}
		h.mu.Unlock()
		h.done.Wait()
	})
}

func (h *scripted) handle(raw net.Conn) {
	defer raw.Close()
	h.mu.Lock()
	h.connections[raw] = struct{}{}
	closing := h.closing
	h.mu.Unlock()
	if closing {
		return
	}
	p := &peer{Conn: tls.Server(raw, h.config), raw: raw, over: h.over}
	if err := p.Handshake(); err != nil {
		return // the client's error tells
	}
	if chain := p.ConnectionState().PeerCertificates; len(chain) > 0 {
		request, err := cert.Handle(chain)
		if err != nil {
			return
		}
		p.request = request
	}
	h.serve(p)
	p.Close()
}

// client makes one with the CA's credential.
func (h *scripted) client(t testing.TB, options albatross.Options) *albatross.Client {
	t.Helper()
	options.Addr = h.addr
	return newClient(t, options, h.caCert, h.caKey, h.caCert)
}

func framed(der []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(der))), der...)
}

// say sends frames about what was asked for. A failure shows at the client.
func (p *peer) say(payloads ...wire.Payload) {
	for _, payload := range payloads {
		der, err := wire.EncodeFrame(wire.Frame{Name: p.request.Name, Payload: payload})
		if err != nil {
			panic(err)
		}
		_, _ = p.Write(framed(der))
	}
}

// take reads an upload to its end and gives it.
func (p *peer) take(to io.Writer) error {
	var length [4]byte
	for {
		if _, err := io.ReadFull(p, length[:]); err != nil {
			return err
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		if n == 0 {
			return nil
		}
		if _, err := io.CopyN(to, p, n); err != nil {
			return err
		}
	}
}

// untilGone waits for the client's end, and reads nothing that could be an upload.
func (p *peer) untilGone() {
	var b [1]byte
	_, _ = p.Read(b[:])
}

// silent reads nothing until the end of the test.
func (p *peer) silent() { <-p.over }

// block answers the question that goes before each block set, and tells whether
// it was that.
func (p *peer) block(size int64) bool {
	if _, asked := p.request.Command.(wire.BlockList); !asked {
		return false
	}
	p.say(wire.BlockDevices{Devices: []wire.NamedBlock{{Name: p.request.Name, Size: size}}})
	return true
}

func keyPEM(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

var errNoLine = errors.New("the console ended without a word")

// operations are one of each way to talk to a host.
var operations = map[string]func(ctx context.Context, c *albatross.Client) error{
	"query": func(ctx context.Context, c *albatross.Client) error {
		_, err := c.Unikernels(ctx, nil)
		return err
	},
	"upload": func(ctx context.Context, c *albatross.Client) error {
		_, err := c.Create(ctx, nil, "web", albatross.Config{}, imageOf(bytes.Repeat([]byte("image"), 1<<20)))
		return err
	},
	"download": func(ctx context.Context, c *albatross.Client) error {
		_, err := c.DumpBlock(ctx, nil, "data", 0, io.Discard)
		return err
	},
	"stream": func(ctx context.Context, c *albatross.Client) error {
		for _, err := range c.Console(ctx, nil, "web", albatross.ConsoleOptions{}) {
			return err
		}
		return errNoLine
	},
}

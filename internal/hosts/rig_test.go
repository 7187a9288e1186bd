package hosts_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
	"mollymawk.dev/operator/internal/hosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// never is a pause after which nothing happens in a test: looks begin on demand.
const never = 24 * time.Hour

// rig is a simulated host, a pool that has it as instance "one", and what the
// pool told.
type rig struct {
	*albatrosstest.Host
	t    *testing.T
	pool *hosts.Pool

	mu      sync.Mutex
	changes []hosts.Change
}

// newRig starts a pool that looks when it is asked to, if options do not say
// otherwise.
func newRig(t *testing.T, options hosts.Options) *rig {
	t.Helper()
	options.Log = logr.Discard()
	if options.RetryDelay == 0 {
		options.RetryDelay = never
	}
	if options.LookSpacing == 0 {
		options.LookSpacing = time.Nanosecond
	}
	if options.ProbeTimeout == 0 {
		options.ProbeTimeout = time.Minute
	}
	r := &rig{Host: albatrosstest.Start(t, albatrosstest.Options{}), t: t, pool: hosts.New(options)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r.pool.Subscribe(ctx, func(c hosts.Change) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changes = append(r.changes, c)
	})
	go func() { ended <- r.pool.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("pool ended with %v", err)
		}
	})
	return r
}

func target(h *albatrosstest.Host) hosts.Target {
	c := h.Credentials()
	return hosts.Target{
		Addr: h.Addr(), Certificate: string(c.Cert), Key: string(c.Key), ServerCA: string(c.ServerCA), PollInterval: never,
	}
}

// set has the pool use the target, and gives the host, connected or not.
func (r *rig) set(to hosts.Target) *hosts.Host {
	r.t.Helper()
	if err := r.pool.Set("one", to); err != nil {
		r.t.Fatal(err)
	}
	return r.pool.HostOf("one")
}

// connect gives the host after its first good look, and forgets the changes.
func (r *rig) connect() *hosts.Host {
	r.t.Helper()
	h := r.set(target(r.Host))
	r.news(h)
	return h
}

func (r *rig) look(h *hosts.Host) *hosts.Snapshot {
	r.t.Helper()
	s, err := h.Refresh(r.t.Context())
	if err != nil {
		r.t.Fatalf("look: %v", err)
	}
	return s
}

// news gives what a look at the host tells subscribers. The second look begins
// when all about the first was told.
func (r *rig) news(h *hosts.Host) []hosts.Change {
	r.t.Helper()
	r.look(h)
	r.look(h)
	return r.told()
}

// failLook wants a look to fail, and gives what is known then.
func (r *rig) failLook(h *hosts.Host) hosts.State {
	r.t.Helper()
	if s, err := h.Refresh(r.t.Context()); err == nil || s != nil {
		r.t.Fatalf("a look at a broken host: %v, %v", s, err)
	}
	return h.State()
}

// told gives what subscribers were told since the last call.
func (r *rig) told() []hosts.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.changes = nil }()
	return r.changes
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func policy(unikernels, memory int64) albatross.Policy {
	return albatross.Policy{Unikernels: unikernels, CPUIDs: []int64{0}, Memory: memory, Block: new(int64(10)), Bridges: []string{"service"}}
}

func (r *rig) setPolicy(path string, p albatross.Policy) {
	r.t.Helper()
	if err := r.SetPolicy(path, p); err != nil {
		r.t.Fatal(err)
	}
}

var small = albatross.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1}

// create starts a unikernel without devices, with the policies in force.
func (r *rig) create(h *hosts.Host, path, label string) {
	r.t.Helper()
	if err := r.tryCreate(h, path, label, small); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) tryCreate(h *hosts.Host, path, label string, a albatross.Arguments) error {
	r.t.Helper()
	image, err := albatrosstest.StandIn("test", solo5.Image{}, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = h.Client().Create(r.t.Context(), r.scope(h, path), label, albatross.Config{Arguments: a},
		albatross.Image{Reader: bytes.NewReader(image), Size: int64(len(image))})
	return err
}

func (r *rig) scope(h *hosts.Host, path string) albatross.Scope {
	r.t.Helper()
	parsed, err := albatross.ParsePath(path)
	if err != nil {
		r.t.Fatal(err)
	}
	scope, missing := r.look(h).Scope(parsed)
	if missing != nil {
		r.t.Fatalf("no policy for %s", missing)
	}
	return scope
}

func keys[T any](m map[string]T) []string {
	all := []string{}
	for key := range m {
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}

// delegated gives a credential for a path of one label of the rig's host.
func (r *rig) delegated(label string, p albatross.Policy) hosts.Target {
	r.t.Helper()
	root := target(r.Host)
	block, _ := pem.Decode([]byte(root.Certificate))
	keyBlock, _ := pem.Decode([]byte(root.Key))
	issuer, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	signer, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	extension, err := wire.EncodeExtension(wire.PolicyAdd{Policy: p})
	if err != nil {
		r.t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: label},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: cert.OID, Value: extension}},
	}, issuer, public, signer)
	if err != nil {
		r.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		r.t.Fatal(err)
	}
	root.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	root.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return root
}

// gate is a network that can be stopped: dials wait while it is shut.
type gate struct {
	mu    sync.Mutex
	open  chan struct{}
	dials int
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	g.dials++
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// count gives how many connections were tried.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dials
}

func (g *gate) shut() (unshut func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	open := make(chan struct{})
	g.open = open
	return sync.OnceFunc(func() { close(open) })
}

func notConnected(t *testing.T, err error, text string) {
	t.Helper()
	if !errors.Is(err, hosts.ErrNotConnected) || err.Error() != "host not connected: "+text {
		t.Errorf("got %v, want that it is not connected: %s", err, text)
	}
}

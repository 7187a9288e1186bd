package cert_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

var now = time.Date(2026, 11, 20, 21, 10, 0, 0, time.UTC)

// authority is a CA made for a test.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte // the chain from this one up, the root left out
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		t.Fatalf("no key of kind %q", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate; parent nil makes a root.
func issue(t testing.TB, parent *authority, cn, kind string, change func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(template)
	}
	key := newKey(t, kind)
	signedBy, signer := template, key
	if parent != nil {
		signedBy, signer = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signedBy, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: parsed, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if parent != nil && parent.cert.Subject.CommonName != "root" {
		a.pem = append(a.pem, parent.pem...)
	}
	return a
}

func (a *authority) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (a *authority) credential(t testing.TB) *cert.Credential {
	t.Helper()
	c, err := cert.ParseCredential(a.pem, a.keyPEM(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func delegation(t testing.TB, policy wire.Policy) func(*x509.Certificate) {
	der := encoded(t.(*testing.T), wire.PolicyAdd{Policy: policy})
	return func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: cert.OID, Value: der}} }
}

func mint(t testing.TB, c *cert.Credential, levels []cert.Level, label string, command wire.Command) []*x509.Certificate {
	t.Helper()
	m, err := cert.NewMinter(c)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := m.Mint(levels, label, command, now)
	if err != nil {
		t.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, parsed)
	}
	return chain
}

func accept(t testing.TB, chain []*x509.Certificate, root *authority) cert.Request {
	t.Helper()
	path, err := cert.VerifyChain(chain, root.cert, now)
	if err != nil {
		t.Fatalf("own chain: %v", err)
	}
	request, err := cert.Handle(path)
	if err != nil {
		t.Fatalf("own chain: %v", err)
	}
	return request
}

// TestChainsMadeAsRecorded makes a chain for every recorded request that was
// accepted, with CAs of each kind of key, and has the host's side read the same
// request from it; extensions are equal to the byte.
func TestChainsMadeAsRecorded(t *testing.T) {
	roots := map[string]*authority{}
	for _, kind := range []string{"ed25519", "p256", "p384", "rsa2048"} {
		roots[kind] = issue(t, nil, "root", kind, nil)
	}
	for _, dir := range vectors.Chains(t) {
		want := vectors.Load[expectation](t, "chains", dir, "expect.json").Handle
		if !want.OK || !want.Command.Config.Image.Known() {
			continue
		}
		for kind, root := range roots {
			t.Run(dir+"/"+kind, func(t *testing.T) {
				var levels []cert.Level
				for _, p := range slices.Backward(want.Policies) {
					labels, err := wire.ParsePath(p.Path)
					if err != nil {
						t.Fatal(err)
					}
					levels = append(levels, cert.Level{Label: labels[len(labels)-1], Policy: p.Policy.Wire()})
				}
				name := want.Name.Wire()
				chain := mint(t, root.credential(t), levels, name.Label, want.Command.Wire())
				got := accept(t, chain, root)
				if !got.Name.Equal(name) || len(got.Policies) != len(want.Policies) {
					t.Errorf("asks for %s with %d policies, want %s with %d", got.Name, len(got.Policies), name, len(want.Policies))
				}
				extension, _ := cert.Extension(chain[0])
				if !slices.Equal(extension, encoded(t, want.Command.Wire())) {
					t.Errorf("extension %x", extension)
				}
			})
		}
	}
}

func TestMintedCertificates(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	policy := wire.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 32}
	chain := mint(t, root.credential(t), []cert.Level{{Label: "Alice", Policy: policy}, {Label: "alice", Policy: policy}}, "web", wire.UnikernelDestroy{})
	if len(chain) != 3 {
		t.Fatalf("%d certificates, want 3 (the root is not sent)", len(chain))
	}
	leaf := chain[0]
	if leaf.Subject.CommonName != "web" || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("leaf: %v", leaf)
	}
	for _, c := range chain {
		if got := c.NotAfter.Sub(c.NotBefore); got != cert.ValidBefore+cert.ValidAfter || !c.NotBefore.Equal(now.Add(-cert.ValidBefore)) {
			t.Errorf("%s is valid from %s for %s", c.Subject, c.NotBefore, got)
		}
		for _, e := range c.Extensions {
			if e.Id.Equal(cert.OID) && e.Critical {
				t.Errorf("%s: the extension is critical", c.Subject)
			}
		}
	}
	if got := accept(t, chain, root).Name.String(); got != "alice:alice:web" {
		t.Errorf("a label that repeats leads to %s", got)
	}
}

func TestDelegatedCredential(t *testing.T) {
	root := issue(t, nil, "root", "p256", nil)
	policy := wire.Policy{Unikernels: 4, CPUIDs: []int64{0}, Memory: 128}
	team := issue(t, root, "team", "rsa2048", delegation(t, policy))
	alice := issue(t, team, "alice", "ed25519", delegation(t, policy))
	credential := alice.credential(t)
	if got := credential.Path().String(); got != "team:alice" {
		t.Fatalf("the credential's path is %q", got)
	}
	chain := mint(t, credential, []cert.Level{{Label: "blog", Policy: policy}}, "web", wire.UnikernelInfo{})
	request := accept(t, chain, root)
	if request.Name.String() != "team:alice:blog:web" || len(request.Policies) != 3 || len(chain) != 4 {
		t.Errorf("%d certificates ask for %s with %d policies", len(chain), request.Name, len(request.Policies))
	}
	if got := accept(t, mint(t, credential, nil, "", wire.UnikernelInfo{}), root).Name.String(); got != "team:alice:" {
		t.Errorf("the credential's own path is %s", got)
	}
}

func TestCredentialsThatCannotSign(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	leaf := issue(t, root, "leaf", "ed25519", func(c *x509.Certificate) { c.IsCA = false })
	noSign := issue(t, nil, "root", "ed25519", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	stranger := issue(t, nil, "stranger", "ed25519", nil)
	info := encoded(t, wire.UnikernelInfo{})
	notPolicy := issue(t, root, "tenant", "ed25519", func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: cert.OID, Value: info}} })
	for _, tt := range []struct {
		what, want string
		cert, key  []byte
	}{
		{"nothing", "certificate and key", nil, nil},
		{"another's key", "certificate and key", root.pem, stranger.keyPEM(t)},
		{"a leaf", "not a CA", leaf.pem, leaf.keyPEM(t)},
		{"key usage", "keyCertSign", noSign.pem, noSign.keyPEM(t)},
		{"a broken chain", "not signed by", append(slices.Clone(root.pem), stranger.pem...), root.keyPEM(t)},
		{"a delegated command", "unexpected wire", notPolicy.pem, notPolicy.keyPEM(t)},
	} {
		if _, err := cert.ParseCredential(tt.cert, tt.key); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.what, err, tt.want)
		}
	}
}

func TestCredentialExpiry(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	team := issue(t, root, "team", "ed25519", func(c *x509.Certificate) { c.NotAfter, c.NotBefore = now.Add(time.Hour), now.Add(-time.Minute) })
	alice := issue(t, team, "alice", "ed25519", nil)
	c := alice.credential(t)
	if !c.NotAfter().Equal(now.Add(time.Hour)) || !c.NotBefore().Equal(now.Add(-time.Minute)) {
		t.Errorf("valid from %s to %s: the narrowest of the chain counts", c.NotBefore(), c.NotAfter())
	}
}

func TestWhatIsNotMinted(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	short := issue(t, nil, "root", "ed25519", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	levels := func(n int) (all []cert.Level) {
		for i := range n {
			all = append(all, cert.Level{Label: fmt.Sprintf("l%d", i)})
		}
		return all
	}
	for _, tt := range []struct {
		what, want string
		from       *authority
		levels     []cert.Level
		label      string
		command    wire.Command
	}{
		{"a thing called .", "stands for a path", root, nil, ".", wire.UnikernelDestroy{}},
		{"a bad label", "invalid label", root, nil, "a_b", wire.UnikernelDestroy{}},
		{"a bad tenant", "invalid label", root, []cert.Level{{Label: "a:b"}}, "web", wire.UnikernelDestroy{}},
		{"ten certificates", "too long", root, levels(9), "web", wire.UnikernelDestroy{}},
		{"below a path length constraint", "path length", short, levels(1), "web", wire.UnikernelDestroy{}},
		{"no command", "no command", root, nil, "web", nil},
	} {
		m, err := cert.NewMinter(tt.from.credential(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Mint(tt.levels, tt.label, tt.command, now); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.what, err, tt.want)
		}
	}
	accept(t, mint(t, root.credential(t), levels(8), "web", wire.UnikernelInfo{}), root) // nine are fine
}

func TestVerifyServer(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	other := issue(t, nil, "root", "ed25519", nil)
	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.ExtKeyUsage = false, x509.KeyUsageDigitalSignature, u }
	}
	server := issue(t, root, "server", "ed25519", usage(x509.ExtKeyUsageServerAuth))
	between := issue(t, root, "between", "ed25519", nil)
	below := issue(t, between, "server", "ed25519", usage(x509.ExtKeyUsageServerAuth))
	old := issue(t, root, "server", "ed25519", func(c *x509.Certificate) {
		usage(x509.ExtKeyUsageServerAuth)(c)
		c.NotAfter = now.Add(-time.Minute)
	})
	for _, tt := range []struct {
		what  string
		chain []*authority
		ca    *authority
		ok    bool
	}{
		{"the host", []*authority{server}, root, true},
		{"below an intermediate", []*authority{below, between}, root, true},
		{"of another CA with the same name", []*authority{server}, other, false},
		{"a client", []*authority{issue(t, root, "web", "ed25519", usage(x509.ExtKeyUsageClientAuth))}, root, false},
		{"no usage", []*authority{issue(t, root, "server", "ed25519", usage())}, root, false},
		{"expired", []*authority{old}, root, false},
		{"nothing", nil, root, false},
	} {
		pool, err := cert.ParseServerCA(tt.ca.pem)
		if err != nil {
			t.Fatal(err)
		}
		var state tls.ConnectionState
		for _, a := range tt.chain {
			state.PeerCertificates = append(state.PeerCertificates, a.cert)
		}
		if err := cert.VerifyServer(pool, func() time.Time { return now })(state); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

func TestParseServerCA(t *testing.T) {
	for _, bad := range []string{"", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := cert.ParseServerCA([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestVerifyChainRefusals(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	leaf := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{issue(t, root, "web", "ed25519", change).cert}
	}
	plain := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }
	for _, tt := range []struct {
		what  string
		chain []*x509.Certificate
		want  error
	}{
		{"plain", leaf(plain), nil},
		{"no key usage", leaf(func(c *x509.Certificate) { plain(c); c.KeyUsage = 0 }), nil},
		{"nothing", nil, cert.ErrInvalidChain},
		{"a CA as leaf", leaf(nil), cert.ErrInvalidChain},
		{"key encipherment only", leaf(func(c *x509.Certificate) { plain(c); c.KeyUsage = x509.KeyUsageKeyEncipherment }), cert.ErrInvalidChain},
		{"of a server", leaf(func(c *x509.Certificate) { plain(c); c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), cert.ErrInvalidChain},
		{"critical extension", leaf(func(c *x509.Certificate) {
			plain(c)
			c.ExtraExtensions = []pkix.Extension{{Id: cert.OID, Critical: true, Value: []byte{5, 0}}}
		}), cert.ErrInvalidChain},
		{"not yet valid", leaf(func(c *x509.Certificate) { plain(c); c.NotBefore = now.Add(time.Minute) }), cert.ErrExpired},
	} {
		if _, err := cert.VerifyChain(tt.chain, root.cert, now); err != tt.want { //nolint:errorlint // the very value
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
	}
}

func BenchmarkMint(b *testing.B) {
	for _, kind := range []string{"ed25519", "p256", "rsa2048"} {
		b.Run(kind, func(b *testing.B) {
			m, err := cert.NewMinter(issue(b, nil, "root", kind, nil).credential(b))
			if err != nil {
				b.Fatal(err)
			}
			levels := []cert.Level{{Label: "alice", Policy: wire.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 32}}}
			for b.Loop() {
				if _, err := m.Mint(levels, "web", wire.UnikernelInfo{}, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package albatross_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strconv"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// policies gives those at and below the place by path.
func (p *place) policies(t *testing.T) map[string]albatross.Policy {
	t.Helper()
	all, err := p.client.Policies(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	byPath := map[string]albatross.Policy{}
	for _, k := range all {
		if k.Name.Path.HasPrefix(albatross.Path{p.tenant}) {
			byPath[k.Name.Path.String()] = k.Policy
		}
	}
	return byPath
}

func testPolicyByChain(t *testing.T, p *place) {
	if got := p.policies(t); len(got) != 0 {
		t.Fatalf("before any command: %+v", got)
	}
	sub := p.sub("sub")
	for range 2 { // the second time it is in force already
		if all, err := p.client.Unikernels(t.Context(), sub); err != nil || len(all) != 0 {
			t.Fatalf("%+v, %v", all, err)
		}
		got := p.policies(t)
		if inner := got[p.tenant+":sub"]; len(got) != 2 || !got[p.tenant].Equal(p.policy) || !inner.Equal(sub[1].Policy) {
			t.Errorf("%+v", got)
		}
	}
	listed, err := p.client.Policies(t.Context(), sub)
	if err != nil || len(listed) != 1 || listed[0].Name.String() != p.tenant+":sub:" {
		t.Errorf("%+v, %v", listed, err)
	}
	p.scope[0].Policy.Memory = 256
	if _, err := p.client.Unikernels(t.Context(), p.scope); err != nil {
		t.Fatal(err)
	}
	if got := p.policies(t)[p.tenant]; got.Memory != 256 {
		t.Errorf("%+v", got)
	}
}

func testPolicyAbove(t *testing.T, p *place) {
	// A host without a policy above would take the larger one below, and lock the
	// tenant out. So the client refuses it.
	larger := p.sub("sub")
	larger[1].Policy.Memory = 256
	_, err := p.client.Unikernels(t.Context(), larger)
	e := wantKind(t, err, albatross.ErrInvalid)
	want := "unikernel info " + p.tenant + ":sub:: invalid request: policy of " + p.tenant + ":sub: policy above allows 128 MB memory, which is fewer than 256 MB"
	if e.Sent || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := p.policies(t); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	// What is in force below limits what is above, which only the host knows.
	larger[1].Policy.Memory = 100
	if _, err := p.client.Unikernels(t.Context(), larger); err != nil {
		t.Fatal(err)
	}
	p.scope[0].Policy.Memory = 64
	_, err = p.client.Unikernels(t.Context(), p.scope)
	wantRefusal(t, err, "expected success when adding policy, got: host [unikernel: "+p.tenant+":]: command failed policy above allows 64 MB memory, which is fewer than 100 MB")
}

func testPolicyInUse(t *testing.T, p *place) {
	for _, label := range []string{"a", "b"} {
		config := p.config()
		config.Memory = 32
		p.create(t, label, config)
	}
	p.addBlock(t, "disk", 5)
	refusal := "expected success when adding policy, got: host [unikernel: " + p.tenant + ":]: command failed "
	for text, change := range map[string]func(*albatross.Policy){
		"unikernel would exceed running memory limit set by policy to 63 MB, used 64 MB":      func(q *albatross.Policy) { q.Memory = 63 },
		"unikernel would exceed running unikernel limit set by policy to 1, running 2":        func(q *albatross.Policy) { q.Unikernels = 1 },
		"unikernel would exceed running block storage limit set by policy to 4 MB, used 5 MB": func(q *albatross.Policy) { q.Block = new(int64(4)) },
	} {
		lower := p.policy
		change(&lower)
		_, err := p.client.Unikernels(t.Context(), albatross.Scope{{Label: p.tenant, Policy: lower}})
		wantRefusal(t, err, refusal+text)
	}
	if got := p.policies(t)[p.tenant]; !got.Equal(p.policy) {
		t.Errorf("%+v", got)
	}
}

func testLimits(t *testing.T, p *place) {
	tick := p.host.image(t, "test_tick.hvt")
	p.scope[0].Policy.Unikernels = 1
	change := func(f func(*albatross.Config)) albatross.Config {
		c := p.config()
		f(&c)
		return c
	}
	other := p.host.cpu + 1
	for text, config := range map[string]albatross.Config{
		"maximum allowed memory (128, used 0) would be exceeded (requesting 500)": change(func(c *albatross.Config) { c.Memory = 500 }),
		"CPUids " + strconv.FormatInt(other, 10) + " are not allowed by policy":   change(func(c *albatross.Config) { c.CPUIDs = []int64{p.host.cpu, other} }),
		"bridges nobridge not allowed by policy": change(func(c *albatross.Config) {
			c.Bridges = []albatross.Bridge{{Name: "service0", HostDevice: new("nobridge")}}
		}),
	} {
		_, err := p.client.Create(t.Context(), p.scope, "web", config, imageOf(tick))
		wantRefusal(t, err, text)
	}
	p.create(t, "web", p.config())
	_, err := p.client.Create(t.Context(), p.scope, "more", p.config(), imageOf(tick))
	wantRefusal(t, err, "maximum amount of unikernels (1) reached")
}

// delegate makes a credential for a tenant, as a host's administrator does. The
// certificate is given with that of the CA after it.
func delegate(t testing.TB, caCert, caKey []byte, tenant string, policy albatross.Policy) (certPEM, key []byte) {
	t.Helper()
	ca, err := tls.X509KeyPair(caCert, caKey)
	if err != nil {
		t.Fatal(err)
	}
	extension, err := wire.EncodeExtension(wire.PolicyAdd{Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: tenant}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: cert.OID, Value: extension}},
	}
	der, private := issue(t, template, ca.Leaf, ca.PrivateKey.(crypto.Signer))
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return slices.Concat(certPEM, caCert), keyPEM(t, private)
}

func newKey(t testing.TB) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public, key
}

// issue signs a certificate for a new key.
func issue(t testing.TB, template, parent *x509.Certificate, signer crypto.Signer) (der []byte, key ed25519.PrivateKey) {
	t.Helper()
	public, key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

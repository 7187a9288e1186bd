package cert_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// limit is a path length constraint; -1 is none.
func limit(n int) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, n == 0 }
}

// both makes two changes.
func both(changes ...func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, change := range changes {
			change(c)
		}
	}
}

var small = wire.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 32}

func levels(n int) (all []cert.Level) {
	for i := range n {
		all = append(all, cert.Level{Label: fmt.Sprintf("l%d", i), Policy: small})
	}
	return all
}

// mintable makes a chain and has the host judge it, when it is made at all.
func mintable(t *testing.T, c *cert.Credential, root *authority, n int) (minted, accepted error) {
	t.Helper()
	m, err := cert.NewMinter(c)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := m.Mint(levels(n), "web", wire.UnikernelInfo{}, now)
	if err != nil {
		return err, nil
	}
	path, err := cert.VerifyChain(parsedChain(t, pair), root.cert, now)
	if err == nil {
		_, err = cert.Handle(path)
	}
	return nil, err
}

func parsedChain(t *testing.T, pair tls.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}

// TestDepth makes chains of every depth below credentials with path length
// constraints: what is made is accepted, and what would not be is not made.
func TestDepth(t *testing.T) {
	for _, tt := range []struct {
		what string
		// limits of the root and of the delegations below it, and how many levels
		// are then possible.
		limits []int
		want   int
	}{
		{"a root without a constraint", []int{-1}, 8},
		{"a root with one level", []int{1}, 1},
		{"a root with none", []int{0}, 0},
		{"a delegation", []int{-1, -1}, 7},
		{"a delegation to three", []int{-1, -1, -1, -1}, 5},
		{"the constraint of the credential itself", []int{-1, -1, 2}, 2},
		{"the constraint of the one above, of which one level is taken", []int{-1, 2, -1}, 1},
		{"the narrowest", []int{9, 3, 5}, 2},
		{"the constraint of the root, of which two are taken", []int{3, -1, -1}, 1},
		{"nothing is left of the root's", []int{1, -1}, 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			root := issue(t, nil, "root", "ed25519", limit(tt.limits[0]))
			last := root
			for i, n := range tt.limits[1:] {
				last = issue(t, last, fmt.Sprintf("d%d", i), "ed25519", both(limit(n), delegation(t, small)))
			}
			withRoot := last.pem
			if last != root {
				withRoot = append(slices.Clone(withRoot), root.pem...)
			}
			credential, err := cert.ParseCredential(withRoot, last.keyPEM(t))
			if err != nil {
				t.Fatal(err)
			}
			for n := range 10 {
				minted, accepted := mintable(t, credential, root, n)
				if (minted == nil) != (n <= tt.want) || accepted != nil {
					t.Errorf("%d levels: made %v, accepted %v, want up to %d", n, minted, accepted, tt.want)
				}
				if minted != nil && !strings.Contains(minted.Error(), "too long") && !strings.Contains(minted.Error(), "path length constraint") {
					t.Errorf("%d levels: %q does not say why", n, minted)
				}
			}
		})
	}
}

// TestDelegationOfSeveralLevels leaves out of the path what has no policy.
func TestDelegationOfSeveralLevels(t *testing.T) {
	root := issue(t, nil, "root", "p384", nil)
	department := issue(t, root, "department", "ed25519", nil)
	team := issue(t, department, "Team", "p256", delegation(t, small))
	signing := issue(t, team, "Signing Key 7", "ed25519", nil)
	alice := issue(t, signing, "alice", "ed25519", delegation(t, small))
	other := issue(t, alice, "not a label", "ed25519", nil)
	for _, tt := range []struct {
		from         *authority
		path, want   string
		sent, policy int
	}{
		{root, "", "l0:web", 2, 1},
		{department, "", "l0:web", 3, 1},
		{team, "team", "team:l0:web", 4, 2},
		{signing, "team", "team:l0:web", 5, 2},
		{alice, "team:alice", "team:alice:l0:web", 6, 3},
		{other, "team:alice", "team:alice:l0:web", 7, 3},
	} {
		credential := tt.from.credential(t)
		if got := credential.Path().String(); got != tt.path {
			t.Errorf("%s: the credential's path is %q, want %q", tt.from.cert.Subject, got, tt.path)
		}
		chain := mint(t, credential, levels(1), "web", wire.UnikernelDestroy{})
		request := accept(t, chain, root)
		if request.Name.String() != tt.want || len(request.Policies) != tt.policy || len(chain) != tt.sent {
			t.Errorf("%s: %d certificates ask for %s with %d policies", tt.from.cert.Subject, len(chain), request.Name, len(request.Policies))
		}
		for i, p := range request.Policies {
			if want := request.Name.Path[:len(request.Name.Path)-i]; !p.Path.Equal(want) {
				t.Errorf("%s: policy %d is for %s, want the deepest first, %s", tt.from.cert.Subject, i, p.Path, want)
			}
		}
	}
}

// TestMinterAtOnce makes chains of different depths at the same time. The keys
// are the same whoever comes first.
func TestMinterAtOnce(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	m, err := cert.NewMinter(root.credential(t))
	if err != nil {
		t.Fatal(err)
	}
	const clients = 32
	made := make([]tls.Certificate, clients)
	errs := make([]error, clients)
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() { made[i], errs[i] = m.Mint(levels(i%8), "web", wire.UnikernelInfo{}, now) })
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	keys, serials := map[int]any{}, map[string]bool{}
	for i, pair := range made {
		chain := parsedChain(t, pair)
		if got := len(accept(t, chain, root).Name.Path); got != i%8 {
			t.Errorf("chain %d leads %d levels deep", i, got)
		}
		slices.Reverse(chain)
		for depth, c := range chain {
			if depth == len(chain)-1 {
				depth = -1 // the leaf
			}
			if known := keys[depth]; known == nil {
				keys[depth] = c.PublicKey
			} else if !known.(interface{ Equal(crypto.PublicKey) bool }).Equal(c.PublicKey) {
				t.Errorf("depth %d has two keys", depth)
			}
			if serial := c.SerialNumber.String(); serials[serial] {
				t.Errorf("serial %s occurs twice", serial)
			} else {
				serials[serial] = true
			}
		}
	}
	if len(keys) != 8 {
		t.Errorf("%d keys, want one for each of 7 levels and one for leaves", len(keys))
	}
}

// TestCredentialFiles reads what people's files look like.
func TestCredentialFiles(t *testing.T) {
	rsaRoot, ecRoot, root := issue(t, nil, "root", "rsa2048", nil), issue(t, nil, "root", "p256", nil), issue(t, nil, "root", "ed25519", nil)
	team := issue(t, root, "team", "ed25519", delegation(t, small))
	alice := issue(t, team, "alice", "ed25519", delegation(t, small))
	sec1, err := x509.MarshalECPrivateKey(ecRoot.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	rsaKey := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaRoot.key.(*rsa.PrivateKey)))
	ecKey := block("EC PRIVATE KEY", sec1)
	aliceKey := string(alice.keyPEM(t))
	chain := string(alice.pem)
	aliceAlone := chain[:len(chain)-len(team.pem)]
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for _, tt := range []struct {
		what, cert, key string
		// want is the path, or the beginning of what is refused.
		want   string
		sent   int
		refuse bool
	}{
		{"PKCS#8 of RSA", string(rsaRoot.pem), string(rsaRoot.keyPEM(t)), "", 1, false},
		{"PKCS#1", string(rsaRoot.pem), rsaKey, "", 1, false},
		{"SEC1", string(ecRoot.pem), ecKey, "", 1, false},
		{"SEC1 behind its parameters", string(ecRoot.pem), block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + ecKey, "", 1, false},
		{"blank lines and a comment", "\n\n# the tenant\n" + chain + "\n \n", "key of alice:\n\n" + aliceKey + "\n", "team:alice", 3, false},
		{"lines end with CR LF", crlf(chain), crlf(aliceKey), "team:alice", 3, false},
		{"all in one file", aliceKey + chain, aliceKey + chain, "team:alice", 3, false},
		{"the root too", chain + string(root.pem), aliceKey, "team:alice", 3, false},
		{"the root twice", chain + string(root.pem) + string(root.pem), aliceKey, "team:alice", 3, false},
		{"without the one above", aliceAlone, aliceKey, "alice", 2, false},
		{"the one above first", string(team.pem) + aliceAlone, aliceKey, "certificate and key: tls: private key does not match public key", 0, true},
		{"the one above first, and its key", string(team.pem) + aliceAlone, string(team.keyPEM(t)), "certificate 1 of the chain is not signed by the one after it", 0, true},
		{"the one above is missing", aliceAlone + string(root.pem), aliceKey, "certificate 1 of the chain is not signed by the one after it", 0, true},
		{"certificate and key exchanged", aliceKey, chain, "certificate and key: tls: failed to find certificate PEM data in certificate input, but did find a private key", 0, true},
		{"an encrypted key", chain, block("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), "certificate and key: ", 0, true},
		{"a certificate that is none", block("CERTIFICATE", []byte{0x30, 0}), aliceKey, "certificate and key: x509: ", 0, true},
		{"another certificate that is none", aliceAlone + block("CERTIFICATE", []byte{0x30, 0}), aliceKey, "certificate 2: x509: ", 0, true},
		{"one line is missing", aliceAlone[:100] + aliceAlone[165:], aliceKey, "certificate and key: ", 0, true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c, err := cert.ParseCredential([]byte(tt.cert), []byte(tt.key))
			if tt.refuse {
				if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
					t.Fatalf("%v, want %q", err, tt.want)
				}
				if strings.Contains(err.Error(), "PRIVATE") {
					t.Errorf("%q tells of the key", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if sent := len(mint(t, c, nil, "web", wire.UnikernelInfo{})); c.Path().String() != tt.want || sent != tt.sent {
				t.Errorf("path %q and %d certificates, want %q and %d", c.Path(), sent, tt.want, tt.sent)
			}
		})
	}
}

// TestDelegatedMistakes refuses when it is read what a host would refuse for
// every command.
func TestDelegatedMistakes(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	extension := func(der []byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: cert.OID, Value: der}} }
	}
	for _, tt := range []struct {
		cn, want string
		change   func(*x509.Certificate)
	}{
		{"", "policy add may not have an empty name", delegation(t, small)},
		{"a_b", "invalid label", delegation(t, small)},
		{"a:b", "invalid label", delegation(t, small)},
		{strings.Repeat("a", 64), "invalid label", delegation(t, small)},
		{"team", "unexpected wire unikernel create", extension(encoded(t, wire.UnikernelCreate{}))},
		{"team", "unexpected wire policy remove", extension(encoded(t, wire.PolicyRemove{}))},
		{"team", "extension: expected an element", extension([]byte("junk"))},
		{"team", "unknown version number 4", extension([]byte{0x30, 0x07, 2, 1, 4, 0xa4, 2, 5, 0})},
	} {
		team := issue(t, root, tt.cn, "ed25519", tt.change)
		for what, a := range map[string]*authority{"itself": team, "above": issue(t, team, "alice", "ed25519", delegation(t, small))} {
			if _, err := cert.ParseCredential(a.pem, a.keyPEM(t)); err == nil || !strings.HasPrefix(err.Error(), "delegated certificate: "+tt.want) {
				t.Errorf("%q, %s: %v, want %q", tt.cn, what, err, tt.want)
			}
		}
	}
}

// TestValidityOfTheChain counts whatever ends first or begins last, the root too
// when it is given.
func TestValidityOfTheChain(t *testing.T) {
	between := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(to) }
	}
	root := issue(t, nil, "root", "ed25519", between(-time.Minute, 5*time.Hour))
	team := issue(t, root, "team", "ed25519", both(delegation(t, small), between(-time.Hour, 7*time.Hour)))
	alice := issue(t, team, "alice", "ed25519", both(delegation(t, small), between(-2*time.Hour, 6*time.Hour)))
	for _, tt := range []struct {
		what     string
		pem      []byte
		of       *authority
		from, to time.Duration
	}{
		{"the root alone", root.pem, root, -time.Minute, 5 * time.Hour},
		{"a delegation without the root", alice.pem, alice, -time.Hour, 6 * time.Hour},
		{"with the root, which ends first", append(slices.Clone(alice.pem), root.pem...), alice, -time.Minute, 5 * time.Hour},
	} {
		c, err := cert.ParseCredential(tt.pem, tt.of.keyPEM(t))
		if err != nil {
			t.Fatal(err)
		}
		if !c.NotBefore().Equal(now.Add(tt.from)) || !c.NotAfter().Equal(now.Add(tt.to)) {
			t.Errorf("%s: valid from %s to %s", tt.what, c.NotBefore().Sub(now), c.NotAfter().Sub(now))
		}
		m, err := cert.NewMinter(c)
		if err != nil {
			t.Fatal(err)
		}
		// A host takes what is minted while all of that is valid, and no longer.
		for _, at := range []time.Time{c.NotBefore().Add(-time.Second), c.NotBefore(), c.NotAfter(), c.NotAfter().Add(time.Second)} {
			pair, err := m.Mint(nil, "web", wire.UnikernelInfo{}, at)
			if err != nil {
				t.Fatal(err)
			}
			valid := !at.Before(c.NotBefore()) && !at.After(c.NotAfter()) && !at.Before(root.cert.NotBefore) && !at.After(root.cert.NotAfter)
			if _, err := cert.VerifyChain(parsedChain(t, pair), root.cert, at); (err == nil) != valid {
				t.Errorf("%s at %s: %v", tt.what, at.Sub(now), err)
			}
		}
	}
}

// TestMintedValidity has the edges of what a host's clock may show.
func TestMintedValidity(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	for _, depth := range []int{0, 2} {
		chain := mint(t, root.credential(t), levels(depth), "web", wire.UnikernelInfo{})
		for offset, want := range map[time.Duration]error{
			-cert.ValidBefore: nil, -cert.ValidBefore - time.Second: cert.ErrExpired, cert.ValidAfter: nil, cert.ValidAfter + time.Second: cert.ErrExpired,
		} {
			if _, err := cert.VerifyChain(chain, root.cert, now.Add(offset)); err != want { //nolint:errorlint // the very value
				t.Errorf("%d levels at %s: %v, want %v", depth, offset, err, want)
			}
		}
	}
}

package cert_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// carrier is a certificate with a common name and an extension; nil is none. It
// need not be signed by anything sensible, since Handle is given verified ones.
func carrier(cn string, extension []byte) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
	if extension != nil {
		c.Extensions = []pkix.Extension{{Id: []int{2, 5, 29, 15}, Value: []byte{5, 0}}, {Id: cert.OID, Value: extension}}
	}
	return c
}

const badLabel = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"

// TestHandleEveryCommand has each kind of command under each kind of common name.
func TestHandleEveryCommand(t *testing.T) {
	for _, tt := range []struct {
		command wire.Command
		// forbidden in a leaf; named commands are refused without a name.
		forbidden, named bool
	}{
		{wire.UnikernelInfo{}, false, false}, {wire.OldUnikernelInfo4{}, false, false}, {wire.OldUnikernelInfo5{}, false, false},
		{wire.UnikernelGet{}, false, false}, {wire.UnikernelCreate{}, false, false}, {wire.UnikernelForceCreate{}, false, false},
		{wire.UnikernelRestart{}, false, false}, {wire.UnikernelDestroy{}, false, false},
		{wire.PolicyInfo{}, false, false}, {wire.PolicyAdd{}, true, true}, {wire.PolicyRemove{}, true, true},
		{wire.BlockList{}, false, false}, {wire.BlockAdd{}, false, true}, {wire.BlockRemove{}, false, true}, {wire.BlockSet{}, false, true},
		{wire.BlockDump{}, false, true}, {wire.OldBlockAdd{}, false, true}, {wire.OldBlockSet{}, false, true}, {wire.OldBlockDump{}, false, true},
		{wire.ConsoleSubscribe{}, false, false}, {wire.ConsoleListInactive{}, false, false}, {wire.ConsoleAdd{}, true, false},
		{wire.StatsSubscribe{}, false, false}, {wire.StatsAdd{}, true, false}, {wire.StatsRemove{}, true, false}, {wire.StatsInitial{}, true, false},
	} {
		unnamed := ""
		if tt.named {
			unnamed = wire.CommandName(tt.command) + " may not have an empty name"
		}
		for _, cn := range []struct{ text, label, refused string }{
			{"web", "web", ""}, {"WEB.Example-1", "web.example-1", ""}, {strings.Repeat("a", 63), strings.Repeat("a", 63), ""}, {"..", "..", ""},
			{".", "", ""}, {":", "", ""}, {"", "", unnamed},
			{"a_b", "", badLabel}, {"-a", "", badLabel}, {"a:b", "", badLabel}, {"::", "", badLabel}, {strings.Repeat("a", 64), "", badLabel},
			{"web ", "", badLabel}, {"wéb", "", badLabel}, {"a\x00b", "", badLabel},
		} {
			want := cn.refused
			if want == "" && tt.forbidden {
				want = "unexpected command"
			}
			tenant := carrier("Alice", encoded(t, wire.PolicyAdd{Policy: small}))
			request, err := cert.Handle([]*x509.Certificate{carrier(cn.text, encoded(t, tt.command)), tenant})
			if want != "" {
				if err == nil || err.Error() != want {
					t.Errorf("%T named %q: %v, want %q", tt.command, cn.text, err, want)
				}
				continue
			}
			if err != nil || !request.Name.Equal(wire.Name{Path: wire.Path{"alice"}, Label: cn.label}) || fmt.Sprintf("%T", request.Command) != fmt.Sprintf("%T", tt.command) {
				t.Errorf("%T named %q: %+v, %v", tt.command, cn.text, request, err)
			}
		}
	}
}

// TestHandlePaths has what intermediates make of the path, and what they may not be.
func TestHandlePaths(t *testing.T) {
	leaf := carrier("web", encoded(t, wire.UnikernelInfo{}))
	policy := func(memory int64) []byte { return encoded(t, wire.PolicyAdd{Policy: wire.Policy{Memory: memory}}) }
	for _, tt := range []struct {
		what string
		// issuers from the leaf's up.
		issuers []*x509.Certificate
		// name and the memory of each policy in order, or what is refused.
		want string
	}{
		{"none", nil, ":web"},
		{"one without the extension", []*x509.Certificate{carrier("some key", nil)}, ":web"},
		{"one", []*x509.Certificate{carrier("Alice", policy(1))}, "alice:web 1"},
		{"three", []*x509.Certificate{carrier("c", policy(3)), carrier("b", policy(2)), carrier("a", policy(1))}, "a:b:c:web 3 2 1"},
		{"one without between others", []*x509.Certificate{carrier("c", policy(3)), carrier("", nil), carrier("a", policy(1))}, "a:c:web 3 1"},
		{"the same label again", []*x509.Certificate{carrier("a", policy(2)), carrier("a", policy(1))}, "a:a:web 2 1"},
		{"eight", slices.Repeat([]*x509.Certificate{carrier("a", policy(1))}, 8), "a:a:a:a:a:a:a:a:web 1 1 1 1 1 1 1 1"},
		{"nine", slices.Repeat([]*x509.Certificate{carrier("a", policy(1))}, 9), "certificate chain too long"},
		{"nine without the extension", slices.Repeat([]*x509.Certificate{carrier("a", nil)}, 9), "certificate chain too long"},
		{"another command", []*x509.Certificate{carrier("a", encoded(t, wire.BlockList{}))}, "unexpected wire block info"},
		{"no name", []*x509.Certificate{carrier("", policy(1))}, "policy add may not have an empty name"},
		{"no label", []*x509.Certificate{carrier("b", policy(1)), carrier(":", policy(1))}, badLabel},
		{"of the outermost first", []*x509.Certificate{carrier("", policy(1)), carrier("a_b", policy(1))}, badLabel},
		{"not decodable", []*x509.Certificate{carrier("a", []byte{0x30, 0})}, "version: expected an integer of at most 63 bits"},
		{"an empty extension", []*x509.Certificate{carrier("a", []byte{})}, "extension: expected an element with tag 0x30"},
	} {
		request, err := cert.Handle(append([]*x509.Certificate{leaf}, tt.issuers...))
		got := fmt.Sprint(err)
		if err == nil {
			got = request.Name.String()
			for _, p := range request.Policies {
				got += fmt.Sprint(" ", p.Policy.Memory)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}

// TestHandleLeaf tells apart a leaf without a command and one with another's.
func TestHandleLeaf(t *testing.T) {
	for _, tt := range []struct {
		what, want string
		leaf       *x509.Certificate
	}{
		{"no extension", cert.ErrNoExtension.Error(), carrier("web", nil)},
		{"nothing in it", "extension: expected an element with tag 0x30", carrier("web", []byte{})},
		{"of version 6", "unknown version number 6, want 5", carrier("web", []byte{0x30, 0x07, 2, 1, 6, 0xa3, 2, 0xb3, 0})},
		{"of a newer kind", "unikernel command: unknown tag 0xbe; the peer may speak a newer version", carrier("web", []byte{0x30, 0x09, 2, 1, 5, 0xa3, 4, 0xbe, 2, 5, 0})},
	} {
		if _, err := cert.Handle([]*x509.Certificate{tt.leaf}); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %q", tt.what, err, tt.want)
		}
	}
}

// TestVerifiedPathOnly ignores what else is sent, and refuses gaps.
func TestVerifiedPathOnly(t *testing.T) {
	root := issue(t, nil, "root", "ed25519", nil)
	impostor := issue(t, nil, "root", "ed25519", nil)
	victim := issue(t, impostor, "victim", "ed25519", delegation(t, small))
	old := issue(t, root, "old", "ed25519", both(delegation(t, small), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }))
	plain := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }
	notCA := issue(t, root, "tenant", "ed25519", both(delegation(t, small), plain))
	credential := root.credential(t)
	chain := mint(t, credential, levels(2), "web", wire.UnikernelDestroy{})
	leafOf := func(a *authority) *x509.Certificate { return issue(t, a, "web", "ed25519", plain).cert }
	for _, tt := range []struct {
		what  string
		chain []*x509.Certificate
		want  string
	}{
		{"as it is", chain, "l0:l1:web"},
		{"with the root", append(slices.Clone(chain), root.cert), "l0:l1:web"},
		{"with another's tenant", append(slices.Clone(chain), victim.cert, impostor.cert), "l0:l1:web"},
		{"intermediates in another order", []*x509.Certificate{chain[0], chain[2], chain[1]}, "l0:l1:web"},
		{"each twice", append(slices.Clone(chain), chain[1:]...), "l0:l1:web"},
		{"a gap", []*x509.Certificate{chain[0], chain[2]}, ""},
		{"the leaf is not first", []*x509.Certificate{chain[1], chain[0], chain[2]}, ""},
		{"of an impostor", []*x509.Certificate{leafOf(victim), victim.cert}, ""},
		{"of an impostor that sends its root", []*x509.Certificate{leafOf(victim), victim.cert, impostor.cert}, ""},
		{"below one that has ended", []*x509.Certificate{leafOf(old), old.cert}, ""},
		{"below one that is no CA", []*x509.Certificate{leafOf(notCA), notCA.cert}, ""},
		{"the root itself", []*x509.Certificate{root.cert}, ""},
	} {
		path, err := cert.VerifyChain(tt.chain, root.cert, now)
		if tt.want == "" {
			if !errors.Is(err, cert.ErrInvalidChain) {
				t.Errorf("%s: %v of %d certificates", tt.what, err, len(path))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		if request, err := cert.Handle(path); err != nil || request.Name.String() != tt.want || len(request.Policies) != 2 {
			t.Errorf("%s: %+v, %v", tt.what, request, err)
		}
	}
}

// TestServerCAFiles reads several certificates, and names the one that is none.
func TestServerCAFiles(t *testing.T) {
	one, two := issue(t, nil, "root", "ed25519", nil), issue(t, nil, "other", "p256", nil)
	pool, err := cert.ParseServerCA([]byte("comment\n" + string(one.pem) + "\n\n" + string(two.pem) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*authority{one, two} {
		if _, err := a.cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", a.cert.Subject, err)
		}
	}
	for want, bad := range map[string]string{
		"no PEM certificate found": "-----BEGIN CERTIFICATE-----", "certificate 1: ": string(one.keyPEM(t)), "certificate 2: ": string(one.pem) + string(one.keyPEM(t)),
	} {
		if _, err := cert.ParseServerCA([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

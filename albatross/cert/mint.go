package cert

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// OID is that of the extension with a command.
var OID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 49836, 42}

// How long a command's certificates are valid around the time of minting, so
// that clocks may differ a little. The host looks only at the handshake.
const (
	ValidBefore = 150 * time.Second
	ValidAfter  = 300 * time.Second
)

// Level is one step of a path: a tenant and the policy that it gets with every
// command. Sending the policy in force changes nothing; there is no way to name
// a path without sending a policy for it.
type Level struct {
	Label  string
	Policy wire.Policy
}

// Minter makes chains for commands. Its keys are made once, so that a command
// costs only signatures. It is safe for concurrent use.
type Minter struct {
	credential *Credential
	leafKey    ed25519.PrivateKey

	mu sync.Mutex
	// levelKeys has a key for each depth: with a shared key a certificate could
	// be taken for its own issuer when a label repeats.
	levelKeys []ed25519.PrivateKey
}

// NewMinter makes the leaf's key.
func NewMinter(c *Credential) (*Minter, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key for commands: %w", err)
	}
	return &Minter{credential: c, leafKey: key}, nil
}

// Mint makes the chain for a command about label in the path that levels lead
// to, outermost first; an empty label means the path itself. The chain is ready
// to be presented to a host.
func (m *Minter) Mint(levels []Level, label string, command wire.Command, now time.Time) (tls.Certificate, error) {
	cn, err := leafName(label)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := m.checkDepth(len(levels)); err != nil {
		return tls.Certificate{}, err
	}
	extension, err := wire.EncodeExtension(command)
	if err != nil {
		return tls.Certificate{}, err
	}
	issuer := signer{m.credential.chain[0], m.credential.key}
	var chain [][]byte
	for depth, level := range levels {
		key, err := m.levelKey(depth)
		if err != nil {
			return tls.Certificate{}, err
		}
		issuer, err = issuer.delegate(level, key, now)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("tenant %q: %w", level.Label, err)
		}
		chain = append([][]byte{issuer.cert.Raw}, chain...)
	}
	leaf, err := issuer.sign(leafTemplate(cn, extension, now), m.leafKey.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	chain = append([][]byte{leaf}, chain...)
	for _, c := range m.credential.sent {
		chain = append(chain, c.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: m.leafKey}, nil
}

// leafName is never empty, which hosts refuse for most commands, and never "."
// for a thing, which would name its path: creating a unikernel of that name
// breaks a host.
func leafName(label string) (string, error) {
	if label == "" {
		return ".", nil
	}
	normal, err := wire.ParseLabel(label)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", label, err)
	}
	if normal == "." {
		return "", errors.New(`"." stands for a path and cannot be a name`)
	}
	return normal, nil
}

func (m *Minter) checkDepth(levels int) error {
	sent := len(m.credential.sent)
	if total := 1 + levels + sent; total > MaxChain {
		return fmt.Errorf("a chain of %d certificates is too long: a host takes %d, so a path may have %d labels here", total, MaxChain, MaxChain-1-sent)
	}
	for i, c := range m.credential.chain {
		if limit := pathLen(c); limit >= 0 && levels+i > limit {
			return fmt.Errorf("the credential's path length constraint (%d) does not allow %d more levels", limit, levels)
		}
	}
	return nil
}

// pathLen gives the constraint on certificates below, or -1.
func pathLen(c *x509.Certificate) int {
	if c.MaxPathLen > 0 || c.MaxPathLenZero {
		return c.MaxPathLen
	}
	return -1
}

func (m *Minter) levelKey(depth int) (ed25519.PrivateKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.levelKeys) <= depth {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("key for a tenant's certificate: %w", err)
		}
		m.levelKeys = append(m.levelKeys, key)
	}
	return m.levelKeys[depth], nil
}

// signer is a certificate that may sign others.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (s signer) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, public, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return der, nil
}

// delegate makes the intermediate certificate of one level.
func (s signer) delegate(level Level, key ed25519.PrivateKey, now time.Time) (signer, error) {
	label, err := wire.ParseLabel(level.Label)
	if err != nil {
		return signer{}, err
	}
	extension, err := wire.EncodeExtension(wire.PolicyAdd{Policy: level.Policy})
	if err != nil {
		return signer{}, err
	}
	template := template(label, extension, now)
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := s.sign(template, key.Public())
	if err != nil {
		return signer{}, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return signer{}, fmt.Errorf("own certificate: %w", err)
	}
	return signer{parsed, key}, nil
}

func leafTemplate(cn string, extension []byte, now time.Time) *x509.Certificate {
	t := template(cn, extension, now)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return t
}

func template(cn string, extension []byte, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: cn},
		NotBefore:             now.Add(-ValidBefore),
		NotAfter:              now.Add(ValidAfter),
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{{Id: OID, Value: extension}},
	}
}

// Package cert makes and reads the certificate chains that carry Albatross's
// commands: the command is in the leaf, the path and its policies are in the
// intermediates (facts: the recorded chains in testdata/vectors/chains).
package cert

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// MaxChain is the number of certificates that a host takes at most, the leaf
// counted and the root not (ok-chain-of-9, chain-of-10).
const MaxChain = 9

// Credential is what commands are signed with: a host's CA, or an intermediate
// that the CA delegated a path to.
type Credential struct {
	// chain has the issuer of our certificates first; the root is in it when it
	// is the issuer or was given.
	chain []*x509.Certificate
	// sent is what of it travels with a command: all but the root, which the host has.
	sent []*x509.Certificate
	key  crypto.Signer
	path wire.Path
}

// ParseCredential reads PEM: the certificate (for a delegation followed by those
// between it and the root) and its private key, which may be Ed25519, ECDSA or RSA.
func ParseCredential(certPEM, keyPEM []byte) (*Credential, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key of type %T cannot sign", pair.PrivateKey)
	}
	c := &Credential{key: key}
	for i, der := range pair.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		c.chain = append(c.chain, parsed)
	}
	return c, c.check()
}

func (c *Credential) check() error {
	issuer := c.chain[0]
	if !issuer.BasicConstraintsValid || !issuer.IsCA {
		return errors.New("the certificate is not a CA, so it cannot sign commands; use the host's CA or one that it delegated to")
	}
	if issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("the certificate may not sign others (its key usage lacks keyCertSign)")
	}
	for i, child := range c.chain[:len(c.chain)-1] {
		if err := child.CheckSignatureFrom(c.chain[i+1]); err != nil {
			return fmt.Errorf("certificate %d of the chain is not signed by the one after it: %w", i+1, err)
		}
	}
	c.sent = c.chain
	for last := len(c.sent) - 1; last >= 0 && isRoot(c.sent[last]); last-- {
		c.chain, c.sent = c.chain[:last+1], c.sent[:last]
	}
	path, _, err := intermediates(c.sent)
	if err != nil {
		return fmt.Errorf("delegated certificate: %w", err)
	}
	c.path = path
	return nil
}

func isRoot(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}

// Path is where the credential's own names begin: the root for a host's CA, else
// the path that was delegated.
func (c *Credential) Path() wire.Path { return c.path }

// NotAfter is when the first certificate of the credential ends.
func (c *Credential) NotAfter() time.Time {
	end := c.chain[0].NotAfter
	for _, parent := range c.chain[1:] {
		if parent.NotAfter.Before(end) {
			end = parent.NotAfter
		}
	}
	return end
}

// NotBefore is when the last certificate of the credential begins.
func (c *Credential) NotBefore() time.Time {
	start := c.chain[0].NotBefore
	for _, parent := range c.chain[1:] {
		if parent.NotBefore.After(start) {
			start = parent.NotBefore
		}
	}
	return start
}

// ParseServerCA reads the PEM certificates that a host's own certificate must
// chain to.
func ParseServerCA(caPEM []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	rest := caPEM
	for count := 0; ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if count == 0 {
				return nil, errors.New("no PEM certificate found")
			}
			return pool, nil
		}
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", count+1, err)
		}
		pool.AddCert(parsed)
	}
}

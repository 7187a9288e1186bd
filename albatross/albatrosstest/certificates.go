package albatrosstest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Names of the files with certificates and keys in a host's folder. The first
// two are also those that ALBATROSS_CREDENTIALS of the contract tests points to.
const (
	CACertFile     = "cacert.pem"
	CAKeyFile      = "ca.key"
	serverCertFile = "server.pem"
	serverKeyFile  = "server.key"
)

// Credentials are what a client needs to talk to a host, in PEM.
type Credentials struct {
	// Cert and Key sign commands; they are the host's CA.
	Cert, Key []byte
	// ServerCA is what the host's certificate chains to.
	ServerCA []byte
}

// validity of certificates that hosts make for themselves.
const validity = 10 * 365 * 24 * time.Hour

// authority is a CA with its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(now time.Time) (*authority, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "albatross"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	made, err := (&authority{cert: template}).issue(template)
	if err != nil {
		return nil, err
	}
	return &authority{cert: made.Leaf, key: made.PrivateKey.(ed25519.PrivateKey)}, nil
}

// issue signs a certificate for a new key; an authority without a key signs with
// the new one.
func (a *authority) issue(template *x509.Certificate) (*tls.Certificate, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of a certificate: %w", err)
	}
	var signer crypto.Signer = key
	if a.key != nil {
		signer = a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, signer)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// server makes a host's certificate: it has no subject alternative name, as the
// original's has none.
func (a *authority) server(now time.Time) (*tls.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// loadCertificates reads CA and server certificate from a folder, or makes them.
func loadCertificates(dir string, now time.Time) (*authority, *tls.Certificate, error) {
	ca, err := readPair(dir, CACertFile, CAKeyFile)
	if errors.Is(err, os.ErrNotExist) {
		return makeCertificates(dir, now)
	}
	if err != nil {
		return nil, nil, err
	}
	server, err := readPair(dir, serverCertFile, serverKeyFile)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := ca.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s: a key of type %T cannot sign", CAKeyFile, ca.PrivateKey)
	}
	return &authority{cert: ca.Leaf, key: signer}, server, nil
}

// makeCertificates writes the CA's certificate last: it tells that all is there.
func makeCertificates(dir string, now time.Time) (*authority, *tls.Certificate, error) {
	ca, err := newAuthority(now)
	if err != nil {
		return nil, nil, err
	}
	server, err := ca.server(now)
	if err != nil {
		return nil, nil, err
	}
	caKey, err1 := keyPEM(ca.key)
	serverKey, err2 := keyPEM(server.PrivateKey)
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, err
	}
	for _, file := range []struct {
		name    string
		mode    os.FileMode
		content []byte
	}{
		{serverCertFile, 0o644, certPEM(server.Leaf)}, {serverKeyFile, 0o600, serverKey},
		{CAKeyFile, 0o600, caKey}, {CACertFile, 0o644, certPEM(ca.cert)},
	} {
		if err := os.WriteFile(filepath.Join(dir, file.name), file.content, file.mode); err != nil {
			return nil, nil, fmt.Errorf("keep certificate: %w", err)
		}
	}
	return ca, server, nil
}

func readPair(dir, certFile, keyFile string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("kept certificate: %w", err)
	}
	return &pair, nil
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Credentials gives what a client needs.
func (h *Host) Credentials() Credentials {
	key, err := keyPEM(h.ca.key)
	if err != nil {
		panic("the CA's key could be written before: " + err.Error())
	}
	return Credentials{Cert: certPEM(h.ca.cert), Key: key, ServerCA: certPEM(h.ca.cert)}
}

package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	year = 365 * 24 * time.Hour

	// longestRun is how long a control plane can run at most: the API server's
	// certificate for itself lives 3*365+1 days (k8s.io/apiserver, package
	// pkg/server/options, maxAge). A certificate that ends sooner than that
	// after a start is renewed at that start.
	longestRun = 3*year + 30*24*time.Hour

	leafLife = 10 * year
	caLife   = 20 * year

	// caMinimum makes sure that a kept authority outlives what it signs.
	caMinimum = leafLife + 24*time.Hour
)

// credential is a certificate with its key, in one PEM file so that a crash
// never leaves a pair that does not match.
type credential struct {
	path string
	leaf *x509.Certificate
	key  crypto.Signer
}

// pki is what a control plane identifies itself and its users with.
type pki struct {
	ca, serving, admin *credential
	// serviceAccountKey is the file of the key that signs tokens.
	serviceAccountKey string
}

// ensurePKI loads the certificates and keys of a data folder, and makes those
// that are missing, about to end, or do not fit the address to serve.
func ensurePKI(dir string, bindAddress net.IP, now time.Time) (*pki, error) {
	p := &pki{serviceAccountKey: filepath.Join(dir, "service-account.pem")}
	var err error
	if p.ca, err = ensureCA(filepath.Join(dir, "ca.pem"), now); err != nil {
		return nil, err
	}
	if p.serving, err = p.ensureLeaf(filepath.Join(dir, "serving.pem"), servingTemplate(bindAddress), now); err != nil {
		return nil, err
	}
	if p.admin, err = p.ensureLeaf(filepath.Join(dir, "admin.pem"), adminTemplate(), now); err != nil {
		return nil, err
	}
	return p, ensureKey(p.serviceAccountKey)
}

func ensureCA(path string, now time.Time) (*credential, error) {
	ca, err := loadCredential(path)
	if err != nil || (ca != nil && validFor(ca.leaf, now, caMinimum)) {
		return ca, err
	}
	return issue(path, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "mollymawk-standalone-ca"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, nil, now, caLife)
}

func servingTemplate(bindAddress net.IP) *x509.Certificate {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "mollymawk-standalone"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if hostname, err := os.Hostname(); err == nil && len(validation.IsDNS1123Subdomain(hostname)) == 0 {
		template.DNSNames = append(template.DNSNames, hostname)
	}
	if !bindAddress.IsUnspecified() && !bindAddress.IsLoopback() {
		template.IPAddresses = append(template.IPAddresses, bindAddress)
	}
	return template
}

func adminTemplate() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func (p *pki) ensureLeaf(path string, template *x509.Certificate, now time.Time) (*credential, error) {
	leaf, err := loadCredential(path)
	if err != nil {
		return nil, err
	}
	if leaf != nil && validFor(leaf.leaf, now, longestRun) && covers(leaf.leaf, template) &&
		leaf.leaf.CheckSignatureFrom(p.ca.leaf) == nil {
		return leaf, nil
	}
	return issue(path, template, p.ca, now, leafLife)
}

func validFor(cert *x509.Certificate, now time.Time, atLeast time.Duration) bool {
	return !now.Before(cert.NotBefore) && now.Add(atLeast).Before(cert.NotAfter)
}

// covers tells whether the certificate is good for every name of the template.
func covers(cert, template *x509.Certificate) bool {
	for _, name := range template.DNSNames {
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, ip := range template.IPAddresses {
		if cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

// issue makes a key and a certificate, signed by the parent or by itself, and
// writes them.
func issue(path string, template *x509.Certificate, parent *credential, now time.Time, life time.Duration) (*credential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making serial number: %w", err)
	}
	// An hour of grace for clocks that are set back.
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(life)
	issuer, signer := template, crypto.Signer(key)
	if parent != nil {
		issuer, signer = parent.leaf, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("making certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	content := append(encodeCertificate(der), keyPEM...)
	if err := renameio.WriteFile(path, content, 0o600); err != nil {
		return nil, fmt.Errorf("writing certificate: %w", err)
	}
	return loadCredential(path)
}

// loadCredential answers nil when there is no such file. A damaged file is an
// error: replacing it silently would hide that the disk or a person broke it.
func loadCredential(path string) (*credential, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(content, content)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); remove it to have it made anew", path, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that cannot sign; remove it to have it made anew", path)
	}
	return &credential{path: path, leaf: pair.Leaf, key: key}, nil
}

// ensureKey keeps the key once it is made: with another one all service
// account tokens would end.
func ensureKey(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making key: %w", err)
	}
	content, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("writing key: %w", err)
	}
	return nil
}

func (c *credential) certificatePEM() []byte { return encodeCertificate(c.leaf.Raw) }

func (c *credential) keyPEM() ([]byte, error) { return encodeKey(c.key) }

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// encodeKey writes the form that Kubernetes reads for service account keys too.
func encodeKey(key crypto.Signer) ([]byte, error) {
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot write a key of type %T", key)
	}
	der, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

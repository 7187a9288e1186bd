package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// ErrUntrusted is what a client says of a host's certificate.
var ErrUntrusted = errors.New("the host's certificate is not trusted")

// What a host says of a client's chain that it does not trust.
var (
	ErrExpired      = errors.New("leaf certificate expired or not yet valid")
	ErrInvalidChain = errors.New("invalid certificate chain")
)

// VerifyServer gives the check of a host's certificate: it must chain to one of
// the CAs, be valid now and have the extended key usage serverAuth. It has no
// subject alternative names, so there is no host name to compare. A certificate
// that was issued to a client by the same CA does not pass. For use as
// tls.Config.VerifyConnection, together with InsecureSkipVerify.
func VerifyServer(cas *x509.CertPool, now func() time.Time) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return fmt.Errorf("%w: none was sent", ErrUntrusted)
		}
		leaf := state.PeerCertificates[0]
		if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
			return fmt.Errorf("%w: it is not one of a server (extended key usage lacks serverAuth)", ErrUntrusted)
		}
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots:         cas,
			Intermediates: pool(state.PeerCertificates[1:]),
			CurrentTime:   now(),
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
		return nil
	}
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// VerifyChain is the host's side: it gives the verified path from the leaf up,
// without the root. Certificates that are not on that path do not matter, nor
// does their order. The error is [ErrExpired] or [ErrInvalidChain].
func VerifyChain(chain []*x509.Certificate, ca *x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, ErrInvalidChain
	}
	leaf := chain[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, ErrExpired
	}
	if leaf.IsCA || leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, ErrInvalidChain
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots:         pool([]*x509.Certificate{ca}),
		Intermediates: pool(chain[1:]),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, ErrInvalidChain
	}
	return paths[0][:len(paths[0])-1], nil
}

// Request is what a verified chain asks of a host.
type Request struct {
	Name wire.Name
	// Policies of the path, the deepest first, which is the order in which the
	// host applies them.
	Policies []PathPolicy
	Command  wire.Command
}

// PathPolicy is a policy that the chain sets for a path.
type PathPolicy struct {
	Path   wire.Path
	Policy wire.Policy
}

// Why a host refuses a chain that it trusts; its client sees only a close.
var (
	ErrChainTooLong      = errors.New("certificate chain too long")
	ErrNoExtension       = errors.New("leaf certificate does not contain an albatross extension")
	ErrUnexpectedCommand = errors.New("unexpected command")
)

// Handle reads the request from a verified path, leaf first and without the root.
func Handle(path []*x509.Certificate) (Request, error) {
	if len(path) > MaxChain {
		return Request{}, ErrChainTooLong
	}
	leaf := path[0]
	labels, policies, err := intermediates(path[1:])
	if err != nil {
		return Request{}, err
	}
	extension, ok := Extension(leaf)
	if !ok {
		return Request{}, ErrNoExtension
	}
	command, err := wire.DecodeExtension(extension)
	if err != nil {
		return Request{}, err
	}
	label, err := resource(leaf.Subject.CommonName, command)
	if err != nil {
		return Request{}, err
	}
	if !allowed(command) {
		return Request{}, ErrUnexpectedCommand
	}
	return Request{Name: wire.Name{Path: labels, Label: label}, Policies: policies, Command: command}, nil
}

// Extension gives the content of a certificate's Albatross extension.
func Extension(c *x509.Certificate) ([]byte, bool) {
	for _, e := range c.Extensions {
		if e.Id.Equal(OID) {
			return e.Value, true
		}
	}
	return nil, false
}

// intermediates reads path and policies from certificates given from the leaf's
// issuer up. One without the extension is no part of the path.
func intermediates(certs []*x509.Certificate) (wire.Path, []PathPolicy, error) {
	var path wire.Path
	var policies []PathPolicy
	for _, c := range slices.Backward(certs) {
		extension, ok := Extension(c)
		if !ok {
			continue
		}
		command, err := wire.DecodeExtension(extension)
		if err != nil {
			return nil, nil, err
		}
		add, ok := command.(wire.PolicyAdd)
		if !ok {
			return nil, nil, fmt.Errorf("unexpected wire %s", wire.CommandName(command))
		}
		if c.Subject.CommonName == "" {
			return nil, nil, emptyName(add)
		}
		label, err := wire.ParseLabel(c.Subject.CommonName)
		if err != nil {
			return nil, nil, err
		}
		path = path.Join(label)
		policies = append([]PathPolicy{{path, add.Policy}}, policies...)
	}
	return path, policies, nil
}

// resource reads the leaf's common name: "." and ":" stand for the path itself,
// and so does none at all for commands that need no name.
func resource(cn string, command wire.Command) (string, error) {
	switch cn {
	case ".", ":":
		return "", nil
	case "":
		if needsName(command) {
			return "", emptyName(command)
		}
		return "", nil
	}
	return wire.ParseLabel(cn)
}

func emptyName(command wire.Command) error {
	return fmt.Errorf("%s may not have an empty name", wire.CommandName(command))
}

// needsName tells whether the host looks for a name itself. It does so for
// policies and blocks only.
func needsName(command wire.Command) bool {
	switch command.(type) {
	case wire.PolicyAdd, wire.PolicyRemove, wire.BlockAdd, wire.BlockRemove, wire.BlockSet, wire.BlockDump,
		wire.OldBlockAdd, wire.OldBlockSet, wire.OldBlockDump:
		return true
	}
	return false
}

// allowed tells whether a leaf may carry the command. Policies are set by
// intermediates only, and some commands are for the host's own daemons.
func allowed(command wire.Command) bool {
	switch command.(type) {
	case wire.PolicyAdd, wire.PolicyRemove, wire.ConsoleAdd, wire.StatsAdd, wire.StatsRemove, wire.StatsInitial:
		return false
	}
	return true
}

package images

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"mollymawk.dev/operator/internal/egress"
)

// userAgent is how the operator introduces itself to servers.
const userAgent = "mollymawk-operator"

// statusError never tells what the body says, which is a stranger's text.
func statusError(status int) error {
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w (status %d)", ErrNotFound, status)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w (status %d)", ErrForbidden, status)
	}
	return fmt.Errorf("the server answered with status %d", status)
}

// withoutQuery drops the parts of an address that may hold a secret.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// errNotUnderstood is what is left to say about anything else.
var errNotUnderstood = errors.New("the server's answer is not understood")

// networkError says what is wrong in words of this package or of the operating
// system. The errors of net/http quote the whole address, ports that differ from
// one attempt to the next, and what the server sent.
func networkError(ctx context.Context, err error) error {
	var name *net.DNSError
	var timeout net.Error
	var code syscall.Errno
	var certificate *tls.CertificateVerificationError
	var refused *egress.RefusedError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", ErrForbidden, refused)
	case errors.As(err, &name) && name.IsNotFound:
		return errors.New("the server's name is unknown (no such host)")
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the server does not answer in time")
	case errors.As(err, &name):
		return errors.New("the server's name cannot be resolved")
	case errors.As(err, &certificate):
		return fmt.Errorf("the server's certificate is not trusted: %w", certificateProblem(certificate.Err))
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errBrokeOff
	case errors.As(err, &code):
		return code // connection refused, no route to host, …
	case errors.Is(err, http.ErrSchemeMismatch):
		return errors.New("the server speaks plain http where https is asked for")
	case errors.Is(err, errPlainHTTP):
		return errPlainHTTP
	}
	return errNotUnderstood
}

// certificateProblem keeps the texts that do not depend on the time, nor on what
// the certificate says.
func certificateProblem(err error) error {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errors.New("it has expired or is not yet valid")
	case errors.As(err, &authority):
		return errors.New("it is signed by an unknown authority")
	case errors.As(err, &host):
		return errors.New("it is for another server")
	}
	return errors.New("it is not valid for a server")
}

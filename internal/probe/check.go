package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"mollymawk.dev/operator/internal/metrics"
)

// checker asks one unikernel once.
type checker struct {
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	forbidden error
}

// failure is what is wrong, in words of this package.
type failure string

// Error implements error.
func (f failure) Error() string { return string(f) }

// What may be wrong with every kind of probe.
const (
	errTime       = failure("no answer in time")
	errNotAllowed = failure("address not allowed")
	errGarbled    = failure("answer not understood")
)

// errOurs is a failure that says nothing about the unikernel: the operator's own
// machine cannot open connections.
var errOurs = errors.New("no connections can be opened")

// check asks all that spec names, one after another until one fails, and says
// what is wrong; nothing is when problem is empty. It is not conclusive when the
// probe was withdrawn or could not even begin. The deadline is that of the context.
func (c *checker) check(ctx context.Context, spec *Spec) (problem string, conclusive bool) {
	for _, one := range []struct {
		kind   string
		wanted bool
		ask    func() error
	}{
		{"http", spec.HTTP != nil, func() error { return c.http(ctx, spec.HTTP) }},
		{"tcp", spec.TCP != nil, func() error { return c.tcp(ctx, spec.TCP) }},
		{"dns", spec.DNS != nil, func() error { return c.dns(ctx, spec.DNS) }},
	} {
		if !one.wanted {
			continue
		}
		if problem, conclusive = measure(ctx, one.kind, one.ask); problem != "" || !conclusive {
			return problem, conclusive
		}
	}
	return "", true
}

// measure asks in one way and counts how it ended.
func measure(ctx context.Context, kind string, ask func() error) (problem string, conclusive bool) {
	began := time.Now()
	err := ask()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "", false
	case errors.Is(err, errOurs):
		metrics.Probed(kind, metrics.ProbeImpossible, time.Since(began))
		return "", false
	case err != nil:
		metrics.Probed(kind, metrics.ProbeFailed, time.Since(began))
		return kind + ": " + reason(ctx, err), true
	}
	metrics.Probed(kind, metrics.ProbeSucceeded, time.Since(began))
	return "", true
}

// reason says what is wrong in words of this package or of the operating system,
// the same for the same problem. Other texts are not quoted, since they have
// addresses in them, or what a server sent.
func reason(ctx context.Context, err error) string {
	var known failure
	var timeout net.Error
	var code syscall.Errno
	switch {
	case errors.As(err, &known):
		return string(known)
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return string(errTime)
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return "certificate not trusted"
	case errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection broke off"
	case errors.As(err, &code):
		return code.Error() // connection refused, no route to host, …
	case strings.Contains(err.Error(), "tls: "):
		return "no common version or cipher of TLS"
	}
	return string(errGarbled)
}

// open gives a connection that is closed, at the latest, when the context of the
// probe ends. So reading and writing need no deadlines of their own.
func (c *checker) open(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, c.dialProblem(ctx, err)
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn, nil
}

// dialProblem tells the causes apart for which there is no connection.
func (c *checker) dialProblem(ctx context.Context, err error) error {
	var name *net.DNSError
	var timeout net.Error
	var code syscall.Errno
	switch {
	case c.forbidden != nil && errors.Is(err, c.forbidden):
		return errNotAllowed
	case ctx.Err() != nil:
		return errTime
	case errors.As(err, &name) && name.IsNotFound:
		return failure("unknown host")
	case errors.As(err, &timeout) && timeout.Timeout():
		return errTime
	case errors.As(err, &name):
		return failure("the host's name cannot be resolved")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL),
		errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return errOurs
	case errors.As(err, &code):
		return err
	}
	return failure("no connection")
}

// tcp asks for a connection and closes it again.
func (c *checker) tcp(ctx context.Context, spec *TCP) error {
	conn, err := c.open(ctx, "tcp", spec.Address)
	if err != nil {
		return err
	}
	return conn.Close()
}

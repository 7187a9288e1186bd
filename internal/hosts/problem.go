package hosts

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"mollymawk.dev/operator/albatross"
)

// Problem says why a host does not answer, in the same words for the same
// problem: without ports, addresses, times and counts, so that a condition that
// quotes it does not change from one attempt to the next.
func Problem(err error) string {
	var failure *albatross.Error
	switch {
	case err == nil:
		return "not asked yet"
	case errors.Is(err, albatross.ErrUntrusted):
		return "the host's certificate does not verify with ca.crt of the credentials"
	case errors.Is(err, albatross.ErrRejected):
		return "the host closes the connection without an answer, as it does when it does not accept the credentials: " +
			"check that tls.crt is signed by the host's CA and that the clocks agree"
	case errors.Is(err, albatross.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "the host does not answer in time"
	case errors.Is(err, albatross.ErrRefused):
		return "the host refuses to answer: " + Text(err)
	case errors.As(err, new(tls.RecordHeaderError)):
		return "what answers at this address does not speak TLS"
	case errors.Is(err, albatross.ErrProtocol):
		return "the host's answer is not understood: check that an Albatross of a supported version answers at this address"
	case errors.Is(err, albatross.ErrInvalid) && errors.As(err, &failure) && failure.Err != nil:
		return "the credentials cannot be used: " + failure.Err.Error()
	}
	return "the host cannot be reached: " + networkProblem(err)
}

// networkProblem names the cause of a failed connection. What it does not know
// it does not quote, since such texts have addresses in them.
func networkProblem(err error) string {
	var name *net.DNSError
	var code syscall.Errno
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "its name is unknown (no such host)"
	case errors.As(err, &name):
		return "its name cannot be resolved"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection breaks off"
	case errors.As(err, &code):
		return code.Error() // connection refused, no route to host, …
	}
	if text := innermost(err).Error(); strings.HasPrefix(text, "tls: ") {
		return text
	}
	return "the connection fails"
}

// innermost follows the causes of an error to the last one.
func innermost(err error) error {
	for {
		var next error
		switch wrapping := err.(type) { //nolint:errorlint // the chain is walked
		case interface{ Unwrap() []error }:
			if all := wrapping.Unwrap(); len(all) > 0 {
				next = all[len(all)-1]
			}
		case interface{ Unwrap() error }:
			next = wrapping.Unwrap()
		}
		if next == nil {
			return err
		}
		err = next
	}
}

package albatross

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"mollymawk.dev/operator/albatross/cert"
)

// The kinds of failure, to be told apart with errors.Is. The *[Error] behind
// them says more.
var (
	// ErrInvalid: the client refused to send it, since it could never work or
	// would harm the host. Either nothing was sent, or an upload turned out to be
	// wrong and was cut.
	ErrInvalid = errors.New("invalid request")
	// ErrLocal: reading what was to be sent or writing what was received failed,
	// on this side. [Error.Err] says how.
	ErrLocal = errors.New("failed on this side")
	// ErrRefused: the host answered with a failure, whose text is in [Error.Text].
	ErrRefused = errors.New("refused by the host")
	// ErrRejected: the host closed the connection without an answer, or refused
	// the certificate with a TLS alert. So it does when it does not trust the
	// credential, when a name or a command is not allowed, or when the clocks differ.
	ErrRejected = errors.New("rejected by the host without an answer")
	// ErrEnded: the host ended a console or statistics after they had begun, as it
	// does in favour of another subscriber.
	ErrEnded = errors.New("ended by the host")
	// ErrUntrusted: the host's own certificate is not what the server CAs demand.
	ErrUntrusted = cert.ErrUntrusted
	// ErrUnreachable: no connection, or it broke; also one that ends before the
	// command could be sent.
	ErrUnreachable = errors.New("host unreachable")
	// ErrTimeout: the deadline passed, or the context ended.
	ErrTimeout = errors.New("timed out")
	// ErrProtocol: the host said something that this client does not understand.
	ErrProtocol = errors.New("protocol violation")
)

// Error is what every method of a [Client] fails with.
type Error struct {
	// Kind is one of the errors above.
	Kind error
	// Command and Name say what was asked.
	Command string
	Name    string
	// Sent tells whether the command may have reached the host. After a mutating
	// command that was sent and not answered, look at the host before repeating.
	Sent bool
	// Text is what the host said, if it did.
	Text string
	// Err is the cause, if there is one.
	Err error
}

// Error gives what was asked and why it failed.
func (e *Error) Error() string {
	s := e.Command
	if e.Name != "" {
		s += " " + e.Name
	}
	switch {
	case e.Text != "":
		return fmt.Sprintf("%s: %s", s, e.Text)
	case e.Err != nil && errors.Is(e.Err, e.Kind):
		return fmt.Sprintf("%s: %v", s, e.Err)
	case e.Err != nil:
		return fmt.Sprintf("%s: %v: %v", s, e.Kind, e.Err)
	}
	return fmt.Sprintf("%s: %v", s, e.Kind)
}

// Unwrap gives kind and cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// connectionError tells the kind of a failure of the network or of TLS. Before
// the command was sent nothing can be about it; and an end counts as the host's
// will only if it was closed in good order, which a host that dies does not do.
func connectionError(err error, sent, inOrder bool) error {
	var remote *net.OpError
	var notTLS tls.RecordHeaderError
	var network net.Error
	alert := errors.As(err, &remote) && remote.Op == "remote error" // so crypto/tls marks one
	switch {
	case errors.Is(err, ErrUntrusted):
		return ErrUntrusted
	case sent && (alert || inOrder && errors.Is(err, io.EOF)):
		return ErrRejected
	case alert, errors.As(err, &notTLS):
		return ErrProtocol
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return ErrTimeout
	}
	return ErrUnreachable
}

package hosts

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"syscall"
	"testing"

	"mollymawk.dev/operator/albatross"
)

func TestProblems(t *testing.T) {
	const unreachable = "the host cannot be reached: "
	for what, want := range map[string]string{
		"refused":        unreachable + "connection refused",
		"reset":          unreachable + "the connection breaks off",
		"broken pipe":    unreachable + "the connection breaks off",
		"cut in a frame": unreachable + "the connection breaks off",
		"ended early":    unreachable + "the connection breaks off",
		"no route":       unreachable + "no route to host",
		"no such host":   unreachable + "its name is unknown (no such host)",
		"name server":    unreachable + "its name cannot be resolved",
		"time-out":       "the host does not answer in time",
		"cancelled":      "the host does not answer in time",
		"closed": "the host closes the connection without an answer, as it does when it does not accept the credentials: " +
			"check that tls.crt is signed by the host's CA and that the clocks agree",
		"not trusted":    "the host's certificate does not verify with ca.crt of the credentials",
		"not understood": "the host's answer is not understood: check that an Albatross of a supported version answers at this address",
		"bare":           unreachable + "the connection fails",
	} {
		if got := Problem(networkFaults[what]); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, "not asked yet"},
		{refused("couldn't reach service"), "the host refuses to answer: couldn't reach service"},
		{&albatross.Error{Kind: albatross.ErrInvalid, Err: errors.New("a chain of 11 certificates is too long")},
			"the credentials cannot be used: a chain of 11 certificates is too long"},
		{&albatross.Error{Kind: albatross.ErrUnreachable, Err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}},
			"what answers at this address does not speak TLS"},
		{&albatross.Error{Kind: albatross.ErrUnreachable, Err: errors.New("tls: server selected unsupported protocol version 301")},
			unreachable + "tls: server selected unsupported protocol version 301"},
		{&albatross.Error{Kind: albatross.ErrUnreachable, Err: errors.New("read tcp 127.0.0.1:4711: odd")}, unreachable + "the connection fails"},
	} {
		if got := Problem(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
	if got := (State{Err: dialError(syscall.ECONNREFUSED)}).Problem(); got != unreachable+"connection refused" {
		t.Errorf("state: %q", got)
	}
}

// No text has anything in it that differs between two attempts.
func TestProblemsAreStable(t *testing.T) {
	variable := regexp.MustCompile(`[0-9]|->|example`)
	for what, err := range networkFaults {
		if text := Problem(err); variable.MatchString(text) {
			t.Errorf("%s: %q", what, text)
		}
		if again := Problem(fmt.Errorf("attempt 2: %w", err)); again != Problem(err) {
			t.Errorf("%s: %q and then %q", what, Problem(err), again)
		}
	}
}

func TestInnermost(t *testing.T) {
	cause := errors.New("cause")
	for _, err := range []error{
		cause, fmt.Errorf("outer: %w", cause), errors.Join(errors.New("other"), fmt.Errorf("inner: %w", cause)),
		&albatross.Error{Kind: albatross.ErrUnreachable, Err: cause},
	} {
		if got := innermost(err); got != cause { //nolint:errorlint // that very one
			t.Errorf("%v: %v", err, got)
		}
	}
	bare := &albatross.Error{Kind: albatross.ErrUnreachable}
	if got := innermost(bare); got != error(bare) { //nolint:errorlint // that very one
		t.Errorf("an error without a cause: %v", got)
	}
}

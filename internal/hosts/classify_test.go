package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"mollymawk.dev/operator/albatross"
)

func refused(text string) error {
	return &albatross.Error{Kind: albatross.ErrRefused, Command: "unikernel create", Name: "alice:web", Sent: true, Text: text}
}

// Every text that is known of a real host, as it was recorded or as its source
// has it.
var texts = []struct {
	text string
	want Class
}{
	{"destroy: not found", Gone},
	{"remove block: not found", Gone},
	{"set block: not found", Gone},
	{"dump block: not found", Gone},

	{"Unikernel with same name is already running", NameTaken},
	{"block device with same name already exists", NameTaken},
	{"block device with name alice:data already exists", NameTaken},

	{"maximum amount of unikernels (2) reached", PolicyExceeded},
	{"maximum allowed memory (128, used 16) would be exceeded (requesting 113)", PolicyExceeded},
	{"100 MB memory assigned to unikernel exceeds policy (64MB)", PolicyExceeded},
	{"CPUids 1, 3 are not allowed by policy", PolicyExceeded},
	{"CPUids 1 are not allowed by policy (available: 0)", PolicyExceeded},
	{"bridges bad1, bad2 not allowed by policy", PolicyExceeded},
	{"Bridge(s) ext not allowed by policy (available: service)", PolicyExceeded},
	{"no block devices are allowed by policy", PolicyExceeded},
	{"block device policy limit of 10 MB (used 2 MB) would be exceeded by the request (9 MB)", PolicyExceeded},

	{"Unusable policy with no CPUids", Refused},
	{"Unusable policy with memory 16 MB <= 16 MB", Refused},
	{"policy above allows 10 unikernels, which is fewer than 11", Refused},
	{"policy above does not allow CPUids 3, 7", Refused},
	{"expected success when adding policy, got: host [unikernel: s21d:]: command failed policy above allows bridge(s) service, which is not a superset of foo, service", Refused},
	{"expected success when adding policy, got: host [unikernel: s23:]: command failed policy does not allow CPUids 0", Refused},
	{"expected success when adding policy, got: host [unikernel: s23:]: command failed policy allows bridges , which is not a superset of service", Refused},
	{"expected success when adding policy, got: host [unikernel: s23:]: command failed unikernel would exceed running unikernel limit set by policy to 1, running 2", Refused},
	{"expected success when adding policy, got: host [unikernel: s23:]: command failed unikernel would exceed running memory limit set by policy to 63 MB, used 64 MB", Refused},
	{"expected success when adding policy, got: host [unikernel: s23:]: command failed unikernel would exceed running block storage limit set by policy to 4 MB, used 5 MB", Refused},
	{"specified bridge(s) does not match with the manifest. Devices present in manifest: ", Refused},
	{"specified block device(s) does not match with manifest. Devices present in manifest: \"storage\"", Refused},
	{"error during ELF parsing", Refused},
	{"unsupported solo5 target virtio", Refused},
	{"unexpected solo5 tender --version output, expected one line with 'ABI version 1', got solo5-hvt v0.12.1\nABI version 2", Refused},
	{"solo5-spt tender does not exist", Refused},
	{"manifest entries not in ascending order", Refused},
	{"couldn't find initial block device", Refused},
	{"failed to uncompress: Invalid Zlib header", Refused},
	{"Invalid Zlib header", Refused},
	{"Invalid checksum", Refused},
	{"Invalid kind of block", Refused},
	{"Unexpected end of input", Refused},
	{"overflow while computing bytes", Refused},
	{"data exceeds block size", Refused},

	{"block device alice:storage not found", Waiting},
	{"block device alice:storage already in use", Waiting},
	{"set block: is in use", Waiting},
	{"remove block: is in use", Waiting},
	{"dump block: is in use", Waiting},
	{"interface br7 does not exist", Waiting},

	{"couldn't reach service", Transient},
	{"could not create unikernel: console failed", Transient},
	{"error reading from fd", Transient},
	{"exception while reading from fd", Transient},
	{"read error after writing policy", Transient},
	{"writing block data", Transient},
}

func TestTexts(t *testing.T) {
	for _, tt := range texts {
		class, known := classOf(tt.text)
		if !known || class != tt.want || Classify(refused(tt.text)) != tt.want {
			t.Errorf("%q is %s (known: %v), want %s", tt.text, class, known, tt.want)
		}
	}
}

func TestEveryPatternIsTriedByAText(t *testing.T) {
	for _, refusal := range refusals {
		found := false
		for _, tt := range texts {
			found = found || matches(refusal.pattern, withoutWrapping(tt.text))
		}
		if !found {
			t.Errorf("no text for %q", refusal.pattern)
		}
	}
}

// Names are the users'. None may make a text look like another.
func TestNamesDoNotMatter(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Class
	}{
		{"block device alice:interface already in use", Waiting},
		{"block device alice:policy.above not found", Waiting},
		{"block device destroy:not-found not found", Waiting},
		{"interface not-found does not exist", Waiting},
		{"bridges interface not allowed by policy", PolicyExceeded},
	} {
		if got := Classify(refused(tt.text)); got != tt.want {
			t.Errorf("%q is %s, want %s", tt.text, got, tt.want)
		}
	}
}

// Every failure that was recorded of the real host is known.
func TestRecordedFailures(t *testing.T) {
	der, err := os.ReadFile("../../albatross/testdata/vectors/behaviour.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded any
	if err := json.Unmarshal(der, &recorded); err != nil {
		t.Fatal(err)
	}
	count := 0
	eachFailure(recorded, func(text string) {
		count++
		if _, known := classOf(text); !known {
			t.Errorf("not known: %q", text)
		}
	})
	if count < 50 {
		t.Errorf("only %d failures found in the recording", count)
	}
}

func eachFailure(v any, f func(text string)) {
	switch v := v.(type) {
	case []any:
		for _, member := range v {
			eachFailure(member, f)
		}
	case map[string]any:
		if text, ok := v["failure"].(string); ok {
			f(text)
		}
		for _, member := range v {
			eachFailure(member, f)
		}
	}
}

func TestUnknownIsTransient(t *testing.T) {
	for _, text := range []string{
		"", "x", "not found", "something else was not found", "policy", "interface", "interface does not exist",
		"Unikernel with same name is already running somewhere", "destroy: not found?",
		"expected success when adding policy, got: something", "expected success when adding policy, got: host: command failed read error",
		"line1\nline2\x00", "\xff\xfe",
	} {
		if got := Classify(refused(text)); got != Transient {
			t.Errorf("%q is %s", text, got)
		}
	}
}

// All that a network can do, with the texts of other classes on its lips.
var networkFaults = map[string]error{
	"refused":         &albatross.Error{Kind: albatross.ErrUnreachable, Err: dialError(syscall.ECONNREFUSED)},
	"reset":           &albatross.Error{Kind: albatross.ErrUnreachable, Err: dialError(syscall.ECONNRESET)},
	"broken pipe":     &albatross.Error{Kind: albatross.ErrUnreachable, Err: dialError(syscall.EPIPE)},
	"cut in a frame":  &albatross.Error{Kind: albatross.ErrUnreachable, Err: io.ErrUnexpectedEOF},
	"ended early":     &albatross.Error{Kind: albatross.ErrUnreachable, Err: io.EOF},
	"no route":        &albatross.Error{Kind: albatross.ErrUnreachable, Err: dialError(syscall.EHOSTUNREACH)},
	"no such host":    &albatross.Error{Kind: albatross.ErrUnreachable, Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "h.example", Server: "10.0.0.1:53", IsNotFound: true}}},
	"name server":     &albatross.Error{Kind: albatross.ErrUnreachable, Err: &net.DNSError{Err: "read udp 127.0.0.1:41023->127.0.0.53:53: refused", Name: "h.example"}},
	"time-out":        &albatross.Error{Kind: albatross.ErrTimeout, Err: context.DeadlineExceeded},
	"cancelled":       &albatross.Error{Kind: albatross.ErrTimeout, Err: context.Canceled},
	"closed":          &albatross.Error{Kind: albatross.ErrRejected, Err: io.EOF},
	"not trusted":     &albatross.Error{Kind: albatross.ErrUntrusted, Err: errors.New("x509: signed by unknown authority")},
	"not understood":  &albatross.Error{Kind: albatross.ErrProtocol, Err: errors.New("destroy: not found")},
	"bare":            errors.New("Unikernel with same name is already running"), //nolint:staticcheck // the host's text, not from a host
	"context":         context.Canceled,
	"text, not a say": &albatross.Error{Kind: albatross.ErrUnreachable, Text: "destroy: not found"},
}

func dialError(code syscall.Errno) error {
	return &net.OpError{
		Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1025},
		Source: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 41023}, Err: os.NewSyscallError("connect", code),
	}
}

func TestTheNetworkIsNeverFinal(t *testing.T) {
	for what, err := range networkFaults {
		for _, wrapped := range []error{err, fmt.Errorf("look: %w", err)} {
			if got := Classify(wrapped); got != Transient {
				t.Errorf("%s is %s", what, got)
			}
		}
	}
	if got := Classify(nil); got != Transient {
		t.Errorf("no error is %s", got)
	}
}

func TestWhatIsNotSentIsRefused(t *testing.T) {
	err := &albatross.Error{Kind: albatross.ErrInvalid, Err: errors.New("too long")}
	if got := Classify(err); got != Refused {
		t.Errorf("an invalid request is %s", got)
	}
}

func TestClassNames(t *testing.T) {
	seen := map[string]bool{}
	for c := Transient; c <= Gone; c++ {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("class %d is called %q", c, c)
		}
		seen[c.String()] = true
	}
}

func TestMatching(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"abc", "abc", true}, {"abc", "abcd", false}, {"abc", "", false},
		{"a…", "a", true}, {"a…", "ab", true}, {"a…", "ba", false},
		{"…c", "c", true}, {"…c", "abc", true}, {"…c", "cb", false},
		{"a…a", "a", false}, {"a…a", "aa", true}, {"a…a", "a-a", true},
		{"a…b…c", "abc", true}, {"a…b…c", "a1b2c", true}, {"a…b…c", "ac", false}, {"a…b…c", "acb", false},
		{"…b…", "abc", true}, {"…b…", "ac", false}, {"a…bc…c", "abc", false},
	} {
		if got := matches(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.text, got)
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{refused("destroy: not found"), "destroy: not found"},
		{fmt.Errorf("command: %w", refused("destroy: not found")), "destroy: not found"},
		{refused("line1\nline2\ttab \"quoted\" \x00nul\x1b[31m"), "line1 line2 tab \"quoted\"  nul [31m"},
		{refused("not utf8 \xff"), "not utf8"},
		{refused("\u202eright to left"), "right to left"},
		{&albatross.Error{Kind: albatross.ErrTimeout, Command: "unikernel info"}, "unikernel info: timed out"},
		{errors.New("plain"), "plain"},
	} {
		if got := Text(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestIsRefusal(t *testing.T) {
	for text, want := range map[string]bool{
		"Unikernel with same name is already running":        true,
		"block device alice:data not found":                  true,
		"couldn't reach service":                             false,
		"the host does not answer in time":                   false,
		"could not create unikernel: console failed":         false,
		"maximum amount of unikernels (3) reached":           true,
		"something new that nobody here has heard of so far": false,
	} {
		if got := IsRefusal(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

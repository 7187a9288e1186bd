package hosts

import (
	"errors"
	"strings"
	"unicode"

	"mollymawk.dev/operator/albatross"
)

// Class is what a failed command means for the object that it was for.
type Class uint8

const (
	// Transient may pass by itself; what is not known is transient.
	Transient Class = iota
	// Waiting passes when something else on the host changes.
	Waiting
	// NameTaken says that the host has something of that name.
	NameTaken
	// PolicyExceeded says that the tenant's policy does not allow it.
	PolicyExceeded
	// Refused for good: the declaration must change.
	Refused
	// Gone says that what the command was about is not there.
	Gone
)

// String gives the name of the class, for logs and metrics.
func (c Class) String() string {
	return [...]string{"transient", "waiting", "name-taken", "policy-exceeded", "refused", "gone"}[c]
}

// refusals are the texts of Albatross that are known, in which "…" stands for
// anything. This is the one place that reads them; Albatross has no error codes.
// The first that matches the whole of a text counts.
var refusals = []struct {
	pattern string
	class   Class
}{
	{"destroy: not found", Gone},
	{"remove block: not found", Gone},
	{"set block: not found", Gone},
	{"dump block: not found", Gone},

	{"Unikernel with same name is already running", NameTaken},
	{"block device with … already exists", NameTaken},

	{"maximum amount of unikernels (…) reached", PolicyExceeded},
	{"maximum allowed memory (…) would be exceeded (requesting …)", PolicyExceeded},
	{"… MB memory assigned to unikernel exceeds policy (…)", PolicyExceeded},
	{"… not allowed by policy…", PolicyExceeded}, // CPUs and bridges
	{"no block devices are allowed by policy", PolicyExceeded},
	{"block device policy limit of …", PolicyExceeded},

	// About a policy itself. The host says so whatever the command is that
	// carries it in its chain.
	{"Unusable policy with …", Refused},
	{"policy above …", Refused},
	{"policy does not allow …", Refused},
	{"policy allows …", Refused},
	{"unikernel would exceed running … limit set by policy to …", Refused},

	// About an image, its manifest or the content of a block device.
	{"specified … does not match with …", Refused},
	{"error during ELF parsing…", Refused},
	{"unsupported solo5 target …", Refused},
	{"unexpected solo5 tender …", Refused},
	{"…tender does not exist…", Refused},
	{"couldn't find initial block device", Refused},
	{"failed to uncompress: …", Refused},
	{"Invalid Zlib header", Refused},
	{"Invalid checksum", Refused},
	{"Invalid kind of block", Refused},
	{"Unexpected end of input", Refused},
	{"overflow while computing bytes", Refused},
	{"data exceeds block size", Refused},
	{"…not in ascending order…", Refused},

	{"block device … not found", Waiting}, // something that a create needs
	{"block device … already in use", Waiting},
	{"… block: is in use", Waiting},
	{"interface … does not exist", Waiting}, // the host's administrator can add it

	{"couldn't reach service", Transient}, // the daemon behind the TLS endpoint is down
	{"could not create unikernel: console failed", Transient},
	{"error reading from fd", Transient},
	{"exception while reading from fd", Transient},
	{"read error after writing policy", Transient},
	{"writing block data", Transient}, // in place of the reason, which got lost
}

// Classify tells what an error of an [albatross.Client] means. A fault of the
// network is never final.
func Classify(err error) Class {
	if errors.Is(err, albatross.ErrInvalid) {
		return Refused
	}
	var failure *albatross.Error
	if !errors.Is(err, albatross.ErrRefused) || !errors.As(err, &failure) {
		return Transient
	}
	class, _ := classOf(failure.Text)
	return class
}

// classOf gives the class of a host's text, and whether it is a known one.
func classOf(text string) (class Class, known bool) {
	text = withoutWrapping(text)
	for _, refusal := range refusals {
		if matches(refusal.pattern, text) {
			return refusal.class, true
		}
	}
	return Transient, false
}

// IsRefusal tells whether a text is one with which hosts refuse a command because
// of what it asks for, and not because they fail.
func IsRefusal(text string) bool {
	class, known := classOf(text)
	return known && class != Transient
}

// withoutWrapping takes away what the host says around the text about a policy
// of the chain that it refuses.
func withoutWrapping(text string) string {
	if wrapped, ok := strings.CutPrefix(text, "expected success when adding policy, got: "); ok {
		_, text, _ = strings.Cut(wrapped, ": command failed ")
	}
	return text
}

// matches compares the whole text with a pattern in which "…" stands for anything.
func matches(pattern, text string) bool {
	pieces := strings.Split(pattern, "…")
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(pieces) == 1 {
		return text == first
	}
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, piece := range pieces[1 : len(pieces)-1] {
		var ok bool
		if _, text, ok = strings.Cut(text, piece); !ok {
			return false
		}
	}
	return true
}

// Text is what a failed command says to a person, in one line: the host's own
// words if it spoke, else the kind of failure and its cause.
func Text(err error) string {
	var failure *albatross.Error
	if errors.As(err, &failure) && failure.Text != "" {
		return oneLine(failure.Text)
	}
	return err.Error()
}

// oneLine drops what a host's text, which is any bytes, could do to a terminal
// or to a table.
func oneLine(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "")))
}

package hosts

import (
	"errors"
	"strings"

	"mollymawk.dev/operator/albatross"
)

// Class is what a failed command means for the object that it was for.
type Class uint8

const (
	// Transient may pass by itself; what is not known is transient.
	Transient Class = iota
	// Waiting passes when something else on the host changes.
	Waiting
	// NameTaken: the host has something of that name.
	NameTaken
	// PolicyExceeded: the tenant's policy does not allow it.
	PolicyExceeded
	// Refused for good: the declaration must change.
	Refused
	// Gone: what the command was about is not there.
	Gone
)

// String gives the name of the class, for logs and metrics.
func (c Class) String() string {
	return [...]string{"transient", "waiting", "name-taken", "policy-exceeded", "refused", "gone"}[c]
}

// refusals are the texts of Albatross that say more than "try again", by what
// they contain. This is the one place that reads them; Albatross has no error
// codes. The first match counts.
var refusals = []struct {
	text  string
	class Class
}{
	{"not found", Gone}, // "destroy: not found", "remove block: not found"; see blockMissing
	{"Unikernel with same name is already running", NameTaken},
	{"block device with same name already exists", NameTaken},
	{"block device with name", NameTaken}, // "… already exists", as newer hosts say
	{"maximum amount of unikernels", PolicyExceeded},
	{"maximum allowed memory", PolicyExceeded},
	{"not allowed by policy", PolicyExceeded},
	{"no block devices are allowed by policy", PolicyExceeded},
	{"block device policy limit", PolicyExceeded},
	{"policy above", Refused},
	{"Unusable policy", Refused},
	{"policy does not allow", Refused},
	{"limit set by policy", Refused},
	{"policy allows", Refused},
	{"does not match with", Refused}, // the image's manifest
	{"error during ELF parsing", Refused},
	{"unsupported solo5 target", Refused},
	{"tender does not exist", Refused},
	{"failed to uncompress", Refused},
	{"overflow while computing bytes", Refused},
	{"data exceeds block size", Refused},
	{"not in ascending order", Refused},
	{"already in use", Waiting},
	{"is in use", Waiting},
	{"interface ", Waiting}, // "interface br7 does not exist": the host's administrator can add it
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
	if blockMissing(failure.Text) {
		return Waiting
	}
	for _, refusal := range refusals {
		if strings.Contains(failure.Text, refusal.text) {
			return refusal.class
		}
	}
	return Transient
}

// blockMissing recognises "block device alice:data not found", which is about
// something that a create needs and not about what it makes.
func blockMissing(text string) bool {
	return strings.HasPrefix(text, "block device ") && strings.HasSuffix(text, " not found")
}

// Text is what a failed command says to a person: the host's own words if it
// spoke, else the kind of failure and its cause.
func Text(err error) string {
	var failure *albatross.Error
	if errors.As(err, &failure) && failure.Text != "" {
		return failure.Text
	}
	return err.Error()
}

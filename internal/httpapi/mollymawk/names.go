package mollymawk

import (
	"errors"
	"strings"

	"mollymawk.dev/operator/albatross"
)

// errNotAName is for labels that hosts would take and Kubernetes would not.
var errNotAName = errors.New("invalid label (it must begin and end with a letter or a digit, and a dot must stand between these)")

// label checks the name of an instance, a unikernel or a volume and gives its
// normal form. Such a name is a label on the host and the name of an object.
func label(text string) (string, error) {
	normal, err := albatross.ParseLabel(text)
	if err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(normal, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' {
			return "", errNotAName
		}
	}
	return normal, nil
}

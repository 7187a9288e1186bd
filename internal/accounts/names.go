package accounts

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxName is the length of an Albatross label.
const maxName = 63

// checkName gives the name of a User in the form that is kept, in lower case.
func checkName(name string) (string, error) {
	if len(name) > maxName {
		return "", ErrInvalidName
	}
	// Of other letters some become ASCII in lower case.
	if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) {
		return "", ErrInvalidName
	}
	name = strings.ToLower(name)
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", ErrInvalidName
	}
	return name, nil
}

// emailForm is what the CustomResourceDefinition demands too.
var emailForm = regexp.MustCompile("^[a-zA-Z0-9.!#$%&*+/=?^_{|}~'`-]+@[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$")

const maxEmail = 254

func checkEmail(email string) error {
	if len(email) > maxEmail || !emailForm.MatchString(email) {
		return ErrInvalidEmail
	}
	return nil
}

// sameEmail ignores the case of ASCII letters: others there are none.
func sameEmail(a, b string) bool { return strings.EqualFold(a, b) }

// namespaceFor gives the namespace for a user of that name where it cannot be the
// name itself, which is when it has dots; else nothing.
func namespaceFor(name string) string {
	if !strings.Contains(name, ".") {
		return ""
	}
	sum := sha256.Sum256([]byte(name))
	short := strings.Trim(strings.ReplaceAll(name, ".", "-"), "-")
	const tail = 8
	if longest := maxName - tail - 1; len(short) > longest {
		short = strings.TrimRight(short[:longest], "-")
	}
	return short + "-" + hex.EncodeToString(sum[:tail/2])
}

// nameOfExternalID gives the name of a User of which only an external id is known.
// It is the same for the same id, so the API server lets only one be made.
func nameOfExternalID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "user-" + hex.EncodeToString(sum[:5])
}

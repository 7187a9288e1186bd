package migrate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"mollymawk.dev/operator/albatross"
)

// maxLabel is how long names of namespaces and of our kinds may be.
const maxLabel = validation.DNS1123LabelMaxLength

// namespaceFor gives the namespace for a path on hosts: a tenant's label where that
// is the name of a namespace that nobody else has, else one that is made of the path.
func namespaceFor(path albatross.Path, system string) string {
	text := strings.ReplaceAll(strings.Join(path, "-"), ".", "-")
	switch {
	case strings.HasPrefix(text, "kube-"):
		return derived("tenant-"+text, path.String())
	case len(path) != 1 || slices.Contains([]string{"default", system}, text) || len(validation.IsDNS1123Label(path[0])) > 0:
		return derived(text, path.String())
	}
	return path[0]
}

// objectName gives a label as the name of an object. It is another one when the
// label is none, such as with a dash at its end.
func objectName(label string) string {
	if validObjectName(label) {
		return label
	}
	return derived(strings.ReplaceAll(label, ".", "-"), label)
}

func validObjectName(label string) bool {
	return len(label) <= maxLabel && len(validation.IsDNS1123Subdomain(label)) == 0
}

// derived makes a name of a text that is none, and of a digest of what it stands
// for, so that things that differ have names that differ.
func derived(text, of string) string {
	sum := sha256.Sum256([]byte(of))
	tail := "-" + hex.EncodeToString(sum[:4])
	text = cmp.Or(strings.Trim(text, "-"), "unnamed")
	text = text[:min(len(text), maxLabel-len(tail))]
	return strings.TrimRight(text, "-") + tail
}

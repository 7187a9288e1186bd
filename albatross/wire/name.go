package wire

import (
	"crypto/md5" //nolint:gosec // the host derives addresses with MD5; it is no security measure
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// MaxLabelLength is the number of bytes that a label may have at most.
const MaxLabelLength = 63

// Errors of the name parsers, with the texts of the original (names.json).
var (
	ErrInvalidLabel = errors.New("invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)")
	ErrInvalidPath  = fmt.Errorf("invalid path: %w", ErrInvalidLabel)
	ErrInvalidName  = errors.New("invalid name")
	ErrEmptyName    = errors.New("empty name")
)

// ParseLabel checks one label and gives its normal form, which is lower case.
// A label has 1 to 63 bytes of [a-zA-Z0-9-.] and does not begin with '-'.
// The label "." is valid here, but in a leaf certificate it means "the path
// itself": never accept it as the name of a unikernel or a block device.
func ParseLabel(s string) (string, error) {
	if len(s) == 0 || len(s) > MaxLabelLength || s[0] == '-' {
		return "", ErrInvalidLabel
	}
	for i := range len(s) {
		if !isLabelByte(s[i]) {
			return "", ErrInvalidLabel
		}
	}
	return strings.ToLower(s), nil
}

func isLabelByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.'
}

// Path is a place in the hierarchy of tenants, outermost label first. The empty
// path is the root.
type Path []string

// ParsePath reads labels joined by ':'. One leading ':' is allowed, a trailing
// one is not. The empty string is the root.
func ParsePath(s string) (Path, error) {
	if s == "" {
		return nil, nil
	}
	labels := strings.Split(strings.TrimPrefix(s, ":"), ":")
	for i, label := range labels {
		normal, err := ParseLabel(label)
		if err != nil {
			return nil, ErrInvalidPath
		}
		labels[i] = normal
	}
	return labels, nil
}

// String gives the labels joined by ':'; it is empty for the root.
func (p Path) String() string { return strings.Join(p, ":") }

// IsRoot tells whether the path is the root, on which no policy is in force
// unless one was set.
func (p Path) IsRoot() bool { return len(p) == 0 }

// Equal compares label by label.
func (p Path) Equal(q Path) bool { return slices.Equal(p, q) }

// HasPrefix tells whether p is q or lies below it.
func (p Path) HasPrefix(q Path) bool {
	return len(p) >= len(q) && slices.Equal(p[:len(q)], q)
}

// Parent is the path without its last label; the root is its own parent.
func (p Path) Parent() Path {
	if p.IsRoot() {
		return nil
	}
	return p[:len(p)-1]
}

// Join gives path followed by sub, in memory of its own.
func (p Path) Join(sub ...string) Path {
	return append(slices.Clone(p), sub...)
}

// Name is what a command or an entry of a list is about: something called
// Label in Path, or the path itself when Label is empty.
type Name struct {
	Path  Path
	Label string
}

// ParseName reads the form on the wire: "a:b:web", ":web" for something at the
// root, "a:b:" for a path and ":" for the root.
func ParseName(s string) (Name, error) {
	if s == "" {
		return Name{}, ErrEmptyName
	}
	if rest, isPath := strings.CutSuffix(s, ":"); isPath {
		path, err := ParsePath(rest)
		return Name{Path: path}, err
	}
	labels, err := ParsePath(s)
	if err != nil {
		return Name{}, ErrInvalidName
	}
	last := len(labels) - 1
	return Name{Path: labels[:last:last], Label: labels[last]}, nil
}

// String is the form that [ParseName] reads.
func (n Name) String() string { return n.Path.String() + ":" + n.Label }

// IsPath tells whether the name stands for a path rather than for something in it.
func (n Name) IsPath() bool { return n.Label == "" }

// Equal compares path and label.
func (n Name) Equal(m Name) bool { return n.Label == m.Label && n.Path.Equal(m.Path) }

// In resolves a name that a list gave relative to base, the path in the reply's
// header: lists of unikernels, blocks, policies and consoles are relative when
// the query named a path and absolute when it named one thing.
func (n Name) In(base Name) Name {
	if !base.IsPath() {
		return n
	}
	return Name{Path: base.Path.Join(n.Path...), Label: n.Label}
}

// MAC is an Ethernet address.
type MAC [6]byte

// String gives six hexadecimal pairs in lower case joined by ':'.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// ParseMAC reads what [MAC.String] writes, in upper or lower case; ok is false
// for anything else.
func ParseMAC(s string) (m MAC, ok bool) {
	hardware, err := net.ParseMAC(s)
	if err != nil || len(hardware) != len(m) || hardware.String() != strings.ToLower(s) {
		return m, false
	}
	return MAC(hardware), true
}

// DeriveMAC gives the address that a host chooses for a network interface whose
// configuration names none: 00:80:41 and three bytes of a digest over the name
// of the unikernel's device (not of the bridge) and its own name (mac.json).
func DeriveMAC(unikernel Name, device string) MAC {
	sum := md5.Sum([]byte(device + unikernel.String())) //nolint:gosec // see the import
	return MAC{0x00, 0x80, 0x41, sum[0], sum[1], sum[2]}
}

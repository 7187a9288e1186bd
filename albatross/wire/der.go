package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The original keeps integers in 63 bits.
const (
	maxInt = 1<<62 - 1
	minInt = -1 << 62
)

func contextTag(n uint8) asn1.Tag { return asn1.Tag(n).ContextSpecific().Constructed() }

// decoder reads DER and remembers the first error; after that every read gives a
// zero value.
type decoder struct {
	// in is what is left of the value that is read at present.
	in  cryptobyte.String
	err error
}

// decode runs read over the whole of der and gives the first error, also when
// something is left over.
func decode(der []byte, what string, read func(*decoder)) error {
	d := &decoder{in: der}
	read(d)
	d.end(what)
	return d.err
}

func (d *decoder) failed() bool { return d.err != nil }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.in = nil
}

func (d *decoder) end(what string) {
	if !d.failed() && !d.in.Empty() {
		d.fail("%s: trailing bytes", what)
	}
}

// value reads one element with the given tag and gives its content.
func (d *decoder) value(tag asn1.Tag, what string) cryptobyte.String {
	var content cryptobyte.String
	if d.failed() {
		return nil
	}
	if !d.in.ReadASN1(&content, tag) {
		d.fail("%s: expected an element with tag %#02x", what, uint8(tag))
	}
	return content
}

// nested reads one element with the given tag and has read take all its content.
func (d *decoder) nested(tag asn1.Tag, what string, read func(*decoder)) {
	content := d.value(tag, what)
	if d.failed() {
		return
	}
	rest := d.in
	d.in = content
	read(d)
	d.end(what)
	d.in = rest
}

func (d *decoder) sequence(what string, read func(*decoder)) {
	d.nested(asn1.SEQUENCE, what, read)
}

// list reads elements with the given outer tag until its content is used up.
func (d *decoder) list(tag asn1.Tag, what string, element func(*decoder)) {
	d.nested(tag, what, func(d *decoder) {
		for !d.in.Empty() && !d.failed() {
			element(d)
		}
	})
}

func (d *decoder) sequenceOf(what string, element func(*decoder)) {
	d.list(asn1.SEQUENCE, what, element)
}

func (d *decoder) setOf(what string, element func(*decoder)) {
	d.list(asn1.SET, what, element)
}

// optional reads an explicitly tagged element if it is the next one.
func (d *decoder) optional(n uint8, what string, read func(*decoder)) {
	if d.in.PeekASN1Tag(contextTag(n)) {
		d.nested(contextTag(n), what, read)
	}
}

// alternative is what an element with this tag is.
type alternative struct {
	tag  uint8
	read func(*decoder)
}

// choice reads one explicitly tagged element whose tag says what it is.
func (d *decoder) choice(what string, alternatives []alternative) {
	for _, a := range alternatives {
		if d.in.PeekASN1Tag(contextTag(a.tag)) {
			d.nested(contextTag(a.tag), what, a.read)
			return
		}
	}
	if d.in.Empty() {
		d.fail("%s: missing", what)
		return
	}
	d.fail("%s: unknown tag %#02x; the peer may speak a newer version", what, d.in[0])
}

func (d *decoder) null(what string) {
	if content := d.value(asn1.NULL, what); len(content) != 0 {
		d.fail("%s: NULL with content", what)
	}
}

func (d *decoder) int(what string) int64 {
	var v int64
	if d.failed() {
		return 0
	}
	if !d.in.ReadASN1Integer(&v) || v < minInt || v > maxInt {
		d.fail("%s: expected an integer of at most 63 bits", what)
		return 0
	}
	return v
}

func (d *decoder) optionalInt(what string) *int64 {
	if !d.in.PeekASN1Tag(asn1.INTEGER) {
		return nil
	}
	return new(d.int(what))
}

// int32 keeps the low 32 bits as the original does.
func (d *decoder) int32(what string) int32 { return int32(d.int(what)) } //nolint:gosec // meant to wrap

// bool takes every value but zero as true, which is BER, as the original does
// (malformed.json, m-c-bool-true-as-01).
func (d *decoder) bool(what string) bool {
	content := d.value(asn1.BOOLEAN, what)
	if !d.failed() && len(content) != 1 {
		d.fail("%s: BOOLEAN of %d bytes", what, len(content))
	}
	return !d.failed() && content[0] != 0
}

func (d *decoder) octets(what string) []byte { return d.value(asn1.OCTET_STRING, what) }

// int64 reads the original's own form: eight bytes big-endian in an OCTET
// STRING. It takes the first eight of a longer one.
func (d *decoder) int64(what string) int64 {
	content := d.octets(what)
	if d.failed() {
		return 0
	}
	if len(content) < 8 {
		d.fail("%s: %d bytes, want 8", what, len(content))
		return 0
	}
	return int64(binary.BigEndian.Uint64(content)) //nolint:gosec // the bits are the value
}

// text does not check for UTF-8, as the original does not.
func (d *decoder) text(what string) string { return string(d.value(asn1.UTF8String, what)) }

func (d *decoder) optionalText(what string) *string {
	if !d.in.PeekASN1Tag(asn1.UTF8String) {
		return nil
	}
	return new(d.text(what))
}

func (d *decoder) name(what string) Name {
	s := d.text(what)
	if d.failed() {
		return Name{}
	}
	n, err := ParseName(s)
	if err != nil {
		d.fail("%s: %w", what, err)
	}
	return n
}

func (d *decoder) mac(what string) (m MAC) {
	content := d.octets(what)
	if !d.failed() && len(content) != len(m) {
		d.fail("%s: bad MAC address of %d bytes, want 6", what, len(content))
	}
	copy(m[:], content)
	return m
}

// intSet reads a SET OF or SEQUENCE OF INTEGER that stands for a set: sorted,
// each member once.
func (d *decoder) intSet(tag asn1.Tag, what string) []int64 {
	set := []int64{}
	d.list(tag, what, func(d *decoder) { set = append(set, d.int(what)) })
	slices.Sort(set)
	return slices.Compact(set)
}

func (d *decoder) texts(what string) []string {
	all := []string{}
	d.sequenceOf(what, func(d *decoder) { all = append(all, d.text(what)) })
	return all
}

// The encoding side: thin functions over cryptobyte.Builder, which keeps the
// first error itself.

type builder = cryptobyte.Builder

func addSequence(b *builder, write func(*builder)) { b.AddASN1(asn1.SEQUENCE, write) }

func addExplicit(b *builder, n uint8, write func(*builder)) { b.AddASN1(contextTag(n), write) }

func addNull(b *builder) { b.AddASN1(asn1.NULL, func(*builder) {}) }

// addChoiceNull writes an alternative that has no content.
func addChoiceNull(b *builder, n uint8) { addExplicit(b, n, addNull) }

var errIntRange = errors.New("integer needs more than 63 bits")

func addInt(b *builder, v int64) {
	if v < minInt || v > maxInt {
		b.SetError(errIntRange)
		return
	}
	b.AddASN1Int64(v)
}

func addOptionalInt(b *builder, v *int64) {
	if v != nil {
		addInt(b, *v)
	}
}

func addInt64(b *builder, v int64) {
	b.AddASN1OctetString(binary.BigEndian.AppendUint64(nil, uint64(v))) //nolint:gosec // the bits are the value
}

func addText(b *builder, s string) {
	b.AddASN1(asn1.UTF8String, func(b *builder) { b.AddBytes([]byte(s)) })
}

func addOptionalText(b *builder, s *string) {
	if s != nil {
		addText(b, *s)
	}
}

func addName(b *builder, n Name) { addText(b, n.String()) }

func addTexts(b *builder, texts []string) {
	addSequence(b, func(b *builder) {
		for _, s := range texts {
			addText(b, s)
		}
	})
}

// addSetOf writes the elements in the order that DER demands.
func addSetOf(b *builder, count int, write func(b *builder, i int)) {
	elements := make([][]byte, 0, count)
	for i := range count {
		var e builder
		write(&e, i)
		der, err := e.Bytes()
		if err != nil {
			b.SetError(err)
			return
		}
		elements = append(elements, der)
	}
	slices.SortFunc(elements, bytes.Compare)
	b.AddASN1(asn1.SET, func(b *builder) {
		for _, der := range elements {
			b.AddBytes(der)
		}
	})
}

// sortedSet gives the members once each, in ascending order.
func sortedSet[T int64 | string](members []T) []T {
	set := slices.Clone(members)
	slices.Sort(set)
	return slices.Compact(set)
}

func addIntSetOf(b *builder, members []int64) {
	set := sortedSet(members)
	addSetOf(b, len(set), func(b *builder, i int) { addInt(b, set[i]) })
}

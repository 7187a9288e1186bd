package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross/wire"
)

// The functions below write DER by hand, so that it can be wrong.

// el is an element with a tag and its contents one after another.
func el(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	out := []byte{tag}
	switch n := len(content); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = binary.BigEndian.AppendUint16(append(out, 0x82), uint16(n))
	}
	return append(out, content...)
}

func seq(parts ...[]byte) []byte         { return el(0x30, parts...) }
func set(parts ...[]byte) []byte         { return el(0x31, parts...) }
func tagged(n byte, p ...[]byte) []byte  { return el(0xa0|n, p...) }
func number(content ...byte) []byte      { return el(0x02, content) }
func utf8(s string) []byte               { return el(0x0c, []byte(s)) }
func octets(content ...byte) []byte      { return el(0x04, content) }
func boolean(b byte) []byte              { return el(0x01, []byte{b}) }
func version() []byte                    { return number(wire.Version) }
func extension(command ...[]byte) []byte { return seq(append([][]byte{version()}, command...)...) }
func reply(payload ...[]byte) []byte {
	return seq(append([][]byte{seq(version(), octets(make([]byte, 8)...), utf8(":web"))}, payload...)...)
}

var (
	null = []byte{5, 0}
	quit = tagged(0, null)
)

// TestRefusalsNameTheField has the whole text for each kind of mistake.
func TestRefusalsNameTheField(t *testing.T) {
	const newer = "; the peer may speak a newer version"
	noBlocks := seq(seq(), number(1), number(32), utf8("service"))
	for _, tt := range []struct {
		want string
		der  []byte
	}{
		{"extension: expected an element with tag 0x30", nil},
		{"extension: expected an element with tag 0x30", set(version())},
		{"extension: trailing bytes", append(extension(tagged(3, tagged(19, null))), 0)},
		{"extension: trailing bytes", extension(tagged(3, tagged(19, null)), null)},
		{"version: expected an integer of at most 63 bits", seq(tagged(3))},
		{"unknown version number 4, want 5", seq(number(4), tagged(3))},
		{"unknown version number 6, want 5", seq(number(6), tagged(17))},
		{"command: missing", extension()},
		{"command: unknown tag 0xa6" + newer, extension(tagged(6, null))},
		{"command: unknown tag 0x05" + newer, extension(null)},
		{"commands about logs are no longer part of the protocol", extension(tagged(2, null))},
		{"console command: unknown tag 0xa1" + newer, extension(tagged(0, tagged(1, null)))},
		{"subscribe: missing", extension(tagged(0, tagged(2)))},
		{"subscribe: unknown tag 0xa2" + newer, extension(tagged(0, tagged(2, tagged(2, null))))},
		{"since: expected an element with tag 0x18", extension(tagged(0, tagged(2, tagged(0, number(1)))))},
		{"count: expected an integer of at most 63 bits", extension(tagged(0, tagged(2, tagged(1, null))))},
		{"subscribe: trailing bytes", extension(tagged(0, tagged(2, tagged(1, number(1), number(2)))))},
		{"list inactive: NULL with content", extension(tagged(0, tagged(3, []byte{5, 1, 0})))},
		{"statistics command: unknown tag 0xa4" + newer, extension(tagged(1, tagged(4, null)))},
		{"device: expected an element with tag 0x0c", extension(tagged(1, tagged(0, seq())))},
		{"process id: expected an integer of at most 63 bits", extension(tagged(1, tagged(0, seq(utf8("vm")))))},
		{"network: expected an element with tag 0x30", extension(tagged(1, tagged(0, seq(utf8("vm"), number(1)))))},
		{"tap: expected an element with tag 0x0c", extension(tagged(1, tagged(0, seq(utf8("vm"), number(1), seq(seq(utf8("br")))))))},
		{"unikernel command: unknown tag 0xb6" + newer, extension(tagged(3, tagged(22, null)))},
		{"unikernel command: expected an element with tag 0x05", extension(tagged(3, tagged(3, number(1))))},
		{"compression level: expected an integer of at most 63 bits", extension(tagged(3, tagged(11)))},
		{"restart: unknown tag 0xa4" + newer, extension(tagged(3, tagged(14, tagged(4, null))))},
		{"arguments: expected an element with tag 0x30", extension(tagged(3, tagged(14, tagged(3))))},
		{"fail behaviour: missing", extension(tagged(3, tagged(14, tagged(3, seq()))))},
		{"policy command: unknown tag 0xa3" + newer, extension(tagged(4, tagged(3, null)))},
		{"policy CPU ids: expected an element with tag 0x30", extension(tagged(4, tagged(1, seq())))},
		{"policy CPU ids: expected an integer of at most 63 bits", extension(tagged(4, tagged(1, seq(seq(null)))))},
		{"policy unikernels: expected an integer of at most 63 bits", extension(tagged(4, tagged(1, seq(seq()))))},
		{"policy memory: expected an integer of at most 63 bits", extension(tagged(4, tagged(1, seq(seq(), number(1)))))},
		{"policy bridges: expected an element with tag 0x30", extension(tagged(4, tagged(1, noBlocks)))},
		{"block command: unknown tag 0xa8" + newer, extension(tagged(5, tagged(8, null)))},
		{"size: expected an integer of at most 63 bits", extension(tagged(5, tagged(1, octets(1))))},
		{"compressed: BOOLEAN of 2 bytes", extension(tagged(5, tagged(7, []byte{1, 2, 0, 0})))},
		{"data: expected an element with tag 0x04", extension(tagged(5, tagged(4, seq(boolean(0)))))},
		{"add: trailing bytes", extension(tagged(5, tagged(3, seq(number(1), boolean(0), utf8("")))))},
	} {
		if command, err := wire.DecodeExtension(tt.der); err == nil || err.Error() != tt.want {
			t.Errorf("%x:\n got %v (%T)\nwant %s", tt.der, err, command, tt.want)
		}
	}
}

// configWith writes the fields of a unikernel's configuration with one of them
// exchanged.
func configWith(field int, wrong ...[]byte) []byte {
	fields := [][]byte{
		tagged(0, null), boolean(0), octets(1, 2), number(7), boolean(0xff), quit, set(number(0)), number(32),
		tagged(0, set(seq(utf8("data"), utf8("host"), number(4)))), tagged(1, set(seq(utf8("net"), utf8("br"), octets(0, 0x80, 0x41, 1, 2, 3)))),
		tagged(2, seq(utf8("x"))), tagged(3, number(1)), tagged(4, utf8("part")),
	}
	if field >= 0 {
		fields = slices.Replace(fields, field, field+1, wrong...)
	}
	return extension(tagged(3, tagged(20, seq(fields...))))
}

// TestRefusedConfigs walks the fields of the largest structure.
func TestRefusedConfigs(t *testing.T) {
	if _, err := wire.DecodeExtension(configWith(-1)); err != nil {
		t.Fatalf("without a mistake: %v", err)
	}
	for _, tt := range []struct {
		want  string
		field int
		wrong [][]byte
	}{
		{"type: unknown tag 0x01; the peer may speak a newer version", 0, nil},
		{"type: unknown tag 0xa2; the peer may speak a newer version", 0, [][]byte{tagged(2, null)}},
		{"solo5: expected an element with tag 0x05", 0, [][]byte{tagged(0)}},
		{"bhyve: NULL with content", 0, [][]byte{tagged(1, []byte{5, 1, 1})}},
		{"compressed: expected an element with tag 0x01", 1, nil},
		{"image: expected an element with tag 0x04", 2, [][]byte{utf8("image")}},
		{"startup: expected an integer of at most 63 bits", 3, [][]byte{number()}},
		{"add name: expected an element with tag 0x01", 4, nil},
		{"fail behaviour: unknown tag 0x31; the peer may speak a newer version", 5, nil},
		{"fail behaviour: unknown tag 0xa2; the peer may speak a newer version", 5, [][]byte{tagged(2, null)}},
		{"exit codes: expected an element with tag 0x31", 5, [][]byte{tagged(1, seq())}},
		{"exit codes: expected an integer of at most 63 bits", 5, [][]byte{tagged(1, set(boolean(1)))}},
		{"CPU ids: expected an element with tag 0x31", 6, [][]byte{seq()}},
		{"memory: expected an integer of at most 63 bits", 7, nil},
		{"blocks: expected an element with tag 0x31", 8, [][]byte{tagged(0, seq())}},
		{"block device: expected an element with tag 0x30", 8, [][]byte{tagged(0, set(utf8("data")))}},
		{"block device name: expected an element with tag 0x0c", 8, [][]byte{tagged(0, set(seq(number(1))))}},
		{"block device: trailing bytes", 8, [][]byte{tagged(0, set(seq(utf8("a"), number(1), utf8("b"))))}},
		{"bridges: trailing bytes", 9, [][]byte{tagged(1, set(), null)}},
		{"network device name: expected an element with tag 0x0c", 9, [][]byte{tagged(1, set(seq(octets(1))))}},
		{"MAC: bad MAC address of 5 bytes, want 6", 9, [][]byte{tagged(1, set(seq(utf8("n"), octets(1, 2, 3, 4, 5))))}},
		{"MAC: bad MAC address of 7 bytes, want 6", 9, [][]byte{tagged(1, set(seq(utf8("n"), octets(1, 2, 3, 4, 5, 6, 7))))}},
		{"arguments: expected an element with tag 0x0c", 10, [][]byte{tagged(2, seq(octets('x')))}},
		{"number of CPUs: expected an integer of at most 63 bits", 11, [][]byte{tagged(3)}},
		{"boot partition: expected an element with tag 0x0c", 12, [][]byte{tagged(4, number(1))}},
		{"config: trailing bytes", 12, [][]byte{tagged(5, null)}},
		{"config: trailing bytes", 12, [][]byte{tagged(4, utf8("a")), tagged(4, utf8("a"))}},
	} {
		der := configWith(tt.field, tt.wrong...)
		if command, err := wire.DecodeExtension(der); err == nil || err.Error() != tt.want {
			t.Errorf("field %d:\n got %v (%T)\nwant %s", tt.field, err, command, tt.want)
		}
	}
}

// TestRefusedFrames does the same for what a host sends.
func TestRefusedFrames(t *testing.T) {
	const newer = "; the peer may speak a newer version"
	success := func(n byte, parts ...[]byte) []byte { return reply(tagged(1, tagged(n, parts...))) }
	data := func(n byte, parts ...[]byte) []byte { return reply(tagged(3, tagged(n, parts...))) }
	zero := octets(make([]byte, 8)...)
	for _, tt := range []struct {
		want string
		der  []byte
	}{
		{"frame: expected an element with tag 0x30", []byte{0x30}},
		{"header: expected an element with tag 0x30", seq()},
		{"sequence: expected an element with tag 0x04", seq(seq(version(), number(0)))},
		{"sequence: 7 bytes, want 8", seq(seq(version(), octets(0, 0, 0, 0, 0, 0, 0)))},
		{"header name: expected an element with tag 0x0c", seq(seq(version(), zero))},
		{"header name: empty name", seq(seq(version(), zero, utf8("")))},
		{"header name: invalid name", seq(seq(version(), zero, utf8("a:-b")))},
		{"header: trailing bytes", seq(seq(version(), zero, utf8(":"), null))},
		{"payload: missing", reply()},
		{"payload: unknown tag 0xa4" + newer, reply(tagged(4, null))},
		{"frame: trailing bytes", reply(tagged(2, utf8("no")), null)},
		{"failure: expected an element with tag 0x0c", reply(tagged(2, octets('n')))},
		{"command: missing", reply(tagged(0))},
		{"reply: missing", reply(tagged(1))},
		{"reply: unknown tag 0xa3" + newer, success(3, null)},
		{"reply: unknown tag 0xae" + newer, success(14, null)},
		{"empty: NULL with content", success(0, []byte{5, 1, 7})},
		{"policies: expected an element with tag 0x30", success(2, set())},
		{"path: invalid path: invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)", success(2, seq(seq(utf8("a_b:"))))},
		{"block device: expected an element with tag 0x30", success(4, seq(utf8("a")))},
		{"size: expected an integer of at most 63 bits", success(4, seq(seq(utf8(":a"), boolean(1))))},
		{"active: expected an element with tag 0x01", success(4, seq(seq(utf8(":a"), number(1))))},
		{"unikernel image: expected an element with tag 0x30", success(6, octets(1))},
		{"block device image: expected an element with tag 0x30", success(7, octets(1))},
		{"compressed: expected an element with tag 0x01", success(10, null)},
		{"console: empty name", success(12, seq(utf8("")))},
		{"info: expected an element with tag 0x30", success(13, seq(seq(utf8(":a"))))},
		{"CPU id: expected an integer of at most 63 bits", success(9, seq(seq(utf8(":a"), seq(quit, quit, set(number(1))))))},
		{"fail behaviour: unknown tag 0x02" + newer, success(9, seq(seq(utf8(":a"), seq(quit, number(50), quit, number(1)))))},
		{"CPU ids: expected an element with tag 0x31", success(13, seq(seq(utf8(":a"), seq(quit, quit, number(1)))))},
		{"digest: expected an element with tag 0x04", success(13, seq(seq(utf8(":a"), seq(quit, quit, set(), number(1)))))},
		{"info: trailing bytes", success(11, seq(seq(utf8(":a"), seq(quit, quit, number(1), number(1), octets(), tagged(4, number(2))))))},
		{"data: unknown tag 0xa0" + newer, data(0, null)},
		{"data of logs is no longer part of the protocol", data(2, null)},
		{"time of a line: GeneralizedTime: invalid format: \"soon\"", data(3, seq(el(0x18, []byte("soon")), utf8("x")))},
		{"line: expected an element with tag 0x0c", data(3, seq(el(0x18, []byte("20261120204500Z"))))},
		{"block data: unknown tag 0xa2" + newer, data(4, tagged(2, null))},
		{"end of block data: NULL with content", data(4, tagged(1, []byte{5, 1, 0}))},
		{"resource usage: expected an element with tag 0x30", data(1, seq(null))},
		{"user time: expected an element with tag 0x30", data(1, seq(seq(zero)))},
		{"microseconds: expected an integer of at most 63 bits", data(1, seq(seq(seq(zero))))},
	} {
		if f, err := wire.DecodeFrame(tt.der); err == nil || err.Error() != tt.want {
			t.Errorf("%x:\n got %v (%T)\nwant %s", tt.der, err, f.Payload, tt.want)
		}
	}
}

// node is an element of a larger encoding.
type node struct {
	tag     byte
	content []byte
	parts   []*node // of a constructed one
}

func parseDER(t *testing.T, der []byte) (all []*node) {
	t.Helper()
	for len(der) > 0 {
		n, header := int(der[1]), 2
		if n >= 0x80 {
			header += n & 0x7f
			n = 0
			for _, b := range der[2:header] {
				n = n<<8 | int(b)
			}
		}
		e := &node{tag: der[0], content: der[header : header+n]}
		if e.tag&0x20 != 0 {
			e.parts = parseDER(t, e.content)
		}
		all, der = append(all, e), der[header+n:]
	}
	return all
}

func (n *node) der() []byte {
	if n.tag&0x20 == 0 {
		return el(n.tag, n.content)
	}
	var parts [][]byte
	for _, p := range n.parts {
		parts = append(parts, p.der())
	}
	return el(n.tag, parts...)
}

// each calls f for every element, from the outside inwards.
func (n *node) each(depth int, f func(e *node, depth int)) {
	f(n, depth)
	for _, p := range slices.Clone(n.parts) {
		p.each(depth+1, f)
	}
}

// TestEveryElementCounts spoils every element of complete encodings of all types
// one after another: none may have another tag or a neighbour that does not
// belong there, and one that is left out makes a difference. What is said names
// the place once it is further in than the command or the payload itself.
func TestEveryElementCounts(t *testing.T) {
	r := newRandom(11)
	r.all = true
	for _, kind := range commands {
		command := r.command(kind)
		spoil(t, fmt.Sprintf("%T", kind), encoded(t, command), func(der []byte) (any, error) { return wire.DecodeExtension(der) })
		spoil(t, fmt.Sprintf("request of %T", kind), framed(t, wire.Frame{Payload: wire.Request{Command: command}}), decodeFrame)
	}
	for _, kind := range payloads {
		spoil(t, fmt.Sprintf("%T", kind), framed(t, wire.Frame{Payload: r.payload(kind)}), decodeFrame)
	}
}

func decodeFrame(der []byte) (any, error) {
	f, err := wire.DecodeFrame(der)
	return f, err
}

func spoil(t *testing.T, what string, der []byte, decode func([]byte) (any, error)) {
	t.Helper()
	original, err := decode(der)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	tree := parseDER(t, der)[0]
	if !bytes.Equal(tree.der(), der) {
		t.Fatalf("%s: the test's own encoding differs", what)
	}
	refused := func(how string, depth int) {
		value, err := decode(tree.der())
		if err == nil {
			t.Errorf("%s: %s at depth %d is accepted as %.300s", what, how, depth, canonical(t, value))
			return
		}
		if place, problem, ok := strings.Cut(err.Error(), ": "); !ok || place == "" || problem == "" || depth > 4 && slices.Contains([]string{"extension", "frame", "payload", "command"}, place) {
			t.Errorf("%s: %s at depth %d: %q does not name the place", what, how, depth, err)
		}
	}
	tree.each(0, func(e *node, depth int) {
		tag := e.tag
		e.tag = 0x9e // which nothing has
		refused("another tag", depth)
		e.tag = tag
		if tag&0x20 == 0 {
			return
		}
		parts := e.parts
		e.parts = append(slices.Clone(parts), &node{tag: 0x0a, content: []byte{1}})
		refused("a surplus element", depth)
		for i := range parts {
			e.parts = slices.Delete(slices.Clone(parts), i, i+1)
			if value, err := decode(tree.der()); err == nil && canonical(t, value) == canonical(t, original) {
				t.Errorf("%s: element %d at depth %d makes no difference", what, i, depth+1)
			}
		}
		e.parts = parts
	})
}

// TestIntegersOf63Bits has the edges of what the original can hold, both ways.
func TestIntegersOf63Bits(t *testing.T) {
	for _, tt := range []struct {
		value   int64
		content []byte
		ok      bool
	}{
		{maxInt, []byte{0x3f, 255, 255, 255, 255, 255, 255, 255}, true},
		{maxInt + 1, []byte{0x40, 0, 0, 0, 0, 0, 0, 0}, false},
		{minInt, []byte{0xc0, 0, 0, 0, 0, 0, 0, 0}, true},
		{minInt - 1, []byte{0xbf, 255, 255, 255, 255, 255, 255, 255}, false},
		{1<<63 - 1, []byte{0x7f, 255, 255, 255, 255, 255, 255, 255}, false},
		{-1 << 63, []byte{0x80, 0, 0, 0, 0, 0, 0, 0}, false},
	} {
		der := extension(tagged(5, tagged(1, number(tt.content...))))
		command, err := wire.DecodeExtension(der)
		if (err == nil) != tt.ok || err == nil && command != (wire.BlockAdd{Size: tt.value}) {
			t.Errorf("%d is decoded to %v, %v", tt.value, command, err)
		}
		again, err := wire.EncodeExtension(wire.BlockAdd{Size: tt.value})
		if (err == nil) != tt.ok || err == nil && !bytes.Equal(again, der) {
			t.Errorf("%d is encoded to %x, %v", tt.value, again, err)
		}
		if err != nil && err.Error() != "encode wire.BlockAdd: integer needs more than 63 bits" {
			t.Errorf("%d: %v", tt.value, err)
		}
	}
	if command, err := wire.DecodeExtension(extension(tagged(5, tagged(1, number(0, 255, 255, 255, 255, 255, 255, 255, 255))))); err == nil {
		t.Errorf("nine bytes are decoded to %v", command)
	}
}

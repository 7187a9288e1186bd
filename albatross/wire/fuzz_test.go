package wire_test

import (
	"bytes"
	"runtime"
	"testing"

	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

// seeds adds every recorded byte string to a fuzz target.
func seeds(f *testing.F) {
	for _, file := range []string{"cert_extensions.json", "replies.json", "commands_wire.json", "malformed.json"} {
		for _, v := range vectors.Load[[]struct{ Hex vectors.Hex }](f, file) {
			f.Add([]byte(v.Hex))
		}
	}
}

func FuzzDecodeExtension(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, der []byte) {
		command, err := wire.DecodeExtension(der)
		if err != nil {
			return
		}
		again, err := wire.EncodeExtension(command)
		if err != nil {
			t.Fatalf("decoded %#v, which cannot be encoded: %v", command, err)
		}
		second, err := wire.DecodeExtension(again)
		if err != nil {
			t.Fatalf("own encoding %x is refused: %v", again, err)
		}
		if third, err := wire.EncodeExtension(second); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("not stable: %x then %x (%v)", again, third, err)
		}
	})
}

func FuzzDecodeFrame(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, der []byte) {
		frame, err := wire.DecodeFrame(der)
		if err != nil {
			return
		}
		again, err := wire.EncodeFrame(frame)
		if err != nil {
			t.Fatalf("decoded %#v, which cannot be encoded: %v", frame, err)
		}
		second, err := wire.DecodeFrame(again)
		if err != nil {
			t.Fatalf("own encoding %x is refused: %v", again, err)
		}
		if third, err := wire.EncodeFrame(second); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("not stable: %x then %x (%v)", again, third, err)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, v := range vectors.Load[[]struct{ Input vectors.Text }](f, "names.json") {
		f.Add(string(v.Input))
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := wire.ParseName(s)
		if err != nil {
			return
		}
		again, err := wire.ParseName(name.String())
		if err != nil || !again.Equal(name) {
			t.Fatalf("%q is %q, which is %q (%v)", s, name, again, err)
		}
		for _, label := range append(name.Path, name.Label) {
			if len(label) > wire.MaxLabelLength {
				t.Fatalf("label of %d bytes in %q", len(label), name)
			}
		}
	})
}

// TestMemoryIsBounded decodes the inputs that could ask for the most memory for
// their size: many small list entries and lengths that promise more than there is.
func TestMemoryIsBounded(t *testing.T) {
	const size = 1 << 20
	header, err := wire.EncodeFrame(wire.Frame{Name: wire.Name{}, Payload: wire.Empty{}})
	if err != nil {
		t.Fatal(err)
	}
	header = header[2 : len(header)-6] // without the outer length and the payload
	inputs := map[string][]byte{
		"many policies' CPU ids": manyCPUIDs(t, size),
		"many infos":             frameOf(header, 0xad, manyInfos(t, size)),
		"many names":             frameOf(header, 0xac, bytes.Repeat([]byte{0x0c, 1, ':'}, size/3)),
		"promised length":        {0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x01, 0x05},
		"nested sequences":       bytes.Repeat([]byte{0x30, 0x80}, size/2),
	}
	for what, input := range inputs {
		t.Run(what, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _ = wire.DecodeFrame(input)
			_, _ = wire.DecodeExtension(input)
			runtime.ReadMemStats(&after)
			// The worst case: names of three bytes, which take 40 as a value, in a list that grows.
			const factor, slack = 96, 64 << 10
			if used := after.TotalAlloc - before.TotalAlloc; used > uint64(factor*len(input)+slack) {
				t.Errorf("%d bytes allocated for an input of %d", used, len(input))
			}
		})
	}
}

func manyCPUIDs(t *testing.T, size int) []byte {
	ids := make([]int64, size/3)
	for i := range ids {
		ids[i] = int64(i % 128)
	}
	der, err := wire.EncodeExtension(wire.PolicyAdd{Policy: wire.Policy{CPUIDs: ids}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// manyInfos repeats the smallest encoding of an info.
func manyInfos(t *testing.T, size int) []byte {
	smallest := wire.UnikernelInfos{Form: wire.InfoCurrent, Infos: []wire.NamedInfo{{}}}
	der, err := wire.EncodeFrame(wire.Frame{Payload: smallest})
	if err != nil {
		t.Fatal(err)
	}
	entry := der[bytes.Index(der, []byte{0xad})+4:]
	return bytes.Repeat(entry, size/len(entry))
}

func frameOf(header []byte, reply byte, list []byte) []byte {
	der := tlv(0x30, list)
	der = tlv(reply, der)
	return tlv(0x30, append(bytes.Clone(header), tlv(0xa1, der)...))
}

func tlv(tag byte, content []byte) []byte {
	n := len(content)
	return append([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, content...)
}

package wire_test

import (
	"testing"

	"mollymawk.dev/operator/albatross/wire"
)

// BenchmarkDecodeData decodes a frame of which a host sends a quarter of a million
// for a gigabyte of a block device.
func BenchmarkDecodeData(b *testing.B) {
	name, err := wire.ParseName("alice:data")
	if err != nil {
		b.Fatal(err)
	}
	frame, err := wire.EncodeFrame(wire.Frame{Name: name, Payload: wire.BlockData{Data: make([]byte, 4096)}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.DecodeFrame(frame); err != nil {
			b.Fatal(err)
		}
	}
}

package controllers

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCompressed(t *testing.T) {
	for _, content := range []string{"", "x", strings.Repeat("compressible ", 100_000)} {
		packed := compressed(strings.NewReader(content))
		unpacker, err := zlib.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(unpacker)
		if err != nil || string(got) != content {
			t.Errorf("%d bytes became %d (%v)", len(content), len(got), err)
		}
		if err := packed.Close(); err != nil {
			t.Error(err)
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(compressed(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a failure of the reader became %v", err)
	}
	// Whoever has enough leaves nobody behind who waits to write.
	endless := compressed(iotest.OneByteReader(bytes.NewReader(make([]byte, 1<<20))))
	if err := endless.Close(); err != nil {
		t.Error(err)
	}
	if _, err := endless.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after the end: %v", err)
	}
}

// BenchmarkCompressed compresses a program, this test's own, and tells below which
// speed of the link to a host compressing saves time. Its size is found out in a
// pass of its own; the second pass goes on while the image is sent.
func BenchmarkCompressed(b *testing.B) {
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	var packed int64
	for b.Loop() {
		if packed, err = io.Copy(io.Discard, compressed(bytes.NewReader(content))); err != nil {
			b.Fatal(err)
		}
	}
	saved := float64(int64(len(content)) - packed)
	b.ReportMetric(float64(packed)/float64(len(content)), "of-size")
	b.ReportMetric(saved*8/1e6/(b.Elapsed().Seconds()/float64(b.N)), "Mbit/s-at-most")
}

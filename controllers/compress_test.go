package controllers

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
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

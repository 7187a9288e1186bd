package images

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHashing(t *testing.T) {
	for _, content := range []string{"", "x", randomContent(3*copySize + 1)} {
		var written bytes.Buffer
		h := newHashing(&written)
		if n, err := io.CopyBuffer(h, iotest.HalfReader(strings.NewReader(content)), make([]byte, copySize)); n != int64(len(content)) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if h.digest() != digestOf(content) || written.String() != content {
			t.Errorf("%d bytes have SHA-256 %s", written.Len(), h.digest())
		}
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestHashingFails(t *testing.T) {
	h := newHashing(fullDisk{})
	if n, err := h.Write([]byte("content")); n != 0 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%d, %v", n, err)
	}
}

package images

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// copySize is how much is read, written and hashed at a time. With less, a fetch
// spends its time on changing from one to the other.
const copySize = 256 << 10

// hashing hashes what is written while it is written: together both take no
// longer than the slower one.
type hashing struct {
	to   io.Writer
	hash hash.Hash
}

func newHashing(to io.Writer) *hashing { return &hashing{to, sha256.New()} }

// Write implements io.Writer.
func (h *hashing) Write(p []byte) (int, error) {
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		h.hash.Write(p) // never fails
	}()
	n, err := h.to.Write(p)
	<-hashed
	return n, err
}

// digest is that of all that was written.
func (h *hashing) digest() string { return hex.EncodeToString(h.hash.Sum(nil)) }

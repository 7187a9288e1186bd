package images

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"mollymawk.dev/operator/albatross/solo5"
)

// Blob is content that is kept under its digest.
type Blob struct {
	// Digest is the SHA-256 in lower case hexadecimal.
	Digest string
	// Size in bytes.
	Size int64
	path string
}

// Open gives the content; the caller closes it.
func (b Blob) Open() (*os.File, error) { return os.Open(b.path) }

// Manifest reads which devices the image needs, or fails with [ErrInvalid].
func (b Blob) Manifest() (solo5.Image, error) {
	f, err := b.Open()
	if err != nil {
		return solo5.Image{}, err
	}
	defer f.Close()
	image, err := solo5.Read(f, b.Size)
	if err != nil {
		return solo5.Image{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return image, nil
}

// Store keeps content in a folder, in a file of the digest's name. A file gets
// that name only when it is complete, and is hashed again before the first use
// in a process, so that neither a half-written nor an altered one is ever used.
type Store struct {
	dir string

	mu       sync.Mutex
	verified map[string]Blob
}

// NewStore makes the folder if need be and clears what an earlier process left
// unfinished in it.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	unfinished, err := filepath.Glob(filepath.Join(dir, incoming+"*"))
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	for _, path := range unfinished {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	return &Store{dir: dir, verified: map[string]Blob{}}, nil
}

// incoming is how the names of unfinished files begin.
const incoming = "incoming-"

// Get looks for content; found is false when it is not there (or was damaged, in
// which case it is removed).
func (s *Store) Get(digest string) (blob Blob, found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if blob, ok := s.verified[digest]; ok {
		if info, err := os.Stat(blob.path); err == nil && info.Size() == blob.Size {
			return blob, true, nil
		}
		delete(s.verified, digest)
	}
	blob, err = verify(filepath.Join(s.dir, digest), digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Blob{}, false, nil
	case errors.Is(err, ErrDigestMismatch):
		return Blob{}, false, os.Remove(filepath.Join(s.dir, digest))
	case err != nil:
		return Blob{}, false, fmt.Errorf("image store: %w", err)
	}
	s.verified[digest] = blob
	return blob, true, nil
}

func verify(path, digest string) (Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return Blob{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Blob{}, err
	}
	return Blob{Digest: digest, Size: n, path: path}, matches(h, digest)
}

func matches(h hash.Hash, digest string) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != digest {
		return fmt.Errorf("%w: the content has SHA-256 %s", ErrDigestMismatch, got)
	}
	return nil
}

// Put keeps content of the given digest, hashing while it is written. Content of
// another digest fails with [ErrDigestMismatch], more than limit bytes with
// [ErrTooLarge]; nothing of it is kept.
func (s *Store) Put(from io.Reader, digest string, limit int64) (Blob, error) {
	f, err := os.CreateTemp(s.dir, incoming)
	if err != nil {
		return Blob{}, fmt.Errorf("image store: %w", err)
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(from, limit+1))
	if err != nil {
		return Blob{}, err
	}
	if n > limit {
		return Blob{}, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	if err := matches(h, digest); err != nil {
		return Blob{}, err
	}
	return s.keep(f, Blob{Digest: digest, Size: n, path: filepath.Join(s.dir, digest)})
}

func (s *Store) keep(f *os.File, blob Blob) (Blob, error) {
	if err := f.Sync(); err != nil {
		return Blob{}, fmt.Errorf("image store: %w", err)
	}
	if err := os.Rename(f.Name(), blob.path); err != nil {
		return Blob{}, fmt.Errorf("image store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[blob.Digest] = blob
	return blob, nil
}

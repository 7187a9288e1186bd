package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross/solo5"
)

// Blob is content that is kept under its digest.
type Blob struct {
	// Digest is the SHA-256 in lower case hexadecimal.
	Digest string
	// Size in bytes.
	Size int64
	path string
	// changed is the time of the file's last change when it was verified.
	changed time.Time
}

// Open gives the content; the caller closes it.
func (b Blob) Open() (*os.File, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, storeError(err)
	}
	return f, nil
}

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
// in a process and after a change, so that neither a half-written nor an altered
// one is ever used.
type Store struct {
	dir string

	mu       sync.Mutex
	verified map[string]Blob
	// busy has a lock for each digest whose file is being hashed or replaced, so
	// that reading a large one holds up none of the others.
	busy map[string]*digestLock
}

type digestLock struct {
	sync.Mutex
	users int
}

// incoming is how the names of unfinished files begin.
const incoming = "incoming-"

// NewStore makes the folder if need be and clears what an earlier process left
// unfinished in it.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), incoming) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	return &Store{dir: dir, verified: map[string]Blob{}, busy: map[string]*digestLock{}}, nil
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkDigest keeps what is no digest out of names of files.
func checkDigest(digest string) error {
	if !digestForm.MatchString(digest) {
		return fmt.Errorf("%w: the digest is no SHA-256 in lower case hexadecimal", ErrInvalid)
	}
	return nil
}

// lock has one at a time work on the file of a digest.
func (s *Store) lock(digest string) (unlock func()) {
	s.mu.Lock()
	l := s.busy[digest]
	if l == nil {
		l = &digestLock{}
		s.busy[digest] = l
	}
	l.users++
	s.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(s.busy, digest)
		}
	}
}

// Known gives content that was verified in this process and did not change
// since. It never takes long.
func (s *Store) Known(digest string) (blob Blob, found bool) {
	s.mu.Lock()
	blob, found = s.verified[digest]
	s.mu.Unlock()
	if !found {
		return Blob{}, false
	}
	info, err := os.Stat(blob.path)
	if err == nil && info.Size() == blob.Size && info.ModTime().Equal(blob.changed) {
		return blob, true
	}
	return Blob{}, false
}

// Get looks for content; found is false when it is not there, or was damaged, in
// which case it is removed. It takes as long as hashing it does.
func (s *Store) Get(_ context.Context, digest string) (blob Blob, found bool, err error) {
	if err := checkDigest(digest); err != nil {
		return Blob{}, false, err
	}
	defer s.lock(digest)()
	if blob, found := s.Known(digest); found {
		return blob, true, nil
	}
	blob, err = verify(filepath.Join(s.dir, digest), digest)
	switch {
	case err == nil:
		s.keep(blob)
		return blob, true, nil
	case errors.Is(err, ErrDigestMismatch):
		err = os.Remove(filepath.Join(s.dir, digest))
	}
	s.forget(digest)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return Blob{}, false, nil
	}
	return Blob{}, false, storeError(err)
}

func (s *Store) keep(blob Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[blob.Digest] = blob
}

func (s *Store) forget(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.verified, digest)
}

func verify(path, digest string) (Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return Blob{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Blob{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Blob{}, err
	}
	return Blob{Digest: digest, Size: n, path: path, changed: info.ModTime()}, matches(h, digest)
}

func matches(h hash.Hash, digest string) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != digest {
		return fmt.Errorf("%w: the content has SHA-256 %s", ErrDigestMismatch, got)
	}
	return nil
}

// Put keeps content of the given digest, hashing while it is written. Content of
// another digest fails with [ErrDigestMismatch], more than limit bytes with
// [ErrTooLarge]; nothing of it is kept. A failure of from is given as it is.
func (s *Store) Put(_ context.Context, from io.Reader, digest string, limit int64) (Blob, error) {
	if err := checkDigest(digest); err != nil {
		return Blob{}, err
	}
	f, err := os.CreateTemp(s.dir, incoming)
	if err != nil {
		return Blob{}, storeError(err)
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	defer f.Close()
	h := newHashing(disk{f})
	n, err := io.CopyBuffer(h, io.LimitReader(from, min(limit, math.MaxInt64-1)+1), make([]byte, copySize))
	if err != nil {
		return Blob{}, err
	}
	if n > limit {
		return Blob{}, tooLarge(limit)
	}
	if err := matches(h.hash, digest); err != nil {
		return Blob{}, err
	}
	return s.finish(f, Blob{Digest: digest, Size: n, path: filepath.Join(s.dir, digest)})
}

func tooLarge(limit int64) error { return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit) }

// disk marks the failures that are the store's own.
type disk struct{ w io.Writer }

// Write implements io.Writer.
func (d disk) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		return n, storeError(err)
	}
	return n, nil
}

// finish gives a complete file its name.
func (s *Store) finish(f *os.File, blob Blob) (Blob, error) {
	if err := f.Sync(); err != nil {
		return Blob{}, storeError(err)
	}
	info, err := f.Stat()
	if err != nil {
		return Blob{}, storeError(err)
	}
	blob.changed = info.ModTime()
	defer s.lock(blob.Digest)()
	if err := os.Rename(f.Name(), blob.path); err != nil {
		return Blob{}, storeError(err)
	}
	s.keep(blob)
	return blob, nil
}

// storeError leaves out the names of files, of which some are chosen at random:
// the text ends up in a condition.
func storeError(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("image store: %s: %w", path.Op, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("image store: %s: %w", link.Op, link.Err)
	}
	return fmt.Errorf("image store: %w", err)
}

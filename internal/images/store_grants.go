package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Provenance stands for a source together with the credentials that it was asked
// with. It is a SHA-256, so it tells neither.
type Provenance [sha256.Size]byte

// String is how the store names it.
func (p Provenance) String() string { return hex.EncodeToString(p[:]) }

// grants is the folder with an empty file for each digest and provenance.
const grants = "grants"

func (s *Store) grantFile(digest string, by Provenance) string {
	return filepath.Join(s.dir, grants, digest+"."+by.String())
}

// Grant remembers that a source has delivered content.
func (s *Store) Grant(_ context.Context, digest string, by Provenance) error {
	if err := os.MkdirAll(filepath.Join(s.dir, grants), 0o700); err != nil {
		return storeError(err)
	}
	if err := os.WriteFile(s.grantFile(digest, by), nil, 0o600); err != nil {
		return storeError(err)
	}
	return nil
}

// Granted tells whether a source has delivered content.
func (s *Store) Granted(_ context.Context, digest string, by Provenance) (bool, error) {
	_, err := os.Stat(s.grantFile(digest, by))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, storeError(err)
	}
	return true, nil
}

// Add keeps content whose digest is not known before.
func (s *Store) Add(ctx context.Context, from io.Reader, limit int64) (Blob, error) {
	content, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return Blob{}, err
	}
	sum := sha256.Sum256(content)
	return s.Put(ctx, bytes.NewReader(content), hex.EncodeToString(sum[:]), limit)
}

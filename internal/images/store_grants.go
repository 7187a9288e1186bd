package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Provenance stands for a source together with the credentials that it was asked
// with. It is a SHA-256, so it tells neither.
type Provenance [sha256.Size]byte

// String is how the store names it.
func (p Provenance) String() string { return hex.EncodeToString(p[:]) }

// Of grants so many are remembered, for so long. They are asked about when images
// are sent to hosts.
const (
	rememberedGrants = 10_000
	grantRemembered  = 10 * time.Minute
)

type grant struct {
	digest string
	by     Provenance
}

func (g grant) key() string { return grantsOf(g.digest) + g.by.String() }

// grantsOf is the prefix of the grants of a digest.
func grantsOf(digest string) string { return grantPrefix + digest + "/" }

// Grant remembers, beyond the process's end, that a source has delivered content.
// It comes after [Store.Put] or [Store.Add], which keep the content from being
// collected until then.
func (s *Store) Grant(ctx context.Context, digest string, by Provenance) error {
	if err := checkDigest(digest); err != nil {
		return err
	}
	g := grant{digest, by}
	if err := s.bucket.mark(ctx, g.key()); err != nil {
		return storeError(err)
	}
	if err := s.bucket.sync(grantsOf(digest), grantPrefix); err != nil {
		return storeError(err)
	}
	s.grants.Add(g, true, grantRemembered)
	return nil
}

// Granted tells whether a source has delivered content before, and so may have
// what the store has of it.
func (s *Store) Granted(ctx context.Context, digest string, by Provenance) (bool, error) {
	if err := checkDigest(digest); err != nil {
		return false, err
	}
	g := grant{digest, by}
	if _, known := s.grants.Get(g); known {
		return true, nil
	}
	_, err := s.bucket.version(ctx, g.key())
	switch {
	case isNotFound(err):
		return false, nil
	case err != nil:
		return false, storeError(err)
	}
	s.grants.Add(g, true, grantRemembered)
	return true, nil
}

func (s *Store) forgetGrants(digest string) {
	s.grants.RemoveAll(func(key any) bool { return key.(grant).digest == digest })
}

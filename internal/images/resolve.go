package images

import (
	"context"
	"fmt"
	"time"
)

// Resolved is what a source delivers at some time.
type Resolved struct {
	// Source is exact: it will deliver this or nothing.
	Source Source
	// Version is for people: a tag and digest, or the UUID of a build.
	Version string
	// Size in bytes; 0 when it is not known.
	Size int64
	// FoundAt is when the source was asked.
	FoundAt time.Time
}

// Resolve says what a source that may change delivers. A SHA256 in the source
// must match; else it fails with [ErrDigestMismatch]. What was found out before
// notBefore is not good enough; one answer serves all who ask about the same
// source. Like [Fetcher.Get] it does not wait for longer than patience, and then
// fails with [ErrInProgress] and wakes key later.
func (f *Fetcher) Resolve(ctx context.Context, key string, source Source, notBefore time.Time, patience time.Duration) (Resolved, error) {
	if source.SHA256 != "" || source.Stored || source.URL != "" {
		if err := checkDigest(source.SHA256); err != nil {
			return Resolved{}, err
		}
	}
	if source.exact() {
		return Resolved{Source: source, Version: source.version(), FoundAt: f.options.Now()}, nil
	}
	j, err := f.answers.wait(ctx, key, source.shared(), notBefore, patience)
	if err != nil {
		return Resolved{}, err
	}
	resolved := j.result
	resolved.FoundAt = j.begun
	resolved.Source.Namespace = source.Namespace
	return resolved, nil
}

// version of an exact source.
func (s Source) version() string {
	switch {
	case s.OCI != (OCI{}):
		return versionOf(s.OCI.Reference)
	case s.Build != (Build{}):
		return s.Build.UUID
	}
	return "sha256:" + s.SHA256
}

// resolve asks a source what it has.
func (f *Fetcher) resolve(ctx context.Context, source Source) (resolved Resolved, err error) {
	if source.Build != (Build{}) {
		return f.resolveBuild(ctx, source)
	}
	if source.OCI == (OCI{}) {
		return Resolved{}, fmt.Errorf("%w: no source is given", ErrInvalid)
	}
	err = inTurn(ctx, f.asking, func() error {
		resolved, err = f.resolveLayer(ctx, source)
		return err
	})
	return resolved, err
}

// pinned compares what a source has with what it must be.
func pinned(source Source, digest string) error {
	if source.SHA256 != "" && source.SHA256 != digest {
		return fmt.Errorf("%s: %w: the content has SHA-256 %s", source, ErrDigestMismatch, digest)
	}
	return nil
}

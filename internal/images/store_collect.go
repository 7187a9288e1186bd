package images

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// How a collector and those who write the same content at the same time, maybe in
// other processes, keep out of each other's way: who writes announces it first
// and then looks for the collector's mark; the collector makes its mark first and
// then looks for announcements. So at least one sees the other. The collector
// then leaves the content alone, and who writes waits until the mark is gone. A
// mark or announcement whose process was killed counts for nothing after a while.
const (
	// abandoned is the age above which nobody still writes something: above what
	// fetching may take ([DefaultDeadline]).
	abandoned = 2 * time.Hour
	// removalLimit is how long a collector may take with one digest.
	removalLimit = 10 * time.Second
	// markLimit is how long a writer waits for a mark to go.
	markLimit = 30 * time.Second
	// markAbandoned is the age above which a mark belongs to nobody.
	markAbandoned = 10 * time.Minute
	// markInterval is how often a writer looks whether it is gone.
	markInterval = 100 * time.Millisecond
)

// announce says under a key that content is on its way, and waits until nobody
// collects it.
func (s *Store) announce(ctx context.Context, digest string) (key string, withdraw func(), err error) {
	key = incomingPrefix + digest + "-" + newID()
	if err := s.bucket.mark(ctx, key); err != nil {
		return "", nil, storeError(err)
	}
	withdraw = func() { s.bucket.remove(ctx, key) }
	for deadline := time.Now().Add(markLimit); ; {
		mark, err := s.bucket.version(ctx, collectingPrefix+digest)
		if isNotFound(err) || err == nil && (time.Since(mark.modified) > markAbandoned || time.Now().After(deadline)) {
			return key, withdraw, nil
		}
		if err != nil {
			withdraw()
			return "", nil, storeError(err)
		}
		select {
		case <-time.After(markInterval):
		case <-ctx.Done():
			withdraw()
			return "", nil, context.Cause(ctx)
		}
	}
}

// unfinished are the names of what is on its way, as this package and the library
// for folders choose them.
var unfinished = regexp.MustCompile(`^([0-9a-f]{64}-)?[0-9a-f]{32}(\.[0-9a-f]+\.tmp)?$`)

// leftover is what the library for folders leaves of an entry whose process was
// killed.
var leftover = regexp.MustCompile(`^([0-9a-f]{64}/)?[0-9a-f]{64}\.[0-9a-f]+\.tmp$`)

// clearUnfinished removes what processes left when they were killed, once it is
// so old that nobody is still at it.
func (s *Store) clearUnfinished(ctx context.Context) error {
	for _, kind := range []struct {
		prefix string
		form   *regexp.Regexp
		age    time.Duration
	}{
		{incomingPrefix, unfinished, abandoned},
		{collectingPrefix, digestForm, markAbandoned},
		{collectingPrefix, leftover, abandoned},
		{grantPrefix, leftover, abandoned},
	} {
		if kind.form == leftover && s.bucket.folder == "" {
			continue
		}
		entries, err := s.bucket.list(ctx, kind.prefix)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !kind.form.MatchString(e.name) || time.Since(e.modified) < kind.age {
				continue
			}
			if err := s.bucket.Delete(ctx, kind.prefix+e.name); err != nil && !isNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// Collected is what a collection has removed.
type Collected struct {
	Blobs int
	Bytes int64
}

// Collect removes content that is not needed and was neither written nor granted
// within the grace. needed is asked before something is removed, and once more
// just before, so that it can answer by what it has learned since. One process at
// a time collects. A failure with one digest does not keep it from the others.
func (s *Store) Collect(ctx context.Context, needed func(digest string) bool, grace time.Duration) (Collected, error) {
	var sum Collected
	if err := s.clearUnfinished(ctx); err != nil {
		return sum, storeError(err)
	}
	before := time.Now().Add(-grace)
	old, err := s.unusedSince(ctx, before)
	if err != nil {
		return sum, storeError(err)
	}
	var failures []error
	for _, digest := range old {
		if ctx.Err() != nil {
			return sum, context.Cause(ctx)
		}
		if needed(digest) {
			continue
		}
		size, removed, err := s.collect(ctx, digest, needed, before)
		if err != nil {
			failures = append(failures, err)
		}
		if removed {
			sum.Blobs++
			sum.Bytes += size
		}
	}
	if len(failures) > 0 {
		return sum, fmt.Errorf("%w (with %d of %d digests)", storeError(failures[0]), len(failures), len(old))
	}
	return sum, nil
}

// unusedSince gives the digests of which neither content nor grants are newer.
func (s *Store) unusedSince(ctx context.Context, before time.Time) (old []string, err error) {
	blobs, err := s.bucket.list(ctx, blobPrefix)
	if err != nil {
		return nil, err
	}
	grants, err := s.bucket.list(ctx, grantPrefix)
	if err != nil {
		return nil, err
	}
	newest := map[string]time.Time{}
	for _, e := range append(blobs, grants...) {
		digest, _, _ := strings.Cut(e.name, "/")
		if digestForm.MatchString(digest) && !e.modified.Before(newest[digest]) {
			newest[digest] = e.modified
		}
	}
	for digest, modified := range newest {
		if modified.Before(before) {
			old = append(old, digest)
		}
	}
	return old, nil
}

// collect removes a digest, unless somebody turns out to be at it.
func (s *Store) collect(ctx context.Context, digest string, needed func(string) bool, before time.Time) (size int64, removed bool, err error) {
	unlock, err := s.lock(ctx, digest)
	if err != nil {
		return 0, false, err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, removalLimit)
	defer cancel()
	mark := collectingPrefix + digest
	defer s.bucket.remove(ctx, mark)
	if err := s.bucket.mark(ctx, mark); err != nil {
		return 0, false, err
	}
	free, err := s.free(ctx, digest, before)
	if err != nil || !free || needed(digest) {
		return 0, false, err
	}
	v, err := s.bucket.version(ctx, blobKey(digest))
	if isNotFound(err) { // grants without content, from a process that was killed
		return 0, false, s.removeGrants(ctx, digest)
	}
	if err != nil || !v.modified.Before(before) {
		return 0, false, err
	}
	if err := s.bucket.Delete(ctx, blobKey(digest)); err != nil {
		return 0, false, err
	}
	s.forget(digest)
	return v.size, true, s.removeGrants(ctx, digest)
}

// free tells whether nobody is writing the content or was granted it lately.
func (s *Store) free(ctx context.Context, digest string, before time.Time) (bool, error) {
	announced, err := s.bucket.list(ctx, incomingPrefix+digest+"-")
	if err != nil {
		return false, err
	}
	for _, e := range announced {
		if time.Since(e.modified) < abandoned {
			return false, nil
		}
	}
	grants, err := s.bucket.list(ctx, grantsOf(digest))
	for _, e := range grants {
		if !e.modified.Before(before) {
			return false, err
		}
	}
	return true, err
}

func (s *Store) removeGrants(ctx context.Context, digest string) error {
	s.forgetGrants(digest)
	grants, err := s.bucket.list(ctx, grantsOf(digest))
	if err != nil {
		return err
	}
	for _, e := range grants {
		if deleteErr := s.bucket.Delete(ctx, grantsOf(digest)+e.name); !isNotFound(deleteErr) {
			err = errors.Join(err, deleteErr)
		}
	}
	s.bucket.removeFolder(grantsOf(digest))
	return err
}

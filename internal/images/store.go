package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"sync"
	"time"

	"gocloud.dev/blob"
	"k8s.io/apimachinery/pkg/util/cache"

	"mollymawk.dev/operator/albatross/solo5"
)

// Blob is content that is kept under its digest.
type Blob struct {
	// Digest is the SHA-256 in lower case hexadecimal.
	Digest string
	// Size in bytes.
	Size int64
	// store is where it is kept.
	store *Store
}

// Open gives the content; the caller closes it. Content that has changed since it
// was verified is verified again first. The context ends the reading too.
func (b Blob) Open(ctx context.Context) (io.ReadCloser, error) {
	if err := b.check(ctx); err != nil {
		return nil, err
	}
	r, err := b.store.bucket.NewReader(ctx, blobKey(b.Digest), nil)
	if err != nil {
		return nil, storeError(err)
	}
	return reading{r}, nil
}

// Manifest reads which devices the image needs, or fails with [ErrInvalid].
func (b Blob) Manifest(ctx context.Context) (solo5.Image, error) {
	if err := b.check(ctx); err != nil {
		return solo5.Image{}, err
	}
	parts := &ranges{ctx: ctx, bucket: b.store.bucket, key: blobKey(b.Digest), size: b.Size}
	image, err := solo5.Read(parts, b.Size)
	switch {
	case parts.err != nil:
		return solo5.Image{}, storeError(parts.err)
	case err != nil:
		return solo5.Image{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return image, nil
}

// errGone is what those get who come back to content that is no longer there.
// It passes: who needs the content gets it from its source again.
var errGone = errors.New("image store: the content is gone")

func (b Blob) check(ctx context.Context) error {
	_, found, err := b.store.Get(ctx, b.Digest)
	if err == nil && !found {
		return errGone
	}
	return err
}

// reading marks the failures that are the store's own.
type reading struct{ *blob.Reader }

// Read implements io.Reader.
func (r reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = storeError(err)
	}
	return n, err
}

// Store keeps content in a folder or a bucket, under the name of its digest. It
// appears under that name only when it is complete, and is hashed again before
// the first use in a process and after a change, so that neither half-written nor
// altered content is ever used. Several processes may share one.
type Store struct {
	bucket *bucket
	// grants are those that were seen lately.
	grants *cache.LRUExpireCache

	mu       sync.Mutex
	verified map[string]verified
	// busy has a lock for each digest whose content is being hashed or replaced,
	// so that reading large content holds up none of the others.
	busy map[string]*digestLock
}

// verified is content that was hashed, and what the store said of it just before.
type verified struct {
	blob    Blob
	version version
}

// OpenStore opens the one at location: the path of a folder, which is made if
// need be, or a URL of a bucket (s3://, gs://, azblob://), for which credentials
// are looked for as the cloud's own programs do. What earlier processes left
// unfinished long ago is cleared.
func OpenStore(ctx context.Context, location string) (*Store, error) {
	b, err := openBucket(ctx, location)
	if err != nil {
		return nil, err
	}
	return openOn(ctx, b)
}

func openOn(ctx context.Context, b *bucket) (*Store, error) {
	s := storeOn(b)
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	// A bucket that cannot be reached just now must not keep the operator from
	// its other work; one that does not exist or is not ours is a mistake.
	if err := s.clearUnfinished(ctx); err != nil && b.hopeless(err) {
		return nil, errors.Join(storeError(err), b.Close())
	}
	return s, nil
}

// openLimit is how long opening waits for a bucket.
const openLimit = 20 * time.Second

func storeOn(b *bucket) *Store {
	return &Store{bucket: b, grants: cache.NewLRUExpireCache(rememberedGrants), verified: map[string]verified{}, busy: map[string]*digestLock{}}
}

// Close lets go of the bucket. The store is not used any more.
func (s *Store) Close() error { return s.bucket.Close() }

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkDigest keeps what is no digest out of names of files.
func checkDigest(digest string) error {
	if !digestForm.MatchString(digest) {
		return fmt.Errorf("%w: the digest is no SHA-256 in lower case hexadecimal", ErrInvalid)
	}
	return nil
}

// Known gives content that was verified in this process and did not change
// since. It never takes long.
func (s *Store) Known(digest string) (blob Blob, found bool) {
	s.mu.Lock()
	v, found := s.verified[digest]
	s.mu.Unlock()
	if !found {
		return Blob{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), knownLimit)
	defer cancel()
	now, err := s.bucket.version(ctx, blobKey(digest))
	if err != nil || now != v.version {
		return Blob{}, false
	}
	return v.blob, true
}

// knownLimit is how long Known waits for a bucket. When that is too short, Get,
// which nobody waits for, does the same without haste.
const knownLimit = 2 * time.Second

// verifyLimit is how long hashing may take.
const verifyLimit = time.Hour

// Get looks for content; found is false when it is not there, or was damaged, in
// which case it is removed. It takes as long as hashing it does.
func (s *Store) Get(ctx context.Context, digest string) (blob Blob, found bool, err error) {
	if err := checkDigest(digest); err != nil {
		return Blob{}, false, err
	}
	unlock, err := s.lock(ctx, digest)
	if err != nil {
		return Blob{}, false, err
	}
	defer unlock()
	now, err := s.bucket.version(ctx, blobKey(digest))
	if err == nil {
		if blob, found = s.isVerified(digest, now); found {
			return blob, true, nil
		}
		blob, found, err = s.verify(ctx, digest, now)
	}
	if err != nil && !isNotFound(err) {
		return Blob{}, false, storeError(err)
	}
	if !found {
		s.forget(digest)
	}
	return blob, found, nil
}

func (s *Store) isVerified(digest string, now version) (Blob, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, found := s.verified[digest]
	return v.blob, found && v.version == now
}

// verify hashes content and removes it when it is damaged.
func (s *Store) verify(ctx context.Context, digest string, before version) (blob Blob, sound bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	r, err := s.bucket.NewReader(ctx, blobKey(digest), nil)
	if err != nil {
		return Blob{}, false, err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Blob{}, false, err
	}
	if hex.EncodeToString(h.Sum(nil)) == digest {
		blob = Blob{Digest: digest, Size: n, store: s}
		s.remember(blob, before)
		return blob, true, nil
	}
	// Another process may just have replaced it with what is sound.
	if now, err := s.bucket.version(ctx, blobKey(digest)); err != nil || now != before {
		return Blob{}, false, err
	}
	return Blob{}, false, s.bucket.Delete(ctx, blobKey(digest))
}

func (s *Store) remember(blob Blob, v version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verified[blob.Digest] = verified{blob: blob, version: v}
}

func (s *Store) forget(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.verified, digest)
}

// Put keeps content of the given digest, hashing while it is written. Content of
// another digest fails with [ErrDigestMismatch], more than limit bytes with
// [ErrTooLarge]; nothing of it is kept. A failure of from is given as it is.
func (s *Store) Put(ctx context.Context, from io.Reader, digest string, limit int64) (Blob, error) {
	if err := checkDigest(digest); err != nil {
		return Blob{}, err
	}
	if s.bucket.folder != "" {
		return s.putStaged(ctx, from, digest, limit)
	}
	announced, withdraw, err := s.announce(ctx, digest)
	if err != nil {
		return Blob{}, err
	}
	defer withdraw()
	w, blob, err := s.receive(ctx, blobKey(digest), from, digest, limit)
	if err != nil {
		return Blob{}, err
	}
	return s.finish(ctx, blob, func() error {
		err := w.commit()
		if err != nil && s.cameMeanwhile(ctx, blob, announced) {
			return nil
		}
		return err
	}, w.abort)
}

// Add keeps content whose digest is found out while it is written, such as an
// upload. Otherwise it does as [Store.Put] does.
func (s *Store) Add(ctx context.Context, from io.Reader, limit int64) (Blob, error) {
	return s.putStaged(ctx, from, "", limit)
}

// putStaged has content written completely under another name first.
func (s *Store) putStaged(ctx context.Context, from io.Reader, digest string, limit int64) (Blob, error) {
	staged := incomingPrefix + newID()
	w, blob, err := s.receive(ctx, staged, from, digest, limit)
	if err != nil {
		return Blob{}, err
	}
	if err := w.commit(); err != nil {
		return Blob{}, storeError(err)
	}
	// Where it is renamed this fails, as it should.
	defer s.bucket.remove(ctx, staged)
	if s.bucket.folder == "" {
		r, err := s.bucket.NewReader(ctx, staged, nil)
		if err != nil {
			return Blob{}, storeError(err)
		}
		defer r.Close()
		return s.Put(ctx, reading{r}, blob.Digest, blob.Size)
	}
	_, withdraw, err := s.announce(ctx, blob.Digest)
	if err != nil {
		return Blob{}, err
	}
	defer withdraw()
	return s.finish(ctx, blob, func() error { return s.bucket.rename(staged, blobKey(blob.Digest)) }, func() {})
}

// receive writes what from gives under a key, as far as the last step, and says
// what it was.
func (s *Store) receive(ctx context.Context, key string, from io.Reader, digest string, limit int64) (w *writer, blob Blob, err error) {
	w, err = s.bucket.create(ctx, key)
	if err != nil {
		return nil, Blob{}, storeError(err)
	}
	h := newHashing(writing{w, ctx})
	n, err := io.CopyBuffer(h, io.LimitReader(from, min(limit, math.MaxInt64-1)+1), make([]byte, copySize))
	got := h.digest()
	switch {
	case err != nil:
	case n > limit:
		err = tooLarge(limit)
	case digest != "" && digest != got:
		err = fmt.Errorf("%w: the content has SHA-256 %s", ErrDigestMismatch, got)
	}
	if err != nil {
		w.abort()
		return nil, Blob{}, err
	}
	return w, Blob{Digest: got, Size: n, store: s}, nil
}

func tooLarge(limit int64) error { return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit) }

// writing marks the failures that are the store's own.
type writing struct {
	w   io.Writer
	ctx context.Context
}

// Write implements io.Writer.
func (w writing) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	switch {
	case err == nil:
		return n, nil
	case w.ctx.Err() != nil:
		return n, context.Cause(w.ctx)
	}
	return n, storeError(err)
}

// finish has complete content appear under its digest, while nobody looks at what
// was there before.
func (s *Store) finish(ctx context.Context, blob Blob, appear func() error, abort func()) (Blob, error) {
	unlock, err := s.lock(ctx, blob.Digest)
	if err != nil {
		abort()
		return Blob{}, err
	}
	defer unlock()
	if err := appear(); err != nil {
		return Blob{}, storeError(err)
	}
	v, err := s.bucket.version(ctx, blobKey(blob.Digest))
	if err != nil {
		return Blob{}, storeError(err)
	}
	if v.size != blob.Size {
		return Blob{}, errors.New("image store: the content changed while it was kept")
	}
	s.remember(blob, v)
	return blob, nil
}

// cameMeanwhile tells whether content that could not be written is there all the
// same, newer than its announcement: who writes the same at the same time has been
// faster. Azure then forgets the parts that the slower one has sent.
func (s *Store) cameMeanwhile(ctx context.Context, blob Blob, announced string) bool {
	begun, err := s.bucket.version(ctx, announced)
	if err != nil {
		return false
	}
	v, err := s.bucket.version(ctx, blobKey(blob.Digest))
	if err != nil || v.size != blob.Size || v.modified.Before(begun.modified) {
		return false
	}
	_, sound, err := s.verify(ctx, blob.Digest, v)
	return err == nil && sound
}

// digestLock is held by who can send to the channel.
type digestLock struct {
	held  chan struct{}
	users int
}

// lock has one at a time work on the content of a digest.
func (s *Store) lock(ctx context.Context, digest string) (unlock func(), err error) {
	s.mu.Lock()
	l := s.busy[digest]
	if l == nil {
		l = &digestLock{held: make(chan struct{}, 1)}
		s.busy[digest] = l
	}
	l.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(s.busy, digest)
		}
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

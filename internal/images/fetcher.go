package images

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"mollymawk.dev/operator/internal/egress"
)

// Defaults of [Options].
const (
	DefaultMaxSize     = 1 << 30
	DefaultParallel    = 4
	DefaultDeadline    = time.Hour
	DefaultIdleTimeout = 30 * time.Second
	DefaultResumePause = time.Second
)

// questions is how many sources are asked what they have at a time, for each that
// is fetched from: that is little work, and mostly waiting.
const questions = 4

// answerMemory is how long an answer is kept that nobody asks for.
const answerMemory = 24 * time.Hour

// Options of a [Fetcher].
type Options struct {
	// MaxSize of an image in bytes.
	MaxSize int64
	// Parallel is how many are fetched at a time.
	Parallel int
	// Deadline for fetching one, counted from when its turn came.
	Deadline time.Duration
	// IdleTimeout ends a connection on which nothing comes for so long.
	IdleTimeout time.Duration
	// ResumePause is the first pause before a download that broke off goes on; it
	// doubles with each attempt.
	ResumePause time.Duration
	// Egress says what sources may be connected to.
	Egress egress.Policy
	// Now is the clock for the pauses after failures; nil means time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.ResumePause == 0 {
		o.ResumePause = DefaultResumePause
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// storage is what a Fetcher needs of a [Store].
type storage interface {
	Known(digest string) (Blob, bool)
	Get(ctx context.Context, digest string) (blob Blob, found bool, err error)
	Put(ctx context.Context, from io.Reader, digest string, limit int64) (Blob, error)
	Add(ctx context.Context, from io.Reader, limit int64) (Blob, error)
	Grant(ctx context.Context, digest string, by Provenance) error
	Granted(ctx context.Context, digest string, by Provenance) (bool, error)
}

// Fetcher brings content into a [Store]. The same content is fetched once from a
// source, however many ask for it, and given to those only whose source has
// delivered it. It is a Runnable of a manager.
type Fetcher struct {
	options Options
	store   storage
	client  *http.Client
	fetches jobs[Blob]
	answers jobs[Resolved]
	// hashing, fetching and asking have a place for each of those who do it at a
	// time. They are three, so that what is at hand does not wait for slow servers,
	// nor a question for large images.
	hashing, fetching, asking chan struct{}

	mu sync.Mutex
	// built remembers what builds have delivered, which never changes.
	built map[Build]built
}

// NewFetcher makes a fetcher; it works from Start on. wake is called with the
// key of everybody who was told [ErrInProgress], once for each source that has
// delivered or failed then. wake must not block for long.
func NewFetcher(store storage, options Options, wake func(key string)) *Fetcher {
	options.setDefaults()
	f := &Fetcher{
		options: options, store: store, client: options.Egress.Client(nil), built: map[Build]built{},
		hashing: make(chan struct{}, options.Parallel), fetching: make(chan struct{}, options.Parallel),
		asking: make(chan struct{}, questions*options.Parallel),
	}
	f.fetches = jobs[Blob]{do: f.bring, wake: wake, now: options.Now, all: map[Source]*job[Blob]{}}
	f.answers = jobs[Resolved]{do: f.resolve, wake: wake, now: options.Now, all: map[Source]*job[Resolved]{}, memory: answerMemory}
	return f
}

// Start fetches what is wanted until the context ends, and waits for the end of
// what is under way. It implements manager.Runnable and is called once.
func (f *Fetcher) Start(ctx context.Context) error {
	f.fetches.start(ctx)
	f.answers.start(ctx)
	<-ctx.Done()
	f.fetches.stop()
	f.answers.stop()
	f.client.CloseIdleConnections()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (f *Fetcher) NeedLeaderElection() bool { return true }

// grantPatience is how long a caller who has content at hand waits to learn
// whether it may be used.
const grantPatience = time.Second

// Get gives content that is at hand. Else it begins to fetch it, waits a little,
// and then fails with [ErrInProgress]; key is woken when it is there or has
// failed. A failure is given again until its pause, which grows, is over.
func (f *Fetcher) Get(ctx context.Context, key string, source Source, patience time.Duration) (Blob, error) {
	if err := checkDigest(source.SHA256); err != nil {
		return Blob{}, err
	}
	if blob, found := f.atHand(ctx, source); found {
		return blob, f.keepFor(ctx, source)
	}
	j, err := f.fetches.wait(ctx, key, source.shared(), time.Time{}, patience)
	if err != nil {
		return Blob{}, err
	}
	return j.result, f.keepFor(ctx, source)
}

// keepFor lets a namespace use what was fetched for it as if it had been uploaded,
// so that it can go back to it when its source has something else.
func (f *Fetcher) keepFor(ctx context.Context, source Source) error {
	if source.Stored || source.Namespace == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	upload := UploadedFor(source.Namespace)
	if granted, err := f.store.Granted(ctx, source.SHA256, upload); err != nil || granted {
		return err
	}
	return f.store.Grant(ctx, source.SHA256, upload)
}

func (f *Fetcher) atHand(ctx context.Context, source Source) (Blob, bool) {
	blob, found := f.store.Known(source.SHA256)
	if !found {
		return Blob{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	granted, err := f.store.Granted(ctx, source.SHA256, source.provenance())
	return blob, err == nil && granted
}

// RetryAfter is when a failed source may be asked again, at the earliest.
func (f *Fetcher) RetryAfter(source Source) time.Duration {
	source = source.shared()
	return max(f.fetches.retryAfter(source), f.answers.retryAfter(source))
}

// bring gives content from the store, or else from its source.
func (f *Fetcher) bring(ctx context.Context, source Source) (blob Blob, err error) {
	found := false
	err = inTurn(ctx, f.hashing, func() error {
		blob, found, err = f.stored(ctx, source)
		return err
	})
	if err != nil || found {
		return blob, err
	}
	if source.Stored {
		return Blob{}, fmt.Errorf("%w: nothing with this SHA-256 was uploaded for namespace %s", ErrNotFound, source.Namespace)
	}
	err = inTurn(ctx, f.fetching, func() error {
		blob, err = f.fetch(ctx, source)
		return err
	})
	return blob, err
}

// stored gives content that the source has delivered before.
func (f *Fetcher) stored(ctx context.Context, source Source) (blob Blob, found bool, err error) {
	granted, err := f.store.Granted(ctx, source.SHA256, source.provenance())
	if err != nil || !granted {
		return Blob{}, false, err
	}
	return f.store.Get(ctx, source.SHA256)
}

// inTurn does something when one of the places is free.
func inTurn(ctx context.Context, places chan struct{}, do func() error) error {
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
		return do()
	case <-ctx.Done():
		return errStopping
	}
}

// fetch has a source deliver content of a known digest.
func (f *Fetcher) fetch(ctx context.Context, source Source) (Blob, error) {
	ctx, cancel := f.withDeadline(ctx)
	defer cancel()
	if source.OCI != (OCI{}) {
		return f.fetchLayer(ctx, source)
	}
	address := source.URL
	if source.Build != (Build{}) {
		address = source.Build.address() + mainBinary
	}
	return f.download(ctx, content{client: f.client, address: address, size: unknownSize}, source)
}

func (f *Fetcher) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return within(ctx, f.options.Deadline)
}

// questionDeadline is for what is asked before the content itself.
const questionDeadline = time.Minute

func (f *Fetcher) forQuestion(ctx context.Context) (context.Context, context.CancelFunc) {
	return within(ctx, min(questionDeadline, f.options.Deadline))
}

func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("not complete after %s", limit))
}

// download keeps content and remembers which source it is from. Without a digest
// in the source, whatever comes is kept.
func (f *Fetcher) download(ctx context.Context, what content, source Source) (blob Blob, err error) {
	body, err := f.open(ctx, what)
	if err != nil {
		return Blob{}, err
	}
	defer body.Close()
	if source.SHA256 == "" {
		blob, err = f.store.Add(ctx, body, f.options.MaxSize)
	} else {
		blob, err = f.store.Put(ctx, body, source.SHA256, f.options.MaxSize)
	}
	if err != nil {
		return Blob{}, err
	}
	return blob, f.store.Grant(ctx, blob.Digest, source.provenance())
}

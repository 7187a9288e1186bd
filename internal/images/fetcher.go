package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Source says where content comes from.
type Source struct {
	// URL is an http or https address.
	URL string
	// SHA256 is the digest that the content must have.
	SHA256 string
}

// Defaults of [Options].
const (
	DefaultMaxSize     = 1 << 30
	DefaultParallel    = 4
	DefaultDeadline    = time.Hour
	DefaultIdleTimeout = 30 * time.Second
)

// After a failure a source is left alone for a pause that doubles each time.
const (
	firstPause   = 10 * time.Second
	longestPause = 5 * time.Minute
)

// Options of a [Fetcher].
type Options struct {
	// MaxSize of an image in bytes.
	MaxSize int64
	// Parallel is how many are fetched at a time.
	Parallel int
	// Deadline for fetching one, counted from when its turn came.
	Deadline time.Duration
	// IdleTimeout ends a download during which nothing comes for so long.
	IdleTimeout time.Duration
	// AllowLoopback lets sources be on the operator's own machine.
	AllowLoopback bool
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
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Fetcher brings content into a [Store]. The same content is fetched once,
// however many ask for it. It is a Runnable of a manager.
type Fetcher struct {
	options Options
	store   *Store
	client  *http.Client
	wake    func(key string)
	// hashing and fetching have a place for each of those who do it at a time.
	// They are two, so that what is at hand does not wait for slow servers.
	hashing, fetching chan struct{}

	mu sync.Mutex
	// run is the context of Start; jobs that are wanted before wait for it.
	run  context.Context
	jobs map[Source]*job
	work sync.WaitGroup
	// stopped says that nothing is begun any more.
	stopped bool
}

// job is one source that is being fetched, or that failed lately.
type job struct {
	done chan struct{}
	// keys are those who will be told; nil once they were.
	keys map[string]bool
	// pause is the one after a failure.
	pause time.Duration
	// blob, err and again, when the source may be asked again, are set when done
	// is closed.
	blob  Blob
	err   error
	again time.Time
}

// NewFetcher makes a fetcher; it works from Start on. wake is called with the
// key of everybody who was told [ErrInProgress], once for each image that is
// there then or has failed. wake must not block for long.
func NewFetcher(store *Store, options Options, wake func(key string)) *Fetcher {
	options.setDefaults()
	return &Fetcher{
		options: options, store: store, client: newHTTPClient(refuseInternal(options.AllowLoopback)),
		hashing: make(chan struct{}, options.Parallel), fetching: make(chan struct{}, options.Parallel),
		jobs: map[Source]*job{}, wake: wake,
	}
}

// Start fetches what is wanted until the context ends, and waits for the end of
// what is under way. It implements manager.Runnable and is called once.
func (f *Fetcher) Start(ctx context.Context) error {
	f.mu.Lock()
	f.run = ctx
	for source, j := range f.jobs {
		f.begin(source, j)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	f.work.Wait()
	f.client.CloseIdleConnections()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (f *Fetcher) NeedLeaderElection() bool { return true }

// errStopping is what those get who come too late.
var errStopping = errors.New("the operator is stopping")

// Get gives content that is at hand. Else it begins to fetch it, waits a little,
// and then fails with [ErrInProgress]; key is woken when it is there or has
// failed. A failure is given again until its pause, which grows, is over.
func (f *Fetcher) Get(ctx context.Context, key string, source Source, patience time.Duration) (Blob, error) {
	if err := checkDigest(source.SHA256); err != nil {
		return Blob{}, err
	}
	if blob, found := f.store.Known(source.SHA256); found {
		return blob, nil
	}
	j, err := f.job(source)
	if err != nil {
		return Blob{}, err
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-j.done:
	case <-wait.C:
		if f.tellLater(j, key) {
			return Blob{}, ErrInProgress
		}
	case <-ctx.Done():
		return Blob{}, context.Cause(ctx)
	}
	return j.blob, j.err
}

// tellLater has a key woken at the end of a job, unless that is over.
func (f *Fetcher) tellLater(j *job, key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j.keys == nil {
		return false
	}
	j.keys[key] = true
	return true
}

// job gives the one for the source, begun anew when its pause is over.
func (f *Fetcher) job(source Source) (*job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return nil, errStopping
	}
	now := f.options.Now()
	old := f.jobs[source]
	if old != nil && !old.over(now) {
		return old, nil
	}
	j := &job{done: make(chan struct{}), keys: map[string]bool{}, pause: firstPause}
	if old != nil {
		j.pause = min(2*old.pause, longestPause)
	}
	f.forget(now)
	f.jobs[source] = j
	if f.run != nil {
		f.begin(source, j)
	}
	return j, nil
}

// begin works on a job; f.mu is held.
func (f *Fetcher) begin(source Source, j *job) {
	f.work.Go(func() { f.fetch(f.run, source, j) })
}

// forget drops failures that nobody has asked about for long, so that sources
// that come and go do not add up; f.mu is held.
func (f *Fetcher) forget(now time.Time) {
	for source, j := range f.jobs {
		if j.over(now.Add(-longestPause)) {
			delete(f.jobs, source)
		}
	}
}

// over tells whether a job has ended and may be begun anew.
func (j *job) over(now time.Time) bool { return j.keys == nil && !now.Before(j.again) }

func (f *Fetcher) fetch(ctx context.Context, source Source, j *job) {
	blob, err := f.bring(ctx, source)
	f.mu.Lock()
	keys := j.keys
	j.blob, j.err, j.keys, j.again = blob, err, nil, f.options.Now().Add(j.pause)
	if err == nil {
		delete(f.jobs, source)
	}
	close(j.done)
	f.mu.Unlock()
	for key := range keys {
		f.wake(key)
	}
}

// bring gives content from the store, or else from its source.
func (f *Fetcher) bring(ctx context.Context, source Source) (blob Blob, err error) {
	found := false
	err = inTurn(ctx, f.hashing, func() error {
		blob, found, err = f.store.Get(ctx, source.SHA256)
		return err
	})
	if err != nil || found {
		return blob, err
	}
	err = inTurn(ctx, f.fetching, func() error {
		blob, err = f.download(ctx, source)
		return err
	})
	return blob, err
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

func (f *Fetcher) download(ctx context.Context, source Source) (Blob, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.options.Deadline, fmt.Errorf("not complete after %s", f.options.Deadline))
	defer cancel()
	body, err := download(ctx, f.client, source.URL, f.options.MaxSize, f.options.IdleTimeout)
	if err != nil {
		return Blob{}, err
	}
	defer body.Close()
	return f.store.Put(ctx, body, source.SHA256, f.options.MaxSize)
}

// RetryAfter is when a failed source may be asked again, at the earliest.
func (f *Fetcher) RetryAfter(source Source) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[source]
	if j == nil {
		return 0
	}
	return max(j.again.Sub(f.options.Now()), 0)
}

package images

import (
	"context"
	"errors"
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
	DefaultMaxSize  = 1 << 30
	DefaultParallel = 4
	DefaultDeadline = time.Hour
	firstPause      = 10 * time.Second
	longestPause    = 5 * time.Minute
)

// Options of a [Fetcher].
type Options struct {
	// MaxSize of an image in bytes.
	MaxSize int64
	// Parallel is how many are fetched at a time.
	Parallel int
	// Deadline for fetching one.
	Deadline time.Duration
	// AllowLoopback lets sources be on the operator's own machine.
	AllowLoopback bool
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
}

// Fetcher brings content into a [Store]. The same content is fetched once,
// however many ask for it. It is a Runnable of a manager.
type Fetcher struct {
	options Options
	store   *Store
	client  *http.Client
	places  chan struct{}

	mu   sync.Mutex
	run  context.Context
	jobs map[Source]*job
	wake func(key string)
	work sync.WaitGroup
}

// job is one source that is being fetched, or that failed lately.
type job struct {
	done chan struct{}
	// keys are those who will be told.
	keys map[string]bool
	// err, pause and again are set when done is closed.
	err   error
	pause time.Duration
	again time.Time
}

// NewFetcher makes a fetcher; it works from Start on. wake is called with the
// key of everybody who was told [ErrInProgress].
func NewFetcher(store *Store, options Options, wake func(key string)) *Fetcher {
	options.setDefaults()
	return &Fetcher{
		options: options, store: store, client: newHTTPClient(refuseInternal(options.AllowLoopback)),
		places: make(chan struct{}, options.Parallel), jobs: map[Source]*job{}, wake: wake,
	}
}

// Start implements manager.Runnable.
func (f *Fetcher) Start(ctx context.Context) error {
	f.mu.Lock()
	f.run = ctx
	f.mu.Unlock()
	<-ctx.Done()
	f.work.Wait()
	f.client.CloseIdleConnections()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (f *Fetcher) NeedLeaderElection() bool { return true }

// Get gives content that is at hand. Else it begins to fetch it, waits a little,
// and then fails with [ErrInProgress]; key is woken when it is there or has
// failed. A failure is given again until its pause, which grows, is over.
func (f *Fetcher) Get(ctx context.Context, key string, source Source, patience time.Duration) (Blob, error) {
	blob, found, err := f.store.Get(source.SHA256)
	if err != nil || found {
		return blob, err
	}
	j := f.job(key, source)
	if j == nil {
		return Blob{}, ErrInProgress
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-j.done:
	case <-wait.C:
		return Blob{}, ErrInProgress
	case <-ctx.Done():
		return Blob{}, context.Cause(ctx)
	}
	if j.err != nil {
		return Blob{}, j.err
	}
	blob, found, err = f.store.Get(source.SHA256)
	if err == nil && !found {
		err = errors.New("the image was removed from the store")
	}
	return blob, err
}

// job gives the one for the source, begun anew when its pause is over; nil
// before Start.
func (f *Fetcher) job(key string, source Source) *job {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.run == nil {
		return nil
	}
	old := f.jobs[source]
	if old != nil && !old.over(time.Now()) {
		old.keys[key] = true
		return old
	}
	j := &job{done: make(chan struct{}), keys: map[string]bool{key: true}, pause: firstPause}
	if old != nil {
		j.pause = min(2*old.pause, longestPause)
	}
	f.forget(time.Now())
	f.jobs[source] = j
	f.work.Go(func() { f.fetch(f.run, source, j) })
	return j
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
func (j *job) over(now time.Time) bool {
	select {
	case <-j.done:
		return now.After(j.again)
	default:
		return false
	}
}

func (f *Fetcher) fetch(ctx context.Context, source Source, j *job) {
	ctx, cancel := context.WithTimeout(ctx, f.options.Deadline)
	defer cancel()
	err := f.fetchNow(ctx, source)
	f.mu.Lock()
	j.err = err
	j.again = time.Now().Add(j.pause)
	keys := j.keys
	j.keys = map[string]bool{}
	if err == nil {
		delete(f.jobs, source)
	}
	close(j.done)
	f.mu.Unlock()
	for key := range keys {
		f.wake(key)
	}
}

func (f *Fetcher) fetchNow(ctx context.Context, source Source) error {
	select {
	case f.places <- struct{}{}:
		defer func() { <-f.places }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	body, err := download(ctx, f.client, source.URL)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = f.store.Put(body, source.SHA256, f.options.MaxSize)
	return err
}

// RetryAfter is when a failed source may be asked again, at the earliest.
func (f *Fetcher) RetryAfter(source Source) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jobs[source]
	if j == nil {
		return 0
	}
	return max(time.Until(j.again), 0)
}

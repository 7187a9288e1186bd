package images

import (
	"context"
	"errors"
	"sync"
	"time"
)

// After a failure a source is left alone for a pause that doubles each time.
const (
	firstPause   = 10 * time.Second
	longestPause = 5 * time.Minute
)

// jobs does something for sources, once for each, however many ask for it. It
// remembers failures for a pause, and what came out for a while.
type jobs[T any] struct {
	do   func(ctx context.Context, source Source) (T, error)
	wake func(key string)
	now  func() time.Time
	// memory is how long a result that nobody asks for is kept; 0 keeps none.
	memory time.Duration

	mu sync.Mutex
	// run is the context of start; jobs that are wanted before wait for it.
	run  context.Context
	all  map[Source]*job[T]
	work sync.WaitGroup
	// stopped says that nothing is begun any more.
	stopped bool
}

// job is what is being done for one source, or how it ended.
type job[T any] struct {
	done chan struct{}
	// keys are those who will be told; nil once they were.
	keys map[string]bool
	// pause is the one after a failure.
	pause time.Duration
	// begun is when the source was asked, at the earliest; asked is when somebody
	// last wanted to know.
	begun, asked time.Time
	// result, err and again, when a failed source may be asked again, are set when
	// done is closed.
	result T
	err    error
	again  time.Time
}

// errStopping is what those get who come too late.
var errStopping = errors.New("the operator is stopping")

// start does what is wanted from now on.
func (l *jobs[T]) start(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run = ctx
	for source, j := range l.all {
		l.begin(source, j)
	}
}

// stop begins nothing any more and waits for what is under way.
func (l *jobs[T]) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.work.Wait()
}

// wait gives the job of a source when it ended well, or its failure. It waits for
// at most patience; then it fails with [ErrInProgress], and key is woken at the
// end of the job. A result that was begun before notBefore is not good enough.
func (l *jobs[T]) wait(ctx context.Context, key string, source Source, notBefore time.Time, patience time.Duration) (*job[T], error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if now := l.now(); notBefore.After(now) {
		notBefore = now
	}
	for {
		j, err := l.job(source, notBefore)
		if err != nil {
			return nil, err
		}
		select {
		case <-j.done:
		case <-timer.C:
			if l.tellLater(j, key) {
				return nil, ErrInProgress
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if j.err != nil {
			return nil, j.err
		}
		if !j.begun.Before(notBefore) {
			return j, nil
		}
	}
}

// tellLater has a key woken at the end of a job, unless that is over.
func (l *jobs[T]) tellLater(j *job[T], key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.keys == nil {
		return false
	}
	j.keys[key] = true
	return true
}

// job gives the one for the source, begun anew when it has to be.
func (l *jobs[T]) job(source Source, notBefore time.Time) (*job[T], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return nil, errStopping
	}
	now := l.now()
	old := l.all[source]
	if old != nil && !old.over(now, notBefore) {
		old.asked = now
		return old, nil
	}
	j := &job[T]{done: make(chan struct{}), keys: map[string]bool{}, pause: firstPause, begun: now, asked: now}
	if old != nil && old.err != nil {
		j.pause = min(2*old.pause, longestPause)
	}
	l.forget(now)
	l.all[source] = j
	if l.run != nil {
		l.begin(source, j)
	}
	return j, nil
}

// over tells whether a job has ended and must be begun anew.
func (j *job[T]) over(now, notBefore time.Time) bool {
	if j.keys != nil {
		return false
	}
	if j.err != nil {
		return !now.Before(j.again)
	}
	return j.begun.Before(notBefore)
}

// begin works on a job; l.mu is held.
func (l *jobs[T]) begin(source Source, j *job[T]) {
	l.work.Go(func() { l.finish(l.run, source, j) })
}

func (l *jobs[T]) finish(ctx context.Context, source Source, j *job[T]) {
	result, err := l.do(ctx, source)
	l.mu.Lock()
	keys := j.keys
	j.result, j.err, j.keys, j.again = result, err, nil, l.now()
	if !source.Stored { // one's own store need not be spared
		j.again = j.again.Add(j.pause)
	}
	if err == nil && l.memory == 0 {
		delete(l.all, source)
	}
	close(j.done)
	l.mu.Unlock()
	for key := range keys {
		l.wake(key)
	}
}

// forget drops what nobody has asked about for long, so that sources that come
// and go do not add up; l.mu is held.
func (l *jobs[T]) forget(now time.Time) {
	for source, j := range l.all {
		if j.keys == nil && (j.err != nil && !now.Before(j.again.Add(longestPause)) || j.err == nil && !now.Before(j.asked.Add(l.memory))) {
			delete(l.all, source)
		}
	}
}

// retryAfter is when a failed source may be asked again, at the earliest.
func (l *jobs[T]) retryAfter(source Source) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.all[source]
	if j == nil || j.err == nil {
		return 0
	}
	return max(j.again.Sub(l.now()), 0)
}

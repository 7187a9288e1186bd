// Package liveness notices controllers whose queue has work that nobody does, so
// that the operator is started anew instead of being silent for ever.
package liveness

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Patience is how long work may lie in a queue while no reconcile ends.
const Patience = 5 * time.Minute

// Monitor watches the queues of controllers. The zero value is ready; nil watches
// nothing.
type Monitor struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	mu     sync.Mutex
	queues map[string]*queue
}

// queue is a controller's, with what is known about the work in it.
type queue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	// signs counts the signs of life: reconciles that ended, and pieces of uploads.
	signs atomic.Uint64
	// last is how the queue was found by the last check.
	last sighting
}

// Done implements the queue's interface; controllers call it after every reconcile.
func (q *queue) Done(request reconcile.Request) {
	q.PriorityQueue.Done(request)
	q.signs.Add(1)
}

// NewQueue gives a controller its queue; it fits into controller.Options.
func (m *Monitor) NewQueue(controller string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	q := &queue{PriorityQueue: priorityqueue.New(controller, func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter })}
	if m == nil {
		return q
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.queues == nil {
		m.queues = map[string]*queue{}
	}
	m.queues[controller] = q
	return q
}

// Upload has each piece that is read count as a sign of life of a controller: an
// upload may take longer than Patience, and all workers may be at one.
func (m *Monitor) Upload(controller string, content io.Reader) io.Reader {
	if m == nil {
		return content
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if q, ok := m.queues[controller]; ok {
		return &upload{content, q}
	}
	return content
}

type upload struct {
	io.Reader
	queue *queue
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.queue.signs.Add(1)
	return u.Reader.Read(p)
}

// Check fails when a controller has stopped; it is a healthz.Checker. What it
// knows it learns from being called, so a stop is noticed Patience and the time
// between two calls after it began.
func (m *Monitor) Check(*http.Request) error {
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var stopped []string
	for controller, q := range m.queues {
		q.last = q.last.next(q.Len(), q.signs.Load(), now())
		if q.last.stopped(now()) {
			stopped = append(stopped, controller)
		}
	}
	if len(stopped) == 0 {
		return nil
	}
	slices.Sort(stopped)
	return fmt.Errorf("no reconcile ended for %s while there is work: %s", Patience, strings.Join(stopped, ", "))
}

// sighting is how a queue was found at some time.
type sighting struct {
	signs uint64
	// waiting is since when there has been work without a sign of life; zero when
	// there is none.
	waiting time.Time
}

// next is the sighting that follows s, with so much work and so many signs.
func (s sighting) next(work int, signs uint64, now time.Time) sighting {
	switch {
	case work == 0:
		return sighting{signs: signs}
	case s.waiting.IsZero() || s.signs != signs:
		return sighting{signs: signs, waiting: now}
	}
	return s
}

// stopped tells whether the work has waited too long.
func (s sighting) stopped(now time.Time) bool {
	return !s.waiting.IsZero() && now.Sub(s.waiting) >= Patience
}

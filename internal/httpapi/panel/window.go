package panel

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/lru"
)

// PostWindow is the time in which POSTs of an address are counted.
const PostWindow = 6 * time.Second

// windowSize bounds how many addresses are remembered. The ones not heard of for
// longest are forgotten.
const windowSize = 16384

// window counts how often each address asks, and begins to count anew when its time
// is over.
type window struct {
	limit     int
	now       func() time.Time
	mu        sync.Mutex
	addresses *lru.Cache
}

type counted struct {
	asked int
	ends  time.Time
}

func newWindow(limit int, now func() time.Time) *window {
	return &window{limit: limit, now: now, addresses: lru.New(windowSize)}
}

// count counts a request. left is negative when it is one too many.
func (w *window) count(address string, now time.Time) (left int, ends time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var of counted
	if known, found := w.addresses.Get(address); found {
		of = known.(counted)
	}
	if !now.Before(of.ends) {
		of = counted{ends: now.Add(PostWindow)}
	}
	of.asked++
	w.addresses.Add(address, of)
	return w.limit - of.asked, of.ends
}

// check counts a request, says in headers how it stands, and refuses it when it is
// one too many.
func (w *window) check(header http.Header, address string) (refusal reply, refused bool) {
	if w.limit <= 0 {
		return reply{}, false
	}
	now := w.now()
	left, ends := w.count(address, now)
	header.Set("X-RateLimit-Limit", strconv.Itoa(w.limit))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, left)))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(ends.Add(time.Second-1).Unix(), 10))
	if left >= 0 {
		return reply{}, false
	}
	return reply{status: http.StatusTooManyRequests, body: failure{Error: tooManyText}, retryAfter: ends.Sub(now)}, true
}

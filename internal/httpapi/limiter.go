package httpapi

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter bounds how often each of many callers may ask.
type Limiter struct {
	perSecond rate.Limit
	burst     int
	now       func() time.Time

	mu      sync.Mutex
	callers map[string]*rate.Limiter
	// sweep is when callers that have their whole burst again are forgotten.
	sweep time.Time
}

// NewLimiter lets each caller ask perSecond times a second, and burst times at
// once. With 0 it never refuses.
func NewLimiter(perSecond float64, burst int, now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{perSecond: rate.Limit(perSecond), burst: max(1, burst), now: now, callers: map[string]*rate.Limiter{}}
}

// Allow counts a request. If it is one too many, it says when to ask again.
func (l *Limiter) Allow(caller string) (retryAfter time.Duration, ok bool) {
	if l.perSecond <= 0 {
		return 0, true
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	limiter, known := l.callers[caller]
	if !known {
		limiter = rate.NewLimiter(l.perSecond, l.burst)
		l.callers[caller] = limiter
	}
	if limiter.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - limiter.TokensAt(now)
	return time.Duration(missing / float64(l.perSecond) * float64(time.Second)), false
}

// forget drops, now and then, who has not asked for so long that it makes no
// difference.
func (l *Limiter) forget(now time.Time) {
	if now.Before(l.sweep) {
		return
	}
	l.sweep = now.Add(time.Minute)
	for caller, limiter := range l.callers {
		if limiter.TokensAt(now) >= float64(l.burst) {
			delete(l.callers, caller)
		}
	}
}

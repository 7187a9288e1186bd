package controllers

import (
	"hash/fnv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/api/v1alpha1"
)

// updateSlot gives the beginning of the present interval between two questions
// to a source, and of the next. It follows from the source, so that all who use
// one ask together, different ones at different times, and a restart of the
// operator asks nobody early.
func updateSlot(source string, interval time.Duration, now time.Time) (slot, next time.Time) {
	h := fnv.New64a()
	h.Write([]byte(source))
	offset := time.Duration(h.Sum64() % uint64(interval)) //nolint:gosec // both are positive
	slot = now.Add(-offset).Truncate(interval).Add(offset)
	return slot, slot.Add(interval)
}

// updateClock remembers when sources were asked for newer images. The time before
// it was made counts as asked.
type updateClock struct {
	mu      sync.Mutex
	started time.Time
	asked   map[types.UID]time.Time
}

func newUpdateClock(now time.Time) *updateClock {
	return &updateClock{started: now, asked: map[types.UID]time.Time{}}
}

// due tells whether the source of an object was not asked since a slot began.
func (c *updateClock) due(uid types.UID, slot time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked, ok := c.asked[uid]
	if !ok {
		asked = c.started
	}
	return asked.Before(slot)
}

func (c *updateClock) done(uid types.UID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[uid] = now
}

func (c *updateClock) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, uid)
}

// windowOpen tells whether automatic updates may happen now, and when they may
// again if not. A window that begins in an hour that a change of the clocks skips
// opens an hour later. An unknown time zone is taken for UTC.
func windowOpen(w *v1alpha1.UpdateWindow, now time.Time) (open bool, next time.Time) {
	if w == nil {
		return true, now
	}
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	clock, err := time.Parse("15:04", w.Start)
	if err != nil {
		return true, now // the schema admits no other form
	}
	local := now.In(zone)
	// A window of a day may have begun yesterday; the next one begins within a week.
	for day := -1; day <= 7; day++ {
		begins := time.Date(local.Year(), local.Month(), local.Day()+day, clock.Hour(), clock.Minute(), 0, 0, zone)
		if !opensOn(w, begins.Weekday()) {
			continue
		}
		if begins.After(now) {
			return false, begins
		}
		if now.Before(begins.Add(w.Duration.Duration)) {
			return true, now
		}
	}
	return false, now.Add(24 * time.Hour)
}

func opensOn(w *v1alpha1.UpdateWindow, day time.Weekday) bool {
	if len(w.Days) == 0 {
		return true
	}
	for _, d := range w.Days {
		if string(d) == day.String() {
			return true
		}
	}
	return false
}

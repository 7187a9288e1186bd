package albatrosstest_test

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// clock is the time that unikernels live in. It stands still unless it is moved,
// so that scenarios do not depend on how busy the machine is.
type clock struct {
	moving sync.Mutex // one moves it at a time

	mu     sync.Mutex
	now    time.Time
	timers []*timer
}

type timer struct {
	at time.Time
	f  func()
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond) // two looks differ
	return c.now
}

// After is for albatrosstest.Options.
func (c *clock) After(d time.Duration, f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c.now.Add(d), f}
	c.timers = append(c.timers, t)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.timers = slices.DeleteFunc(c.timers, func(other *timer) bool { return other == t })
	}
}

// advance moves the clock and runs what becomes due, in order.
func (c *clock) advance(d time.Duration) {
	c.moving.Lock()
	defer c.moving.Unlock()
	c.mu.Lock()
	end := c.now.Add(d)
	c.mu.Unlock()
	for {
		t := c.take(end)
		if t == nil {
			return
		}
		t.f()
	}
}

// take gives the next timer that is due by end, and moves the clock there.
func (c *clock) take(end time.Time) *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := -1
	for i, t := range c.timers {
		if !t.at.After(end) && (next < 0 || t.at.Before(c.timers[next].at)) {
			next = i
		}
	}
	if next < 0 {
		c.now = end
		return nil
	}
	t := c.timers[next]
	c.timers = slices.Delete(c.timers, next, next+1)
	if t.at.After(c.now) {
		c.now = t.at
	}
	return t
}

// flow moves the clock slowly until stop is called.
func (c *clock) flow(step time.Duration) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				c.advance(step)
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

func TestClock(t *testing.T) {
	c := newClock()
	begin := c.Now()
	var order []int
	c.After(3*time.Second, func() { order = append(order, 3) })
	c.After(time.Second, func() {
		order = append(order, 1)
		c.After(time.Second, func() { order = append(order, 2) })
	})
	stop := c.After(time.Second, func() { order = append(order, 9) })
	stop()
	c.advance(2500 * time.Millisecond)
	if !slices.Equal(order, []int{1, 2}) || c.Now().Sub(begin).Round(time.Millisecond) != 2500*time.Millisecond {
		t.Errorf("%v after %s", order, c.Now().Sub(begin))
	}
	c.advance(time.Second)
	if !slices.Equal(order, []int{1, 2, 3}) {
		t.Errorf("%v", order)
	}
}

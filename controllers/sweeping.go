package controllers

import (
	"sync/atomic"
	"time"
)

// sweeping has what is remembered for a time only dropped after it, also when
// nothing else happens by then. It takes no time and no memory while there is
// nothing to drop.
type sweeping struct{ asked atomic.Bool }

// after calls sweep with the time by then, unless it will be called already.
func (s *sweeping) after(pause time.Duration, sweep func(now time.Time)) {
	if s.asked.CompareAndSwap(false, true) {
		time.AfterFunc(pause, func() {
			s.asked.Store(false)
			sweep(time.Now())
		})
	}
}

package albatrosstest

import (
	"sync"
	"time"
)

// scheduler runs functions later, without a goroutine for each that waits, and
// can be closed so that none runs afterwards.
type scheduler struct {
	// start is [Options.After].
	start   func(time.Duration, func()) (stop func())
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// after runs f once d has passed, unless the scheduler is closed or stop called
// before. stop does not wait.
func (s *scheduler) after(d time.Duration, f func()) (stop func()) {
	return s.start(d, func() {
		if s.enter() {
			defer s.running.Done()
			f()
		}
	})
}

func (s *scheduler) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// close waits for what runs and drops what would.
func (s *scheduler) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
}

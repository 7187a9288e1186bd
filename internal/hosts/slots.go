package hosts

import (
	"slices"
	"sync"
	"time"
)

// patience is how long a place in line is kept for a key that does not ask
// again. Who waits must ask more often than that.
const patience = time.Minute

// slots are a host's places for commands, given in the order in which they were
// asked for. Nobody waits in it: who gets none stands in line and is named once,
// by whatever makes room for it.
type slots struct {
	mu    sync.Mutex
	limit int
	used  int
	line  []waiter
}

type waiter struct {
	key   string
	asked time.Time
	// told is set once the key was named.
	told bool
}

func newSlots(limit int) *slots { return &slots{limit: limit} }

// tryAcquire takes a place when one is free and nobody who stands in line before
// key has a better claim to it. granted are others who may take one now.
func (s *slots) tryAcquire(key string, now time.Time) (ok bool, granted []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.position(key)
	if at < 0 {
		at = len(s.line)
		s.line = append(s.line, waiter{key: key})
	}
	s.line[at].asked = now
	s.dropAbsent(now)
	at = s.position(key)
	if ok = at < s.free(); ok {
		s.line = slices.Delete(s.line, at, at+1)
		s.used++
	}
	return ok, s.tell()
}

// release gives a place back. granted are those who may take one now.
func (s *slots) release() (granted []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	return s.tell()
}

// expire takes those out of the line who did not come back. granted are those
// who may take a place now.
func (s *slots) expire(now time.Time) (granted []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropAbsent(now)
	return s.tell()
}

func (s *slots) position(key string) int {
	return slices.IndexFunc(s.line, func(w waiter) bool { return w.key == key })
}

// waiting is how many stand in line.
func (s *slots) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.line)
}

func (s *slots) free() int { return s.limit - s.used }

// dropAbsent takes those out of the line who never come back for their place,
// such as objects that were deleted.
func (s *slots) dropAbsent(now time.Time) {
	s.line = slices.DeleteFunc(s.line, func(w waiter) bool { return now.Sub(w.asked) > patience })
}

// tell gives those whose turn it is and who were not told so.
func (s *slots) tell() (keys []string) {
	for i := range s.line[:min(len(s.line), s.free())] {
		if !s.line[i].told {
			s.line[i].told = true
			keys = append(keys, s.line[i].key)
		}
	}
	return keys
}

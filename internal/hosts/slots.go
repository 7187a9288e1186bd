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
// asked for. Nobody waits in it: who gets none stands in line and is named by a
// later release.
type slots struct {
	mu    sync.Mutex
	limit int
	used  int
	line  []waiter
}

type waiter struct {
	key   string
	asked time.Time
	// told is set once a release has named the key.
	told bool
}

func newSlots(limit int) *slots { return &slots{limit: limit} }

// tryAcquire takes a place when one is free and nobody who stands in line before
// key has a better claim to it.
func (s *slots) tryAcquire(key string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Deleted objects, say, never come back for their place.
	s.line = slices.DeleteFunc(s.line, func(w waiter) bool { return w.key != key && now.Sub(w.asked) > patience })
	at := slices.IndexFunc(s.line, func(w waiter) bool { return w.key == key })
	if at < 0 {
		at = len(s.line)
		s.line = append(s.line, waiter{key: key})
	}
	s.line[at].asked = now
	if at >= s.limit-s.used {
		return false
	}
	s.line = slices.Delete(s.line, at, at+1)
	s.used++
	return true
}

// release gives a place back and the keys that may take one now and were not
// told so before.
func (s *slots) release() (granted []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	for i := range s.line[:min(len(s.line), s.limit-s.used)] {
		if !s.line[i].told {
			s.line[i].told = true
			granted = append(granted, s.line[i].key)
		}
	}
	return granted
}

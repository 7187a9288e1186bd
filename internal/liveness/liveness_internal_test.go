package liveness

import (
	"testing"
	"time"
)

// TestSightings goes through what checks may find, one after another.
func TestSightings(t *testing.T) {
	type found struct {
		after time.Duration
		work  int
		signs uint64
		want  bool
	}
	const minute = time.Minute
	for name, checks := range map[string][]found{
		"nothing to do for hours":            {{0, 0, 0, false}, {3 * time.Hour, 0, 0, false}},
		"work after hours without any":       {{0, 0, 0, false}, {3 * time.Hour, 1, 0, false}, {3*time.Hour + minute, 0, 1, false}},
		"work, and nobody does it":           {{0, 1, 0, false}, {4 * minute, 1, 0, false}, {5 * minute, 1, 0, true}, {6 * minute, 3, 0, true}},
		"more work than can be done":         {{0, 9, 1, false}, {4 * minute, 900, 2, false}, {8 * minute, 9000, 3, false}, {12 * minute, 9000, 4, false}},
		"stopped after it had worked":        {{0, 1, 7, false}, {4 * minute, 1, 8, false}, {8 * minute, 1, 8, false}, {9 * minute, 1, 8, true}},
		"goes on after all":                  {{0, 1, 0, false}, {6 * minute, 1, 0, true}, {7 * minute, 1, 1, false}, {11 * minute, 1, 1, false}, {12 * minute, 1, 1, true}},
		"the work is done while none looked": {{0, 1, 0, false}, {time.Hour, 1, 5, false}, {time.Hour + minute, 0, 6, false}},
		"empty in between":                   {{0, 1, 0, false}, {4 * minute, 0, 0, false}, {6 * minute, 1, 0, false}, {10 * minute, 1, 0, false}, {11 * minute, 1, 0, true}},
	} {
		start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		var s sighting
		for _, c := range checks {
			now := start.Add(c.after)
			s = s.next(c.work, c.signs, now)
			if got := s.stopped(now); got != c.want {
				t.Errorf("%s: after %s stopped is %v", name, c.after, got)
			}
		}
	}
}

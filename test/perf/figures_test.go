package perf

import (
	"cmp"
	"maps"
	"slices"
	"testing"
	"time"
)

// figures are what one run of a benchmark reports.
type figures struct {
	*testing.B
	ranges   *Ranges
	reported map[string]bool
}

// newFigures demands at the end of the benchmark that it has reported all figures that it has ranges for. The time of an iteration
// is none of them, and is not shown.
func newFigures(b *testing.B) *figures {
	f := &figures{B: b, ranges: readRanges(b), reported: map[string]bool{}}
	b.Cleanup(func() {
		b.ReportMetric(0, "ns/op")
		for name := range f.ranges.Of(b.Name()) {
			if !f.reported[name] && !b.Failed() {
				b.Errorf("%q was not reported", name)
			}
		}
	})
	return f
}

// report prints a figure and fails the benchmark when it is out of its range.
func (f *figures) report(name string, value float64) {
	f.Helper()
	f.ReportMetric(value, name)
	f.reported[name] = true
	if err := f.ranges.Check(f.Name(), name, value); err != nil {
		f.Error(err)
	}
}

// percentile gives the smallest of the values that p per cent of them do not exceed.
func percentile[T cmp.Ordered](values []T, p int) T {
	if len(values) == 0 {
		var none T
		return none
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// lasting gives how long each took, without the names.
func lasting(times map[string]time.Duration) []time.Duration {
	return slices.Collect(maps.Values(times))
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for _, c := range []struct {
		times []time.Duration
		p     int
		want  time.Duration
	}{
		{nil, 50, 0}, {hundred, 95, 95}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
		{hundred[:1], 95, 100}, {[]time.Duration{3, 1, 2}, 50, 2}, {[]time.Duration{3, 1, 2}, 95, 3},
	} {
		if got := percentile(c.times, c.p); got != c.want {
			t.Errorf("percentile %d of %d: got %d, want %d", c.p, len(c.times), got, c.want)
		}
	}
}

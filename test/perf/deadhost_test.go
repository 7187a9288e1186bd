package perf

import (
	"fmt"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
)

// BenchmarkDeadHost compares how long Unikernels on nine hosts take to Ready while a tenth is dead, and while it is not. The tenth
// takes connections and is silent, which is worse than to refuse them. In every other round it is dead for so long that it counts as
// lost; in those between, the operator has yet to find that out. While it is dead, objects are declared for it too. Rounds alternate,
// so that what else the machine does falls on both, and each begins when nothing is left to do of the one before. Each is compared with
// the one before it, and the figures are the middle of these ratios. The first, in which everything happens for the first time, does
// not count.
func BenchmarkDeadHost(b *testing.B) {
	const (
		rounds   = 7 // an odd number has a middle
		objects  = 99
		interval = 50 * time.Millisecond
	)
	w := newWorld(b, 10, 5*time.Second)
	m := w.startManager()
	live, victim := w.hosts[:9], w.hosts[9]
	w.seen.untilConnected()
	w.round("warm-", objects, live, nil, interval)
	var halves, slowest []float64
	for round := range rounds {
		w.seen.untilConnected()
		m.quiet(nil)
		alive := w.round(fmt.Sprintf("a%d-", round), objects, live, nil, interval)

		m.quiet(nil)
		lift := victim.Inject(albatrosstest.Fault{Kind: albatrosstest.Stall})
		if round%2 == 1 {
			m.untilConnected(len(live))
		}
		dead := w.round(fmt.Sprintf("d%d-", round), objects, live, victim, interval)
		lift()
		halves = append(halves, float64(percentile(dead, 50))/float64(percentile(alive, 50)))
		slowest = append(slowest, float64(percentile(dead, 95))/float64(percentile(alive, 95)))
		b.Logf("alive: p50 %v, p95 %v, dead: p50 %v, p95 %v", percentile(alive, 50), percentile(alive, 95), percentile(dead, 50), percentile(dead, 95))
		w.seen.untilGone(0)
	}
	w.report("dead-host-p50-ratio", percentile(halves, 50))
	w.report("dead-host-p95-ratio", percentile(slowest, 50))
}

// round creates Unikernels on some hosts, and a few for a dead one between them, waits for those that can be ready, deletes all, and
// gives how long each took.
func (w *world) round(prefix string, count int, on []*host, victim *host, interval time.Duration) []time.Duration {
	w.Helper()
	wanted := w.unikernels(prefix, count, on)
	all := wanted
	if victim != nil {
		all = nil
		for i, uk := range wanted {
			if i%len(on) == 0 {
				all = append(all, w.unikernel(fmt.Sprintf("%sx%d", prefix, i), victim.instance))
			}
			all = append(all, uk)
		}
	}
	w.createPaced(all, interval)
	took, _ := w.seen.untilReady(wanted)
	w.deleteAll(all)
	if victim == nil {
		w.seen.untilGone(0)
	}
	return lasting(took)
}

package perf

import (
	"fmt"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
)

// BenchmarkLeaks compares the operator's goroutines and open files before and after a thousand reconciles and a hundred losses of a
// host. Both are the least of several readings, since a look that is under way has some of either.
func BenchmarkLeaks(b *testing.B) {
	const reconciles, losses = 1000, 100
	w := newWorld(b, 10, time.Second)
	m := w.startManager()
	w.reconcileSome(m, "warm", 100)
	w.loseHosts(m, albatrosstest.Refuse)
	goroutines, files := m.least()

	w.reconcileSome(m, "uk", reconciles)
	for i := range losses / len(w.hosts) {
		// To be silent takes longest to be noticed, so fewer hosts are that.
		w.loseHosts(m, []albatrosstest.FaultKind{albatrosstest.Refuse, albatrosstest.Reset, albatrosstest.NotTLS, albatrosstest.Refuse, albatrosstest.Stall}[i%5])
	}
	goroutinesAfter, filesAfter := m.least()
	b.Logf("%v goroutines and %v files, then %v and %v", goroutines, files, goroutinesAfter, filesAfter)
	w.report("leaked-goroutines", goroutinesAfter-goroutines)
	w.report("leaked-files", filesAfter-files)
}

// reconcileSome creates and deletes Unikernels until there were so many reconciles.
func (w *world) reconcileSome(m *manager, prefix string, wanted float64) {
	w.Helper()
	w.seen.untilConnected()
	before := m.read().reconciles()
	for round := 0; m.read().reconciles()-before < wanted; round++ {
		all := w.unikernels(fmt.Sprintf("%s%d-", prefix, round), 100, w.hosts)
		w.createAll(all)
		w.seen.untilReady(all)
		w.deleteAll(all)
		w.seen.untilGone(0)
	}
}

// loseHosts has all hosts fail until they count as lost, and then come back.
func (w *world) loseHosts(m *manager, kind albatrosstest.FaultKind) {
	w.Helper()
	var lifts []func()
	for _, h := range w.hosts {
		lifts = append(lifts, h.Inject(albatrosstest.Fault{Kind: kind}))
	}
	m.untilConnected(0)
	for _, lift := range lifts {
		lift()
	}
	m.untilConnected(len(w.hosts))
}

// least gives the fewest goroutines and open files of some readings.
func (m *manager) least() (goroutines, files float64) {
	m.Helper()
	r, _ := m.quiet(nil)
	goroutines, files = r.goroutines(), r.files()
	for range 50 {
		r = m.read()
		goroutines, files = min(goroutines, r.goroutines()), min(files, r.files())
		time.Sleep(100 * time.Millisecond)
	}
	return goroutines, files
}

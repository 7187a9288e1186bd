package perf

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// idleVariable is the number of objects.
const idleVariable = "MOLLYMAWK_PERF_IDLE"

// BenchmarkIdle has ten thousand Unikernels, a hundred on a host, to which nothing happens for five polls. Then some more are
// created one after another, while the operator goes on polling: what counts is that they are Ready, which is more than that they
// are looked at.
func BenchmarkIdle(b *testing.B) {
	const (
		poll, polls = 30 * time.Second, 5
		perHost     = 100
		more        = 200
		kiB         = 1 << 10
	)
	count := idleObjects(b)
	w := newWorld(b, (count+perHost-1)/perHost, poll)
	m := w.startManager()
	w.seen.untilConnected()
	all := w.unikernels("uk", count, w.hosts)
	began := time.Now()
	w.createAll(all)
	_, last := w.seen.untilReady(all)
	b.Logf("%d objects were ready after %v", count, last.Sub(began).Round(time.Second))

	before, _ := m.quiet(nil)
	began, commands, queries := time.Now(), w.commands(), w.queries()
	time.Sleep(polls * poll)
	after, took := m.read(), time.Since(began)
	looks := after.looks() - before.looks()
	w.report("idle-writes", after.writes()-before.writes())
	w.report("idle-commands", float64(w.commands()-commands))
	w.report("idle-reconciles", after.reconciles()-before.reconciles())
	w.report("idle-queries/look", float64(w.queries()-queries)/looks)
	w.report("idle-looks/poll", looks/float64(len(w.hosts))/(took.Seconds()/poll.Seconds()))
	w.report("idle-cpu-percent", (after.cpuSeconds()-before.cpuSeconds())/took.Seconds()*100)
	w.report("idle-rss-kib/object", (after.resident()-64*kiB*kiB)/kiB/float64(count))
	b.Logf("%.0f MiB resident", after.resident()/kiB/kiB)

	fresh := w.unikernels("new", more, w.hosts)
	w.createPaced(fresh, 100*time.Millisecond)
	ready, _ := w.seen.untilReady(fresh)
	w.report("pick-up-p50-ms", milliseconds(percentile(lasting(ready), 50)))
	w.report("pick-up-p99-ms", milliseconds(percentile(lasting(ready), 99)))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// idleObjects is how many objects BenchmarkIdle has.
func idleObjects(b *testing.B) int {
	b.Helper()
	text := os.Getenv(idleVariable)
	if text == "" {
		return 10_000
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		b.Fatalf("%s is %q and must be a number of objects", idleVariable, text)
	}
	return count
}

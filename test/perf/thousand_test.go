package perf

import (
	"testing"
	"time"
)

// BenchmarkThousand creates a thousand Unikernels on ten hosts, starts the operator anew, and deletes them.
//
// An event counts as a write. The sums in the status of instances are written at most once a second for each instance, however many
// objects change, so they are counted apart.
func BenchmarkThousand(b *testing.B) {
	const count = 1000
	w := newWorld(b, 10, 30*time.Second)
	m := w.startManager()
	w.seen.untilConnected()

	all := w.unikernels("uk", count, w.hosts)
	cost := w.measure(m)
	began := time.Now()
	w.createAll(all)
	_, last := w.seen.untilReady(all)
	cost.take()
	w.report("create-objects/s", count/last.Sub(began).Seconds())
	w.report("create-cpu-ms/object", cost.cpu/count*1000)
	w.report("create-writes/object", cost.writes/count)
	w.report("create-commands/object", cost.commands/count)
	w.report("create-instance-writes/s", cost.instanceWrites/time.Since(began).Seconds()/float64(len(w.hosts)))

	m.stop()
	commands, queries := w.commands(), w.seen.writes()
	m = w.startManager()
	after, since := m.quiet(func(r reading) bool { return int(r.connected()) == len(w.hosts) && r.reconciles() >= count })
	w.report("restart-s", since.Sub(m.began).Seconds())
	w.report("restart-commands", float64(w.commands()-commands))
	w.report("restart-writes", after.writes())
	b.Logf("restart: %v reconciles, %d writes of instances", after.reconciles(), w.seen.writes()-queries)

	cost = w.measure(m)
	began = time.Now()
	w.deleteAll(all)
	w.seen.untilGone(0)
	took := time.Since(began)
	cost.take()
	w.report("delete-objects/s", count/took.Seconds())
	w.report("delete-writes/object", cost.writes/count)
	w.report("delete-commands/object", cost.commands/count)
}

// cost is what the operator spent on something.
type cost struct {
	w                     *world
	m                     *manager
	before                reading
	commandsBefore, seen  int
	cpu, writes, commands float64
	// instanceWrites are not among the writes.
	instanceWrites float64
}

// measure begins.
func (w *world) measure(m *manager) *cost {
	w.Helper()
	before, _ := m.quiet(nil)
	return &cost{w: w, m: m, before: before, commandsBefore: w.commands(), seen: w.seen.writes()}
}

// take waits until nothing more comes, and works out the differences.
func (c *cost) take() {
	c.w.Helper()
	after, _ := c.m.quiet(nil)
	c.cpu = after.cpuSeconds() - c.before.cpuSeconds()
	c.instanceWrites = float64(c.w.seen.writes() - c.seen)
	c.writes = after.writes() - c.before.writes() - c.instanceWrites
	c.commands = float64(c.w.commands() - c.commandsBefore)
}

package perf

import (
	"testing"
	"time"
)

// BenchmarkThousand creates a thousand Unikernels on ten hosts, starts the operator anew, and deletes them.
//
// An event counts as a write. The sums in the status of instances are written at most once a second for each instance, however many
// objects change; they are in the figures of all writes.
func BenchmarkThousand(b *testing.B) {
	const count = 1000
	w := newWorld(b, 10, 30*time.Second)
	m := w.startManager()
	w.seen.untilConnected()

	all := w.unikernels("uk", count, w.hosts)
	spent := w.begin(m)
	w.createAll(all)
	_, last := w.seen.untilReady(all)
	took := last.Sub(spent.began)
	spent.end()
	w.report("create-objects/s", count/took.Seconds())
	w.report("create-cpu-ms/object", spent.cpu*1000/count)
	w.report("create-cpu-of-all-ms/object", spent.cpuOfAll*1000/count)
	w.report("create-writes/object", spent.ownWrites/count)
	w.report("create-writes-of-all/object", spent.writes/count)
	w.report("create-commands/object", spent.commands/count)
	w.report("create-looks/object", spent.looks/count)

	m.quiet(nil) // the hosts' numbers are in their status a moment later
	m.stop()
	commands := w.commands()
	m = w.startManager()
	after, since := m.quiet(func(r reading) bool { return int(r.connected()) == len(w.hosts) && r.reconciles() >= count })
	w.report("restart-s", since.Sub(m.began).Seconds())
	w.report("restart-commands", float64(w.commands()-commands))
	w.report("restart-writes", after.writes())

	spent = w.begin(m)
	w.deleteAll(all)
	w.seen.untilGone(0)
	took = time.Since(spent.began)
	spent.end()
	w.report("delete-objects/s", count/took.Seconds())
	w.report("delete-writes/object", spent.ownWrites/count)
	w.report("delete-writes-of-all/object", spent.writes/count)
	w.report("delete-commands/object", spent.commands/count)
}

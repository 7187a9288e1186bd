package albatrosstest

import (
	"slices"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// Entry is a command that the host received.
type Entry struct {
	Time time.Time
	// Command is its name as wire.CommandName gives it: "unikernel create".
	Command string
	Name    wire.Name
	// Outcome is the text of the answer, "data" for one that is no text, or what
	// an injected fault did. Empty while the command runs, or when there was no
	// answer.
	Outcome string
}

// mutating are the commands that change something.
var mutating = []string{"unikernel create", "unikernel force create", "unikernel restart", "unikernel destroy", "block add", "block remove", "block set"}

// Mutates tells whether the command is meant to change something on the host.
func (e Entry) Mutates() bool { return slices.Contains(mutating, e.Command) }

// maxJournal bounds the journal's memory; counters go on.
const maxJournal = 20_000

type journal struct {
	mu      sync.Mutex
	first   int // number of the oldest entry that is kept
	entries []Entry
	counts  map[[2]string]int
}

func (j *journal) add(e Entry) (number int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.counts == nil {
		j.counts = map[[2]string]int{}
	}
	name := e.Name.String()
	for _, key := range [][2]string{{e.Command, name}, {e.Command, ""}, {"", name}, {"", ""}} {
		j.counts[key]++
	}
	if len(j.entries) == maxJournal {
		j.entries = slices.Delete(j.entries, 0, maxJournal/2)
		j.first += maxJournal / 2
	}
	j.entries = append(j.entries, e)
	return j.first + len(j.entries) - 1
}

func (j *journal) finish(number int, outcome string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if i := number - j.first; i >= 0 && j.entries[i].Outcome == "" {
		j.entries[i].Outcome = outcome
	}
}

// Log gives the commands received, oldest first; only the last 10,000 are sure
// to be there.
func (h *Host) Log() []Entry {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	return slices.Clone(h.journal.entries)
}

// Received counts commands, all since the start: those of a kind ("unikernel
// create"; empty means any) about a name ("alice:web"; empty means any).
func (h *Host) Received(command, name string) int {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	return h.journal.counts[[2]string{command, name}]
}

// Mutations counts the commands received that are meant to change something,
// about a name or (empty) about any.
func (h *Host) Mutations(name string) int {
	n := 0
	for _, command := range mutating {
		n += h.Received(command, name)
	}
	return n
}

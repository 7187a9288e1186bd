package faults

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
)

// machine is a simulated host of which is known when its commands ended.
type machine struct {
	*albatrosstest.Host
	now func() time.Time

	mu   sync.Mutex
	ends []ending
}

// ending is the end of a command.
type ending struct {
	at                     time.Time
	command, name, outcome string
}

// newHost starts a host that is closed at the end of the test.
func (w *world) newHost(options albatrosstest.Options) *machine {
	w.Helper()
	m := &machine{now: options.Now}
	if m.now == nil {
		m.now = time.Now
	}
	if options.Dir == "" {
		options.Dir = w.TempDir()
	}
	options.Log = slog.New(&endings{machine: m})
	m.Host = albatrosstest.Start(w.T, options)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines = append(w.machines, m)
	return m
}

// allMachines gives the hosts of a world, also those that are down.
func (w *world) allMachines() []*machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.machines)
}

// endings is a log handler that takes the lines about commands.
type endings struct{ machine *machine }

func (*endings) Enabled(_ context.Context, level slog.Level) bool { return level == slog.LevelInfo }

func (e *endings) Handle(_ context.Context, r slog.Record) error {
	end := ending{at: e.machine.now(), command: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "name":
			end.name = a.Value.String()
		case "outcome":
			end.outcome = a.Value.String()
		}
		return true
	})
	e.machine.mu.Lock()
	defer e.machine.mu.Unlock()
	e.machine.ends = append(e.machine.ends, end)
	return nil
}

func (e *endings) WithAttrs([]slog.Attr) slog.Handler { return e }
func (e *endings) WithGroup(string) slog.Handler      { return e }

// ended counts the commands of a kind about a name that ended.
func (m *machine) ended(command, name string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.ends {
		if e.command == command && e.name == name {
			n++
		}
	}
	return n
}

// sent is a command with when it was over for its sender.
type sent struct {
	albatrosstest.Entry
	over time.Time
}

// answered tells whether the sender got an answer.
func (s sent) answered() bool {
	switch s.Outcome {
	case "", "no reply", "reply cut", "upload cut", "cut before", "garbage":
		return false
	}
	return !strings.HasPrefix(s.Outcome, "no answer")
}

// sentTo gives all commands that a machine received, oldest first. A command of an
// operator that was killed was over when that was killed.
func (w *world) sentTo(m *machine) []sent {
	m.mu.Lock()
	ends := slices.Clone(m.ends)
	m.mu.Unlock()
	w.mu.Lock()
	kills := slices.Clone(w.kills)
	w.mu.Unlock()
	var all []sent
	for _, entry := range m.Log() {
		s := sent{Entry: entry}
		if i := slices.IndexFunc(ends, func(e ending) bool {
			return e.command == s.Command && e.name == s.Name.String() && e.outcome == s.Outcome && !e.at.Before(s.Time)
		}); i >= 0 {
			s.over = ends[i].at
			ends = slices.Delete(ends, i, i+1)
		}
		for _, kill := range kills {
			if kill = kill.Add(time.Until(m.now())); !kill.Before(s.Time) && (s.over.IsZero() || kill.Before(s.over)) {
				s.over = kill
			}
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b sent) int { return a.Time.Compare(b.Time) })
	return all
}

// checkMachines looks at everything that every host was sent in a test for what
// breaks hosts or loses what is on them.
func (w *world) checkMachines() {
	for _, m := range w.allMachines() {
		all := w.sentTo(m)
		for _, s := range all {
			if problem := harmful(s); problem != "" {
				w.Errorf("%s: %s %s (%s)", problem, s.Command, s.Name, s.Outcome)
			}
		}
		w.checkOrder(all)
		w.checkPolicies(m)
	}
}

// harmful tells what is wrong with a command as such.
func harmful(s sent) string {
	switch {
	case strings.Contains(s.Command, "create") && s.Name.Label == "":
		return "a create without a name, after which no other works"
	case strings.HasPrefix(s.Command, "old"):
		return "an old question, which may end the host's daemon"
	case s.Command == "unknown command":
		return "an unknown command"
	case s.Outcome == "data exceeds block size", s.Outcome == "Invalid Zlib header":
		return "data for a block device that has the host wait for ever"
	case strings.HasPrefix(s.Outcome, "policy above"), strings.Contains(s.Outcome, "Unusable policy"):
		return "a policy that could have been known to be refused"
	}
	return ""
}

// checkOrder looks for two mutating commands for a name at a time, and for one
// that followed an unanswered one without a look in between.
func (w *world) checkOrder(all []sent) {
	looks := map[string]string{"unikernel": "unikernel info", "block": "block info"}
	last := map[string]sent{}
	for i, s := range all {
		if !s.Mutates() {
			continue
		}
		kind, _, _ := strings.Cut(s.Command, " ")
		key := kind + " " + s.Name.String()
		before, some := last[key]
		last[key] = s
		if !some {
			continue
		}
		if before.over.IsZero() || s.Time.Before(before.over) {
			w.Errorf("%s %s was sent while %s was under way", s.Command, s.Name, before.Command)
		}
		looked := slices.ContainsFunc(all[:i], func(look sent) bool {
			return look.Command == looks[kind] && !look.Time.Before(before.over)
		})
		if !before.answered() && !looked {
			w.Errorf("%s %s was sent after an unanswered %s without a look", s.Command, s.Name, before.Command)
		}
	}
}

// checkPolicies looks for policies that lock a tenant out, and block devices of
// no size.
func (w *world) checkPolicies(m *machine) {
	policies := m.Policies()
	slices.SortFunc(policies, func(a, b albatross.PathPolicy) int { return cmp.Compare(len(a.Name.Path), len(b.Name.Path)) })
	for _, p := range policies {
		if len(p.Name.Path) == 0 {
			continue
		}
		parent, ok := m.Policy(p.Name.Path.Parent().String())
		if !ok {
			w.Errorf("path %s has a policy and the one above it none", p.Name.Path)
			continue
		}
		if err := p.Policy.Within(parent); err != nil {
			w.Errorf("path %s has more than the one above it: %v", p.Name.Path, err)
		}
	}
	for _, b := range m.Blocks("") {
		if b.Size <= 0 {
			w.Errorf("block device %s has no size", b.Name)
		}
	}
}

package services

import (
	"context"
	"errors"
	"iter"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"mollymawk.dev/operator/albatross"
)

// Line is a line of a console.
type Line struct {
	Time time.Time
	Text string
}

// historyLines is how many lines of the past a viewer of a console begins with.
const historyLines = 40

// consoleID is a console of a host.
type consoleID struct {
	place place
	label string
}

func (c consoleID) key() string { return c.place.instance + " " + c.place.name(c.label).String() }

// Console gives the lines of a unikernel, of the past first, as they come. All
// viewers of a console on this replica share one subscription, of which a host
// has about five. It ends with its context, with [ErrTooSlow] for a viewer who
// does not keep up, or when the host refuses. A console outlives its unikernel.
func (s *Services) Console(ctx context.Context, id Identity, instance, name string) (iter.Seq2[Line, error], error) {
	instance, name, err := labels(instance, "name", name)
	if err != nil {
		return nil, err
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return nil, err
	}
	if err := s.hasConsole(ctx, id, p, name); err != nil {
		return nil, err
	}
	return s.consoles.view(ctx, consoleID{p, name})
}

// hasConsole refuses what never ran and was never declared: a host would let it
// wait for ever.
func (s *Services) hasConsole(ctx context.Context, id Identity, p place, name string) error {
	host, err := s.connected(p)
	if err != nil {
		return err
	}
	if _, runs := host.Snapshot().Unikernels[p.name(name).String()]; runs {
		return nil
	}
	uk, err := s.unikernel(ctx, id, name)
	if err != nil || uk != nil && isAt(uk, p.instance) {
		return err
	}
	at, err := s.site(ctx, p)
	if err != nil {
		return err
	}
	if _, runs := at.snapshot.Unikernels[p.name(name).String()]; runs {
		return nil
	}
	inactive, err := at.host.Client().InactiveConsoles(ctx, at.scope)
	if err != nil {
		return hostError(p.instance, err)
	}
	for _, known := range inactive {
		if known.Equal(p.name(name)) {
			return nil
		}
	}
	return &NotFound{whatUnikernel, name}
}

// Pauses between two subscriptions to a console.
var consolePauses = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 8, Cap: 15 * time.Second}

// follow gives the lines of a console to emit, each once and in order, until the
// context ends or the host refuses. After a cut it goes on where it was.
func (s *Services) follow(ctx context.Context, id consoleID, emit func(Line)) error {
	var seen tail
	pauses := consolePauses
	for {
		refused, err := s.subscribe(ctx, id, &seen, func(line Line) {
			pauses = consolePauses
			emit(line)
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if refused {
			return err
		}
		s.Log.V(1).Info("Console cut; subscribing again", "instance", id.place.instance, "error", err.Error())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pauses.Step()):
		}
	}
}

// subscribe gives lines until the subscription ends. refused says that another
// would end alike.
func (s *Services) subscribe(ctx context.Context, id consoleID, seen *tail, emit func(Line)) (refused bool, err error) {
	at, err := s.site(ctx, id.place)
	if err != nil {
		return false, err
	}
	options := albatross.ConsoleOptions{Count: historyLines}
	if since, ok := seen.since(); ok {
		options = albatross.ConsoleOptions{Since: &since}
		seen.replay()
	}
	for line, err := range at.host.Client().Console(ctx, at.scope, id.label, options) {
		if err != nil {
			return errors.Is(err, albatross.ErrRefused) || errors.Is(err, albatross.ErrInvalid), hostError(id.place.instance, err)
		}
		if l := (Line{line.Time, line.Line}); seen.isNew(l) {
			emit(l)
		}
	}
	return false, errors.New("the console ended")
}

// precision of the times of lines, as a host tells them.
const precision = time.Millisecond

// tail remembers the latest lines of a console by which one can go on after a cut
// without losing or repeating any.
type tail struct {
	// latest are the lines not older than precision before the last, in order.
	latest []Line
	// expected are those of latest that a new subscription begins with.
	expected []Line
}

// since is where a new subscription must begin, whether or not a host takes that
// to include lines of just that time.
func (t *tail) since() (time.Time, bool) {
	if len(t.latest) == 0 {
		return time.Time{}, false
	}
	return t.latest[len(t.latest)-1].Time.Add(-precision).Truncate(precision), true
}

// replay expects the lines since then once more.
func (t *tail) replay() { t.expected = append([]Line(nil), t.latest...) }

// isNew tells whether a line was not seen, and remembers it.
func (t *tail) isNew(line Line) bool {
	for i, known := range t.expected {
		if known.Time.Equal(line.Time) && known.Text == line.Text {
			t.expected = t.expected[i+1:]
			return false
		}
	}
	t.expected = nil
	keep := 0
	for keep < len(t.latest) && t.latest[keep].Time.Before(line.Time.Add(-precision).Truncate(precision)) {
		keep++
	}
	t.latest = append(t.latest[max(keep, len(t.latest)-keptLines):], line)
	return true
}

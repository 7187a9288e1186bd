package albatross

import (
	"context"
	"iter"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// ConsoleOptions say where a console's history begins.
type ConsoleOptions struct {
	// Since gives lines from this time on; nil means the last Count ones.
	Since *time.Time
	// Count of the latest lines; hosts keep 1024.
	Count int64
}

// Console gives the lines of a unikernel, first those of the past and then as
// they come. It ends with its context, with which the last error is an
// [ErrTimeout], and when the host closes it ([ErrEnded]), as it does to the
// oldest of about five viewers of a console. A name that does not run waits
// until it does; its console outlives it.
func (c *Client) Console(ctx context.Context, scope Scope, label string, options ConsoleOptions) iter.Seq2[ConsoleLine, error] {
	command := wire.ConsoleSubscribe{Since: options.Since, Count: options.Count}
	return func(yield func(ConsoleLine, error) bool) {
		if err := needLabel(scope, label, command); err != nil {
			yield(ConsoleLine{}, err)
			return
		}
		subscribe(ctx, c, scope, label, command, func(_ wire.Frame, line wire.ConsoleLine, err error) bool {
			return yield(line, err)
		})
	}
}

// Sample is the measurement of one unikernel.
type Sample struct {
	Name  Name
	Stats Stats
}

// Statistics gives a measurement of every unikernel below the scope's path about
// every ten seconds. A host has one subscriber a path: a second one ends the
// first's stream ([ErrEnded]).
func (c *Client) Statistics(ctx context.Context, scope Scope) iter.Seq2[Sample, error] {
	base := Name{Path: scope.Path()}
	return func(yield func(Sample, error) bool) {
		subscribe(ctx, c, scope, "", wire.StatsSubscribe{}, func(f wire.Frame, stats wire.Stats, err error) bool {
			// The header of each has a name relative to what was subscribed.
			return yield(Sample{f.Name.In(base), stats}, err)
		})
	}
}

// InactiveConsoles lists the names below the scope's path whose console is kept
// though they do not run.
func (c *Client) InactiveConsoles(ctx context.Context, scope Scope) ([]Name, error) {
	r, err := query[wire.Consoles](ctx, c, scope, "", wire.ConsoleListInactive{})
	if err != nil {
		return nil, err
	}
	for i := range r.payload.Names {
		if err := r.resolve(&r.payload.Names[i]); err != nil {
			return nil, err
		}
	}
	return r.payload.Names, nil
}

// subscribe gives the data frames of a stream that ends only with its context or
// by the host. Before the data comes one text.
func subscribe[P wire.Payload](ctx context.Context, c *Client, scope Scope, label string, command wire.Command, yield func(wire.Frame, P, error) bool) {
	var none P
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		yield(wire.Frame{}, none, err)
		return
	}
	defer s.close()
	s.wait(c.options.Timeout)
	if _, err := answer[wire.Text](s); err != nil {
		yield(wire.Frame{}, none, err)
		return
	}
	s.closed = ErrEnded
	for {
		s.waitForEver()
		frame, err := s.receive()
		var payload P
		if err == nil {
			payload, err = expect[P](s, frame)
		}
		if err != nil {
			yield(wire.Frame{}, none, err)
			return
		}
		if !yield(frame, payload, nil) {
			return
		}
	}
}

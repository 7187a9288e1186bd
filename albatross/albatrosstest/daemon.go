package albatrosstest

import (
	"context"
	"errors"
	"sync"

	"mollymawk.dev/operator/albatross/wire"
)

// daemon is the part of a host that keeps policies, unikernels and block devices.
type daemon struct {
	options  *Options
	images   *images
	consoles *consoles
	timers   *scheduler
	state    stateFolder

	mu sync.Mutex
	// dead is set by a quirk: nobody answers any more.
	dead bool
	// consoleBroken is set by a quirk: no unikernel can be created any more.
	consoleBroken bool
	closing       bool
	policies      tree[wire.Policy]
	unikernels    tree[*unikernel]
	blocks        tree[*block]
	// waiters are told when a unikernel ends: commands that wait for it, and the
	// fail behaviour. There is one for a name (seen in create-info-destroy and
	// destroy-boot-loop).
	waiters map[string]*waiter
	// restarting has the names whose end was waited for; a destroy of one that
	// does not run takes it out and succeeds.
	restarting map[string]bool
}

// waiter is called with the daemon's lock held.
type waiter struct {
	ended func(exit)
	// command says that a client waits, and not only the fail behaviour.
	command bool
}

// errNoAnswer is the daemon's end in the middle of a command.
var errNoAnswer = errors.New("the daemon gave no answer")

// alive tells whether the daemon takes connections.
func (d *daemon) alive() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.dead
}

// do carries out a command that has one answer. The context ends when the client
// is gone. The image is that of a create.
func (d *daemon) do(ctx context.Context, name wire.Name, command wire.Command, image prepared) (wire.Payload, error) {
	switch c := command.(type) {
	case wire.PolicyInfo:
		return d.locked(func() (wire.Payload, error) { return d.policyInfo(name), nil })
	case wire.UnikernelInfo:
		return d.locked(func() (wire.Payload, error) { return d.unikernelInfo(name, wire.InfoCurrent) })
	case wire.OldUnikernelInfo4:
		return d.locked(func() (wire.Payload, error) { return d.unikernelInfo(name, wire.InfoForm4) })
	case wire.OldUnikernelInfo5:
		return d.locked(func() (wire.Payload, error) { return d.unikernelInfo(name, wire.InfoForm5) })
	case wire.UnikernelGet:
		return d.unikernelGet(name, c.Level)
	case wire.UnikernelCreate:
		return d.locked(func() (wire.Payload, error) { return text(d.launch(name, c.Config, image)) })
	case wire.UnikernelForceCreate:
		return d.waitFor(ctx, func(answer chan<- result) (wire.Payload, error) { return d.forceCreate(name, c.Config, image, answer) })
	case wire.UnikernelRestart:
		return d.waitFor(ctx, func(answer chan<- result) (wire.Payload, error) { return d.restart(name, c.Arguments, answer) })
	case wire.UnikernelDestroy:
		return d.waitFor(ctx, func(answer chan<- result) (wire.Payload, error) { return d.destroy(name, answer) })
	}
	return d.blockCommand(name, command)
}

func (d *daemon) blockCommand(name wire.Name, command wire.Command) (wire.Payload, error) {
	return d.locked(func() (wire.Payload, error) {
		switch c := command.(type) {
		case wire.BlockList:
			return d.blockInfo(name), nil
		case wire.BlockAdd:
			return text(d.blockAdd(name, c.Size, nil))
		case wire.OldBlockAdd:
			return text(d.oldBlockAdd(name, c))
		case wire.BlockRemove:
			return text(d.blockRemove(name))
		case wire.OldBlockSet:
			return text(d.oldBlockSet(name, c))
		case wire.OldBlockDump:
			return d.oldBlockDump(name, c.Level)
		}
		return nil, refusal("unknown command")
	})
}

func (d *daemon) locked(f func() (wire.Payload, error)) (wire.Payload, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errNoAnswer
	}
	return f()
}

func text(s string, err error) (wire.Payload, error) { return wire.Text{Text: s}, err }

// result is what a command that waited is answered with.
type result struct {
	payload wire.Payload
	err     error
}

// waitFor begins a command; when that gives neither payload nor error, the
// answer comes later.
func (d *daemon) waitFor(ctx context.Context, begin func(chan<- result) (wire.Payload, error)) (wire.Payload, error) {
	answer := make(chan result, 1)
	payload, err := d.locked(func() (wire.Payload, error) { return begin(answer) })
	if payload != nil || err != nil {
		return payload, err
	}
	select {
	case r := <-answer:
		return r.payload, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// register has w told about the end of a unikernel instead of who was told
// before. A client that waited for the same end is lost with the original; here
// it is told too unless that quirk is wanted.
func (d *daemon) register(key string, w *waiter) {
	before := d.waiters[key]
	if before != nil && before.command && !d.options.Quirks.Deadlocks {
		own := w.ended
		w.ended = func(e exit) {
			own(e)
			before.ended(e)
		}
	}
	d.waiters[key] = w
}

// mayRestart tells whether a restart of the name is still wanted.
func (d *daemon) mayRestart(key string) bool {
	wanted := d.restarting[key]
	delete(d.restarting, key)
	return wanted
}

// stopRestart is what destroy and restart do about a name that does not run.
func (d *daemon) stopRestart(key string) (string, error) {
	if d.waiters[key] != nil {
		delete(d.waiters, key)
		return "destroyed: removed waiter", nil
	}
	if d.mayRestart(key) {
		return "destroyed: removed from restarting", nil
	}
	return "", refusal("destroy: not found")
}

// start takes over what an earlier host left in the folder.
func (d *daemon) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.state.loadPolicies(&d.policies); err != nil {
		return err
	}
	d.policies.put(nil, d.options.rootPolicy())
	if err := d.loadBlocks(); err != nil {
		return err
	}
	return d.startKept()
}

// close ends all unikernels without forgetting them.
func (d *daemon) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for _, m := range d.unikernels.list(nil) {
		m.value.guest.drop()
	}
}

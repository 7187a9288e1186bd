package hosts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/metrics"
)

// State is what is known about the connection to a host.
type State struct {
	// Connected is true from one good look until three in a row failed.
	Connected bool
	// Failures counts failed looks since the last good one.
	Failures int
	// Err is the last failure, nil after a good look and before the first.
	Err error
	// Snapshot is the last one, also of a host that was lost; nil before the first.
	Snapshot *Snapshot
	// NotAfter is when the credential ends.
	NotAfter time.Time
}

// Problem says why a host is not connected, as [Problem] does.
func (s State) Problem() string { return Problem(s.Err) }

// Known tells whether the host was found to answer or not to answer. Before the
// first look, and while the first failures may pass, it is neither.
func (s State) Known() bool {
	return s.Connected || s.Snapshot != nil || s.Failures >= failuresToDisconnect
}

// Host is one Albatross host as the operator sees it.
type Host struct {
	pool       *Pool
	instance   string
	target     Target
	client     *albatross.Client
	credential *albatross.Credential
	log        logr.Logger
	slots      *slots
	// cancel ends the polls; it is set when they begin, under Pool.mu.
	cancel context.CancelFunc
	// poke has the next look begin at once.
	poke chan struct{}
	// silence is when the last command went unanswered; nil before the first.
	silence *atomic.Pointer[time.Time]
	// commands counts those under way, and commanded says that one ended since the
	// last look began.
	commands  atomic.Int64
	commanded atomic.Bool

	mu    sync.Mutex
	state State
	// wanted and served number the looks that were asked for: a caller is served
	// by a look that began after it asked.
	wanted, served uint64
	// looked is closed and made anew after every look.
	looked chan struct{}
	// closed says that there are no more looks.
	closed bool
}

// inherit keeps what is known when only the credentials or the interval changed,
// so that a rotation does not look like a lost host, and commands that are under
// way still count.
func (h *Host) inherit(old *Host) {
	if h.target.Addr == old.target.Addr {
		h.state = old.State()
		h.slots = old.slots
		h.silence = old.silence
	}
}

// Client gives what commands are sent with.
func (h *Host) Client() *albatross.Client { return h.client }

// State gives what is known now.
func (h *Host) State() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.state
	s.NotAfter = h.credential.NotAfter()
	return s
}

// Snapshot gives the last look; a [Host] from [Pool.Get] has one.
func (h *Host) Snapshot() *Snapshot { return h.State().Snapshot }

// Refresh waits for a look at the host that begins now or later. Callers at the
// same time share one. It fails when the look does, and with an error that wraps
// [ErrNotConnected] when the host was removed or replaced meanwhile.
func (h *Host) Refresh(ctx context.Context) (*Snapshot, error) {
	h.mu.Lock()
	h.wanted++
	want := h.wanted
	select {
	case h.poke <- struct{}{}:
	default: // a look is asked for already
	}
	h.mu.Unlock()
	for {
		h.mu.Lock()
		served, looked, closed, state := h.served, h.looked, h.closed, h.state
		h.mu.Unlock()
		switch {
		case served >= want && state.Err != nil:
			return nil, state.Err
		case served >= want:
			return state.Snapshot, nil
		case closed:
			return nil, fmt.Errorf("%w: its instance or credentials changed meanwhile", ErrNotConnected)
		}
		select {
		case <-looked:
		case <-ctx.Done():
			return nil, fmt.Errorf("look at the host: %w", context.Cause(ctx))
		}
	}
}

// TryAcquire takes one of the host's places for a mutating command. Without a
// free one it is false, key stands in line, and a [Change] will name it among
// those Granted; then a place is kept for it. Who does not ask again within a
// minute loses the place in line. release may be called more than once.
func (h *Host) TryAcquire(key string) (release func(), ok bool) {
	ok, granted := h.slots.tryAcquire(key, time.Now())
	h.grant(granted)
	if !ok {
		return nil, false
	}
	return sync.OnceFunc(func() { h.grant(h.slots.release()) }), true
}

// Measure has a command that changes something counted, with what it is called
// in metrics, how long it took and how it ended.
func (h *Host) Measure(command string, send func() error) error {
	began := time.Now()
	err := h.count(send)
	failure := ""
	if err != nil {
		failure = Classify(err).String()
		h.noteSilence(err)
	}
	metrics.Command(h.instance, command, failure, time.Since(began))
	return err
}

// count knows of a command while it is under way.
func (h *Host) count(send func() error) error {
	h.commands.Add(1)
	defer func() {
		h.commanded.Store(true)
		h.commands.Add(-1)
	}()
	return send()
}

// noteSilence has the host looked at when a command may have been carried out
// without an answer.
func (h *Host) noteSilence(err error) {
	var failure *albatross.Error
	if errors.As(err, &failure) && (!failure.Sent || errors.Is(err, albatross.ErrRefused)) {
		return
	}
	h.silence.Store(new(time.Now()))
	select {
	case h.poke <- struct{}{}:
	default: // a look is asked for already
	}
}

// Doubtful tells whether a command went unanswered since the last look began.
// Then the snapshot may not show what it did, and nothing must be repeated before
// the next one, which is on its way.
func (h *Host) Doubtful() bool {
	silence, snapshot := h.silence.Load(), h.Snapshot()
	return silence != nil && (snapshot == nil || !snapshot.At.After(*silence))
}

// grant tells those who stand in line that there is a place for them.
func (h *Host) grant(keys []string) {
	if len(keys) > 0 {
		h.pool.publish(Change{Instance: h.instance, Granted: keys})
	}
}

func (h *Host) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-h.poke:
			if !h.gather(ctx, last) {
				return
			}
		}
		last = time.Now()
		h.look(ctx)
		timer.Reset(h.pause())
	}
}

// gather waits until the look that was asked for may begin, so that others share
// it; it is false when the context ends. After a pause there is nothing to wait
// for, nor is there anybody after a command while no other is under way: who sends
// one after another would wait each time.
func (h *Host) gather(ctx context.Context, last time.Time) bool {
	spaced := time.NewTimer(time.Until(last.Add(h.pool.options.LookSpacing)))
	defer spaced.Stop()
	for !h.alone() {
		select {
		case <-ctx.Done():
			return false
		case <-spaced.C:
			return true
		case <-h.poke: // perhaps after a command
		}
	}
	return true
}

// alone tells whether a command ended since the last look and none is under way.
func (h *Host) alone() bool {
	return h.commanded.Load() && h.commands.Load() == 0
}

// close ends the looks, and the waiting of those who hope for one.
func (h *Host) close() {
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.looked)
	}
}

// pause is the time until the next look: short after the first failures, so that
// a lost host is known to be lost soon, and longer the longer it is gone.
func (h *Host) pause() time.Duration {
	h.mu.Lock()
	failures := h.state.Failures
	h.mu.Unlock()
	if failures == 0 {
		return jitter(h.target.PollInterval)
	}
	retry := h.pool.options.RetryDelay << min(max(failures-failuresToDisconnect+1, 0), 3)
	return jitter(min(retry, h.target.PollInterval))
}

func (h *Host) look(ctx context.Context) {
	serving := h.begin()
	lookCtx, cancel := context.WithTimeout(ctx, h.pool.options.ProbeTimeout)
	began := time.Now()
	snapshot, err := look(lookCtx, h.client, began)
	cancel()
	if ctx.Err() != nil {
		return
	}
	if change, news := h.record(snapshot, err, serving, began); news {
		h.pool.publish(change)
	}
	// Without this those behind somebody who never came back would wait until
	// they ask again by themselves.
	h.grant(h.slots.expire(time.Now()))
}

// begin gives the number of the last caller whom the look that begins serves.
func (h *Host) begin() (serving uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.poke: // from those who are served by this look
	default:
	}
	h.commanded.Store(false)
	return h.wanted
}

// record keeps the result of a look and tells what subscribers should know.
func (h *Host) record(snapshot *Snapshot, err error, serving uint64, began time.Time) (c Change, news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return Change{}, false
	}
	// Here, where a host that was removed meanwhile cannot bring its series back.
	defer func() {
		metrics.Look(h.instance, err == nil, h.state.Connected, began)
		metrics.Waiting(h.instance, h.slots.waiting())
	}()
	before := h.state
	h.served = serving
	close(h.looked)
	h.looked = make(chan struct{})
	if err != nil {
		return h.recordFailure(before, err)
	}
	h.state = State{Connected: true, Snapshot: snapshot}
	if before.Snapshot == nil || !before.Connected {
		h.log.Info("Host connected", "unikernels", len(snapshot.Unikernels))
		return Change{Instance: h.instance, All: true}, true
	}
	names, policies := changed(before.Snapshot, snapshot)
	return Change{Instance: h.instance, All: policies, Names: names}, policies || len(names) > 0
}

func (h *Host) recordFailure(before State, err error) (c Change, news bool) {
	h.state.Failures++
	h.state.Err = err
	if h.state.Failures < failuresToDisconnect {
		return Change{}, false
	}
	h.state.Connected = false
	lost := h.state.Failures == failuresToDisconnect
	if !lost && h.state.Problem() == before.Problem() {
		return Change{}, false
	}
	h.log.Info("Host not connected", "problem", h.state.Problem(), "error", err.Error())
	return Change{Instance: h.instance, All: true}, true
}

package hosts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/albatross"
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

// Known tells whether the host was found to answer or not to answer. Before the
// first look, and while the first failures may pass, it is neither.
func (s State) Known() bool {
	return s.Connected || s.Snapshot != nil || s.Failures >= failuresToDisconnect
}

// Problem says why a host is not connected, in the same words for the same
// problem: without ports, times and counts.
func (s State) Problem() string {
	switch err := s.Err; {
	case err == nil:
		return "not asked yet"
	case errors.Is(err, albatross.ErrUntrusted):
		return "the host's certificate does not verify with ca.crt of the credentials"
	case errors.Is(err, albatross.ErrRejected):
		return "the host does not accept the credentials: check that tls.crt is signed by the host's CA and that the clocks agree"
	case errors.Is(err, albatross.ErrTimeout):
		return "the host does not answer in time"
	case errors.Is(err, albatross.ErrRefused):
		return "the host refuses to answer: " + Text(err)
	case errors.Is(err, albatross.ErrProtocol):
		return "the host's answer is not understood: " + err.Error()
	}
	return "the host cannot be reached: " + dialProblem(s.Err)
}

// Host is one Albatross host as the operator sees it.
type Host struct {
	pool       *Pool
	instance   string
	target     Target
	client     *albatross.Client
	credential *albatross.Credential
	log        logr.Logger
	cancel     context.CancelFunc
	slots      *slots

	mu    sync.Mutex
	state State
	// wanted and served number the looks that were asked for: a caller is served
	// by a look that began after it asked.
	wanted, served uint64
	// looked is closed and made anew after every look.
	looked chan struct{}
	poke   chan struct{}
}

// inherit keeps what is known when only the credentials or the interval changed,
// so that a rotation does not look like a lost host.
func (h *Host) inherit(old *Host) {
	if h.target.Addr == old.target.Addr {
		h.state = old.State()
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
// same time share one.
func (h *Host) Refresh(ctx context.Context) (*Snapshot, error) {
	h.mu.Lock()
	h.wanted++
	want := h.wanted
	h.mu.Unlock()
	select {
	case h.poke <- struct{}{}:
	default: // a look is asked for already
	}
	for {
		h.mu.Lock()
		served, looked, state := h.served, h.looked, h.state
		h.mu.Unlock()
		if served >= want {
			return state.Snapshot, state.Err
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
// those Granted; then a place is kept for it.
func (h *Host) TryAcquire(key string) (release func(), ok bool) {
	if !h.slots.tryAcquire(key, time.Now()) {
		return nil, false
	}
	return func() {
		if granted := h.slots.release(); len(granted) > 0 {
			h.pool.publish(Change{Instance: h.instance, Granted: granted})
		}
	}, true
}

func (h *Host) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			h.unblock()
			return
		case <-timer.C:
		case <-h.poke:
		}
		h.look(ctx)
		timer.Reset(h.pause())
	}
}

// unblock serves everybody who waits for a look that will not come.
func (h *Host) unblock() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.served = ^uint64(0)
	if h.state.Err == nil {
		h.state.Err = context.Canceled
	}
	close(h.looked)
	h.looked = make(chan struct{})
}

func (h *Host) pause() time.Duration {
	if h.State().Err != nil {
		return jitter(min(h.pool.options.RetryDelay, h.target.PollInterval))
	}
	return jitter(h.target.PollInterval)
}

func (h *Host) look(ctx context.Context) {
	h.mu.Lock()
	serving := h.wanted
	h.mu.Unlock()
	lookCtx, cancel := context.WithTimeout(ctx, h.pool.options.ProbeTimeout)
	snapshot, err := look(lookCtx, h.client, time.Now())
	cancel()
	if ctx.Err() != nil {
		return
	}
	if change, any := h.record(snapshot, err, serving); any {
		h.pool.publish(change)
	}
}

// record keeps the result of a look and tells what subscribers should know.
func (h *Host) record(snapshot *Snapshot, err error, serving uint64) (c Change, any bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
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

func (h *Host) recordFailure(before State, err error) (Change, bool) {
	h.state.Failures++
	h.state.Err = err
	if h.state.Failures < failuresToDisconnect {
		return Change{}, false
	}
	h.state.Connected = false
	lost := before.Connected || before.Failures+1 == failuresToDisconnect
	if !lost && h.state.Problem() == before.Problem() {
		return Change{}, false
	}
	h.log.Info("Host not connected", "problem", h.state.Problem())
	return Change{Instance: h.instance, All: true}, true
}

// dialProblem gives the innermost cause, which names neither addresses nor ports.
func dialProblem(err error) string {
	for {
		switch wrapped := err.(type) { //nolint:errorlint // the chain is walked
		case interface{ Unwrap() []error }:
			all := wrapped.Unwrap()
			last := all[len(all)-1]
			if last == nil {
				return err.Error()
			}
			err = last
		case interface{ Unwrap() error }:
			inner := wrapped.Unwrap()
			if inner == nil {
				return err.Error()
			}
			err = inner
		default:
			return err.Error()
		}
	}
}

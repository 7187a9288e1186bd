package hosts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/metrics"
)

// ErrNotConnected is what [Pool.Get] fails with while a host cannot be used; the
// error says why in words that do not change from one attempt to the next.
var ErrNotConnected = errors.New("host not connected")

// Defaults of [Options].
const (
	DefaultMaxCommands  = 4
	DefaultProbeTimeout = 4 * time.Second
	DefaultRetryDelay   = time.Second
	DefaultLookSpacing  = 100 * time.Millisecond
)

// failuresToDisconnect in a row make a host lost: with the defaults within 15 s
// of the first, also of a host that takes connections and is silent.
const failuresToDisconnect = 3

// defaultPollInterval is for targets that have none.
const defaultPollInterval = 30 * time.Second

// Options of a [Pool].
type Options struct {
	Log logr.Logger
	// MaxCommands is how many mutating commands a host gets at a time.
	MaxCommands int
	// ProbeTimeout ends a look at a host that does not answer.
	ProbeTimeout time.Duration
	// RetryDelay is the pause after the first failed looks, instead of the poll
	// interval. It grows to eight times that while a host stays lost, but not
	// above the poll interval.
	RetryDelay time.Duration
	// LookSpacing is the least time from the beginning of a look to that of one
	// that is asked for, so that many commands at a time share their looks. The
	// look after a command that was alone does not wait.
	LookSpacing time.Duration
	// Statistics takes what hosts measure of unikernels; nil asks for none.
	Statistics StatisticsSink
	// Elected is closed when this process is the leader, who alone asks for
	// statistics: a host has one subscriber. nil means that it always is.
	Elected <-chan struct{}
	// Dial opens connections to hosts; the default is that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (o *Options) setDefaults() {
	if o.MaxCommands == 0 {
		o.MaxCommands = DefaultMaxCommands
	}
	if o.ProbeTimeout == 0 {
		o.ProbeTimeout = DefaultProbeTimeout
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = DefaultRetryDelay
	}
	if o.LookSpacing == 0 {
		o.LookSpacing = DefaultLookSpacing
	}
}

// Target is where a host is and what commands to it are signed with. Two targets
// are the same host in the same state of credentials when they are equal, so
// every part of a credential counts.
type Target struct {
	// Addr is host:port.
	Addr string
	// Certificate, Key and ServerCA are PEM.
	Certificate, Key, ServerCA string
	// PollInterval is the time between two looks, a tenth more or less.
	PollInterval time.Duration
}

// Change tells subscribers what is new about a host. They share it and must not
// change it.
type Change struct {
	// Instance is the name that the host was set with.
	Instance string
	// All says that everything about the host may have changed: it was connected
	// or lost, or a policy is another.
	All bool
	// Names are the full names of unikernels and blocks that changed.
	Names map[string]bool
	// Granted are keys that waited for [Host.TryAcquire] and may try again.
	Granted []string
}

// Pool has one [Host] for each instance. It is a Runnable of a manager, on every
// replica: all of them serve requests about hosts. A look is three questions of
// about 2 ms a poll, so that a second replica costs a host next to nothing.
type Pool struct {
	options Options
	// setting has one Set or Remove at a time, so that making a host, which may
	// take long, holds up none of the others.
	setting sync.Mutex

	mu          sync.Mutex
	hosts       map[string]*Host
	subscribers map[int]func(Change)
	next        int
	// run is the context of Start; hosts that are set before it wait for it.
	run    context.Context
	polls  sync.WaitGroup
	closed bool
}

// New makes a pool without hosts.
func New(options Options) *Pool {
	options.setDefaults()
	return &Pool{options: options, hosts: map[string]*Host{}, subscribers: map[int]func(Change){}}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (p *Pool) NeedLeaderElection() bool { return false }

// Start polls until the context ends and waits for what is under way. It is
// called once.
func (p *Pool) Start(ctx context.Context) error {
	p.mu.Lock()
	p.run = ctx
	for _, h := range p.hosts {
		p.poll(h)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.closed = true
	for _, h := range p.hosts {
		h.close()
	}
	p.mu.Unlock()
	p.polls.Wait()
	return nil
}

// Set makes or changes the host of an instance. It fails, and keeps the host as
// it was, when the credentials cannot be used. An equal target changes nothing.
// A new credential is used from the next look on, which begins at once.
func (p *Pool) Set(instance string, target Target) error {
	p.setting.Lock()
	defer p.setting.Unlock()
	if target.PollInterval <= 0 {
		target.PollInterval = defaultPollInterval
	}
	old := p.host(instance)
	if old != nil && old.target == target {
		return nil
	}
	h, err := p.newHost(instance, target)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old != nil {
		old.close()
		h.inherit(old)
	}
	p.hosts[instance] = h
	switch {
	case p.closed:
		h.close()
	case p.run != nil:
		p.poll(h)
	}
	return nil
}

func (p *Pool) newHost(instance string, target Target) (*Host, error) {
	credential, err := albatross.ParseCredential([]byte(target.Certificate), []byte(target.Key))
	if err != nil {
		return nil, err
	}
	cas, err := albatross.ParseServerCA([]byte(target.ServerCA))
	if err != nil {
		return nil, fmt.Errorf("server CA: %w", err)
	}
	client, err := albatross.New(albatross.Options{
		Addr: target.Addr, Credential: credential, ServerCAs: cas, Dial: p.options.Dial,
	})
	if err != nil {
		return nil, err
	}
	return &Host{
		pool: p, instance: instance, target: target, client: client, credential: credential,
		log:    p.options.Log.WithValues("instance", instance),
		cancel: func() {}, poke: make(chan struct{}, 1), looked: make(chan struct{}), silence: &atomic.Pointer[time.Time]{},
		slots: newSlots(p.options.MaxCommands),
	}, nil
}

// poll starts a host's loop; p.mu is held.
func (p *Pool) poll(h *Host) {
	ctx, cancel := context.WithCancel(p.run)
	h.cancel = cancel
	p.polls.Go(func() { h.loop(ctx) })
	if sink := p.options.Statistics; sink != nil {
		p.polls.Go(func() { h.follow(ctx, sink) })
	}
}

// Remove forgets the host of an instance.
func (p *Pool) Remove(instance string) {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hosts[instance]; h != nil {
		h.close()
		delete(p.hosts, instance)
		metrics.ForgetHost(instance)
	}
}

// host gives that of an instance, or nil.
func (p *Pool) host(instance string) *Host {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[instance]
}

// Get gives the host of an instance at once, or an error that wraps
// [ErrNotConnected].
func (p *Pool) Get(instance string) (*Host, error) {
	h := p.host(instance)
	if h == nil {
		return nil, fmt.Errorf("%w: no credentials yet", ErrNotConnected)
	}
	if state := h.State(); !state.Connected {
		return nil, fmt.Errorf("%w: %s", ErrNotConnected, state.Problem())
	}
	return h, nil
}

// Refresh waits for a look at the host of an instance that begins now or later,
// also when it was lost. It fails as [Host.Refresh] does.
func (p *Pool) Refresh(ctx context.Context, instance string) (*Snapshot, error) {
	h := p.host(instance)
	if h == nil {
		return nil, fmt.Errorf("%w: no credentials yet", ErrNotConnected)
	}
	return h.Refresh(ctx)
}

// Try looks at a host once, without keeping it. It fails with an error that wraps
// [albatross.ErrInvalid] when the credentials cannot be used.
func (p *Pool) Try(ctx context.Context, target Target) (*Snapshot, error) {
	h, err := p.newHost("", target)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", albatross.ErrInvalid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.options.ProbeTimeout)
	defer cancel()
	return look(ctx, h.client, time.Now())
}

// State tells about the host of an instance; known is false when none is set.
func (p *Pool) State(instance string) (state State, known bool) {
	h := p.host(instance)
	if h == nil {
		return State{}, false
	}
	return h.State(), true
}

// Subscribe has f called about every change until the context ends. Calls for
// several hosts come at the same time, and one may still run when the context
// has ended. f must not block for long, since it holds up the polls of the host.
func (p *Pool) Subscribe(ctx context.Context, f func(Change)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := p.next
	p.next++
	p.subscribers[id] = f
	context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.subscribers, id)
	})
}

func (p *Pool) publish(c Change) {
	p.mu.Lock()
	all := make([]func(Change), 0, len(p.subscribers))
	for _, f := range p.subscribers {
		all = append(all, f)
	}
	p.mu.Unlock()
	for _, f := range all {
		f(c)
	}
}

// jitter spreads polls so that hosts that were set at the same time are not all
// asked at the same time: d, up to a tenth more or less.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d)) //nolint:gosec // no secret
}

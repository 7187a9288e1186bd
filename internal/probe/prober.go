package probe

import (
	"context"
	"net"
	"reflect"
	"strings"
	"sync"
	"time"

	"mollymawk.dev/operator/internal/metrics"
)

// DefaultParallel is how many probes are under way at a time, when nothing else
// is said: enough for 10,000 probes every 10 s of which one in twenty gets no
// answer within 5 s.
const DefaultParallel = 512

// greed is how many times the free places a tenant may hold. It leaves a quarter
// of the places to others when one tenant could use all, a seventh when two
// could, and so on, so that a newcomer finds a place at once.
const greed = 3

// firstSpacing is the time between the first probes of two unikernels that are
// set at the same time, as all are when the operator starts.
const firstSpacing = time.Millisecond

// idle is how long nothing is due when nothing is set.
const idle = time.Hour

// Options of a [Prober].
type Options struct {
	// Dial opens each connection that a probe needs: network is tcp or udp, and
	// address host:port as spec has it or as an answer over HTTP leads to on the
	// same host. It must end when the context does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Forbidden is what errors of Dial wrap when the address is not allowed; nil
	// means that all are.
	Forbidden error
	// Parallel is how many probes are under way at a time.
	Parallel int
}

func (o *Options) setDefaults() {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}
}

// Prober probes unikernels. It is a Runnable of a manager, for the leader only:
// two operators need not both ask.
//
// One goroutine waits for the next probe that is due, and each probe that is
// under way has one more, of which there are few at a time. When there are more
// probes than places, the next place is for the tenant that has the fewest under
// way, and nobody gets the last ones. So a tenant whose unikernels are all silent,
// and hold their places until they time out, does not keep the others from theirs.
type Prober struct {
	checker checker
	options Options
	wake    func(key string)
	// poke has Start look at the queues again.
	poke chan struct{}

	mu      sync.Mutex
	targets map[string]*target
	// pending are those that are not due yet, waiting those that wait for a place,
	// by tenant.
	pending queue
	waiting map[string]*queue
	// late counts those that wait, underway the probes of a tenant that are, and
	// busy those of all.
	late     int
	underway map[string]int
	busy     int
	// newest is when the first probe of the unikernel that was set last is due.
	newest time.Time
	work   sync.WaitGroup
}

// New makes a prober; it works from Start on. wake is called with the key of a
// unikernel whose health became another, or whose message did while it is
// unhealthy. wake must not block for long.
func New(options Options, wake func(key string)) *Prober {
	options.setDefaults()
	return &Prober{
		checker: checker{dial: options.Dial, forbidden: options.Forbidden}, options: options, wake: wake,
		poke: make(chan struct{}, 1), targets: map[string]*target{},
		waiting: map[string]*queue{}, underway: map[string]int{},
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (p *Prober) NeedLeaderElection() bool { return true }

// Set has a unikernel probed. Another spec or epoch, which names what runs, has
// it start anew with health Unknown; the same changes nothing. Its key is
// namespace/name; unikernels of the same namespace are those of one tenant.
func (p *Prober) Set(key string, spec Spec, epoch string) {
	spec.setDefaults()
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.targets[key]
	if old != nil && old.epoch == epoch && reflect.DeepEqual(old.spec, spec) {
		return
	}
	p.drop(old)
	now := time.Now()
	p.newest = p.newest.Add(firstSpacing)
	if p.newest.Before(now) {
		p.newest = now
	}
	tenant, _, _ := strings.Cut(key, "/")
	t := &target{key: key, tenant: tenant, spec: spec, epoch: epoch, record: newRecord(now), due: p.newest}
	p.targets[key] = t
	p.pending.push(t)
	p.look()
}

// Remove forgets a unikernel.
func (p *Prober) Remove(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(p.targets[key])
}

// State tells what is known of a unikernel. While its health is Unknown, the
// message is what failed last, of which nobody is woken.
func (p *Prober) State(key string) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.targets[key]; t != nil {
		return t.record.state
	}
	return State{}
}

// drop forgets a target, if there is one; p.mu is held.
func (p *Prober) drop(t *target) {
	if t == nil {
		return
	}
	delete(p.targets, t.key)
	if t.queue == nil {
		t.cancel()
		return
	}
	p.dequeue(t)
}

// dequeue takes a target out of the queue in which it stands; p.mu is held.
func (p *Prober) dequeue(t *target) {
	line := t.queue
	line.remove(t)
	if line == &p.pending {
		return
	}
	p.late--
	if line.first() == nil {
		delete(p.waiting, t.tenant)
	}
}

// look has Start look at the queues.
func (p *Prober) look() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// Start probes until the context ends, and waits for the end of what is under
// way. It implements manager.Runnable and is called once.
func (p *Prober) Start(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			p.work.Wait()
			return nil
		case <-timer.C:
		case <-p.poke:
		}
		timer.Reset(p.dispatch(ctx))
	}
}

// dispatch begins what is due, as far as there are places, and gives the time
// until the next is.
func (p *Prober) dispatch(ctx context.Context) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	next := p.pending.first()
	for ; next != nil && !next.due.After(now); next = p.pending.first() {
		p.pending.remove(next)
		p.enqueue(next)
	}
	for t := p.fairest(); t != nil; t = p.fairest() {
		p.dequeue(t)
		p.begin(ctx, t, now)
	}
	metrics.ProbesWaiting(p.late)
	if next == nil {
		return idle
	}
	return next.due.Sub(now)
}

// enqueue has a target wait for a place; p.mu is held.
func (p *Prober) enqueue(t *target) {
	line := p.waiting[t.tenant]
	if line == nil {
		line = &queue{}
		p.waiting[t.tenant] = line
	}
	line.push(t)
	p.late++
}

// fairest gives the one that gets the next place, or nil when nobody waits or may
// have one; p.mu is held. While there are places enough, hardly anybody waits, so
// that looking at all is cheap.
func (p *Prober) fairest() *target {
	var best *target
	for tenant, line := range p.waiting {
		t := line.first()
		if best == nil || p.underway[tenant] < p.underway[best.tenant] ||
			p.underway[tenant] == p.underway[best.tenant] && t.due.Before(best.due) {
			best = t
		}
	}
	if best == nil || p.underway[best.tenant] >= greed*(p.options.Parallel-p.busy) {
		return nil
	}
	return best
}

// begin probes a target; p.mu is held.
func (p *Prober) begin(ctx context.Context, t *target, now time.Time) {
	ctx, t.cancel = context.WithTimeout(ctx, t.spec.Timeout)
	p.busy++
	p.underway[t.tenant]++
	p.work.Go(func() {
		defer t.cancel()
		problem, conclusive := p.checker.check(ctx, &t.spec)
		if p.end(t, now, problem, conclusive) {
			p.wake(t.key)
		}
	})
}

// end takes the result of a probe that began at a time, and tells whether
// somebody is to be woken.
func (p *Prober) end(t *target, began time.Time, problem string, conclusive bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	p.underway[t.tenant]--
	if p.underway[t.tenant] == 0 {
		delete(p.underway, t.tenant)
	}
	p.look()
	if p.targets[t.key] != t {
		return false // it was removed or set anew meanwhile
	}
	now := time.Now()
	if conclusive {
		changed = t.record.note(&t.spec, problem, now)
	}
	t.due = began.Add(t.record.pause(&t.spec, now))
	p.pending.push(t)
	return changed
}

package albatrosstest

import (
	"sync"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// statistics remembers who is subscribed. There is one subscriber for a name.
type statistics struct {
	mu   sync.Mutex
	subs map[string]*statsSubscriber
}

type statsSubscriber struct{ evicted chan struct{} }

func (s *statistics) subscribe(name wire.Name) *statsSubscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil {
		s.subs = map[string]*statsSubscriber{}
	}
	if before := s.subs[name.String()]; before != nil {
		close(before.evicted)
	}
	sub := &statsSubscriber{evicted: make(chan struct{})}
	s.subs[name.String()] = sub
	return sub
}

func (s *statistics) unsubscribe(name wire.Name, sub *statsSubscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs[name.String()] == sub {
		delete(s.subs, name.String())
	}
}

// sample is a measurement of a unikernel, named relative to the subscribed path.
type sample struct {
	name  wire.Name
	stats wire.Stats
}

// measure gives statistics of what runs below a path, or of one unikernel.
func (d *daemon) measure(name wire.Name) []sample {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.options.Now()
	var all []sample
	for _, m := range d.unikernels.below(name.Path) {
		if relative := m.name(); name.IsPath() || len(relative.Path) == 0 && relative.Label == name.Label {
			all = append(all, sample{relative, m.value.stats(now)})
		}
	}
	return all
}

// Numbers of a small unikernel as they were recorded (stats-running).
const (
	tenderSize     = 13_201_408 // bytes that the tender takes beside the memory
	residentPages  = 483
	textPages      = 5
	dataPages      = 2138
	interfaceFlags = 69699
	interfaceMTU   = 1500
)

// stats makes numbers up that grow with time: 1 % of a CPU, ten switches and one
// packet of 64 bytes a second.
func (u *unikernel) stats(now time.Time) wire.Stats {
	ran := max(now.Sub(u.started), 0)
	seconds := int64(ran / time.Second)
	busy := ran / 100
	s := wire.Stats{
		Usage: wire.Usage{
			UserTime: timeval(busy / 2), SystemTime: timeval(busy - busy/2), MaxRSS: residentPages, MinorFaults: 191,
			VoluntaryContextSwitches: 10 * seconds, InvoluntaryContextSwitches: seconds,
		},
		Memory: &wire.ProcessMemory{
			VirtualSize: u.config.Memory<<20 + tenderSize, RSS: residentPages, TextSize: textPages, DataSize: dataPages,
			StackSize: dataPages, Runtime: busy.Microseconds(),
			Start: wire.Timeval{Seconds: u.started.Unix(), Microseconds: int64(u.started.Nanosecond() / 1000)},
		},
	}
	for _, bridge := range u.config.Bridges {
		s.Interfaces = append(s.Interfaces, wire.InterfaceStats{
			Bridge: bridge.Name, Flags: interfaceFlags, MTU: interfaceMTU, InputPackets: seconds, OutputPackets: seconds,
			InputBytes: 64 * seconds, OutputBytes: 64 * seconds,
		})
	}
	return s
}

func timeval(d time.Duration) wire.Timeval {
	return wire.Timeval{Seconds: int64(d / time.Second), Microseconds: int64(d % time.Second / time.Microsecond)}
}

// statistics sends measurements until the client goes or is evicted by another
// one that subscribes to the same.
func (h *Host) statistics(l *link) error {
	sub := h.stats.subscribe(l.name)
	defer h.stats.unsubscribe(l.name, sub)
	l.note(wire.Text{Text: "subscribed"})
	if err := l.send(h.sequence.Add(1), l.name, wire.Text{Text: "subscribed"}); err != nil {
		return err
	}
	l.watch()
	ticker := time.NewTicker(h.options.StatsPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-sub.evicted:
			return l.send(0, l.name, wire.Failure{Text: textStreamEnd})
		case <-ticker.C:
			for _, s := range h.daemon.measure(l.name) {
				if err := l.send(0, s.name, s.stats); err != nil {
					return err
				}
			}
		}
	}
}

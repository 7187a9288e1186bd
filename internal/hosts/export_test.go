package hosts

import "time"

// For tests of the package's outside.
const (
	FailuresToDisconnect = failuresToDisconnect
	Patience             = patience
)

// Asked counts the calls of Refresh.
func (h *Host) Asked() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wanted
}

// HostOf gives the host of an instance, connected or not.
func (p *Pool) HostOf(instance string) *Host { return p.host(instance) }

// Pause gives the time until the next look after some failures in a row.
func Pause(options Options, interval time.Duration, failures int) time.Duration {
	options.setDefaults()
	h := &Host{pool: &Pool{options: options}, target: Target{PollInterval: interval}}
	h.state.Failures = failures
	return h.pause()
}

// Subscribers counts them.
func (p *Pool) Subscribers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.subscribers)
}

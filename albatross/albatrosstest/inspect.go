package albatrosstest

import (
	"fmt"
	"os"

	"mollymawk.dev/operator/albatross/wire"
)

// The functions of this file look at a host from inside, for assertions; no
// command is sent, and none is counted. Paths and names are written as on the
// wire: "alice", "alice:web"; the root is the empty path. A name that is none is
// a mistake of the program: it panics, before any lock is taken, so that the host
// can still be closed.

func base(path string) wire.Name {
	p, err := wire.ParsePath(path)
	if err != nil {
		panic(fmt.Sprintf("path %q: %v", path, err))
	}
	return wire.Name{Path: p}
}

func parsed(name string) wire.Name {
	n, err := wire.ParseName(name)
	if err != nil {
		panic(fmt.Sprintf("name %q: %v", name, err))
	}
	return n
}

// Unikernels gives what runs below a path, with full names.
func (h *Host) Unikernels(path string) []wire.NamedInfo {
	at := base(path)
	h.daemon.mu.Lock()
	defer h.daemon.mu.Unlock()
	var all []wire.NamedInfo
	for _, m := range h.daemon.unikernels.below(at.Path) {
		all = append(all, wire.NamedInfo{Name: m.name().In(at), Info: h.daemon.info(m.value)})
	}
	return all
}

// Unikernel gives one that runs.
func (h *Host) Unikernel(name string) (wire.Info, bool) {
	n := parsed(name)
	h.daemon.mu.Lock()
	defer h.daemon.mu.Unlock()
	u, ok := h.daemon.unikernels.find(n)
	if !ok {
		return wire.Info{}, false
	}
	return h.daemon.info(u), true
}

// Blocks gives the block devices below a path, with full names.
func (h *Host) Blocks(path string) []wire.NamedBlock {
	at := base(path)
	h.daemon.mu.Lock()
	defer h.daemon.mu.Unlock()
	var all []wire.NamedBlock
	for _, m := range h.daemon.blocks.below(at.Path) {
		all = append(all, wire.NamedBlock{Name: m.name().In(at), Size: m.value.size, Active: m.value.active})
	}
	return all
}

// BlockContent reads a block device.
func (h *Host) BlockContent(name string) ([]byte, error) {
	n := parsed(name)
	h.daemon.mu.Lock()
	defer h.daemon.mu.Unlock()
	b, ok := h.daemon.blocks.find(n)
	if !ok {
		return nil, fmt.Errorf("no block device %s", name)
	}
	return os.ReadFile(b.path)
}

// Policies gives all policies with their full paths, that of the root included.
func (h *Host) Policies() []wire.NamedPolicy {
	h.daemon.mu.Lock()
	defer h.daemon.mu.Unlock()
	return h.daemon.policyInfo(wire.Name{}).(wire.Policies).Policies
}

// Policy gives the policy in force at a path.
func (h *Host) Policy(path string) (wire.Policy, bool) {
	at := base(path)
	h.daemon.mu.Lock()
	defer h.daemon.mu.Unlock()
	return h.daemon.policies.get(at.Path)
}

// SetPolicy does what the host's administrator can do on the host itself.
func (h *Host) SetPolicy(path string, p wire.Policy) error {
	at := base(path)
	h.daemon.mu.Lock()
	defer h.daemon.mu.Unlock()
	_, err := h.daemon.addPolicy(at.Path, p)
	return err
}

// Kill ends a unikernel behind everybody's back, as a signal from elsewhere
// does: it is not restarted. It returns at once and tells whether there was one.
func (h *Host) Kill(name string) bool {
	return h.withGuest(name, func(g *guest) { g.kill() })
}

// Exit has a unikernel exit with a code, so that its fail behaviour applies. It
// returns at once and tells whether there was one.
func (h *Host) Exit(name string, code int) bool {
	return h.withGuest(name, func(g *guest) { g.leave(code) })
}

// Print has a unikernel print a line, and tells whether there is one.
func (h *Host) Print(name, line string) bool {
	return h.withGuest(name, func(g *guest) { g.say(line) })
}

func (h *Host) withGuest(name string, f func(*guest)) bool {
	n := parsed(name)
	h.daemon.mu.Lock()
	u, ok := h.daemon.unikernels.find(n)
	h.daemon.mu.Unlock()
	if ok {
		f(u.guest)
	}
	return ok
}

package albatrosstest

import (
	"slices"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

const (
	// ringSize is how many lines a console keeps.
	ringSize = 1024
	// maxSubscribers of a console; one more evicts the oldest.
	maxSubscribers = 5
)

// consoles keeps what unikernels print. A console outlives its unikernel.
type consoles struct {
	now func() time.Time
	mu  sync.Mutex
	all tree[*console]
}

type console struct {
	// known is false while there are only subscribers and never was a unikernel.
	known   bool
	running bool
	// lines are the last ones; the first of them has the number first.
	lines       []wire.ConsoleLine
	first       int
	subscribers []*subscriber
}

// subscriber reads a console at its own speed; what it is too slow for is lost.
type subscriber struct {
	name wire.Name
	// next is the number of the line to read next.
	next    int
	wake    chan struct{}
	evicted chan struct{}
}

// consoleAt is a console's place. That of a path, which nobody writes, is none
// that a name can have.
func consoleAt(name wire.Name) []string {
	return append(slices.Clip([]string(name.Path)), name.Label)
}

func (c *consoles) get(name wire.Name) *console {
	at := consoleAt(name)
	known, ok := c.all.get(at)
	if !ok {
		known = &console{}
		c.all.put(at, known)
	}
	return known
}

// open tells that a unikernel of the name runs.
func (c *consoles) open(name wire.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.get(name)
	known.known, known.running = true, true
}

// close tells that it runs no more.
func (c *consoles) close(name wire.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.get(name).running = false
}

func (c *consoles) print(name wire.Name, text string) {
	line := wire.ConsoleLine{Time: c.now(), Line: text}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.get(name)
	if len(known.lines) == ringSize {
		known.lines = slices.Delete(known.lines, 0, 1)
		known.first++
	}
	known.lines = append(known.lines, line)
	for _, s := range known.subscribers {
		select {
		case s.wake <- struct{}{}:
		default: // it has been woken already
		}
	}
}

// subscribe gives the text that the original greets with.
func (c *consoles) subscribe(name wire.Name, from wire.ConsoleSubscribe) (*subscriber, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.get(name)
	s := &subscriber{name: name, next: known.start(from), wake: make(chan struct{}, 1), evicted: make(chan struct{})}
	s.wake <- struct{}{}
	known.subscribers = append(known.subscribers, s)
	if len(known.subscribers) > maxSubscribers {
		close(known.subscribers[0].evicted)
		known.subscribers = slices.Delete(known.subscribers, 0, 1)
	}
	if !known.known {
		return s, "waiting for VM"
	}
	return s, "subscribed"
}

// start is the number of the first line that a subscription asks for.
func (c *console) start(from wire.ConsoleSubscribe) int {
	end := c.first + len(c.lines)
	if from.Since == nil {
		return max(c.first, end-int(max(0, min(from.Count, ringSize))))
	}
	old := slices.IndexFunc(c.lines, func(l wire.ConsoleLine) bool { return !l.Time.Before(*from.Since) })
	if old < 0 {
		return end
	}
	return c.first + old
}

func (c *consoles) unsubscribe(s *subscriber) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.get(s.name)
	known.subscribers = slices.DeleteFunc(known.subscribers, func(other *subscriber) bool { return other == s })
	if !known.known && len(known.subscribers) == 0 {
		c.all.remove(consoleAt(s.name))
	}
}

// read gives the lines that the subscriber has not seen.
func (c *consoles) read(s *subscriber) []wire.ConsoleLine {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.get(s.name)
	lines := slices.Clone(known.lines[max(0, s.next-known.first):])
	s.next = known.first + len(known.lines)
	return lines
}

// inactive lists the consoles of unikernels that do not run any more.
func (c *consoles) inactive(name wire.Name) []wire.Name {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !name.IsPath() {
		if known, ok := c.all.get(consoleAt(name)); ok && known.known && !known.running {
			return []wire.Name{name}
		}
		return nil
	}
	var names []wire.Name
	for _, m := range c.all.below(name.Path) {
		if m.value.known && !m.value.running {
			names = append(names, m.name())
		}
	}
	return names
}

// Console gives the lines that the host keeps of a unikernel's console.
func (h *Host) Console(name string) []string {
	h.consoles.mu.Lock()
	defer h.consoles.mu.Unlock()
	n, err := wire.ParseName(name)
	if err != nil {
		return nil
	}
	known, ok := h.consoles.all.get(consoleAt(n))
	if !ok {
		return nil
	}
	var texts []string
	for _, line := range known.lines {
		texts = append(texts, line.Line)
	}
	return texts
}

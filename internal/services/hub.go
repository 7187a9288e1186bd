package services

import (
	"context"
	"errors"
	"iter"
	"sync"
)

// hub gives the lines of consoles to any number of viewers, from one subscription
// a console, which ends with its last viewer.
type hub struct {
	follow                  func(ctx context.Context, id consoleID, emit func(Line)) error
	maxConsoles, maxViewers int

	mu       sync.Mutex
	consoles map[string]*console
	viewers  int
	closed   bool
	work     sync.WaitGroup
}

// Bounds of what is kept of a console for viewers who are behind.
const (
	keptLines = 1024
	keptBytes = 4 << 20
)

// console keeps the latest lines of one console. The hub's lock guards who views
// it; its own guards the lines.
type console struct {
	viewers int
	end     context.CancelFunc

	mu sync.Mutex
	// lines are the latest ones; the first of them has the number first.
	lines []Line
	first int
	bytes int
	// more is closed and made anew when there are more lines, or the end.
	more chan struct{}
	err  error
}

var errShutdown = errors.New("the server is being shut down")

func newHub(follow func(context.Context, consoleID, func(Line)) error, maxConsoles, maxViewers int) *hub {
	return &hub{follow: follow, maxConsoles: maxConsoles, maxViewers: maxViewers, consoles: map[string]*console{}}
}

// view gives the lines of a console from the latest of history on. Whoever asks
// for it must read it, once.
func (h *hub) view(ctx context.Context, id consoleID) (iter.Seq2[Line, error], error) {
	c, err := h.join(id)
	if err != nil {
		return nil, err
	}
	left := sync.OnceFunc(func() { h.leave(id, c) })
	// One who never reads must not keep the subscription.
	forget := context.AfterFunc(ctx, left)
	next := c.start()
	return func(yield func(Line, error) bool) {
		defer forget()
		defer left()
		c.read(ctx, next, yield)
	}, nil
}

// join counts a viewer, the first of whom begins the subscription.
func (h *hub) join(id consoleID) (*console, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.consoles[id.key()]
	switch {
	case h.closed:
		return nil, errShutdown
	case h.viewers >= h.maxViewers, c == nil && len(h.consoles) >= h.maxConsoles:
		return nil, ErrBusy
	}
	if c == nil {
		ctx, cancel := context.WithCancel(context.Background())
		c = &console{end: cancel, more: make(chan struct{})}
		h.consoles[id.key()] = c
		h.work.Go(func() {
			err := h.follow(ctx, id, c.add)
			h.forget(id, c)
			c.finish(err)
		})
	}
	c.viewers++
	h.viewers++
	return c, nil
}

func (h *hub) leave(id consoleID, c *console) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.viewers--
	if c.viewers--; c.viewers == 0 {
		c.end()
		h.drop(id, c)
	}
}

// forget has the next viewer begin anew.
func (h *hub) forget(id consoleID, c *console) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.end()
	h.drop(id, c)
}

func (h *hub) drop(id consoleID, c *console) {
	if h.consoles[id.key()] == c {
		delete(h.consoles, id.key())
	}
}

// close ends all consoles and waits for them.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	for _, c := range h.consoles {
		c.end()
	}
	h.mu.Unlock()
	h.work.Wait()
}

// add keeps a line and drops the oldest beyond the bounds.
func (c *console) add(line Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
	c.bytes += len(line.Text)
	for len(c.lines) > keptLines || c.bytes > keptBytes && len(c.lines) > 1 {
		c.bytes -= len(c.lines[0].Text)
		c.lines[0] = Line{} // so that its text can go
		c.lines = c.lines[1:]
		c.first++
	}
	c.wake()
}

func (c *console) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.wake()
}

func (c *console) wake() {
	close(c.more)
	c.more = make(chan struct{})
}

// start is the number of the first line for a new viewer.
func (c *console) start() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first + max(0, len(c.lines)-historyLines)
}

// read gives the lines from the one numbered next on. A viewer who is so far
// behind that lines are gone is dropped: nobody waits for it.
func (c *console) read(ctx context.Context, next int, yield func(Line, error) bool) {
	for {
		lines, more, err := c.after(next)
		for _, line := range lines {
			if ctx.Err() != nil || !yield(line, nil) {
				return
			}
		}
		next += len(lines)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			yield(Line{}, err)
			return
		case len(lines) > 0:
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// batch is how many lines a viewer copies at a time.
const batch = 64

func (c *console) after(next int) (lines []Line, more <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if next < c.first {
		return nil, nil, ErrTooSlow
	}
	rest := c.lines[next-c.first:]
	if len(rest) == 0 {
		return nil, c.more, c.err
	}
	return append(lines, rest[:min(len(rest), batch)]...), c.more, nil
}

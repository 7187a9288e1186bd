package services

import (
	"context"
	"iter"
)

// Hub is a hub whose upstream a test is.
type Hub struct{ h *hub }

// NewHub makes one.
func NewHub(upstream func(ctx context.Context, emit func(Line)) error, maxConsoles, maxViewers int) *Hub {
	return &Hub{newHub(func(ctx context.Context, _ consoleID, emit func(Line)) error { return upstream(ctx, emit) }, maxConsoles, maxViewers)}
}

// View views the console of a label.
func (h *Hub) View(ctx context.Context, label string) (iter.Seq2[Line, error], error) {
	return h.h.view(ctx, consoleID{label: label})
}

// Consoles counts those that are followed.
func (h *Hub) Consoles() int {
	h.h.mu.Lock()
	defer h.h.mu.Unlock()
	return len(h.h.consoles)
}

// Viewers counts all viewers.
func (h *Hub) Viewers() int {
	h.h.mu.Lock()
	defer h.h.mu.Unlock()
	return h.h.viewers
}

// Close ends it.
func (h *Hub) Close() { h.h.close() }

// KeptLines is how far a viewer may be behind.
const KeptLines = keptLines

// HistoryLines is what a viewer begins with.
const HistoryLines = historyLines

// Tail is what is remembered of a console.
type Tail = tail

// IsNew tells whether a line was not seen.
func (t *tail) IsNew(line Line) bool { return t.isNew(line) }

// Replay expects the latest lines again.
func (t *tail) Replay() { t.replay() }

// Following gives the hub's consoles and viewers.
func (s *Services) Following() (consoles, viewers int) {
	h := &Hub{s.consoles}
	return h.Consoles(), h.Viewers()
}

// Transfers counts those that are under way.
func (s *Services) Transfers() int { return len(s.transfers) }

// WithPolicy is withPolicy.
var WithPolicy = withPolicy

// LeastUsed is leastUsed.
var LeastUsed = leastUsed

package albatrosstest

import "mollymawk.dev/operator/albatross/wire"

// Enlarge has the host take command for the next OldBlockSet whose data is id.
func (h *Host) Enlarge(id string, command wire.Command) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.rewrite
	h.rewrite = func(received wire.Command) wire.Command {
		if set, ok := received.(wire.OldBlockSet); ok && string(set.Data) == id {
			return command
		}
		if before != nil {
			return before(received)
		}
		return received
	}
}

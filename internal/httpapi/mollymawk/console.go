package mollymawk

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/services"
)

// lineView is an event of the console.
type lineView struct {
	Timestamp string `json:"timestamp"`
	Line      string `json:"line"`
}

// console sends what a unikernel prints as server-sent events until the client
// goes, the console ends or the server does. While nothing is printed, comments
// show that the connection lives.
func (c *call) console() reply {
	instance, name, refusal, fine := c.queried()
	if !fine {
		return refusal
	}
	ctx, cancel := context.WithCancel(c.ctx())
	defer cancel()
	lines, err := c.options().Unikernels.Console(ctx, c.id, instance, name)
	if err != nil {
		return c.failed(queryTexts, err)
	}
	pulled := make(chan services.Line)
	go func() {
		defer close(pulled)
		for line, err := range lines {
			if err != nil {
				return
			}
			select {
			case pulled <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	c.stream(pulled)
	cancel()
	for range pulled {
		continue // what was on its way is dropped; then the source has ended
	}
	return answered
}

// stream writes lines as they come; of many that come at once it flushes the last.
func (c *call) stream(lines <-chan services.Line) {
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // for proxies that would collect lines
	c.w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(c.w)
	heartbeat := time.NewTicker(c.options().Heartbeat)
	defer heartbeat.Stop()
	var event bytes.Buffer
	for {
		if control.Flush() != nil {
			return
		}
		event.Reset()
		select {
		case line, more := <-lines:
			if !more {
				return
			}
			writeEvent(&event, line)
			if !takeWaiting(&event, lines) {
				_, _ = c.w.Write(event.Bytes())
				return
			}
		case <-heartbeat.C:
			event.WriteString(": alive\n\n")
		case <-c.ctx().Done():
			return
		case <-httpapi.Stopping(c.ctx()):
			return
		}
		if _, err := c.w.Write(event.Bytes()); err != nil {
			return
		}
	}
}

// atOnce is how many bytes of events are put together at most.
const atOnce = 32 << 10

// takeWaiting adds the lines that wait already; it is false when there will be
// no more.
func takeWaiting(event *bytes.Buffer, lines <-chan services.Line) bool {
	for event.Len() < atOnce {
		select {
		case line, more := <-lines:
			if !more {
				return false
			}
			writeEvent(event, line)
		default:
			return true
		}
	}
	return true
}

func writeEvent(to *bytes.Buffer, line services.Line) {
	to.WriteString("data:")
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(lineView{lineStamp(line.Time), line.Text}) // two strings can be encoded
	to.WriteByte('\n')
}

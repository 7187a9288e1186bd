package mollymawk

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Bounds of what is read of a body after its call has been answered.
const (
	drainSize = 64 << 20
	drainTime = 5 * time.Second
)

// touched is a body that knows how far it was read.
type touched struct {
	io.ReadCloser
	begun, ended atomic.Bool
}

func (b *touched) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}

// drain reads on for a while when a call was answered in the middle of its body.
// Many clients look for the answer only when they have sent everything, and a
// connection that is closed while they send takes the answer with it. A client
// that waits to be told to send is not told.
func (b *touched) drain(w http.ResponseWriter) {
	if !b.begun.Load() || b.ended.Load() {
		return
	}
	control := http.NewResponseController(w)
	_ = control.Flush()
	began := time.Now()
	timer := time.AfterFunc(drainTime, func() { _ = control.SetReadDeadline(time.Now()) })
	defer timer.Stop()
	buffer := make([]byte, 32<<10)
	for read := 0; read < drainSize && time.Since(began) < drainTime; {
		n, err := b.ReadCloser.Read(buffer)
		read += n
		if err != nil {
			return
		}
	}
}

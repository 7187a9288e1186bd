package httpapi

import (
	"io"
	"net/http"
	"time"
)

// withDeadlines gives each read of a body and each write of an answer a deadline
// of its own. So who stops in the middle is cut off, and who goes on is not,
// however long it takes.
func withDeadlines(next http.Handler, stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		paced := &pacedWriter{ResponseWriter: w, control: control, stall: stall}
		paced.rest()
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &pacedBody{ReadCloser: r.Body, control: control, stall: stall}
		}
		next.ServeHTTP(paced, r)
		paced.extend() // for what is still to be flushed
	})
}

// pacedBody takes the deadline away after each read: it would otherwise end the
// request while it waits for something else than the client.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
}

func (b *pacedBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.stall))
	n, err := b.ReadCloser.Read(p)
	_ = b.control.SetReadDeadline(time.Time{})
	return n, err
}

type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

func (w *pacedWriter) extend() { _ = w.control.SetWriteDeadline(time.Now().Add(w.stall)) }

// rest takes the deadline away: that of the last request on the connection, or
// over HTTP/2 one that would end a stream on which nothing is to be written yet.
func (w *pacedWriter) rest() { _ = w.control.SetWriteDeadline(time.Time{}) }

func (w *pacedWriter) WriteHeader(status int) {
	w.extend()
	defer w.rest()
	w.ResponseWriter.WriteHeader(status)
}

func (w *pacedWriter) Write(p []byte) (int, error) {
	w.extend()
	defer w.rest()
	return w.ResponseWriter.Write(p)
}

// FlushError flushes with a deadline too.
func (w *pacedWriter) FlushError() error {
	w.extend()
	defer w.rest()
	return w.control.Flush()
}

// Unwrap lets http.ResponseController find the connection.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

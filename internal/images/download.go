package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mollymawk.dev/operator/internal/egress"
)

// content is what is to be downloaded.
type content struct {
	client  *http.Client
	address string
	// name is how errors call it; without one they name the address.
	name string
	// size is how large it must be, or unknownSize.
	size int64
	// immutable says that the address can never stand for anything else, so that a
	// download may go on without knowing that the content is still the same.
	immutable bool
}

const unknownSize = -1

const (
	// maxTries is how often in a row a download that breaks off goes on.
	maxTries = 6
	// progress is how many bytes must have come since the last time for that count
	// to begin anew.
	progress = 1 << 20
)

var (
	// errIdle ends a connection that gives nothing for [Options].IdleTimeout.
	errIdle     = errors.New("the server stopped sending")
	errBrokeOff = errors.New("the connection broke off")
	errChanged  = errors.New("the content changed while it was fetched")
	// errNoResume says that the server gives only the whole.
	errNoResume = errors.New("the connection broke off, and the server cannot go on from there")
)

// download is the body of what is downloaded. When the connection breaks off and
// the server can do it, another connection goes on from there.
type download struct {
	what  content
	limit int64
	idle  time.Duration
	pause time.Duration
	ctx   context.Context

	part *part
	// at is how many bytes have come; lately, how many since the last break.
	at, lately int64
	// total is how many there are, or unknownSize.
	total int64
	// validator is the header If-Range with which the server goes on only when the
	// content is still the same; empty when it cannot tell.
	validator string
	tries     int
	// broken is what ended the last part.
	broken error
}

// open begins a download. What promises to be larger than the operator's limit is
// not opened.
func (f *Fetcher) open(ctx context.Context, what content) (*download, error) {
	if what.name == "" {
		what.name = withoutQuery(what.address)
	}
	d := &download{
		what: what, limit: f.options.MaxSize, idle: f.options.IdleTimeout, pause: f.options.ResumePause,
		ctx: ctx, total: what.size,
	}
	if err := d.connect(); err != nil {
		return nil, d.named(err)
	}
	return d, nil
}

func (d *download) named(err error) error { return fmt.Errorf("%s: %w", d.what.name, err) }

// connect opens the part of the content that did not come yet.
func (d *download) connect() error {
	ctx, cancel := context.WithCancelCause(d.ctx)
	response, err := d.ask(ctx)
	if err == nil {
		if err = d.accept(response); err != nil {
			response.Body.Close()
		}
	}
	if err != nil {
		cancel(nil)
		return err
	}
	timer := time.AfterFunc(d.idle, func() { cancel(errIdle) })
	timer.Stop()
	d.part = &part{body: response.Body, timer: timer, idle: d.idle, cancel: cancel, ctx: ctx}
	d.lately = 0
	return nil
}

func (d *download) ask(ctx context.Context) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.what.address, nil)
	if err != nil || request.URL.Host == "" {
		return nil, fmt.Errorf("%w: not an address", ErrNotFound)
	}
	if err := egress.CheckScheme(request.URL); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	request.Header.Set("User-Agent", userAgent)
	if d.at > 0 {
		request.Header.Set("Range", d.rest())
		if d.validator != "" {
			request.Header.Set("If-Range", d.validator)
		}
	}
	response, err := d.what.client.Do(request)
	if err != nil {
		return nil, networkError(ctx, err)
	}
	return response, nil
}

// rest is the range that did not come yet. Some servers do not understand one
// without an end.
func (d *download) rest() string {
	if d.total < 0 {
		return fmt.Sprintf("bytes=%d-", d.at)
	}
	return fmt.Sprintf("bytes=%d-%d", d.at, d.total-1)
}

// accept looks whether an answer is what was asked for.
func (d *download) accept(response *http.Response) error {
	if d.at > 0 {
		return d.acceptRest(response)
	}
	if err := statusError(response.StatusCode); err != nil {
		return err
	}
	length := response.ContentLength
	if d.what.size >= 0 && length >= 0 && length != d.what.size {
		return fmt.Errorf("%w: the server has %d bytes of what should be %d", ErrDigestMismatch, length, d.what.size)
	}
	if d.what.size < 0 {
		d.total = length
	}
	if d.total > d.limit {
		return tooLarge(d.limit)
	}
	d.validator = validator(response.Header)
	return nil
}

// acceptRest wants just the rest of the same content.
func (d *download) acceptRest(response *http.Response) error {
	tag := validator(response.Header)
	switch response.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK:
		if d.validator != "" && tag != d.validator {
			return errChanged
		}
		return errNoResume
	case http.StatusRequestedRangeNotSatisfiable, http.StatusPreconditionFailed:
		return errChanged
	default:
		return statusError(response.StatusCode)
	}
	first, total, ok := contentRange(response.Header.Get("Content-Range"))
	if !ok || first != d.at {
		return errNoResume
	}
	if d.total >= 0 && total >= 0 && total != d.total {
		return errChanged
	}
	// The server should have looked itself.
	if !d.what.immutable && strings.HasPrefix(tag, `"`) && tag != d.validator {
		return errChanged
	}
	return nil
}

// contentRange reads the header of that name: where a part begins, and how long
// the whole is, or unknownSize.
func contentRange(text string) (first, total int64, ok bool) {
	var last int64
	text, unknown := strings.CutSuffix(text, "/*")
	if unknown {
		text += fmt.Sprintf("/%d", unknownSize)
	}
	n, err := fmt.Sscanf(text, "bytes %d-%d/%d", &first, &last, &total)
	return first, total, err == nil && n == 3 && first >= 0 && last >= first && (total > last || unknown)
}

// validator gives what can be relied on to change with the content: a strong
// entity tag, or the time of the last change when it is older than the answer.
func validator(header http.Header) string {
	if tag := header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	modified, err := http.ParseTime(header.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || date.Before(modified.Add(time.Second)) {
		return ""
	}
	return header.Get("Last-Modified")
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.broken != nil {
			if err := d.resume(); err != nil {
				return 0, d.named(err)
			}
		}
		n, err := d.part.Read(p)
		d.at += int64(n)
		d.lately += int64(n)
		switch {
		case err == nil:
			return n, nil
		case d.total >= 0 && d.at >= d.total, d.total < 0 && errors.Is(err, io.EOF):
			return n, io.EOF
		case errors.Is(err, io.EOF):
			err = errBrokeOff
		}
		d.broken = err
		if n > 0 {
			return n, nil
		}
	}
}

// resume goes on after a break, or says why that cannot be.
func (d *download) resume() error {
	d.part.Close()
	if d.lately >= progress {
		d.tries = 0
	}
	for d.tries < maxTries && (d.at == 0 || d.validator != "" || d.what.immutable) {
		if err := sleep(d.ctx, d.pause<<d.tries); err != nil {
			return err
		}
		d.tries++
		err := d.connect()
		switch {
		case err == nil:
			d.broken = nil
			return nil
		case Permanent(err), errors.Is(err, errChanged), errors.Is(err, errNoResume), d.ctx.Err() != nil:
			return err
		}
		d.broken = err
	}
	return d.broken
}

// sleep waits, or fails when the context ends before.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close implements io.Closer.
func (d *download) Close() error { return d.part.Close() }

// part is what one connection gives.
type part struct {
	body io.ReadCloser
	// timer runs only during a read: what the reader does in between is not the
	// server's idleness.
	timer  *time.Timer
	idle   time.Duration
	cancel context.CancelCauseFunc
	ctx    context.Context
}

// Read implements io.Reader.
func (r *part) Read(p []byte) (int, error) {
	r.timer.Reset(r.idle)
	n, err := r.body.Read(p)
	r.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		return n, networkError(r.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (r *part) Close() error {
	r.timer.Stop()
	r.cancel(nil)
	return r.body.Close()
}

package albatross

import (
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// stream uploads a source, compressed or not, and gives the host's answer. When
// the source fails the final zero chunk is not sent, without which the host does
// not act.
func (s *session) stream(from *source, deflate bool) (string, error) {
	s.allowed = s.client.allowance(from.limit)
	w := newChunks(s)
	err := fill(w, from, deflate)
	switch {
	case err != nil && s.ctx.Err() != nil: // perhaps the reader ends with the context too
		return "", s.broken(err)
	case from.raw.err != nil:
		return "", s.fail(ErrLocal, fmt.Errorf("read what is to be sent: %w", from.raw.err))
	case from.err != nil:
		return "", s.fail(ErrInvalid, from.err)
	case err != nil:
		return s.afterWriteError(err)
	}
	if err := w.end(); err != nil {
		return s.afterWriteError(err)
	}
	s.allowed = 0
	s.wait(s.client.allowance(from.n))
	r, err := answer[wire.Text](s)
	return r.payload.Text, err
}

func fill(w io.Writer, from io.Reader, deflate bool) error {
	if !deflate {
		_, err := io.Copy(w, from)
		return err
	}
	z := zlib.NewWriter(w)
	if _, err := io.Copy(z, from); err != nil {
		return err
	}
	return z.Close()
}

// afterError is how long a host that stopped taking an upload without a reset
// has for telling why: it should have done so already.
const afterError = time.Second

// afterWriteError reads what the host said before it stopped listening: a refusal
// comes with a connection that can no longer be written to, often reset.
func (s *session) afterWriteError(cause error) (string, error) {
	failed := s.broken(cause)
	s.allowed = 0
	s.wait(min(s.client.options.Timeout, afterError))
	r, err := answer[wire.Text](s)
	switch {
	case err == nil:
		return "", s.fail(ErrProtocol, fmt.Errorf("answered %q to an upload that it stopped taking", r.payload.Text))
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrUnreachable):
		return "", failed // it said nothing
	}
	return "", err
}

// watched remembers how reading what the caller gave failed, to tell it from
// failures of the connection and from data that is not what it should be.
type watched struct {
	from io.Reader
	err  error
}

func (r *watched) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && err != io.EOF { // one that wraps io.EOF is no end
		r.err = err
	}
	return n, err
}

// source is what is to be uploaded. It fails instead of giving more than its
// limit, or less when that is exact.
type source struct {
	raw *watched
	// from is raw, or what it is expanded to.
	from  io.Reader
	limit int64
	exact bool
	// n counts what was given.
	n   int64
	err error
}

var errTooLarge = errors.New("the data is larger than the block device")

func exactly(from io.Reader, size int64) *source {
	raw := &watched{from: from}
	return &source{raw: raw, from: raw, limit: size, exact: true}
}

// expanding gives a source whose limit is still to be set. It reads the header
// of a zlib stream.
func expanding(from io.Reader, compressed bool) (*source, error) {
	raw := &watched{from: from}
	if !compressed {
		return &source{raw: raw, from: raw}, nil
	}
	inflated, err := zlib.NewReader(raw)
	if raw.err == nil {
		err = notZlib(err)
	}
	return &source{raw: raw, from: inflated}, err
}

func notZlib(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) { // else it looks like a good end
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the data is not a valid zlib stream: %w", err)
}

// Read implements io.Reader.
func (r *source) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if left := r.limit - r.n; int64(len(p)) > left { // one byte more tells "too large" from "fits"
		p = p[:left+1]
	}
	n, err := r.from.Read(p)
	r.n += int64(n)
	r.err = r.verdict(err)
	if r.n > r.limit {
		n--
	}
	if r.err != nil {
		return n, r.err
	}
	return n, err
}

// verdict says what is wrong with the data itself.
func (r *source) verdict(err error) error {
	ended := err == io.EOF
	switch {
	case r.raw.err != nil:
		return r.raw.err
	case r.exact && (r.n > r.limit || ended && r.n < r.limit):
		return fmt.Errorf("the data does not have the %d bytes that were said", r.limit)
	case r.n > r.limit:
		return errTooLarge
	case err != nil && !ended:
		return notZlib(err)
	}
	return nil
}

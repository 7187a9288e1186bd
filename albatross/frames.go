package albatross

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"mollymawk.dev/operator/albatross/wire"
)

// maxChunk is how much of an upload is sent in one chunk, in bytes.
const maxChunk = 64 << 10

// receive reads the next frame.
func (s *session) receive() (wire.Frame, error) {
	var length [4]byte
	if _, err := io.ReadFull(s.conn, length[:]); err != nil {
		return wire.Frame{}, s.broken(s.ctx, err)
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > s.client.options.MaxReply {
		return wire.Frame{}, s.fail(ErrProtocol, fmt.Errorf("a frame of %d bytes is larger than the limit of %d", n, s.client.options.MaxReply))
	}
	// The buffer grows with what arrives, not with what the length promises.
	var der bytes.Buffer
	if _, err := io.CopyN(&der, s.conn, n); err != nil {
		return wire.Frame{}, s.broken(s.ctx, cutShort(err))
	}
	frame, err := wire.DecodeFrame(der.Bytes())
	if err != nil {
		return wire.Frame{}, s.fail(ErrProtocol, err)
	}
	return s.client.relative(s, frame)
}

// cutShort makes of an end in the middle of a frame a broken connection, not a refusal.
func cutShort(err error) error {
	if err == io.EOF { //nolint:errorlint // CopyN gives it bare
		return io.ErrUnexpectedEOF
	}
	return err
}

// relative turns a header's name into one that begins where the credential does.
func (c *Client) relative(s *session, f wire.Frame) (wire.Frame, error) {
	if !f.Name.Path.HasPrefix(c.prefix) {
		return f, s.fail(ErrProtocol, fmt.Errorf("the answer is about %s, which is not below %s", f.Name, c.prefix))
	}
	f.Name.Path = f.Name.Path[len(c.prefix):]
	return f, nil
}

// absolute resolves a name of a list against its frame's header.
func (c *Client) absolute(header, listed wire.Name) wire.Name {
	if !header.IsPath() { // an answer about one thing has its full name
		listed.Path = listed.Path[min(len(c.prefix), len(listed.Path)):]
		return listed
	}
	return listed.In(header)
}

// answer reads the single reply to a command and wants a payload of type P.
func answer[P wire.Payload](s *session) (payload P, header wire.Name, err error) {
	frame, err := s.receive()
	if err != nil {
		return payload, header, err
	}
	payload, err = expect[P](s, frame)
	return payload, frame.Name, err
}

func expect[P wire.Payload](s *session, frame wire.Frame) (P, error) {
	var zero P
	switch p := frame.Payload.(type) {
	case P:
		return p, nil
	case wire.Failure:
		return zero, s.refuse(p.Text)
	default:
		return zero, s.fail(ErrProtocol, fmt.Errorf("answered with %T, want %T", p, zero))
	}
}

// chunks writes an upload: chunks, each with its length before it, then a zero length.
type chunks struct {
	session *session
	// buffer has the four bytes of a length before what is to be sent, so that
	// both go in one write.
	buffer []byte
}

func newChunks(s *session) *chunks {
	return &chunks{session: s, buffer: make([]byte, 4, 4+maxChunk)}
}

// Write implements io.Writer; it sends when the buffer is full.
func (w *chunks) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), cap(w.buffer)-len(w.buffer))
		w.buffer = append(w.buffer, p[:n]...)
		p, written = p[n:], written+n
		if len(w.buffer) == cap(w.buffer) {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (w *chunks) flush() error {
	if len(w.buffer) == 4 {
		return nil
	}
	binary.BigEndian.PutUint32(w.buffer, uint32(len(w.buffer)-4)) //nolint:gosec // at most maxChunk
	w.session.wait(w.session.client.options.Timeout)
	_, err := w.session.conn.Write(w.buffer)
	w.buffer = w.buffer[:4]
	return err
}

// end sends what is left and the zero length, without which the host waits for ever.
func (w *chunks) end() error {
	if err := w.flush(); err != nil {
		return err
	}
	_, err := w.session.conn.Write([]byte{0, 0, 0, 0})
	return err
}

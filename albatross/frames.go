package albatross

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"mollymawk.dev/operator/albatross/wire"
)

// maxChunk is how much of an upload is sent in one chunk, in bytes: with the
// length before it, a whole number of TLS records.
const maxChunk = 64<<10 - lengthSize

// lengthSize is that of the length before a chunk or frame.
const lengthSize = 4

// receive reads the next frame.
func (s *session) receive() (wire.Frame, error) {
	return s.receiveInto(&bytes.Buffer{})
}

// receiveInto reads the next frame, whose byte slices share the buffer's memory.
func (s *session) receiveInto(der *bytes.Buffer) (wire.Frame, error) {
	var length [lengthSize]byte
	if _, err := io.ReadFull(s.conn, length[:]); err != nil {
		return wire.Frame{}, s.broken(err)
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > s.client.options.MaxReply {
		return wire.Frame{}, s.fail(ErrProtocol, fmt.Errorf("a frame of %d bytes is larger than the limit of %d", n, s.client.options.MaxReply))
	}
	// The buffer grows with what arrives, not with what the length promises.
	der.Reset()
	der.Grow(int(min(n, promised)) + bytes.MinRead)
	if _, err := io.CopyN(der, s.conn, n); err != nil {
		return wire.Frame{}, s.broken(cutShort(err))
	}
	frame, err := wire.DecodeFrame(der.Bytes())
	if err != nil {
		return wire.Frame{}, s.fail(ErrProtocol, err)
	}
	return frame, nil
}

// promised is how much memory a length alone may claim, in bytes.
const promised = 64 << 10

// cutShort makes of an end in the middle of a frame a broken connection, not a refusal.
func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// reply is the answer to a query, with the name that those in it are relative to.
type reply[P wire.Payload] struct {
	session *session
	header  wire.Name
	payload P
}

// resolve turns a name of a list into one that begins where the credential does.
func (r *reply[P]) resolve(listed *wire.Name) error {
	full, prefix := listed.In(r.header), r.session.client.prefix
	if !full.Path.HasPrefix(prefix) {
		return r.session.fail(ErrProtocol, fmt.Errorf("the answer names %s, which is not below %s", full, prefix))
	}
	*listed = wire.Name{Path: full.Path[len(prefix):], Label: full.Label}
	return nil
}

// answer reads the single reply to a command and wants a payload of type P.
func answer[P wire.Payload](s *session) (r reply[P], err error) {
	frame, err := s.receive()
	if err != nil {
		return r, err
	}
	payload, err := expect[P](s, frame)
	return reply[P]{s, frame.Name, payload}, err
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
	// buffer has room for the length before what is to be sent and the zero length
	// after it, so that all goes in one write.
	buffer []byte
}

func newChunks(s *session) *chunks {
	return &chunks{session: s, buffer: make([]byte, lengthSize, lengthSize+maxChunk+lengthSize)}
}

// Write implements io.Writer; it sends when the buffer is full.
func (w *chunks) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := copy(w.room(), p)
		p, written = p[n:], written+n
		if err := w.filled(n); err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadFrom implements io.ReaderFrom, to spare a copy.
func (w *chunks) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		n, err := r.Read(w.room())
		total += int64(n)
		if err := w.filled(n); err != nil {
			return total, err
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// room is what is free in the buffer; there is always some.
func (w *chunks) room() []byte { return w.buffer[len(w.buffer) : lengthSize+maxChunk] }

func (w *chunks) filled(n int) error {
	w.buffer = w.buffer[:len(w.buffer)+n]
	if len(w.buffer) < lengthSize+maxChunk {
		return nil
	}
	w.putLength()
	return w.send()
}

func (w *chunks) putLength() {
	binary.BigEndian.PutUint32(w.buffer, uint32(len(w.buffer)-lengthSize)) //nolint:gosec // at most maxChunk
}

func (w *chunks) send() error {
	w.session.wait(w.session.client.options.Timeout)
	err := w.session.link.gather(func() error {
		_, err := w.session.conn.Write(w.buffer)
		return err
	})
	w.buffer = w.buffer[:lengthSize]
	return err
}

// end sends what is left and the zero length, without which the host waits for ever.
func (w *chunks) end() error {
	w.putLength()
	if len(w.buffer) > lengthSize { // else the length of nothing is the zero length
		w.buffer = append(w.buffer, 0, 0, 0, 0)
	}
	return w.send()
}

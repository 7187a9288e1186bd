package albatrosstest

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

const (
	// handshakeTimeout is how long a client may take for its handshake.
	handshakeTimeout = 30 * time.Second
	// writeTimeout is how long a client may not read what is sent to it.
	writeTimeout = time.Minute
	// throttleStep is how long a throttled connection rests at a time.
	throttleStep = 20 * time.Millisecond
)

// errFault is the end of a connection by an injected fault.
var errFault = errors.New("cut by an injected fault")

// link is a client's connection after the handshake.
type link struct {
	host  *Host
	conn  *tls.Conn
	name  wire.Name
	fault Fault
	// ctx ends when the client is gone, the host closes or the command is done.
	ctx    context.Context
	cancel context.CancelFunc
	// read and written count payload for the fault.
	read, written int64
	// rest is how long a throttled connection still has to rest.
	rest time.Duration
	// outcome is for the journal.
	outcome  string
	watching bool
}

// abort ends a connection with a reset.
func abort(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the end is merely kinder
	}
	raw.Close()
}

// pause waits unless the connection ends.
func (l *link) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// slowly tells whether the connection is throttled.
func (l *link) slowly() bool { return l.fault.Kind == Slow && l.fault.BytesPerSecond > 0 }

// piece is how much of n bytes may be moved at a time.
func (l *link) piece(n int) int {
	if !l.slowly() {
		return n
	}
	return min(n, max(1, int(l.fault.BytesPerSecond*int64(throttleStep)/int64(time.Second))))
}

// moved rests for n bytes, in rests that are not too short.
func (l *link) moved(n int) {
	if !l.slowly() {
		return
	}
	l.rest += time.Duration(n) * time.Second / time.Duration(l.fault.BytesPerSecond)
	if l.rest >= throttleStep {
		l.pause(l.rest)
		l.rest = 0
	}
}

// Read reads what the client uploads.
func (l *link) Read(p []byte) (int, error) {
	p = p[:l.piece(len(p))]
	if l.fault.Kind == CutUpload {
		left := l.fault.Bytes - l.read
		if left <= 0 {
			return 0, l.cut("upload cut")
		}
		p = p[:min(int64(len(p)), left)]
	}
	n, err := l.conn.Read(p)
	l.read += int64(n)
	l.moved(n)
	return n, err
}

func (l *link) cut(outcome string) error {
	l.outcome = outcome
	abort(l.conn.NetConn())
	return errFault
}

// send writes a frame.
func (l *link) send(sequence int64, name wire.Name, payload wire.Payload) error {
	der, err := wire.EncodeFrame(wire.Frame{Sequence: sequence, Name: name, Payload: payload})
	if err != nil {
		return err
	}
	if l.fault.Kind == Garbage {
		l.outcome = "garbage"
		for i := range der { // a pattern that is no DER
			der[i] = byte(0xa5 + i)
		}
	}
	return l.write(append(binary.BigEndian.AppendUint32(nil, uint32(len(der))), der...)) //nolint:gosec // frames are far below 4 GiB
}

func (l *link) write(p []byte) error {
	if l.fault.Kind == NoReply {
		_ = l.hang(nil)
		return l.cut("no reply")
	}
	for len(p) > 0 {
		n := l.piece(len(p))
		if l.fault.Kind == CutReply {
			left := l.fault.Bytes - l.written
			if left <= 0 {
				return l.cut("reply cut")
			}
			n = int(min(int64(n), left))
		}
		if err := l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := l.conn.Write(p[:n]); err != nil {
			return err
		}
		l.written += int64(n)
		l.moved(n)
		p = p[n:]
	}
	return nil
}

// hang waits until the client has enough.
func (l *link) hang(err error) error {
	l.watch()
	<-l.ctx.Done()
	return err
}

// watch notices the client's end. Nothing else may be read afterwards.
func (l *link) watch() {
	if l.watching {
		return
	}
	l.watching = true
	l.host.done.Go(func() {
		_, _ = io.Copy(io.Discard, l.conn) // any end is the end
		l.cancel()
	})
}

// uploadReader reads chunks, each with its length before it, up to the one of
// length zero.
type uploadReader struct {
	from     io.Reader
	left     uint32
	finished bool
	// chunks counts those begun, without the last one of length zero.
	chunks int
}

func (u *uploadReader) Read(p []byte) (int, error) {
	if u.finished {
		return 0, io.EOF
	}
	if u.left == 0 {
		var length [4]byte
		if _, err := io.ReadFull(u.from, length[:]); err != nil {
			return 0, unexpected(err)
		}
		if u.left = binary.BigEndian.Uint32(length[:]); u.left == 0 {
			u.finished = true
			return 0, io.EOF
		}
		u.chunks++
	}
	n, err := u.from.Read(p[:min(int64(len(p)), int64(u.left))])
	u.left -= uint32(n) //nolint:gosec // at most what was left
	return n, unexpected(err)
}

// unexpected is an end of the connection before that of the upload.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

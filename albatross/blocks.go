package albatross

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"mollymawk.dev/operator/albatross/wire"
)

const mib = 1 << 20

// Blocks lists the block devices in the scope's path and below it.
func (c *Client) Blocks(ctx context.Context, scope Scope) ([]Block, error) {
	return c.blocks(ctx, scope, "")
}

// Block looks for one; found is false when there is none of that name.
func (c *Client) Block(ctx context.Context, scope Scope, label string) (b Block, found bool, err error) {
	if err := needLabel(scope, label, wire.BlockList{}); err != nil {
		return Block{}, false, err
	}
	blocks, err := c.blocks(ctx, scope, label)
	if err != nil || len(blocks) == 0 {
		return Block{}, false, err
	}
	return blocks[0], true, nil
}

func (c *Client) blocks(ctx context.Context, scope Scope, label string) ([]Block, error) {
	r, err := query[wire.BlockDevices](ctx, c, scope, label, wire.BlockList{})
	if err != nil {
		return nil, err
	}
	for i := range r.payload.Devices {
		if err := r.resolve(&r.payload.Devices[i].Name); err != nil {
			return nil, err
		}
	}
	return r.payload.Devices, nil
}

// AddBlock makes a block device of size MiB.
func (c *Client) AddBlock(ctx context.Context, scope Scope, label string, size int64) (string, error) {
	command := wire.BlockAdd{Size: size}
	if size <= 0 { // the host would refuse it and keep a file that blocks the name
		return "", invalid(scope, label, command, fmt.Errorf("a size of %d MiB is not positive", size))
	}
	return c.do(ctx, scope, label, command)
}

// RemoveBlock deletes a block device that no unikernel uses.
func (c *Client) RemoveBlock(ctx context.Context, scope Scope, label string) (string, error) {
	return c.do(ctx, scope, label, wire.BlockRemove{})
}

// BlockContent is data on its way to a block device.
type BlockContent struct {
	// Reader gives the data; it is read once and not closed. A read that hangs is
	// not interrupted by a context.
	Reader io.Reader
	// Compressed says that Reader gives a zlib stream, which is expanded here.
	Compressed bool
	// Deflate compresses the data for the way to the host.
	Deflate bool
}

// SetBlock writes a block device from its beginning; the rest of it reads as
// zero. Data that does not fit is refused before the host could see it all: the
// host would wait for ever, and so it would for a broken zlib stream. After a
// failure in the middle, which is one with [Error.Sent], the block device may
// have any part of old and new data.
func (c *Client) SetBlock(ctx context.Context, scope Scope, label string, content BlockContent) (string, error) {
	command := wire.BlockSet{Compressed: content.Deflate}
	if content.Reader == nil {
		return "", invalid(scope, label, command, errors.New("data must be given"))
	}
	block, err := c.settable(ctx, scope, label, command)
	if err != nil {
		return "", err
	}
	from, err := expanding(content.Reader, content.Compressed)
	if err != nil { // found before the host could empty the block device
		e := invalid(scope, label, command, err)
		if from.raw.err != nil {
			e.Kind = ErrLocal
		}
		return "", e
	}
	from.limit = min(block.Size, math.MaxInt64/mib-1) * mib
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return "", err
	}
	defer s.close()
	return s.stream(from, content.Deflate)
}

// settable looks whether a block device can be written. What changes until it is
// written is still refused, but less clearly.
func (c *Client) settable(ctx context.Context, scope Scope, label string, command wire.Command) (Block, error) {
	block, found, err := c.Block(ctx, scope, label)
	var asking *Error
	switch {
	case errors.As(err, &asking):
		asking.Command, asking.Sent = wire.CommandName(command), false // it was only asked for
		return block, err
	case !found:
		return block, refused(scope, label, command, "set block: not found")
	case block.Active:
		return block, refused(scope, label, command, "set block: is in use")
	}
	return block, nil
}

// refused answers for the host, whose own way of refusing an upload is to break
// the connection.
func refused(scope Scope, label string, command wire.Command, text string) *Error {
	e := invalid(scope, label, command, nil)
	e.Kind, e.Text = ErrRefused, text
	return e
}

// DumpBlock reads a block device that no unikernel uses to its end and gives the
// number of bytes that were written to w. With a level of compression above 0
// the data travels compressed and is expanded here.
func (c *Client) DumpBlock(ctx context.Context, scope Scope, label string, level int64, w io.Writer) (int64, error) {
	command := wire.BlockDump{Level: level}
	if err := needLabel(scope, label, command); err != nil {
		return 0, err
	}
	if err := checkLevel(scope, label, command, level); err != nil {
		return 0, err
	}
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return 0, err
	}
	defer s.close()
	s.wait(c.options.Timeout)
	head, err := answer[wire.BlockDeviceImage](s)
	if err != nil {
		return 0, err
	}
	return s.download(w, head.payload.Compressed)
}

// OpenBlock begins to read a block device that no unikernel uses and gives its
// data as it travels: with a level of compression above 0 as a zlib stream. It
// fails when the host refuses, before any data. Reading ends with io.EOF only at
// the true end. The caller closes the reader, which may be done at any time.
func (c *Client) OpenBlock(ctx context.Context, scope Scope, label string, level int64) (r io.ReadCloser, compressed bool, err error) {
	command := wire.BlockDump{Level: level}
	if err := needLabel(scope, label, command); err != nil {
		return nil, false, err
	}
	if err := checkLevel(scope, label, command, level); err != nil {
		return nil, false, err
	}
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return nil, false, err
	}
	s.wait(c.options.Timeout)
	head, err := answer[wire.BlockDeviceImage](s)
	if err != nil {
		s.close()
		return nil, false, err
	}
	s.closed = ErrUnreachable // the data has an end of its own
	return &opened{content{session: s}}, head.payload.Compressed, nil
}

// opened is a block device that is being read.
type opened struct{ content }

// Close implements io.Closer.
func (r *opened) Close() error {
	r.session.close()
	return nil
}

// download writes what the data frames bring, expanded if it is compressed.
func (s *session) download(w io.Writer, compressed bool) (int64, error) {
	s.closed = ErrUnreachable // the data has an end of its own
	from, to := &content{session: s}, &sink{to: w}
	n, err := drain(to, from, compressed)
	switch {
	case to.err != nil:
		return n, s.fail(ErrLocal, fmt.Errorf("write what was received: %w", to.err))
	case from.err != nil && from.err != io.EOF:
		return n, from.err
	case err != nil:
		return n, s.fail(ErrProtocol, fmt.Errorf("expand what was received: %w", err))
	}
	return n, nil
}

func drain(to io.Writer, from io.Reader, compressed bool) (int64, error) {
	if !compressed {
		return io.Copy(to, from)
	}
	z, err := zlib.NewReader(from)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(to, z) //nolint:gosec // the caller bounds what it takes
	if err == nil {
		_, err = io.Copy(io.Discard, from) // the frame that says the end
	}
	return n, err
}

// content gives the bytes of data frames up to their end.
type content struct {
	session *session
	buffer  bytes.Buffer
	// rest of the last frame is in buffer.
	rest []byte
	// err is io.EOF itself after the end.
	err error
}

// Read implements io.Reader.
func (r *content) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.rest, r.err = r.next()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next gives the data of a frame, which may be empty, or io.EOF.
func (r *content) next() ([]byte, error) {
	r.session.wait(r.session.client.options.Timeout)
	frame, err := r.session.receiveInto(&r.buffer)
	if err != nil {
		return nil, err
	}
	if _, end := frame.Payload.(wire.BlockDataEnd); end {
		return nil, io.EOF
	}
	data, err := expect[wire.BlockData](r.session, frame)
	return data.Data, err
}

// sink remembers how the caller's writer failed.
type sink struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (w *sink) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	w.err = err
	return n, err
}

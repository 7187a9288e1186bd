package albatross

import (
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"

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
	reply, header, err := query[wire.BlockDevices](ctx, c, scope, label, wire.BlockList{})
	if err != nil {
		return nil, err
	}
	for i := range reply.Devices {
		reply.Devices[i].Name = c.absolute(header, reply.Devices[i].Name)
	}
	return reply.Devices, nil
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
	// Reader gives the data; it is read once and not closed.
	Reader io.Reader
	// Compressed says that Reader gives a zlib stream, which is expanded here.
	Compressed bool
	// Deflate compresses the data for the way to the host.
	Deflate bool
}

// SetBlock writes a block device from its beginning; the rest of it reads as
// zero. Data that does not fit is refused before the host could see it all: the
// host would wait for ever, and so it would for a broken zlib stream.
func (c *Client) SetBlock(ctx context.Context, scope Scope, label string, content BlockContent) (string, error) {
	command := wire.BlockSet{Compressed: content.Deflate}
	if content.Reader == nil {
		return "", invalid(scope, label, command, errors.New("data must be given"))
	}
	block, found, err := c.Block(ctx, scope, label)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", refused(scope, label, command, "set block: not found")
	case block.Active:
		return "", refused(scope, label, command, "set block: is in use")
	}
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return "", err
	}
	defer s.close()
	return s.fill(ctx, content, block.Size*mib)
}

// refused answers for the host, whose own way of refusing an upload is to break
// the connection.
func refused(scope Scope, label string, command wire.Command, text string) *Error {
	e := invalid(scope, label, command, nil)
	e.Kind, e.Text = ErrRefused, text
	return e
}

func (s *session) fill(ctx context.Context, content BlockContent, size int64) (string, error) {
	from := content.Reader
	if content.Compressed {
		inflated, err := zlib.NewReader(from)
		if err != nil {
			return "", s.fail(ErrInvalid, fmt.Errorf("the data is not a zlib stream: %w", err))
		}
		from = inflated
	}
	fits := &limited{from: from, left: size}
	if !content.Deflate {
		return s.stream(ctx, fits, 0, size)
	}
	deflated := deflate(fits)
	defer deflated.Close()
	// Data that cannot be compressed grows a little.
	return s.stream(ctx, deflated, 0, size+size/1000+4096)
}

// limited fails instead of giving more than what fits.
type limited struct {
	from io.Reader
	left int64
}

var errTooLarge = errors.New("the data is larger than the block device")

func (r *limited) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > r.left+1 { // one byte more tells "too large" from "fits"
		p = p[:r.left+1]
	}
	n, err := r.from.Read(p)
	r.left -= int64(n)
	if r.left < 0 {
		return n - 1, errTooLarge
	}
	return n, err
}

// deflate compresses in a goroutine that ends with the reader's Close.
func deflate(from io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		z := zlib.NewWriter(w)
		_, err := io.Copy(z, from)
		if err == nil {
			err = z.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

// DumpBlock reads a block device that no unikernel uses to its end and gives the
// number of bytes that were written to w. With a level of compression above 0
// the data travels compressed and is expanded here.
func (c *Client) DumpBlock(ctx context.Context, scope Scope, label string, level int64, w io.Writer) (int64, error) {
	command := wire.BlockDump{Level: level}
	if err := needLabel(scope, label, command); err != nil {
		return 0, err
	}
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return 0, err
	}
	defer s.close()
	s.wait(c.options.Timeout)
	head, _, err := answer[wire.BlockDeviceImage](s)
	if err != nil {
		return 0, err
	}
	if head.Compressed {
		return s.inflate(w)
	}
	return s.download(w)
}

// download writes the data frames up to their end.
func (s *session) download(w io.Writer) (n int64, err error) {
	for {
		s.wait(s.client.options.Timeout)
		frame, err := s.receive()
		if err != nil {
			return n, err
		}
		if _, end := frame.Payload.(wire.BlockDataEnd); end {
			return n, nil
		}
		data, err := expect[wire.BlockData](s, frame)
		if err != nil {
			return n, err
		}
		written, err := w.Write(data.Data)
		n += int64(written)
		if err != nil {
			return n, s.fail(ErrInvalid, fmt.Errorf("write what was received: %w", err))
		}
	}
}

// inflate expands the data of hosts that compress a dump.
func (s *session) inflate(w io.Writer) (int64, error) {
	compressed, sink := io.Pipe()
	received := make(chan error, 1)
	go func() {
		_, err := s.download(sink)
		sink.CloseWithError(err)
		received <- err
	}()
	n, err := expand(w, compressed)
	compressed.CloseWithError(err)
	if failed := <-received; failed != nil && !errors.Is(failed, ErrInvalid) {
		return n, failed
	}
	if err != nil {
		return n, s.fail(ErrProtocol, err)
	}
	return n, nil
}

func expand(w io.Writer, compressed io.Reader) (int64, error) {
	z, err := zlib.NewReader(compressed)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, z) //nolint:gosec // the caller bounds w
	if err == nil {
		_, err = io.Copy(io.Discard, compressed)
	}
	return n, err
}

package albatrosstest

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"os"

	"mollymawk.dev/operator/albatross/wire"
)

// block is a block device. Its content is a sparse file.
type block struct {
	// size in MiB.
	size int64
	// active says that a unikernel uses it, or that it is being written.
	active bool
	path   string
}

// dumpFrame is how much of a block device goes in one frame, in bytes
// (block-set-dump).
const dumpFrame = 4096

// bytesOf turns MiB into bytes in 63 bits, as the original does.
func bytesOf(size int64) (int64, error) {
	if n := size << 21 >> 1; n > size {
		return n, nil
	}
	return 0, refusal("overflow while computing bytes")
}

func (d *daemon) blockInfo(name wire.Name) wire.Payload {
	var all []wire.NamedBlock
	if name.IsPath() {
		for _, m := range d.blocks.below(name.Path) {
			all = append(all, wire.NamedBlock{Name: m.name(), Size: m.value.size, Active: m.value.active})
		}
	} else if b, ok := d.blocks.find(name); ok {
		all = append(all, wire.NamedBlock{Name: name, Size: b.size, Active: b.active})
	}
	return wire.BlockDevices{Devices: all}
}

// checkBlock tells why a block device may not be added (block-add, block-not-allowed).
func (d *daemon) checkBlock(name wire.Name, size int64) error {
	if _, exists := d.blocks.find(name); exists {
		return refusal("block device with same name already exists")
	}
	p, ok := d.policies.get(name.Path)
	if !ok {
		return nil
	}
	if p.Block == nil {
		return refusal("no block devices are allowed by policy")
	}
	if used := d.blockUsage(name.Path); size > *p.Block-used {
		return refuse("block device policy limit of %d MB (used %d MB) would be exceeded by the request (%d MB)", *p.Block, used, size)
	}
	return nil
}

func (d *daemon) blockAdd(name wire.Name, size int64, data []byte) (string, error) {
	if name.IsPath() { // what the original makes of a leaf called "." was not recorded
		return "", refusal("block add may not have an empty name")
	}
	if err := d.checkBlock(name, size); err != nil {
		return "", err
	}
	b := &block{size: size, path: d.state.blockFile(name)}
	if err := b.create(data); err != nil {
		return "", err
	}
	d.blocks.put(labels(name), b)
	return "added block device", nil
}

// create makes the file. One that is left by an add with a size of 0 or less
// blocks the name, which is why nobody should ask for that.
func (b *block) create(data []byte) error {
	file, err := os.OpenFile(b.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return refusal("file already exists")
	}
	if err != nil {
		return refuse("%s", err)
	}
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		return fmt.Errorf("write block device: %w", err)
	}
	n, err := bytesOf(b.size)
	if err != nil {
		return err
	}
	return file.Truncate(n)
}

func (d *daemon) oldBlockAdd(name wire.Name, c wire.OldBlockAdd) (string, error) {
	if err := d.checkBlock(name, c.Size); err != nil {
		return "", err
	}
	var data []byte
	if c.Data != nil {
		var err error
		if data, err = fitting(c.Data, c.Compressed, c.Size); err != nil {
			return "", err
		}
	}
	return d.blockAdd(name, c.Size, data)
}

// fitting gives data for a block device of size MiB (old-block).
func fitting(data []byte, compressed bool, size int64) ([]byte, error) {
	limit, sizeErr := bytesOf(size)
	out := limitedBuffer{limit: max(limit, 0)}
	if err := expand(&out, bytes.NewReader(data), compressed); err != nil && !out.full {
		return nil, refusal(err.Error())
	}
	if sizeErr != nil {
		return nil, sizeErr
	}
	if out.full {
		return nil, refusal("data exceeds block size")
	}
	return out.data, nil
}

// limitedBuffer takes only so much, so that a small stream cannot fill memory.
type limitedBuffer struct {
	data  []byte
	limit int64
	full  bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if int64(len(b.data)+len(p)) > b.limit {
		b.full = true
		return 0, io.ErrShortBuffer
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// unused gives a block device that nobody uses, or an error that begins with doing.
func (d *daemon) unused(name wire.Name, doing string) (*block, error) {
	b, ok := d.blocks.find(name)
	if !ok {
		return nil, refuse("%s block: not found", doing)
	}
	if b.active {
		return nil, refuse("%s block: is in use", doing)
	}
	return b, nil
}

func (d *daemon) blockRemove(name wire.Name) (string, error) {
	b, err := d.unused(name, "remove")
	if err != nil {
		return "", err
	}
	if err := os.Remove(b.path); err != nil {
		return "", fmt.Errorf("remove block device: %w", err)
	}
	d.blocks.remove(labels(name))
	return "removed block", nil
}

func (d *daemon) oldBlockSet(name wire.Name, c wire.OldBlockSet) (string, error) {
	b, err := d.unused(name, "set")
	if err != nil {
		return "", err
	}
	data, err := fitting(c.Data, c.Compressed, b.size)
	if err != nil {
		return "", err
	}
	if err := os.Remove(b.path); err != nil {
		return "", fmt.Errorf("remove block device: %w", err)
	}
	if err := b.create(data); err != nil {
		return "", err
	}
	return "set block device", nil
}

func (d *daemon) oldBlockDump(name wire.Name, level int64) (wire.Payload, error) {
	b, err := d.unused(name, "dump")
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(b.path)
	if err != nil {
		return nil, fmt.Errorf("read block device: %w", err)
	}
	if level == 0 {
		return wire.OldBlockDeviceImage{Image: data}, nil
	}
	return wire.OldBlockDeviceImage{Compressed: true, Image: deflate(data, level)}, nil
}

// beginSet marks a block device as in use until done is called.
func (d *daemon) beginSet(name wire.Name) (b *block, done func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, nil, errNoAnswer
	}
	if b, err = d.unused(name, "set"); err != nil {
		return nil, nil, err
	}
	b.active = true
	return b, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		b.active = false
	}, nil
}

// errExceeds is more data than a block device holds.
var errExceeds = refusal("stream exceeds size")

// fill writes what is uploaded. What goes wrong leaves the block device with
// what was written so far; after an upload that was cut it has its size again.
func (b *block) fill(compressed bool, upload io.Reader) (string, error) {
	limit, err := bytesOf(b.size)
	if err != nil {
		return "", err
	}
	file, err := os.OpenFile(b.path, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("write block device: %w", err)
	}
	defer file.Close()
	source := &remembering{from: upload}
	err = copyBlock(&sparseFile{file: file, limit: limit}, source, compressed)
	if err != nil && (source.err == nil || errors.Is(source.err, io.EOF)) {
		return "", err
	}
	if err := file.Truncate(limit); err != nil {
		return "", fmt.Errorf("write block device: %w", err)
	}
	return "set block device", err
}

func copyBlock(to io.Writer, from io.Reader, compressed bool) error {
	if compressed {
		inflated, err := zlib.NewReader(from)
		if err != nil {
			return refusal("error writing to file descriptor")
		}
		from = inflated
	}
	_, err := io.Copy(to, from)
	if err != nil && !errors.Is(err, errExceeds) {
		return refusal("error writing to file descriptor")
	}
	return err
}

// sparseFile leaves holes where zeros are written.
type sparseFile struct {
	file  *os.File
	at    int64
	limit int64
}

var zeros [64 << 10]byte

func (f *sparseFile) Write(p []byte) (int, error) {
	if int64(len(p)) > f.limit-f.at {
		return 0, errExceeds
	}
	if len(p) > len(zeros) || !bytes.Equal(p, zeros[:len(p)]) {
		if n, err := f.file.WriteAt(p, f.at); err != nil {
			return n, err
		}
	}
	f.at += int64(len(p))
	return len(p), nil
}

// beginDump opens a block device for reading.
func (d *daemon) beginDump(name wire.Name) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errNoAnswer
	}
	b, err := d.unused(name, "dump")
	if err != nil {
		return nil, err
	}
	file, err := os.Open(b.path)
	if err != nil {
		return nil, refusal("file does not exist")
	}
	return file, nil
}

// dump sends the content in pieces, compressed when level is above 0. An empty
// file is one empty piece.
func dump(file *os.File, level int64, send func([]byte) error) error {
	pieces := &pieces{send: send, buffer: make([]byte, 0, dumpFrame)}
	if level <= 0 {
		if _, err := io.Copy(struct{ io.Writer }{pieces}, struct{ io.Reader }{file}); err != nil {
			return err
		}
		return pieces.end()
	}
	w, err := zlib.NewWriterLevel(pieces, int(min(level, 9)))
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, file); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return pieces.end()
}

// pieces cuts what is written into frames.
type pieces struct {
	send   func([]byte) error
	buffer []byte
	sent   bool
}

func (w *pieces) Write(p []byte) (int, error) {
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

func (w *pieces) flush() error {
	w.sent = true
	err := w.send(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}

func (w *pieces) end() error {
	if len(w.buffer) == 0 && w.sent {
		return nil
	}
	return w.flush()
}

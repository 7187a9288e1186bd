package albatrosstest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// content of a block device as the host has it, without the zeros at the end.
func (r *rig) content(name string) (data []byte, size int) {
	r.t.Helper()
	all, err := r.BlockContent(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return bytes.TrimRight(all, "\x00"), len(all)
}

func TestBlockSet(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 2})
	data := noise(1<<20 + 5)
	for _, tt := range []struct {
		what   string
		set    wire.BlockSet
		upload upload
		text   string
		left   []byte
		size   int
	}{
		{"plain", wire.BlockSet{}, upload{data: data}, "set block device", data, 2 << 20},
		{"in one piece", wire.BlockSet{}, upload{data: data, chunk: 2 << 20}, "set block device", data, 2 << 20},
		{"zlib", wire.BlockSet{Compressed: true}, upload{data: deflate(data, 1)}, "set block device", data, 2 << 20},
		{"zlib, and more behind it", wire.BlockSet{Compressed: true}, upload{data: append(deflate(data, 1), "more"...)}, "set block device", data, 2 << 20},
		{"nothing", wire.BlockSet{}, upload{}, "set block device", nil, 2 << 20},
		{"zeros", wire.BlockSet{}, upload{data: make([]byte, 2<<20)}, "set block device", nil, 2 << 20},
		{"too much", wire.BlockSet{}, upload{data: make([]byte, 2<<20+1)}, "stream exceeds size", nil, 0},
		{"no zlib", wire.BlockSet{Compressed: true}, upload{data: data}, "error writing to file descriptor", nil, 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r.expect(tt.text, "data", tt.set, tt.upload)
			if got, size := r.content("alice:data"); !bytes.Equal(got, tt.left) || size != tt.size {
				t.Errorf("%d bytes, %d but the zeros at the end", size, len(got))
			}
			if blocks := r.Blocks("alice"); len(blocks) != 1 || blocks[0].Active || blocks[0].Size != 2 {
				t.Errorf("%+v", blocks)
			}
		})
	}
	// A dump of what has no content is one empty frame.
	got := r.send("data", wire.BlockDump{}, 0)
	if len(got.data) != 1 || len(got.data[0]) != 0 || !got.lastEnd {
		t.Errorf("%+v", got)
	}
}

// TestBlockSetRefused has the daemon's text when the rest of an upload is short.
func TestBlockSetRefused(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.expect("set block: not found", "data", wire.BlockSet{}, upload{data: noise(10_000)})
	got := r.send("data", wire.BlockSet{}, 0, upload{data: noise(4 << 20)})
	if len(got.frames) != 1 || say(got.frames[0].Payload) != "writing block data" {
		t.Errorf("%+v, ended with %v", got.frames, got.closing)
	}
}

// TestDeadlock waits for ever for what is behind more chunks than the daemon
// takes after its failure, and keeps the block device.
func TestDeadlock(t *testing.T) {
	r := newRig(t, albatrosstest.Options{Quirks: albatrosstest.Quirks{Deadlocks: true}})
	r.patience = 300 * time.Millisecond
	for _, cn := range []string{"a", "b", "c"} {
		r.expect("added block device", cn, wire.BlockAdd{Size: 1})
	}
	r.expect("error writing to file descriptor", "c", wire.BlockSet{Compressed: true}, upload{data: noise(10_000)})
	for cn, set := range map[string]wire.BlockSet{"a": {}, "b": {Compressed: true}} {
		if got := r.send(cn, set, 0, upload{data: noise(1<<20 + 20_000)}); len(got.frames) != 0 || got.closing != errOpen { //nolint:errorlint // set by this test
			t.Errorf("%s: %+v, ended with %v", cn, got.frames, got.closing)
		}
		r.expect("remove block: is in use", cn, wire.BlockRemove{})
	}
	r.expect("removed block", "c", wire.BlockRemove{})
}

// TestBlockSetCut keeps what has arrived.
func TestBlockSetCut(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	r.expect("set block device", "data", wire.BlockSet{}, upload{data: noise(100_000)})
	conn, err := r.dial(r.request("data"), wire.BlockSet{})
	if err != nil {
		t.Fatal(err)
	}
	sendChunks(conn, noise(50_000), 10_000, false)
	eventually(t, "the set has begun", func() bool { return r.Blocks("")[0].Active })
	r.expect("dump block: is in use", "data", wire.OldBlockDump{})
	r.expect("set block: is in use", "data", wire.OldBlockSet{})
	conn.NetConn().Close()
	eventually(t, "the set has ended", func() bool { return !r.Blocks("")[0].Active })
	if got, size := r.content("alice:data"); !bytes.Equal(got, noise(50_000)) || size != 1<<20 {
		t.Errorf("%d bytes, %d but the zeros at the end", size, len(got))
	}
}

func TestBlockNames(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	for _, size := range []int64{0, -1, -1 << 42} {
		r.expect("overflow while computing bytes", "zero", wire.BlockAdd{Size: size})
		r.expect("file already exists", "zero", wire.BlockAdd{Size: 1})
		if err := os.Remove(filepath.Join(r.Dir(), "block", "alice:zero")); err != nil {
			t.Error(err)
		}
	}
	r.expect("block add may not have an empty name", ".", wire.BlockAdd{Size: 1})
	r.expect("block device policy limit of 10 MB (used 0 MB) would be exceeded by the request (4398046511104 MB)", "huge", wire.BlockAdd{Size: 1 << 42})
	r.expect("overflow while computing bytes", "zero", wire.OldBlockAdd{Size: 0, Data: []byte("x")})
	r.expect("added block device", "zero", wire.OldBlockAdd{Size: 1, Data: deflate([]byte("hello"), 9), Compressed: true})
	if got, _ := r.content("alice:zero"); string(got) != "hello" {
		t.Errorf("%q", got)
	}
	r.expect("set block device", "zero", wire.OldBlockSet{Compressed: true, Data: deflate([]byte("bye"), 9)})
	if got, _ := r.content("alice:zero"); string(got) != "bye" {
		t.Errorf("%q", got)
	}
	r.expect("data exceeds block size", "zero", wire.OldBlockSet{Compressed: true, Data: deflate(make([]byte, 5<<20), 9)})
}

// TestLargeBlock costs neither time nor disk space.
func TestLargeBlock(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.domain = ""
	r.expect("added block device", "large", wire.BlockAdd{Size: 100_000})
	r.expect("set block device", "large", wire.BlockSet{}, upload{data: append(make([]byte, 8<<20), "end"...), chunk: 64 << 10})
	info, err := os.Stat(filepath.Join(r.Dir(), "block", ":large"))
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != 100_000<<20 || used > 1<<20 {
		t.Errorf("%d bytes, of which %d are kept", info.Size(), used)
	}
}

func TestAttachedBlock(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	c := config(standIn(t, "test", solo5.Device{Name: "disk", Type: solo5.Block}))
	c.Blocks = []wire.BlockDevice{{Name: "disk", HostDevice: new("data")}}
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	for text, command := range map[string]wire.Command{
		"remove block: is in use": wire.BlockRemove{}, "dump block: is in use": wire.OldBlockDump{}, "set block: is in use": wire.OldBlockSet{},
	} {
		r.expect(text, "data", command)
	}
	r.Kill("alice:web")
	eventually(t, "the unikernel is gone", func() bool { return len(r.Unikernels("")) == 0 })
	r.expect("removed block", "data", wire.BlockRemove{})
	if _, err := r.BlockContent("alice:data"); err == nil {
		t.Error("a block device that was removed has content")
	}
}

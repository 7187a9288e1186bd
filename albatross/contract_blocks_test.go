package albatross_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"mollymawk.dev/operator/albatross"
)

const mib = 1 << 20

// noise gives bytes that hardly can be compressed, the same ones every time.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return b
}

// padded gives what a block device of size MiB holds after data was written.
func padded(data []byte, size int) []byte {
	return append(data[:len(data):len(data)], make([]byte, size*mib-len(data))...)
}

func testBlocks(t *testing.T, p *place) {
	ctx := t.Context()
	p.addBlock(t, "storage", 2)
	_, err := p.client.AddBlock(ctx, p.scope, "storage", 2)
	wantRefusal(t, err, "block device with same name already exists")
	_, err = p.client.AddBlock(ctx, p.scope, "big", 9)
	wantRefusal(t, err, "block device policy limit of 10 MB (used 2 MB) would be exceeded by the request (9 MB)")
	p.addBlock(t, "rest", 8)
	all, err := p.client.Blocks(ctx, p.scope)
	sizes := map[string]int64{}
	for _, b := range all {
		sizes[b.Name.String()] = b.Size
		if b.Active {
			t.Errorf("%s is active", b.Name)
		}
	}
	if err != nil || len(sizes) != 2 || sizes[p.tenant+":storage"] != 2 || sizes[p.tenant+":rest"] != 8 {
		t.Errorf("%+v, %v", all, err)
	}
	b, found, err := p.client.Block(ctx, p.scope, "rest")
	if err != nil || !found || b.Name.String() != p.tenant+":rest" || b.Size != 8 {
		t.Errorf("%+v, found %t, %v", b, found, err)
	}
	text, err := p.client.RemoveBlock(ctx, p.scope, "storage")
	wantText(t, text, err, "removed block")
	_, err = p.client.RemoveBlock(ctx, p.scope, "storage")
	wantRefusal(t, err, "remove block: not found")
	if _, found, err := p.client.Block(ctx, p.scope, "storage"); err != nil || found {
		t.Errorf("found %t, %v", found, err)
	}
}

func testBlockSizeZero(t *testing.T, p *place) {
	for _, size := range []int64{0, -1} {
		_, err := p.client.AddBlock(t.Context(), p.scope, "storage", size)
		if e := wantKind(t, err, albatross.ErrInvalid); e.Sent {
			t.Errorf("size %d was sent", size)
		}
	}
	p.addBlock(t, "storage", 1) // the name is free
}

func testBlocksNotAllowed(t *testing.T, p *place) {
	p.scope[0].Policy.Block = nil
	_, err := p.client.AddBlock(t.Context(), p.scope, "storage", 1)
	wantRefusal(t, err, "no block devices are allowed by policy")
}

func testBlockContent(t *testing.T, p *place) {
	p.addBlock(t, "storage", 2)
	if got := p.dump(t, "storage", 0); !bytes.Equal(got, padded(nil, 2)) {
		t.Errorf("a new block device is not empty")
	}
	small, large, full := []byte("small"), noise(mib+12345), noise(2*mib)
	text := bytes.Repeat([]byte("a line of text\n"), 100_000)
	for _, c := range []struct {
		name    string
		content albatross.BlockContent
		want    []byte
	}{
		{"full", albatross.BlockContent{Reader: bytes.NewReader(full)}, full},
		{"small", albatross.BlockContent{Reader: bytes.NewReader(small)}, small},
		{"large", albatross.BlockContent{Reader: bytes.NewReader(large)}, large},
		{"empty", albatross.BlockContent{Reader: bytes.NewReader(nil)}, nil},
		{"bytes one by one", albatross.BlockContent{Reader: iotest.OneByteReader(bytes.NewReader(large[:70_000]))}, large[:70_000]},
		{"a chunk's size", albatross.BlockContent{Reader: bytes.NewReader(large[:4*(64<<10-4)])}, large[:4*(64<<10-4)]},
		{"zlib", albatross.BlockContent{Reader: bytes.NewReader(compressed(t, large)), Compressed: true}, large},
		{"zlib of nothing", albatross.BlockContent{Reader: bytes.NewReader(compressed(t, nil)), Compressed: true}, nil},
		{"deflate", albatross.BlockContent{Reader: bytes.NewReader(text), Deflate: true}, text},
		{"deflate noise", albatross.BlockContent{Reader: bytes.NewReader(full), Deflate: true}, full},
		{"deflate nothing", albatross.BlockContent{Reader: bytes.NewReader(nil), Deflate: true}, nil},
		{"zlib and deflate", albatross.BlockContent{Reader: bytes.NewReader(compressed(t, text)), Compressed: true, Deflate: true}, text},
	} {
		answer, err := p.client.SetBlock(t.Context(), p.scope, "storage", c.content)
		if err != nil || answer != "set block device" {
			t.Fatalf("%s: %q, %v", c.name, answer, err)
		}
		levels := []int64{0}
		if c.name == "large" || c.name == "small" {
			levels = []int64{0, 1, 9}
		}
		for _, level := range levels {
			if got := p.dump(t, "storage", level); !bytes.Equal(got, padded(c.want, 2)) {
				t.Errorf("%s: a dump of level %d gives other data", c.name, level)
			}
		}
	}
}

func testBlockTooSmall(t *testing.T, p *place) {
	p.addBlock(t, "storage", 1)
	data := noise(mib + 1)
	for name, content := range map[string]func() albatross.BlockContent{
		"plain": func() albatross.BlockContent { return albatross.BlockContent{Reader: bytes.NewReader(data)} },
		"zlib": func() albatross.BlockContent {
			return albatross.BlockContent{Reader: bytes.NewReader(compressed(t, data)), Compressed: true}
		},
		"huge": func() albatross.BlockContent { return albatross.BlockContent{Reader: io.LimitReader(zeros{}, 1<<40)} },
	} {
		_, err := p.setWhenFree(t, "storage", content)
		_ = wantKind(t, err, albatross.ErrInvalid)
		if !strings.Contains(err.Error(), "the data is larger than the block device") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := p.setWhenFree(t, "storage", func() albatross.BlockContent {
		return albatross.BlockContent{Reader: strings.NewReader("no zlib"), Compressed: true}
	})
	if e := wantKind(t, err, albatross.ErrInvalid); e.Sent {
		t.Errorf("sent: %v", err)
	}
	text, err := p.setWhenFree(t, "storage", func() albatross.BlockContent {
		return albatross.BlockContent{Reader: bytes.NewReader(data[:mib])}
	})
	wantText(t, text, err, "set block device")
	if got := p.dump(t, "storage", 0); !bytes.Equal(got, data[:mib]) {
		t.Error("other data")
	}
}

// setWhenFree writes a block device as soon as the host has noticed that an
// upload before was cut.
func (p *place) setWhenFree(t *testing.T, label string, content func() albatross.BlockContent) (text string, err error) {
	t.Helper()
	eventually(t, "block device is not in use", func() bool {
		var e *albatross.Error
		text, err = p.client.SetBlock(t.Context(), p.scope, label, content())
		return !errors.As(err, &e) || e.Text != "set block: is in use"
	})
	return text, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func testBlockAttached(t *testing.T, p *place) {
	ctx := t.Context()
	image := p.host.image(t, "test_blktick.hvt")
	config := p.config()
	config.Blocks = []albatross.BlockDevice{{Name: "storage"}}
	_, err := p.client.Create(ctx, p.scope, "web", config, imageOf(image))
	wantRefusal(t, err, "block device "+p.tenant+":storage not found")
	p.addBlock(t, "storage", 1)
	text, err := p.client.Create(ctx, p.scope, "web", config, imageOf(image))
	wantText(t, text, err, "created unikernel")
	u := p.runs(t, "web")
	if want := (albatross.BlockInfo{Device: "storage", HostDevice: "storage", SectorSize: 512, Size: 1}); len(u.Info.Blocks) != 1 || u.Info.Blocks[0] != want {
		t.Errorf("got %+v, want %+v", u.Info.Blocks, want)
	}
	if b, found, err := p.client.Block(ctx, p.scope, "storage"); err != nil || !found || !b.Active {
		t.Errorf("%+v, found %t, %v", b, found, err)
	}
	_, err = p.client.RemoveBlock(ctx, p.scope, "storage")
	wantRefusal(t, err, "remove block: is in use")
	n, err := p.client.DumpBlock(ctx, p.scope, "storage", 0, io.Discard)
	wantRefusal(t, err, "dump block: is in use") // the first of two failures
	if n != 0 {
		t.Errorf("%d bytes", n)
	}
	_, err = p.client.SetBlock(ctx, p.scope, "storage", albatross.BlockContent{Reader: strings.NewReader("data")})
	wantRefusal(t, err, "set block: is in use")
	_, err = p.client.Create(ctx, p.scope, "web2", config, imageOf(image))
	wantRefusal(t, err, "block device "+p.tenant+":storage already in use")
	p.destroy(t, "web")
	text, err = p.client.RemoveBlock(ctx, p.scope, "storage")
	wantText(t, text, err, "removed block")
}

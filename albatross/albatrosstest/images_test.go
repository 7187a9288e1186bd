package albatrosstest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

func TestStandIn(t *testing.T) {
	notes := solo5.Image{Devices: []solo5.Device{{Name: "a", Type: solo5.Block}}}
	smallest, err := StandIn("test_tick", notes, 0)
	if err != nil {
		t.Fatal(err)
	}
	for size := len(smallest) - 3; size < len(smallest)+40; size++ {
		made, err := StandIn("test_tick", notes, size)
		if err != nil || len(made) != max(size, len(smallest)) {
			t.Fatalf("%d bytes, want %d: %v", len(made), size, err)
		}
		image, err := solo5.Read(bytes.NewReader(made), int64(len(made)))
		if err != nil || image.DeviceList() != `block "a"` || standInProgram(bytes.NewReader(made)) != "test_tick" {
			t.Errorf("with %d bytes: %+v, %q, %v", size, image, standInProgram(bytes.NewReader(made)), err)
		}
	}
	if _, err := StandIn("x", solo5.Image{Devices: []solo5.Device{{Name: "-", Type: solo5.Block}}}, 0); err == nil {
		t.Error("a bad device passes")
	}
	if got := standInProgram(strings.NewReader("nothing of ours")); got != "" {
		t.Errorf("%q", got)
	}
}

func TestKeptImages(t *testing.T) {
	s := &images{dir: t.TempDir()}
	content, err := StandIn("test_net", solo5.Image{}, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.add(bytes.NewReader(content), false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.add(iotest.OneByteReader(bytes.NewReader(deflate(content, 3))), true)
	if err != nil || second != first {
		t.Fatalf("the same image is kept twice: %v", err)
	}
	sum := sha256.Sum256(content)
	if !bytes.Equal(first.digest, sum[:]) || first.size != 100_000 || first.program != "test_net" || first.damage != nil {
		t.Errorf("%+v", first)
	}
	s.release(first)
	if _, err := os.Stat(first.path); err != nil {
		t.Errorf("released once: %v", err)
	}
	again, err := s.load(first.digest)
	if err != nil || again != first {
		t.Errorf("loaded another: %v", err)
	}
	s.release(first)
	s.release(first)
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 0 {
		t.Errorf("%d files stay, %v", len(entries), err)
	}
	if _, err := s.load(first.digest); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("loaded what is gone: %v", err)
	}
}

func TestImageErrors(t *testing.T) {
	s := &images{dir: t.TempDir()}
	lost := errors.New("lost")
	spoilt := deflate([]byte("hello"), 1)
	spoilt[len(spoilt)-1]++
	for _, tt := range []struct {
		what string
		from io.Reader
		zlib bool
		want string
	}{
		{"lost", io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(lost)), false, "lost"},
		{"lost in zlib", io.MultiReader(bytes.NewReader(deflate([]byte("hello"), 1)[:5]), iotest.ErrReader(lost)), true, "lost"},
		{"header", strings.NewReader("\x7fELF"), true, "failed to uncompress: Invalid Zlib header"},
		{"cut", bytes.NewReader(deflate([]byte("hello"), 1)[:8]), true, "failed to uncompress: Unexpected end of input"},
		{"checksum", bytes.NewReader(spoilt), true, "failed to uncompress: Invalid checksum"},
		{"block", strings.NewReader("\x78\x9c\xff\xff\xff\xff"), true, "failed to uncompress: Invalid kind of block"},
	} {
		if _, err := s.add(tt.from, tt.zlib); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.what, err, tt.want)
		}
	}
	if entries, _ := os.ReadDir(s.dir); len(entries) != 0 {
		t.Errorf("%d files stay", len(entries))
	}
	if _, err := (&images{dir: "/dev/null"}).add(strings.NewReader(""), false); err == nil {
		t.Error("kept in a folder that cannot be")
	}
}

func TestUploadReader(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		chunks   int
		err      error
	}{
		{"\x00\x00\x00\x00", "", 0, nil},
		{"\x00\x00\x00\x03abc\x00\x00\x00\x01d\x00\x00\x00\x00rest", "abcd", 2, nil},
		{"", "", 0, io.ErrUnexpectedEOF},
		{"\x00\x00", "", 0, io.ErrUnexpectedEOF},
		{"\x00\x00\x00\x03ab", "ab", 1, io.ErrUnexpectedEOF},
		{"\x00\x00\x00\x03abc", "abc", 1, io.ErrUnexpectedEOF},
		{"\xff\xff\xff\xffabc", "abc", 1, io.ErrUnexpectedEOF},
	} {
		for _, from := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in)), iotest.DataErrReader(strings.NewReader(tt.in))} {
			u := &uploadReader{from: from}
			got, err := io.ReadAll(u)
			if string(got) != tt.want || !errors.Is(err, tt.err) || u.chunks != tt.chunks || u.finished != (tt.err == nil) {
				t.Errorf("%q: %q in %d chunks, %v", tt.in, got, u.chunks, err)
			}
		}
	}
}

func FuzzUploadReader(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03abc\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, _ := io.ReadAll(&uploadReader{from: bytes.NewReader(in)})
		if len(got) > len(in) {
			t.Errorf("%d bytes of %d", len(got), len(in))
		}
	})
}

func TestDumpPieces(t *testing.T) {
	for _, tt := range []struct {
		size   int
		level  int64
		pieces int
	}{{0, 0, 1}, {1, 0, 1}, {dumpFrame, 0, 1}, {dumpFrame + 1, 0, 2}, {3 * dumpFrame, 0, 3}, {100 * dumpFrame, 9, 1}, {100 * dumpFrame, 99, 1}, {0, 1, 1}} {
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Truncate(int64(tt.size)); err != nil {
			t.Fatal(err)
		}
		var pieces int
		var all bytes.Buffer
		err = dump(file, tt.level, func(p []byte) error {
			pieces++
			all.Write(p)
			return nil
		})
		file.Close()
		var out bytes.Buffer
		if expandErr := expand(&out, &all, tt.level > 0); err != nil || expandErr != nil || pieces != tt.pieces || out.Len() != tt.size {
			t.Errorf("%+v: %d bytes in %d pieces, %v, %v", tt, out.Len(), pieces, err, expandErr)
		}
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := dump(file, 0, func([]byte) error { return io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

func TestJournalIsBounded(t *testing.T) {
	var h Host
	e := Entry{Command: "unikernel destroy", Name: parsed("a:web")}
	first := h.journal.add(e)
	var last int
	for range maxJournal + 5 {
		last = h.journal.add(e)
	}
	h.journal.finish(first, "too late")
	h.journal.finish(last, "done")
	log := h.Log()
	if len(log) > maxJournal || log[len(log)-1].Outcome != "done" || log[0].Outcome != "" {
		t.Errorf("%d entries, from %+v to %+v", len(log), log[0], log[len(log)-1])
	}
	if got := h.Received("unikernel destroy", "a:web"); got != maxJournal+6 || h.Mutations("") != got {
		t.Errorf("%d received", got)
	}
}

func TestUnwritableState(t *testing.T) {
	d := bare(t)
	d.state = "/dev/null/nowhere"
	if _, err := d.addPolicy(wire.Path{"a"}, policy(nil)); err == nil {
		t.Error("a policy that cannot be kept is in force")
	}
	content, err := StandIn("x", solo5.Image{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	image, err := d.images.add(bytes.NewReader(content), false)
	if err != nil {
		t.Fatal(err)
	}
	config := wire.Config{Arguments: wire.Arguments{CPUIDs: []int64{0}, Memory: 16}}
	if text, err := d.launch(parsed(":web"), config, prepared{image: image}); err == nil {
		t.Errorf("%q: a unikernel that cannot be kept runs", text)
	}
	if _, err := d.blockAdd(parsed(":data"), 1, nil); err == nil {
		t.Error("a block device that cannot be kept is there")
	}
	if _, ok := d.unikernels.find(parsed(":web")); ok || d.blockUsage(nil) != 0 {
		t.Error("something was left behind")
	}
}

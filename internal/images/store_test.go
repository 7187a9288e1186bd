package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func newStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, content string) Blob {
	t.Helper()
	blob, err := s.Put(t.Context(), strings.NewReader(content), digestOf(content), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func contentOf(t *testing.T, b Blob) string {
	t.Helper()
	f, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// kept wants just these contents to be in a folder, each under its digest.
func kept(t *testing.T, dir string, contents ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]bool{}, map[string]bool{}
	for _, entry := range entries {
		got[entry.Name()] = true
	}
	for _, content := range contents {
		want[digestOf(content)] = true
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in the folder: %v, want %v", got, want)
	}
}

func TestPutAndGet(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	for _, content := range []string{"", "x", strings.Repeat("many ", 50000)} {
		if _, found, err := s.Get(t.Context(), digestOf(content)); found || err != nil {
			t.Errorf("before: %v, %v", found, err)
		}
		blob := put(t, s, content)
		if blob.Digest != digestOf(content) || blob.Size != int64(len(content)) || contentOf(t, blob) != content {
			t.Errorf("kept %+v", blob)
		}
		for what, store := range map[string]*Store{"the same store": s, "one of a later process": newStore(t, dir)} {
			again, found, err := store.Get(t.Context(), blob.Digest)
			if !found || err != nil || contentOf(t, again) != content || again.Size != blob.Size {
				t.Errorf("%s: %+v, %v, %v", what, again, found, err)
			}
			if known, ok := store.Known(blob.Digest); !ok || known != again {
				t.Errorf("%s does not know it: %+v", what, known)
			}
		}
	}
	if _, known := newStore(t, dir).Known(digestOf("x")); known {
		t.Error("known without having been verified")
	}
	info, err := os.Stat(filepath.Join(dir, digestOf("x")))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("readable for others: %v, %v", info, err)
	}
}

func TestPutRefuses(t *testing.T) {
	broken := errors.New("the line is dead")
	for _, tt := range []struct {
		what   string
		from   io.Reader
		digest string
		limit  int64
		want   error
	}{
		{"other content", strings.NewReader("y"), digestOf("x"), 10, ErrDigestMismatch},
		{"less content", strings.NewReader("lo"), digestOf("long"), 10, ErrDigestMismatch},
		{"too much", strings.NewReader("long"), digestOf("long"), 3, ErrTooLarge},
		{"far too much", io.LimitReader(zeros{}, math.MaxInt64), digestOf("long"), 1 << 20, ErrTooLarge},
		{"a broken source", io.MultiReader(strings.NewReader("lo"), iotest.ErrReader(broken)), digestOf("long"), 10, broken},
	} {
		dir := t.TempDir()
		s := newStore(t, dir)
		if _, err := s.Put(t.Context(), tt.from, tt.digest, tt.limit); !errors.Is(err, tt.want) || strings.Contains(err.Error(), "image store") {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
		kept(t, dir)
	}
	dir := t.TempDir()
	for _, limit := range []int64{4, math.MaxInt64} {
		if _, err := newStore(t, dir).Put(t.Context(), strings.NewReader("long"), digestOf("long"), limit); err != nil {
			t.Errorf("with limit %d: %v", limit, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestWhatIsNoDigest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := newStore(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "..", "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, digest := range []string{
		"", ".", "..", "../secret", "../" + digestOf("x"), strings.ToUpper(digestOf("x")), "sha256:" + digestOf("x"),
		digestOf("x")[1:], digestOf("x") + "0", digestOf("x") + "\n",
	} {
		if _, found, err := s.Get(t.Context(), digest); found || !errors.Is(err, ErrInvalid) {
			t.Errorf("get %q: %v, %v", digest, found, err)
		}
		if _, err := s.Put(t.Context(), strings.NewReader("x"), digest, 10); !errors.Is(err, ErrInvalid) {
			t.Errorf("put %q: %v", digest, err)
		}
	}
	kept(t, dir)
}

// What a killed process left is cleared, and nothing else.
func TestLeftovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store [a-z]*") // no pattern
	put(t, newStore(t, dir), "whole")
	for _, name := range []string{incoming + "123", incoming} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newStore(t, dir)
	kept(t, dir, "whole")
}

func TestAlteredFilesAreNotUsed(t *testing.T) {
	for what, alter := range map[string]func(path string) error{
		"other bytes": func(path string) error { return os.WriteFile(path, []byte("evil!"), 0o600) },
		"shorter":     func(path string) error { return os.Truncate(path, 2) },
		"longer":      func(path string) error { return os.WriteFile(path, []byte("good! and more"), 0o600) },
		"empty":       func(path string) error { return os.Truncate(path, 0) },
		"gone":        os.Remove,
	} {
		for when, first := range map[string]bool{"before the first use": true, "later": false} {
			dir := t.TempDir()
			s := newStore(t, dir)
			path := filepath.Join(dir, put(t, s, "good!").Digest)
			past := time.Now().Add(-time.Hour) // the clock of files may be coarse
			if err := os.Chtimes(path, past, past); err != nil {
				t.Fatal(err)
			}
			if first {
				s = newStore(t, dir)
			} else if _, found, err := s.Get(t.Context(), digestOf("good!")); !found || err != nil {
				t.Fatalf("touched: %v, %v", found, err)
			}
			if err := alter(path); err != nil {
				t.Fatal(err)
			}
			if _, known := s.Known(digestOf("good!")); known {
				t.Errorf("%s, %s: still known", what, when)
			}
			if blob, found, err := s.Get(t.Context(), digestOf("good!")); found || err != nil {
				t.Errorf("%s, %s: %+v, %v, %v", what, when, blob, found, err)
			}
			kept(t, dir)
			put(t, s, "good!")
			if _, found, err := s.Get(t.Context(), digestOf("good!")); !found || err != nil {
				t.Errorf("%s, %s: put again: %v, %v", what, when, found, err)
			}
		}
	}
}

func TestManyAtATime(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	contents := []string{"a", "b", strings.Repeat("c", 100000)}
	var all sync.WaitGroup
	for i := range 60 {
		content := contents[i%len(contents)]
		all.Go(func() {
			switch i % 4 {
			case 0, 1:
				if _, err := s.Put(t.Context(), iotest.OneByteReader(strings.NewReader(content)), digestOf(content), 1<<20); err != nil {
					t.Error(err)
				}
			case 2:
				if _, err := s.Put(t.Context(), strings.NewReader(content+"!"), digestOf(content), 1<<20); !errors.Is(err, ErrDigestMismatch) {
					t.Error(err)
				}
			case 3:
				blob, found, err := s.Get(t.Context(), digestOf(content))
				if err != nil || found && blob.Size != int64(len(content)) {
					t.Errorf("%+v, %v", blob, err)
				}
			}
		})
	}
	all.Wait()
	kept(t, dir, contents...)
	if len(s.busy) != 0 {
		t.Errorf("%d locks are left", len(s.busy))
	}
}

// One that takes long holds up none of the others.
func TestLocksAreOfOneDigest(t *testing.T) {
	s := newStore(t, t.TempDir())
	unlock := s.lock(digestOf("large"))
	put(t, s, "small")
	if _, found, err := s.Get(t.Context(), digestOf("small")); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	unlock()
	put(t, s, "large")
}

// Texts about the disk name no files: they end up in conditions.
func TestDiskErrors(t *testing.T) {
	var texts []string
	note := func(what string, err error) {
		t.Helper()
		if err == nil || Permanent(err) {
			t.Errorf("%s: %v", what, err)
			return
		}
		texts = append(texts, err.Error())
	}
	dir := t.TempDir()
	s := newStore(t, dir)
	if err := os.MkdirAll(filepath.Join(dir, digestOf("x"), "sub"), 0o700); err != nil { // in the place of a file
		t.Fatal(err)
	}
	_, _, err := s.Get(t.Context(), digestOf("x"))
	note("read", err)
	_, err = s.Put(t.Context(), strings.NewReader("x"), digestOf("x"), 10)
	note("rename", err)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), strings.NewReader("x"), digestOf("x"), 10)
	note("create", err)
	_, err = Blob{path: filepath.Join(dir, "x")}.Open()
	note("open", err)
	_, err = Blob{path: filepath.Join(dir, "x")}.Manifest()
	note("manifest", err)
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Get(t.Context(), digestOf("y"))
	note("a file as folder", err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, err = disk{full}.Write([]byte("x"))
	note("write", err)
	note("other", storeError(io.ErrShortWrite))
	for _, text := range texts {
		if !strings.HasPrefix(text, "image store: ") || strings.Contains(text, "/") || strings.Contains(text, incoming) {
			t.Errorf("%q", text)
		}
	}
	if _, err := NewStore(filepath.Join(dir, "below a file")); err == nil {
		t.Error("a store below a file")
	}
}

func TestBlobsGone(t *testing.T) {
	s := newStore(t, t.TempDir())
	blob := put(t, s, "x")
	if err := os.Remove(blob.path); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Open(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestManifest(t *testing.T) {
	s := newStore(t, t.TempDir())
	image, err := albatrosstest.StandIn("test_net", solo5.Image{Devices: []solo5.Device{{Type: solo5.Network, Name: "service0"}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := put(t, s, string(image)).Manifest()
	if err != nil || !reflect.DeepEqual(manifest.Names(solo5.Network), []string{"service0"}) {
		t.Errorf("%+v, %v", manifest, err)
	}
	for _, content := range []string{"", "#!/bin/sh", string(image[:len(image)/2]), string(bytes.Repeat([]byte{0x7f}, 4096))} {
		if _, err := put(t, s, content).Manifest(); !errors.Is(err, ErrInvalid) || !Permanent(err) {
			t.Errorf("%.10q: %v", content, err)
		}
	}
}

package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
	"gocloud.dev/blob/memblob"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
)

// TestMain is also the process that the crash test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(dir)
	}
	if err := lookForCredentials(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, leaks()...)
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func newStore(t *testing.T, location string) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), location)
	return opened(t, s, err)
}

// opened has a store closed at the end of a test.
func opened(t *testing.T, s *Store, err error) *Store {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
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
	f, err := b.Open(t.Context())
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
	holds(t, newStore(t, dir), contents...)
}

// holds wants just these contents in a store, and nothing unfinished.
func holds(t *testing.T, s *Store, contents ...string) {
	t.Helper()
	got, want := map[string]bool{}, map[string]bool{}
	for _, prefix := range []string{blobPrefix, incomingPrefix, collectingPrefix} {
		for _, name := range names(t, s, prefix) {
			got[prefix+name] = true
		}
	}
	for _, content := range contents {
		want[blobKey(digestOf(content))] = true
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in the store: %v, want %v", got, want)
	}
}

func names(t *testing.T, s *Store, prefix string) (names []string) {
	t.Helper()
	entries, err := s.bucket.list(context.Background(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.name)
	}
	return names
}

func TestPutAndGet(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		for _, content := range []string{"", "x", strings.Repeat("many ", 50000)} {
			if _, found, err := s.Get(t.Context(), digestOf(content)); found || err != nil {
				t.Errorf("before: %v, %v", found, err)
			}
			blob := put(t, s, content)
			if blob.Digest != digestOf(content) || blob.Size != int64(len(content)) || contentOf(t, blob) != content {
				t.Errorf("kept %+v", blob)
			}
			for what, store := range map[string]*Store{"the same store": s, "another": open()} {
				again, found, err := store.Get(t.Context(), blob.Digest)
				if !found || err != nil || contentOf(t, again) != content || again.Size != blob.Size {
					t.Errorf("%s: %+v, %v, %v", what, again, found, err)
				}
				if known, ok := store.Known(blob.Digest); !ok || known != again {
					t.Errorf("%s does not know it: %+v", what, known)
				}
			}
		}
		if _, known := open().Known(digestOf("x")); known {
			t.Error("known without having been verified")
		}
	})
}

func TestAdd(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		for _, content := range []string{"", "x", strings.Repeat("many ", 50000)} {
			blob, err := s.Add(t.Context(), strings.NewReader(content), int64(len(content)))
			if err != nil || blob.Digest != digestOf(content) || blob.Size != int64(len(content)) || contentOf(t, blob) != content {
				t.Errorf("%+v, %v", blob, err)
			}
		}
		holds(t, s, "", "x", strings.Repeat("many ", 50000))
		broken := errors.New("the line is dead")
		for what, try := range map[string]struct {
			from io.Reader
			want error
		}{
			"too much":        {strings.NewReader("long"), ErrTooLarge},
			"a broken source": {io.MultiReader(strings.NewReader("lo"), iotest.ErrReader(broken)), broken},
		} {
			if _, err := s.Add(t.Context(), try.from, 3); !errors.Is(err, try.want) || strings.Contains(err.Error(), "image store") {
				t.Errorf("%s: %v", what, err)
			}
		}
		holds(t, s, "", "x", strings.Repeat("many ", 50000))
	})
}

// Others on the machine cannot read what is in a folder.
func TestFolderIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := newStore(t, dir)
	put(t, s, "x")
	if err := s.Grant(t.Context(), digestOf("x"), Provenance{1}); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || files != 2 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestPutRefuses(t *testing.T) {
	broken := errors.New("the line is dead")
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		put(t, s, "long")
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
			{"far too much", io.LimitReader(zeros{}, math.MaxInt64), digestOf("long"), 6 << 20, ErrTooLarge},
			{"a broken source", io.MultiReader(strings.NewReader("lo"), iotest.ErrReader(broken)), digestOf("long"), 10, broken},
		} {
			if _, err := s.Put(t.Context(), tt.from, tt.digest, tt.limit); !errors.Is(err, tt.want) || strings.Contains(err.Error(), "image store") {
				t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
			}
			holds(t, s, "long")
			if blob, found, err := open().Get(t.Context(), digestOf("long")); !found || err != nil || contentOf(t, blob) != "long" {
				t.Errorf("%s: what was there before: %v, %v", tt.what, found, err)
			}
		}
		for _, limit := range []int64{4, math.MaxInt64} {
			if _, err := s.Put(t.Context(), strings.NewReader("long"), digestOf("long"), limit); err != nil {
				t.Errorf("with limit %d: %v", limit, err)
			}
		}
	})
}

// A context that ends leaves nothing, and its cause is the error.
func TestCancelled(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		from := io.MultiReader(strings.NewReader("lo"), readFunc(func([]byte) (int, error) {
			cancel(why)
			return 0, why
		}))
		if _, err := s.Put(ctx, from, digestOf("long"), 10); !errors.Is(err, why) {
			t.Errorf("put: %v", err)
		}
		holds(t, s)
		unlock, err := s.lock(t.Context(), digestOf("long"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(ctx, strings.NewReader("long"), digestOf("long"), 10); err == nil {
			t.Error("put past a lock that is held")
		}
		unlock()
		if len(s.busy) != 0 {
			t.Errorf("%d locks are left", len(s.busy))
		}
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

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
		if err := s.Grant(t.Context(), digest, Provenance{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("grant %q: %v", digest, err)
		}
		if granted, err := s.Granted(t.Context(), digest, Provenance{}); granted || !errors.Is(err, ErrInvalid) {
			t.Errorf("granted %q: %v", digest, err)
		}
	}
	kept(t, dir)
}

// What a killed process left is cleared once nobody can still be at it, and
// nothing else is.
func TestLeftovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store [a-z]*") // no pattern
	put(t, newStore(t, dir), "whole")
	digest := digestOf("whole")
	ours := []string{
		incomingPrefix + newID(), incomingPrefix + newID() + ".17a.tmp", incomingPrefix + digest + "-" + newID(),
		collectingPrefix + digest, collectingPrefix + digest + ".17a.tmp", grantPrefix + digest + "/" + digest + ".17a.tmp", "incoming-123",
	}
	foreign := []string{"incoming/report.txt", "collecting/stamps", "blobs/README", "grants/" + digest + "/" + digestOf("by"), "notes"}
	for _, name := range append(slices.Clone(ours), foreign...) {
		write(t, filepath.Join(dir, name), "half")
	}
	newStore(t, dir)
	for _, name := range append(slices.Clone(ours), foreign...) {
		if !exists(dir, name) {
			t.Errorf("%s is cleared though somebody may be at it", name)
		}
		age(t, filepath.Join(dir, name), abandoned+time.Minute)
	}
	newStore(t, dir)
	for _, name := range ours {
		if exists(dir, name) {
			t.Errorf("%s is not cleared", name)
		}
	}
	for _, name := range append(foreign, blobKey(digest)) {
		if !exists(dir, name) {
			t.Errorf("%s is cleared, which is not the store's", name)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// age has a file look as if it was written that long ago.
func age(t *testing.T, path string, by time.Duration) {
	t.Helper()
	past := time.Now().Add(-by)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
}

// Earlier versions had the files in the folder itself.
func TestOldFolderIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"a", "b"} {
		write(t, filepath.Join(dir, digestOf(content)), content)
	}
	write(t, filepath.Join(dir, digestOf("good")), "evil")
	s := newStore(t, dir)
	holds(t, s, "a", "b", "good")
	for content, want := range map[string]bool{"a": true, "b": true, "good": false} {
		if exists(dir, digestOf(content)) {
			t.Errorf("%s is still at the old place", content)
		}
		if _, found, err := s.Get(t.Context(), digestOf(content)); found != want || err != nil {
			t.Errorf("%s: %v, %v", content, found, err)
		}
	}
	kept(t, dir, "a", "b")
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
			blob := put(t, s, "good!")
			path := filepath.Join(dir, blobPrefix, blob.Digest)
			age(t, path, time.Hour) // the clock of files may be coarse
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
			if r, err := blob.Open(t.Context()); err == nil && first == false {
				r.Close()
				t.Errorf("%s, %s: opened", what, when)
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

// The same for a bucket, where another process has done it.
func TestAlteredObjectsAreNotUsed(t *testing.T) {
	onEachBucket(t, func(t *testing.T, open func() *Store) {
		for what, content := range map[string]string{"other bytes": "evil!", "shorter": "go", "longer": "good! and more", "empty": ""} {
			s := open()
			blob := put(t, s, "good!")
			if err := s.bucket.WriteAll(t.Context(), blobKey(blob.Digest), []byte(content), nil); err != nil {
				t.Fatal(err)
			}
			if r, err := blob.Open(t.Context()); !errors.Is(err, errGone) {
				t.Errorf("%s: opened: %v, %v", what, r, err)
			}
			holds(t, s) // opening it has removed it
			put(t, s, "good!")
			if err := s.bucket.WriteAll(t.Context(), blobKey(blob.Digest), []byte(content), nil); err != nil {
				t.Fatal(err)
			}
			if _, known := s.Known(blob.Digest); known {
				t.Errorf("%s: still known", what)
			}
			if _, err := blob.Manifest(t.Context()); !errors.Is(err, errGone) {
				t.Errorf("%s: manifest: %v", what, err)
			}
			if _, found, err := open().Get(t.Context(), blob.Digest); found || err != nil {
				t.Errorf("%s: %v, %v", what, found, err)
			}
		}
	})
}

func TestManyAtATime(t *testing.T) {
	onEach(t, manyAtATime)
}

func manyAtATime(t *testing.T, open func() *Store) {
	stores := []*Store{open(), open()}
	contents := []string{"a", "b", strings.Repeat("c", 10000)}
	var all sync.WaitGroup
	for i := range 60 {
		content, s := contents[i%len(contents)], stores[i%len(stores)]
		all.Go(func() {
			switch i / 2 % 4 {
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
	holds(t, stores[0], contents...)
	for _, s := range stores {
		if len(s.busy) != 0 {
			t.Errorf("%d locks are left", len(s.busy))
		}
	}
}

// One that takes long holds up none of the others.
func TestLocksAreOfOneDigest(t *testing.T) {
	s := newStore(t, t.TempDir())
	unlock, err := s.lock(t.Context(), digestOf("large"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "small")
	if _, found, err := s.Get(t.Context(), digestOf("small")); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	unlock()
	put(t, s, "large")
}

// Texts about the store name no files: they end up in conditions.
func TestFolderErrors(t *testing.T) {
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
	blob := put(t, s, "y")
	if err := os.MkdirAll(filepath.Join(dir, blobPrefix, digestOf("x"), "sub"), 0o700); err != nil { // in the place of a file
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), strings.NewReader("x"), digestOf("x"), 10)
	note("rename", err)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err = blob.Open(t.Context())
	note("open", err)
	_, err = blob.Manifest(t.Context())
	note("manifest", err)
	write(t, dir, "")
	_, err = s.Put(t.Context(), strings.NewReader("x"), digestOf("x"), 10)
	note("create", err)
	_, err = s.Add(t.Context(), strings.NewReader("x"), 10)
	note("add", err)
	_, _, err = s.Get(t.Context(), digestOf("y"))
	note("a file as folder", err)
	note("grant", s.Grant(t.Context(), digestOf("y"), Provenance{}))
	_, err = s.Granted(t.Context(), digestOf("y"), Provenance{})
	note("granted", err)
	_, err = s.Collect(t.Context(), func(string) bool { return false }, -time.Hour)
	note("collect", err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, err = writing{full, t.Context()}.Write([]byte("x"))
	note("write", err)
	note("other", storeError(io.ErrShortWrite))
	for _, text := range texts {
		if !strings.HasPrefix(text, "image store: ") || strings.Contains(text, "/") || strings.Contains(text, digestOf("x")[:8]) {
			t.Errorf("%q", text)
		}
	}
	if _, err := OpenStore(t.Context(), filepath.Join(dir, "below a file")); err == nil {
		t.Error("a store below a file")
	}
}

func TestBlobsGone(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		blob := put(t, s, "x")
		if err := s.bucket.Delete(t.Context(), blobKey(blob.Digest)); err != nil {
			t.Fatal(err)
		}
		if _, err := blob.Open(t.Context()); !errors.Is(err, errGone) || Permanent(err) {
			t.Errorf("%v", err)
		}
	})
}

func TestGrants(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s, digest := open(), digestOf("x")
		ours, theirs := Provenance{1}, Provenance{2}
		granted := func(s *Store, digest string, by Provenance) bool {
			t.Helper()
			granted, err := s.Granted(t.Context(), digest, by)
			if err != nil {
				t.Error(err)
			}
			return granted
		}
		put(t, s, "x")
		if granted(s, digest, ours) {
			t.Error("granted without having been delivered")
		}
		for range 2 {
			if err := s.Grant(t.Context(), digest, ours); err != nil {
				t.Fatal(err)
			}
		}
		for what, store := range map[string]*Store{"the same store": s, "another": open()} {
			for range 2 {
				if !granted(store, digest, ours) || granted(store, digest, theirs) || granted(store, digestOf("y"), ours) {
					t.Errorf("%s: grants are wrong", what)
				}
			}
		}
	})
}

func TestManifest(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		device := solo5.Image{Devices: []solo5.Device{{Type: solo5.Network, Name: "service0"}}}
		image, err := albatrosstest.StandIn("test_net", device, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 10 << 20} {
			image, err := albatrosstest.StandIn("test_net", device, size)
			if err != nil {
				t.Fatal(err)
			}
			blob, err := s.Put(t.Context(), bytes.NewReader(image), digestOf(string(image)), 20<<20)
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := blob.Manifest(t.Context())
			if err != nil || !reflect.DeepEqual(manifest.Names(solo5.Network), []string{"service0"}) {
				t.Errorf("%+v, %v", manifest, err)
			}
		}
		for _, content := range []string{"", "#!/bin/sh", string(image[:len(image)/2]), string(bytes.Repeat([]byte{0x7f}, 4096))} {
			if _, err := put(t, s, content).Manifest(t.Context()); !errors.Is(err, ErrInvalid) || !Permanent(err) {
				t.Errorf("%.10q: %v", content, err)
			}
		}
	})
}

// A store that fails says nothing about the image.
func TestManifestOfAFailingStore(t *testing.T) {
	shared := memblob.OpenBucket(nil)
	s := storeOn(&bucket{Bucket: shared})
	blob := put(t, s, "x")
	parts := &ranges{ctx: t.Context(), bucket: s.bucket, key: "blobs/elsewhere", size: 100}
	if _, err := solo5.Read(parts, 100); err == nil || parts.err == nil {
		t.Errorf("%v, %v", err, parts.err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Manifest(t.Context()); err == nil || Permanent(err) || !strings.HasPrefix(err.Error(), "image store: ") {
		t.Errorf("%v", err)
	}
}

// Ranges of any order and size are what they would be of the whole, and few reads
// give what lies together.
func TestRanges(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s := open()
		content := make([]byte, 3*windowSize)
		for i := range content {
			content[i] = byte(i * 7 >> 3)
		}
		put(t, s, string(content))
		size := int64(len(content))
		fresh := func() *ranges {
			return &ranges{ctx: t.Context(), bucket: s.bucket, key: blobKey(digestOf(string(content))), size: size}
		}
		r := fresh()
		for _, part := range []struct{ at, size int64 }{
			{0, 4}, {0, 64}, {64, 56}, {2 * windowSize, 64}, {100, 56}, {size - 10, 10}, {200, windowSize - 200}, {50, 2 * windowSize}, {size, 0}, {0, size},
		} {
			p := make([]byte, part.size)
			if n, err := r.ReadAt(p, part.at); err != nil || int64(n) != part.size || !bytes.Equal(p, content[part.at:part.at+part.size]) {
				t.Errorf("%+v: %d, %v", part, n, err)
			}
		}
		for _, part := range []struct{ at, size int64 }{{-1, 1}, {size, 1}, {size + 1, 0}, {0, size + 1}, {math.MaxInt64, 1}} {
			if _, err := r.ReadAt(make([]byte, part.size), part.at); err == nil {
				t.Errorf("%+v: no error", part)
			}
		}
		r = fresh()
		for i := range int64(100) { // back and forth, as headers and notes are read
			for _, at := range []int64{i * 56, size - 6400 + i*64} {
				if _, err := r.ReadAt(make([]byte, 56), at); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r.reads != 2 {
			t.Errorf("%d reads", r.reads)
		}
		r = fresh()
		var err error
		for i := range 3 * maxWindows {
			if _, err = r.ReadAt(make([]byte, 1), size/3*int64(i%3)); err != nil {
				break
			}
		}
		if !errors.Is(err, errScattered) {
			t.Errorf("endlessly scattered: %v", err)
		}
	})
}

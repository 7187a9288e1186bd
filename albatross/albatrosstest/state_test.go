package albatrosstest_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/wire"
)

// TestRestartedHost goes on with everything but consoles.
func TestRestartedHost(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, albatrosstest.Options{Dir: dir})
	late, early := config(standIn(t, "one"), "--sim-print=x"), config(standIn(t, "two"))
	early.Startup, early.FailBehaviour = new(int64(1)), wire.FailBehaviour{Restart: true, ExitCodes: []int64{3}}
	r.expect("created unikernel", "late", wire.UnikernelCreate{Config: late})
	r.expect("created unikernel", "early", wire.UnikernelCreate{Config: early})
	r.create("gone")
	r.expect("destroyed unikernel", "gone", wire.UnikernelDestroy{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 2})
	r.expect("overflow while computing bytes", "bad", wire.BlockAdd{Size: 0})
	r.expect("set block device", "data", wire.BlockSet{}, upload{data: []byte("content")})
	before := r.Unikernels("")
	credentials := r.Credentials()
	r.Close()
	r.Close()

	again := newRig(t, albatrosstest.Options{Dir: dir})
	if got := again.Credentials(); string(got.Key) != string(credentials.Key) || string(got.ServerCA) != string(credentials.ServerCA) {
		t.Error("other credentials")
	}
	after := again.Unikernels("")
	if len(after) != 2 || string(after[0].Info.Digest) != string(before[0].Info.Digest) || !slices.Equal(after[0].Info.Argv, before[0].Info.Argv) {
		t.Errorf("%+v, were %+v", after, before)
	}
	if after[0].Name.Label != "late" || !after[0].Info.Started.After(after[1].Info.Started) {
		t.Errorf("started in the wrong order: %+v", after)
	}
	if data, size := again.content("alice:data"); string(data) != "content" || size != 2<<20 {
		t.Errorf("%q of %d bytes", data, size)
	}
	if _, ok := again.Policy("alice"); !ok || len(again.Policies()) != 2 {
		t.Errorf("policies %+v", again.Policies())
	}
	again.expect("file already exists", "bad", wire.BlockAdd{Size: 1})
	again.expect("destroyed unikernel", "late", wire.UnikernelDestroy{})
}

// TestImagesAreKeptOnce and only as long as they are needed.
func TestImagesAreKeptOnce(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	kept := func() int {
		entries, err := os.ReadDir(filepath.Join(r.Dir(), "images"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for _, cn := range []string{"a", "b", "c"} {
		r.create(cn)
	}
	r.expect("created unikernel", "other", wire.UnikernelCreate{Config: config(standIn(t, "other"))})
	r.expect("error during ELF parsing", "junk", wire.UnikernelCreate{Config: config([]byte("junk"))})
	r.expect("created unikernel", "a", wire.UnikernelRestart{})
	r.expect("created unikernel", "b", wire.UnikernelForceCreate{Config: config(standIn(t, "test"))})
	eventually(t, "two images are kept", func() bool { return kept() == 2 })
	for _, cn := range []string{"a", "b", "c", "other"} {
		r.expect("destroyed unikernel", cn, wire.UnikernelDestroy{})
	}
	eventually(t, "no image is kept", func() bool { return kept() == 0 })
	dir := r.Dir()
	r.Close()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary folder stays: %v", err)
	}
}

func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	h := albatrosstest.Start(t, albatrosstest.Options{Dir: dir})
	if _, err := albatrosstest.New(albatrosstest.Options{Dir: dir}); !errors.Is(err, albatrosstest.ErrInUse) {
		t.Errorf("%v", err)
	}
	h.Close()
	albatrosstest.Start(t, albatrosstest.Options{Dir: dir})
}

// TestBrokenState is told, not overwritten.
func TestBrokenState(t *testing.T) {
	for _, file := range []string{"policies/alice:", "policies/a_b:", "unikernels/alice:web", "cacert.pem", "server.key"} {
		dir := t.TempDir()
		albatrosstest.Start(t, albatrosstest.Options{Dir: dir}).Close()
		if err := os.WriteFile(filepath.Join(dir, file), []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := albatrosstest.New(albatrosstest.Options{Dir: dir}); err == nil {
			h.Close()
			t.Errorf("%s: started", file)
		}
	}
	if _, err := albatrosstest.New(albatrosstest.Options{Dir: "/dev/null/folder"}); err == nil {
		t.Error("started in a folder that cannot be")
	}
	if _, err := albatrosstest.New(albatrosstest.Options{Listen: "300.0.0.1:1"}); err == nil {
		t.Error("started at an address that cannot be")
	}
}

// TestIncompleteFile is what a kill leaves in the middle of saving.
func TestIncompleteFile(t *testing.T) {
	dir := t.TempDir()
	albatrosstest.Start(t, albatrosstest.Options{Dir: dir}).Close()
	if err := os.WriteFile(filepath.Join(dir, "unikernels", "alice:web~"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	albatrosstest.Start(t, albatrosstest.Options{Dir: dir})
}

package albatrosstest_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/wire"
)

// kept makes a folder of a host with a policy, a unikernel and a block device.
func kept(t *testing.T, change func(*wire.Config)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	r := newRig(t, albatrosstest.Options{Dir: dir})
	c := config(standIn(t, "test_net", netDevice("service")))
	c.Bridges = []wire.Bridge{{Name: "service"}}
	if change != nil {
		change(&c)
	}
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	r.Close()
	return dir
}

// TestKilledWhileWriting has what a kill leaves behind at each step of what is
// written: the next host has what was complete and nothing else.
func TestKilledWhileWriting(t *testing.T) {
	digest := func() string { sum := sha256.Sum256([]byte("orphan")); return string(sum[:]) }
	for _, tt := range []struct {
		what, file, content string
		// free tells whether a block device of that name can be added afterwards.
		free string
	}{
		{what: "a policy that is new", file: "policies/bob:~", content: "half"},
		{what: "a policy that changes", file: "policies/alice:~", content: ""},
		{what: "a unikernel that is new", file: "unikernels/alice:new~", content: digest()},
		{what: "a unikernel that is replaced", file: "unikernels/alice:web~", content: "x"},
		{what: "an image that is received", file: "images/incoming-42", content: "half of an image"},
		{what: "an image before its unikernel", file: "images/0123456789abcdef", content: "orphan"},
		{what: "a block device without its size", file: "block/alice:new", content: "", free: "file already exists"},
		{what: "a block device in the middle of a set", file: "block/alice:new", content: "partial", free: "file already exists"},
		{what: "a file of somebody else", file: "block/lost+found", content: "?", free: "added block device"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			dir := kept(t, nil)
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, albatrosstest.Options{Dir: dir})
			unikernels, blocks := r.Unikernels(""), r.Blocks("")
			if len(unikernels) != 1 || unikernels[0].Name.String() != "alice:web" || len(blocks) != 1 || blocks[0].Name.String() != "alice:data" || len(r.Policies()) != 2 {
				t.Errorf("%d unikernels, %d block devices, %d policies", len(unikernels), len(blocks), len(r.Policies()))
			}
			if tt.free != "" {
				r.expect(tt.free, "new", wire.BlockAdd{Size: 1})
			}
			// All goes on: what was half written is written again.
			r.policy.Memory = 256
			r.create("new")
			r.expect("created unikernel", "web", wire.UnikernelForceCreate{Config: config(standIn(t, "test"))})
			r.Close()
			again := newRig(t, albatrosstest.Options{Dir: dir})
			if p, _ := again.Policy("alice"); len(again.Unikernels("alice")) != 2 || p.Memory != 256 {
				t.Errorf("then %+v under %+v", again.Unikernels("alice"), p)
			}
		})
	}
}

// TestKilledWhileMakingCertificates makes all anew unless all was there.
func TestKilledWhileMakingCertificates(t *testing.T) {
	order := []string{"server.pem", "server.key", albatrosstest.CAKeyFile, albatrosstest.CACertFile}
	for n := range order {
		dir := t.TempDir()
		albatrosstest.Start(t, albatrosstest.Options{Dir: dir}).Close()
		for _, file := range order[n:] {
			if err := os.Remove(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		r := newRig(t, albatrosstest.Options{Dir: dir})
		r.expect("destroy: not found", "web", wire.UnikernelDestroy{})
		for _, secret := range []string{"server.key", albatrosstest.CAKeyFile} {
			if info, err := os.Stat(filepath.Join(dir, secret)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s after %v: %v, %v", secret, order[:n], info, err)
			}
		}
	}
}

// TestBrokenUnikernel names the file that cannot be read, and changes nothing.
func TestBrokenUnikernel(t *testing.T) {
	der := encoded(t, wire.UnikernelCreate{Config: config(nil)})
	for _, tt := range []struct{ what, content, want string }{
		{"short", "short", "only 5 bytes"},
		{"no configuration", strings.Repeat("d", sha256.Size), "extension: "},
		{"another command", strings.Repeat("d", sha256.Size) + string(encoded(t, wire.BlockList{})), "not a unikernel but block info"},
		{"no image", strings.Repeat("d", sha256.Size) + string(der), "kept image"},
	} {
		dir := kept(t, nil)
		file := filepath.Join(dir, "unikernels", "alice:broken")
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := albatrosstest.New(albatrosstest.Options{Dir: dir})
		if err == nil {
			h.Close()
			t.Fatalf("%s: started", tt.what)
		}
		if !strings.Contains(err.Error(), "alice:broken") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, want %q of alice:broken", tt.what, err, tt.want)
		}
		if err := os.Remove(file); err != nil {
			t.Errorf("%s: %v", tt.what, err)
		}
		if r := newRig(t, albatrosstest.Options{Dir: dir}); len(r.Unikernels("")) != 1 {
			t.Errorf("%s: %+v", tt.what, r.Unikernels(""))
		}
	}
}

func encoded(t *testing.T, c wire.Command) []byte {
	t.Helper()
	der, err := wire.EncodeExtension(c)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestHostThatChanged does not start again what cannot run on it any more, and
// has forgotten it when it could.
func TestHostThatChanged(t *testing.T) {
	for what, tt := range map[string]struct {
		change  func(*wire.Config)
		options albatrosstest.Options
		runs    bool
	}{
		"as before":            {nil, albatrosstest.Options{}, true},
		"without the bridge":   {nil, albatrosstest.Options{Bridges: []string{"other"}}, false},
		"without the CPU":      {func(c *wire.Config) { c.CPUIDs = []int64{1} }, albatrosstest.Options{CPUs: 1}, false},
		"with one of its CPUs": {func(c *wire.Config) { c.CPUIDs = []int64{0, 1} }, albatrosstest.Options{CPUs: 1}, true},
	} {
		options := albatrosstest.Options{Dir: t.TempDir()}
		first := newRig(t, options)
		first.policy.CPUIDs = []int64{0, 1}
		c := config(standIn(t, "test_net", netDevice("service")))
		c.Bridges = []wire.Bridge{{Name: "service"}}
		if tt.change != nil {
			tt.change(&c)
		}
		first.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
		first.Close()
		tt.options.Dir = options.Dir
		for _, o := range []albatrosstest.Options{tt.options, options} {
			h := albatrosstest.Start(t, o)
			if _, runs := h.Unikernel("alice:web"); runs != tt.runs {
				t.Errorf("%s: runs %v", what, runs)
			}
			h.Close()
		}
	}
}

// TestStartOrder is by priority; what has none is in the middle.
func TestStartOrder(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, albatrosstest.Options{Dir: dir})
	for cn, startup := range map[string]*int64{"last": new(int64(60)), "middle": nil, "first": new(int64(-1)), "second": new(int64(49))} {
		c := config(standIn(t, "test"))
		c.Startup = startup
		r.expect("created unikernel", cn, wire.UnikernelCreate{Config: c})
	}
	r.Close()
	all := albatrosstest.Start(t, albatrosstest.Options{Dir: dir}).Unikernels("alice")
	slices.SortFunc(all, func(a, b wire.NamedInfo) int { return a.Info.Started.Compare(b.Info.Started) })
	var order []string
	for _, u := range all {
		order = append(order, u.Name.Label)
	}
	if !slices.Equal(order, []string{"first", "second", "middle", "last"}) {
		t.Errorf("%v", order)
	}
}

// TestLostFiles are those of block devices that somebody deletes under the host.
func TestLostFiles(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	for _, cn := range []string{"a", "b"} {
		r.expect("added block device", cn, wire.BlockAdd{Size: 1})
		if err := os.Remove(filepath.Join(r.Dir(), "block", "alice:"+cn)); err != nil {
			t.Fatal(err)
		}
	}
	got := r.send("a", wire.BlockDump{}, 0)
	if len(got.frames) != 2 || say(got.frames[0].Payload) != "file does not exist" || say(got.frames[1].Payload) != "exception while reading from fd" {
		t.Errorf("a dump of nothing: %+v", got.frames)
	}
	for _, command := range []wire.Command{wire.OldBlockDump{}, wire.OldBlockSet{Data: []byte("x")}, wire.BlockRemove{}} {
		if text := say(r.ask("a", command)); !strings.Contains(text, "block device") {
			t.Errorf("%T: %q", command, text)
		}
	}
	if text := say(r.ask("b", wire.BlockSet{}, upload{data: []byte("x")})); !strings.Contains(text, "no such file") {
		t.Errorf("a set of nothing: %q", text)
	}
	if _, err := r.BlockContent("alice:b"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("content of nothing: %v", err)
	}
	if r.Blocks("")[0].Active || r.Blocks("")[1].Active {
		t.Error("in use after a command that failed")
	}
}

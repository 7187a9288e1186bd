package albatrosstest_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

func TestStreamedCreate(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	image, err := albatrosstest.StandIn("test", solo5.Image{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r.expect("created unikernel", "plain", wire.UnikernelCreate{Config: config(nil)}, upload{data: image, chunk: 10_000})
	compressed := config(nil)
	compressed.Compressed = true
	r.expect("created unikernel", "zlib", wire.UnikernelCreate{Config: compressed}, upload{data: deflate(image, 6)})
	r.expect("created unikernel", "forced", wire.UnikernelForceCreate{Config: config(nil)}, upload{data: image, chunk: 1 << 20})
	for _, u := range r.Unikernels("") {
		if !bytes.Equal(u.Info.Digest, r.Unikernels("alice")[0].Info.Digest) {
			t.Errorf("%s has another digest", u.Name)
		}
	}
	for level, want := range map[int64]bool{0: false, 9: true} {
		got := r.ask("zlib", wire.UnikernelGet{Level: level}).(wire.UnikernelImage)
		content := got.Image
		if got.Compressed {
			if content, err = inflate(content); err != nil {
				t.Fatal(err)
			}
		}
		if got.Compressed != want || !bytes.Equal(content, image) {
			t.Errorf("level %d: %d bytes, compressed %v", level, len(content), got.Compressed)
		}
	}
	r.expect("get: no unikernel found", "nobody", wire.UnikernelGet{})
}

func TestRefusedImages(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	devices := []solo5.Device{{Name: "data", Type: solo5.Block}, {Name: "net", Type: solo5.Network}}
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	build := func(notes solo5.Image) []byte {
		image, err := solo5.Build(notes, nil)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	with := func(image []byte, change func(*wire.Config)) wire.Config {
		c := config(image)
		if change != nil {
			change(&c)
		}
		return c
	}
	both := func(c *wire.Config) {
		c.Blocks = []wire.BlockDevice{{Name: "data"}}
		c.Bridges = []wire.Bridge{{Name: "net", HostDevice: new("service")}}
	}
	noManifest := bytes.Replace(build(solo5.Image{}), []byte("MFT1"), []byte("none"), 1)
	noABI := bytes.Replace(build(solo5.Image{}), []byte("ABI1"), []byte("none"), 1)
	for _, tt := range []struct {
		want   string
		config wire.Config
	}{
		{"error during ELF parsing", config([]byte("junk"))},
		{"section .note.solo5.manifest not found", config(noManifest)},
		{"section .note.solo5.abi not found", config(noABI)},
		{"unsupported solo5 target xen", config(build(solo5.Image{Target: solo5.Xen}))},
		{"failed to uncompress: Invalid Zlib header", with([]byte("junk"), func(c *wire.Config) { c.Compressed = true })},
		{"failed to uncompress: Unexpected end of input", with(deflate(noise(1000), 6)[:100], func(c *wire.Config) { c.Compressed = true })},
		{`specified block device(s) does not match with manifest. Devices present in manifest: block "data", net "net"`, config(build(solo5.Image{Devices: devices}))},
		{`specified bridge(s) does not match with the manifest. Devices present in manifest: block "data", net "net"`, with(build(solo5.Image{Devices: devices}), func(c *wire.Config) { both(c); c.Bridges = nil })},
		{"couldn't find initial block device", with(build(solo5.Image{}), func(c *wire.Config) { c.Type = wire.BHyve })},
		{"created unikernel", with(build(solo5.Image{Devices: devices}), both)},
	} {
		r.expect(tt.want, "web", wire.UnikernelCreate{Config: tt.config})
	}
	if got := say(r.ask("old", wire.UnikernelCreate{Config: config(build(solo5.Image{Target: solo5.HVT, ABIVersion: 1}))})); !strings.Contains(got, "'ABI version 1'") {
		t.Errorf("ABI version 1: %q", got)
	}
}

// TestInterruptedUpload leaves nothing, whatever was sent.
func TestInterruptedUpload(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	image := standIn(t, "test")
	for _, part := range [][]byte{nil, image[:100], image} {
		conn, err := r.dial(r.request("web"), wire.UnikernelCreate{Config: config(nil)})
		if err != nil {
			t.Fatal(err)
		}
		sendChunks(conn, part, 64, false)
		conn.NetConn().Close()
	}
	r.expect("destroy: not found", "web", wire.UnikernelDestroy{})
	eventually(t, "all three are in the log", func() bool { return r.Received("unikernel create", "alice:web") == 3 })
	if got := r.Unikernels(""); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if r.Mutations("alice:web") != 4 || r.Mutations("") != 4 {
		t.Errorf("%d mutations", r.Mutations(""))
	}
}

// TestEnds has what destroy says after each way of ending.
func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		what string
		fail wire.FailBehaviour
		name bool
		argv string
		end  func(r *rig)
		// runs tells whether it runs on; then is what destroy says, twice.
		runs bool
		then [2]string
	}{
		{what: "quit", argv: "--sim-exit=0", then: [2]string{"destroy: not found", "destroy: not found"}},
		{what: "restarted for every code", fail: wire.FailBehaviour{Restart: true}, argv: "--sim-exit=7", runs: true,
			then: [2]string{"destroyed unikernel", "destroyed: removed from restarting"}},
		{what: "never for 1", fail: wire.FailBehaviour{Restart: true}, argv: "--sim-exit=1", then: [2]string{"destroy: not found", "destroy: not found"}},
		{what: "never for 62", fail: wire.FailBehaviour{Restart: true, ExitCodes: []int64{62}}, argv: "--sim-exit=62", then: [2]string{"destroy: not found", "destroy: not found"}},
		{what: "not this code", fail: wire.FailBehaviour{Restart: true, ExitCodes: []int64{3}}, argv: "--sim-exit=4", then: [2]string{"destroy: not found", "destroy: not found"}},
		{what: "killed", fail: wire.FailBehaviour{Restart: true}, end: func(r *rig) { r.Kill("alice:web") }, then: [2]string{"destroy: not found", "destroy: not found"}},
		{what: "without the added name", name: true, argv: "--sim-no-name", runs: true, then: [2]string{"destroyed unikernel", "destroyed: removed from restarting"}},
		{what: "exit by request", end: func(r *rig) { r.Exit("alice:web", 2) }, then: [2]string{"destroy: not found", "destroy: not found"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r := newRig(t, albatrosstest.Options{})
			c := config(standIn(t, "test_tick"), tt.argv)
			c.FailBehaviour, c.AddName = tt.fail, tt.name
			r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
			first, _ := r.Unikernel("alice:web")
			if tt.end != nil {
				tt.end(r)
			}
			eventually(t, "it has ended once", func() bool {
				now, runs := r.Unikernel("alice:web")
				return !runs && !tt.runs || runs && now.Started.After(first.Started)
			})
			for _, want := range tt.then {
				r.expect(want, "web", wire.UnikernelDestroy{})
			}
		})
	}
}

// TestAddedName shows in the console what a unikernel was given, but not in its info.
func TestAddedName(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	c := config(standIn(t, "test_tick"), "hello")
	c.AddName = true
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	if got := strings.Join(r.Console("alice:web"), "\n"); !strings.Contains(got, "cmdline: '--name=web hello'") {
		t.Errorf("console:\n%s", got)
	}
	if got, _ := r.Unikernel("alice:web"); !slices.Equal(got.Argv, []string{"hello"}) {
		t.Errorf("arguments %q", got.Argv)
	}
}

// TestForceCreateFrees uses what the unikernel that is replaced has.
func TestForceCreateFrees(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.policy.Unikernels = 1
	image := standIn(t, "test", solo5.Device{Name: "data", Type: solo5.Block})
	c := config(image)
	c.Memory, c.Blocks = 100, []wire.BlockDevice{{Name: "data", SectorSize: new(int64(4096))}}
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	r.expect("maximum amount of unikernels (1) reached", "web2", wire.UnikernelForceCreate{Config: c})
	r.expect("created unikernel", "web", wire.UnikernelForceCreate{Config: c})
	info, _ := r.Unikernel("alice:web")
	if len(info.Blocks) != 1 || info.Blocks[0] != (wire.BlockInfo{Device: "data", HostDevice: "data", SectorSize: 4096, Size: 1}) {
		t.Errorf("%+v", info.Blocks)
	}
	// A name that is to be restarted no more is created anew.
	r.expect("destroyed unikernel", "web", wire.UnikernelDestroy{})
	r.expect("created unikernel", "web", wire.UnikernelForceCreate{Config: c})
}

func TestRestartWithArguments(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("web", "old")
	before, _ := r.Unikernel("alice:web")
	a := wire.Arguments{
		FailBehaviour: wire.FailBehaviour{Restart: true, ExitCodes: []int64{9}}, Startup: new(int64(3)), CPUIDs: []int64{0}, Memory: 32,
		NumCPUs: 1, Argv: []string{"new"},
	}
	r.expect("created unikernel", "web", wire.UnikernelRestart{Arguments: &a})
	after, _ := r.Unikernel("alice:web")
	if after.Memory != 32 || !slices.Equal(after.Argv, []string{"new"}) || *after.Startup != 3 || !after.FailBehaviour.Restart ||
		!bytes.Equal(after.Digest, before.Digest) || !after.Started.After(before.Started) {
		t.Errorf("%+v", after)
	}
	r.expect("created unikernel", "web", wire.UnikernelRestart{})
	r.expect("destroy: not found", "nobody", wire.UnikernelRestart{})
	r.expect("destroyed unikernel", "web", wire.UnikernelDestroy{})
	r.expect("destroyed: removed from restarting", "web", wire.UnikernelRestart{})
}

// TestDestroysAtOnce leaves one of two without an answer only as a quirk.
func TestDestroysAtOnce(t *testing.T) {
	for _, quirk := range []bool{false, true} {
		r := newRig(t, albatrosstest.Options{StopTime: 300 * time.Millisecond, Quirks: albatrosstest.Quirks{Deadlocks: quirk}})
		r.create("web")
		var answers [2]seen
		var running sync.WaitGroup
		for i := range answers {
			running.Go(func() {
				r := *r
				short := *r.target
				r.target, short.patience = &short, 2*time.Second
				answers[i] = r.send("web", wire.UnikernelDestroy{}, 0)
			})
		}
		running.Wait()
		answered := 0
		for _, a := range answers {
			if len(a.frames) == 1 && say(a.frames[0].Payload) == "destroyed unikernel" {
				answered++
			}
		}
		if want := map[bool]int{false: 2, true: 1}[quirk]; answered != want {
			t.Errorf("quirk %v: %d answers, want %d", quirk, answered, want)
		}
	}
}

func TestCreatesAtOnce(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	image := standIn(t, "test")
	var mu sync.Mutex
	answers := map[string]int{}
	var running sync.WaitGroup
	for range 10 {
		running.Go(func() {
			text := say(r.ask("web", wire.UnikernelCreate{Config: config(image)}))
			mu.Lock()
			defer mu.Unlock()
			answers[text]++
		})
	}
	running.Wait()
	if answers["created unikernel"] != 1 || answers["Unikernel with same name is already running"] != 9 {
		t.Errorf("%v", answers)
	}
}

func TestOldInfo(t *testing.T) {
	for _, quirk := range []bool{false, true} {
		r := newRig(t, albatrosstest.Options{Quirks: albatrosstest.Quirks{OldInfoCrash: quirk}})
		r.policy.CPUIDs = []int64{0, 1}
		r.create("web")
		for command, form := range map[wire.Command]wire.InfoForm{wire.OldUnikernelInfo4{}: wire.InfoForm4, wire.OldUnikernelInfo5{}: wire.InfoForm5} {
			if got := r.ask(".", command).(wire.UnikernelInfos); got.Form != form || len(got.Infos) != 1 {
				t.Errorf("%T: %+v", command, got)
			}
		}
		two := config(standIn(t, "test"))
		two.CPUIDs = []int64{0, 1}
		r.expect("created unikernel", "two", wire.UnikernelCreate{Config: two})
		if got := r.ask("web", wire.OldUnikernelInfo5{}).(wire.UnikernelInfos); len(got.Infos) != 1 {
			t.Errorf("about one with one CPU: %+v", got)
		}
		r.expect("error reading from fd", ".", wire.OldUnikernelInfo4{})
		if quirk {
			r.expect("couldn't reach service", ".", wire.UnikernelInfo{})
			r.expect("couldn't reach service", "data", wire.BlockSet{})
		} else if got := r.ask(".", wire.UnikernelInfo{}).(wire.UnikernelInfos); len(got.Infos) != 2 {
			t.Errorf("%+v", got)
		}
	}
}

func TestNamelessCreate(t *testing.T) {
	for _, quirk := range []bool{false, true} {
		r := newRig(t, albatrosstest.Options{Quirks: albatrosstest.Quirks{NamelessCreate: quirk}})
		const broken = "could not create unikernel: console failed"
		r.expect(broken, ".", wire.UnikernelCreate{Config: config(standIn(t, "test"))})
		r.expect(map[bool]string{false: "created unikernel", true: broken}[quirk], "web", wire.UnikernelCreate{Config: config(standIn(t, "test"))})
	}
}

func TestInfoLists(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("web")
	r.create("db")
	r.domain = "alice:sub"
	r.create("web")
	r.domain = "alice"
	list := func(domain, cn string) string {
		r := *r
		r.domain = domain
		var names []string
		for _, i := range r.ask(cn, wire.UnikernelInfo{}).(wire.UnikernelInfos).Infos {
			names = append(names, i.Name.String())
		}
		return strings.Join(names, " ")
	}
	for _, tt := range [][3]string{
		{"alice", ".", ":web sub:web :db"}, {"alice", ":", ":web sub:web :db"}, {"", ".", "alice:web alice:sub:web alice:db"},
		{"alice", "web", "alice:web"}, {"alice", "nobody", ""}, {"bob", ".", ""},
	} {
		if got := list(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%q %q: %q, want %q", tt[0], tt[1], got, tt[2])
		}
	}
	if got := fmt.Sprint(len(r.Unikernels("alice:sub")), len(r.Unikernels("")), r.Unikernels("alice:sub")[0].Name); got != "1 3 alice:sub:web" {
		t.Error(got)
	}
}

package albatrosstest_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// dumped gives the content that a dump carries.
func (r *rig) dumped(cn string, level int64) []byte {
	r.t.Helper()
	got := r.send(cn, wire.BlockDump{Level: level}, 0)
	if len(got.frames) != 1 || got.frames[0].Payload != (wire.BlockDeviceImage{Compressed: level > 0}) || !got.lastEnd {
		r.t.Fatalf("dump at level %d: %+v", level, got.frames)
	}
	for i, piece := range got.data {
		if len(piece) > 4096 || len(piece) < 4096 && i < len(got.data)-1 {
			r.t.Errorf("level %d: piece %d of %d has %d bytes", level, i, len(got.data), len(piece))
		}
	}
	content := bytes.Join(got.data, nil)
	if level <= 0 {
		return content
	}
	content, err := inflate(content)
	if err != nil {
		r.t.Fatalf("level %d: %v", level, err)
	}
	return content
}

// TestSetAndDump moves content both ways with every level, in both the present and
// the earlier form of the commands.
func TestSetAndDump(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	whole := func(data []byte) []byte { return append(slices.Clip(data), make([]byte, 1<<20-len(data))...) }
	for level := int64(-1); level <= 10; level++ {
		data := noise(int(100_000 + level))
		set, up := wire.BlockSet{}, upload{data: data, chunk: int(4096 + 1000*level)}
		if 0 < level && level < 10 {
			set.Compressed, up.data = true, deflate(data, int(level))
		}
		r.expect("set block device", "data", set, up)
		if got := r.dumped("data", level); !bytes.Equal(got, whole(data)) {
			t.Errorf("level %d: %d bytes are dumped, and not what was set", level, len(got))
		}
		old, ok := r.ask("data", wire.OldBlockDump{Level: level}).(wire.OldBlockDeviceImage)
		content := old.Image
		if old.Compressed {
			var err error
			if content, err = inflate(content); err != nil {
				t.Fatalf("level %d: %v", level, err)
			}
		}
		if !ok || old.Compressed != (level != 0) || !bytes.Equal(content, whole(data)) {
			t.Errorf("level %d: %d bytes in an old dump, compressed %v", level, len(content), old.Compressed)
		}
	}
}

// TestBlockLifecycle walks through the states of one device.
func TestBlockLifecycle(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	c := config(standIn(t, "test", solo5.Device{Name: "disk", Type: solo5.Block}))
	c.Blocks = []wire.BlockDevice{{Name: "disk", HostDevice: new("data")}}
	other := c
	other.Arguments = c.Clone()
	for i, step := range []struct {
		cn      string
		command wire.Command
		upload  []byte
		want    string
		// then is what block info says of the device.
		then string
	}{
		{"data", wire.BlockRemove{}, nil, "remove block: not found", ""},
		{"data", wire.OldBlockDump{}, nil, "dump block: not found", ""},
		{"data", wire.OldBlockSet{Data: []byte("x")}, nil, "set block: not found", ""},
		{"web", wire.UnikernelCreate{Config: c}, nil, "block device alice:data not found", ""},
		{"data", wire.BlockAdd{Size: 2}, nil, "added block device", "2 false"},
		{"data", wire.BlockAdd{Size: 2}, nil, "block device with same name already exists", "2 false"},
		{"data", wire.OldBlockAdd{Size: 1}, nil, "block device with same name already exists", "2 false"},
		{"data", wire.BlockSet{}, []byte("content"), "set block device", "2 false"},
		{"web", wire.UnikernelCreate{Config: c}, nil, "created unikernel", "2 true"},
		{"two", wire.UnikernelCreate{Config: other}, nil, "block device alice:data already in use", "2 true"},
		{"data", wire.BlockSet{}, []byte("other"), "set block: is in use", "2 true"},
		{"data", wire.BlockRemove{}, nil, "remove block: is in use", "2 true"},
		{"web", wire.UnikernelRestart{}, nil, "created unikernel", "2 true"},
		{"web", wire.UnikernelDestroy{}, nil, "destroyed unikernel", "2 false"},
		{"two", wire.UnikernelCreate{Config: other}, nil, "created unikernel", "2 true"},
		{"two", wire.UnikernelForceCreate{Config: config(standIn(t, "test"))}, nil, "created unikernel", "2 false"},
		{"data", wire.BlockRemove{}, nil, "removed block", ""},
		{"data", wire.OldBlockAdd{Size: 9, Data: []byte("new")}, nil, "added block device", "9 false"},
		{"more", wire.OldBlockAdd{Size: 2, Data: []byte("new")}, nil, "block device policy limit of 10 MB (used 9 MB) would be exceeded by the request (2 MB)", "9 false"},
		{"more", wire.OldBlockAdd{Size: 1, Data: make([]byte, 20)}, nil, "added block device", "9 false"},
		{"more", wire.OldBlockSet{Data: []byte("no zlib"), Compressed: true}, nil, "Invalid Zlib header", "9 false"},
	} {
		var uploads []upload
		if step.upload != nil {
			uploads = append(uploads, upload{data: step.upload})
		}
		if got := say(r.ask(step.cn, step.command, uploads...)); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
		then := ""
		for _, b := range r.ask("data", wire.BlockList{}).(wire.BlockDevices).Devices {
			if b.Name.String() != "alice:data" {
				t.Errorf("step %d: a query for one name lists %s", i, b.Name)
			}
			then = fmt.Sprint(b.Size, " ", b.Active)
		}
		if then != step.then {
			t.Errorf("step %d, %s: then %q, want %q", i, step.want, then, step.then)
		}
	}
	if data, size := r.content("alice:data"); string(data) != "new" || size != 9<<20 {
		t.Errorf("%q of %d bytes: nothing may be left of an earlier device", data, size)
	}
	r.policy.Block = nil
	r.domain = "bob"
	r.expect("no block devices are allowed by policy", "data", wire.BlockAdd{Size: 1})
}

// TestImagesComeBack at each level, those that do not exist too.
func TestImagesComeBack(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	image := standIn(t, "test")
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: config(image)})
	for level := int64(-1); level <= 10; level++ {
		got, ok := r.ask("web", wire.UnikernelGet{Level: level}).(wire.UnikernelImage)
		content := got.Image
		if got.Compressed {
			var err error
			if content, err = inflate(content); err != nil {
				t.Fatalf("level %d: %v", level, err)
			}
		}
		if !ok || got.Compressed != (level != 0) || !bytes.Equal(content, image) {
			t.Errorf("level %d: %d bytes, compressed %v", level, len(content), got.Compressed)
		}
	}
}

// TestOldCreates are read from clients that know one CPU only; the host shows what
// they became.
func TestOldCreates(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	c := config(standIn(t, "test_tick"), "x")
	c.Startup, c.AddName = new(int64(7)), true
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	for command, want := range map[wire.Command]string{
		wire.UnikernelInfo{}: "7 1", wire.OldUnikernelInfo5{}: "7 1", wire.OldUnikernelInfo4{}: "none 1",
	} {
		infos := r.ask("web", command).(wire.UnikernelInfos).Infos
		if len(infos) != 1 || infos[0].Name.String() != "alice:web" {
			t.Fatalf("%T: %+v", command, infos)
		}
		startup := "none"
		if s := infos[0].Info.Startup; s != nil {
			startup = fmt.Sprint(*s)
		}
		if got := fmt.Sprint(startup, " ", infos[0].Info.NumCPUs); got != want {
			t.Errorf("%T: %s, want %s", command, got, want)
		}
	}
	for _, kind := range []string{"unikernel info", "old unikernel info4", "old unikernel info5"} {
		if r.Received(kind, "alice:web") != 1 {
			t.Errorf("%s is not in the log under that name: %v", kind, strings.Join(r.commands(), ", "))
		}
	}
}

// commands gives the kinds of what was received, in order.
func (r *rig) commands() (all []string) {
	for _, e := range r.Log() {
		all = append(all, e.Command)
	}
	return all
}

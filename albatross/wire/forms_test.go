package wire_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// TestCommandNames has what the original's logs say; nothing is without a name.
func TestCommandNames(t *testing.T) {
	want := "unikernel info, old unikernel info4, old unikernel info5, unikernel get, unikernel create, unikernel force create, " +
		"unikernel restart, unikernel destroy, policy info, policy add, policy remove, block info, block add, block remove, block set, " +
		"block dump, block add, block set, block dump, console add, console subscribe, console list inactive, stats add, stats remove, " +
		"stats subscribe, stats initial"
	var names []string
	for _, c := range commands {
		names = append(names, wire.CommandName(c))
	}
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := wire.CommandName(nil); got != "unknown command" {
		t.Errorf("no command is %q", got)
	}
}

// TestFormsOfEarlierClients reads the encodings that only earlier clients make:
// one CPU instead of a set, and before that no startup priority either, when the
// name was always added.
func TestFormsOfEarlierClients(t *testing.T) {
	cpu, memory := number(3), number(32)
	tail := [][]byte{cpu, memory, tagged(0, set(seq(utf8("data")))), tagged(1, set(seq(utf8("net")))), tagged(2, seq(utf8("x")))}
	image := [][]byte{quit /* the same bytes as solo5 */, boolean(0xff), octets(1, 2)}
	codes := tagged(1, set(number(2)))
	fields := func(before ...[]byte) []byte { return seq(append(before, tail...)...) }
	a := wire.Arguments{
		FailBehaviour: wire.FailBehaviour{Restart: true, ExitCodes: []int64{2}}, AddName: true, CPUIDs: []int64{3}, Memory: 32,
		Blocks: []wire.BlockDevice{{Name: "data"}}, Bridges: []wire.Bridge{{Name: "net"}}, Argv: []string{"x"}, NumCPUs: 1,
	}
	withStartup := a.Clone()
	withStartup.Startup, withStartup.AddName = new(int64(9)), false
	config := func(a wire.Arguments) wire.Config {
		return wire.Config{Compressed: true, Image: []byte{1, 2}, Arguments: a}
	}
	for _, tt := range []struct {
		tags []byte
		body []byte
		want wire.Command
	}{
		{[]byte{9}, fields(append(image, codes)...), wire.UnikernelCreate{Config: config(a)}},
		{[]byte{10}, fields(append(image, codes)...), wire.UnikernelForceCreate{Config: config(a)}},
		{[]byte{16}, fields(append(image, number(9), boolean(0), codes)...), wire.UnikernelCreate{Config: config(withStartup)}},
		{[]byte{17}, fields(append(image, number(9), boolean(0), codes)...), wire.UnikernelForceCreate{Config: config(withStartup)}},
		{[]byte{14, 1}, fields(codes), wire.UnikernelRestart{Arguments: &a}},
		{[]byte{14, 2}, fields(codes, number(9), boolean(0)), wire.UnikernelRestart{Arguments: &withStartup}},
	} {
		body := tt.body
		for i := len(tt.tags) - 1; i >= 0; i-- {
			body = tagged(tt.tags[i], body)
		}
		got, err := wire.DecodeExtension(extension(tagged(3, body)))
		if err != nil {
			t.Errorf("%d: %v", tt.tags, err)
			continue
		}
		same(t, got, tt.want)
		// What is sent on is the present form, and means the same.
		again, err := wire.DecodeExtension(encoded(t, got))
		if err != nil {
			t.Fatal(err)
		}
		same(t, again, tt.want)
		// A field of the present form does not belong into an old one.
		surplus := parseDER(t, extension(tagged(3, body)))[0]
		inner := surplus.parts[1]
		for len(inner.parts) == 1 {
			inner = inner.parts[0]
		}
		inner.parts = append(inner.parts, &node{tag: 0xa3, parts: []*node{{tag: 2, content: []byte{1}}}})
		if got, err := wire.DecodeExtension(surplus.der()); err == nil || !strings.Contains(err.Error(), "trailing bytes") {
			t.Errorf("%d with a number of CPUs: %v, %v", tt.tags, got, err)
		}
	}
}

// TestOldInfosLeaveOut what they have no room for, and give its default back.
func TestOldInfosLeaveOut(t *testing.T) {
	info := wire.Info{CPUIDs: []int64{1}, Memory: 5, Startup: new(int64(7)), NumCPUs: 4, LinuxBootPartition: new("p"), Digest: []byte{1}, Started: time.Unix(99, 0)}
	for form, want := range map[wire.InfoForm]string{wire.InfoForm4: "none 1 none", wire.InfoForm5: "7 1 none", wire.InfoCurrent: "7 4 p"} {
		f, err := wire.DecodeFrame(framed(t, wire.Frame{Payload: wire.UnikernelInfos{Form: form, Infos: []wire.NamedInfo{{Info: info}}}}))
		if err != nil {
			t.Fatal(err)
		}
		got := f.Payload.(wire.UnikernelInfos)
		i := got.Infos[0].Info
		startup, partition := "none", "none"
		if i.Startup != nil {
			startup = fmt.Sprint(*i.Startup)
		}
		if i.LinuxBootPartition != nil {
			partition = *i.LinuxBootPartition
		}
		if text := fmt.Sprint(startup, " ", i.NumCPUs, " ", partition); got.Form != form || text != want || !i.Started.Equal(info.Started) {
			t.Errorf("form %d: %s started %s, want %s", form, text, i.Started, want)
		}
	}
	for _, cpus := range [][]int64{nil, {0, 1}} {
		_, err := wire.EncodeFrame(wire.Frame{Payload: wire.UnikernelInfos{Form: wire.InfoForm4, Infos: []wire.NamedInfo{{Info: wire.Info{CPUIDs: cpus}}}}})
		if err == nil || !strings.Contains(err.Error(), "exactly one CPU id") {
			t.Errorf("CPUs %v: %v", cpus, err)
		}
	}
}

// TestDecodedBytesShareMemory is what callers are told: byte slices are parts of
// the input, strings are not.
func TestDecodedBytesShareMemory(t *testing.T) {
	der := encoded(t, wire.UnikernelCreate{Config: wire.Config{Image: []byte("image"), Arguments: wire.Arguments{Argv: []string{"argument"}}}})
	got, err := wire.DecodeExtension(der)
	if err != nil {
		t.Fatal(err)
	}
	frame := framed(t, wire.Frame{Name: wire.Name{Label: "web"}, Payload: wire.BlockData{Data: []byte("data")}})
	f, err := wire.DecodeFrame(frame)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{der, frame} {
		for i := range b {
			b[i] = 'x'
		}
	}
	config := got.(wire.UnikernelCreate).Config
	if string(config.Image) != "xxxxx" || string(f.Payload.(wire.BlockData).Data) != "xxxx" {
		t.Errorf("image %q and data %q are copies", config.Image, f.Payload.(wire.BlockData).Data)
	}
	if config.Argv[0] != "argument" || f.Name.Label != "web" {
		t.Errorf("strings changed to %q and %q", config.Argv[0], f.Name)
	}
}

func TestParseMAC(t *testing.T) {
	for in, want := range map[string]string{
		"00:80:41:AB:cd:ef": "00:80:41:ab:cd:ef", "ff:ff:ff:ff:ff:ff": "ff:ff:ff:ff:ff:ff",
		"": "", "00:80:41:ab:cd": "", "00:80:41:ab:cd:ef:00:00": "", "00:80:41:ab:cd:eg": "", "008041abcdef": "",
		"00-80-41-ab-cd-ef": "", "0080.41ab.cdef": "",
	} {
		got, ok := wire.ParseMAC(in)
		if ok != (want != "") || ok && got.String() != want || !ok && got != (wire.MAC{}) {
			t.Errorf("%q is %s, %v, want %q", in, got, ok, want)
		}
	}
}

func TestTypeNames(t *testing.T) {
	for kind, want := range map[wire.Type]string{wire.Solo5: "solo5", wire.BHyve: "bhyve", 2: "type 2", 255: "type 255"} {
		if got := kind.String(); got != want {
			t.Errorf("%d is %q, want %q", uint8(kind), got, want)
		}
	}
}

// TestUsablePolicies walks the edges of each limit.
func TestUsablePolicies(t *testing.T) {
	for _, tt := range []struct {
		want   string
		change func(*wire.Policy)
	}{
		{"", func(*wire.Policy) {}},
		{"", func(p *wire.Policy) { p.Block = nil }},
		{"", func(p *wire.Policy) { p.Block = new(int64(0)) }},
		{"", func(p *wire.Policy) { p.Bridges = nil }},
		{"Unusable policy with no unikernels", func(p *wire.Policy) { p.Unikernels = 0 }},
		{"Unusable policy with no unikernels", func(p *wire.Policy) { p.Unikernels, p.CPUIDs, p.Memory = -1, nil, 0 }},
		{"Unusable policy with no CPUids", func(p *wire.Policy) { p.CPUIDs, p.Memory = []int64{}, 0 }},
		{"Unusable policy with memory 16 MB <= 16 MB", func(p *wire.Policy) { p.Memory = 16 }},
		{"Unusable policy with block -1 MB < 0 MB", func(p *wire.Policy) { p.Block = new(int64(-1)) }},
	} {
		p := wire.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 17, Block: new(int64(1)), Bridges: []string{"service"}}
		tt.change(&p)
		if err := p.Usable(); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%+v: %v, want %q", p, err, tt.want)
		}
	}
}

// TestPolicyAllows looks at the host's name of a bridge, not at the unikernel's,
// and tells the first kind of mistake with all its members.
func TestPolicyAllows(t *testing.T) {
	p := wire.Policy{Unikernels: 0, CPUIDs: []int64{4, 2}, Memory: 32, Bridges: []string{"service", "extra"}}
	for _, tt := range []struct {
		want string
		a    wire.Arguments
	}{
		{"", wire.Arguments{}},
		{"", wire.Arguments{CPUIDs: []int64{2, 2, 4}, Memory: 32, Bridges: []wire.Bridge{{Name: "net", HostDevice: new("service")}, {Name: "extra"}}}},
		{"CPUids 1, 3 are not allowed by policy (available: 2, 4)", wire.Arguments{CPUIDs: []int64{3, 1, 2, 3}, Memory: 33, Bridges: []wire.Bridge{{Name: "x"}}}},
		{"33 MB memory assigned to unikernel exceeds policy (32MB)", wire.Arguments{Memory: 33, Bridges: []wire.Bridge{{Name: "x"}}}},
		{"Bridge(s) y, x not allowed by policy (available: extra, service)", wire.Arguments{Bridges: []wire.Bridge{{Name: "service", HostDevice: new("y")}, {Name: "x"}}}},
	} {
		if err := p.Allows(tt.a); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%+v: %v, want %q", tt.a, err, tt.want)
		}
	}
}

// TestTimeOffsets are told apart from what only looks like one.
func TestTimeOffsets(t *testing.T) {
	for in, want := range map[string]string{
		"20261120204500-0130": "22:15:00", "20261120204500.5+0100": "19:45:00.005", "20261120204500+01": "20:45:00", "20261120204500+0100x": "20:45:00",
		"20261120204500+": "20:45:00", "20261120204500x+0100": "20:45:00", "202611202045+0100": "19:45:00", "20261120204500.+0100": "19:45:00",
	} {
		command, err := wire.DecodeExtension(extension(tagged(0, tagged(2, tagged(0, el(0x18, []byte(in)))))))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := command.(wire.ConsoleSubscribe).Since.Format("15:04:05.999"); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

// TestTimesAreCut to milliseconds, and written in UTC whatever their zone.
func TestTimesAreCut(t *testing.T) {
	at := func(nanoseconds int) time.Time {
		return time.Date(2026, 11, 20, 22, 15, 0, nanoseconds, time.FixedZone("", 5400))
	}
	for in, want := range map[time.Time]string{
		at(0): "20261120204500Z", at(999): "20261120204500.000Z", at(80e6 + 1): "20261120204500.080Z", at(1e9 - 1): "20261120204500.999Z",
	} {
		der := framed(t, wire.Frame{Payload: wire.ConsoleLine{Time: in}})
		if !strings.Contains(string(der), string(el(0x18, []byte(want)))) {
			t.Errorf("%s in %q, want %s", in, der, want)
		}
	}
	for _, year := range []int{-1, 10000} {
		_, err := wire.EncodeFrame(wire.Frame{Payload: wire.ConsoleLine{Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}})
		if err == nil || !strings.Contains(err.Error(), "more than four digits") {
			t.Errorf("year %d: %v", year, err)
		}
	}
}

// TestPathsDoNotShareMemory appends to one path twice, and to a parsed name.
func TestPathsDoNotShareMemory(t *testing.T) {
	base := append(make(wire.Path, 0, 8), "a")
	one, two := base.Join("b"), base.Join("c")
	if one.String() != "a:b" || two.String() != "a:c" {
		t.Errorf("%s and %s", one, two)
	}
	n := name(t, "a:b:web")
	_ = append(n.Path, "x")
	if got := n.String(); got != "a:b:web" {
		t.Errorf("%s", got)
	}
	if got := name(t, ":web").In(n).String(); got != ":web" {
		t.Errorf("what a query for one name gives is taken as relative: %s", got)
	}
}

package wire_test

import (
	"math"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

func name(t *testing.T, s string) wire.Name {
	t.Helper()
	n, err := wire.ParseName(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

func TestNamesRelativeToTheHeader(t *testing.T) {
	for _, tt := range []struct{ base, listed, want string }{
		{"alice:", ":t1", "alice:t1"},
		{"alice:", "sub:t1", "alice:sub:t1"},
		{":", "alice:t1", "alice:t1"},
		{":", ":t1", ":t1"},
		{"alice:", ":", "alice:"},
		{"alice:t1", "alice:t1", "alice:t1"}, // a query for one name gives the full name
	} {
		if got := name(t, tt.listed).In(name(t, tt.base)).String(); got != tt.want {
			t.Errorf("%s in %s is %s, want %s", tt.listed, tt.base, got, tt.want)
		}
	}
}

func TestPaths(t *testing.T) {
	p := wire.Path{"a", "b"}
	if q := p.Join("c"); q.String() != "a:b:c" || !q.HasPrefix(p) || p.HasPrefix(q) || !q.Parent().Equal(p) {
		t.Errorf("%v joined with c is %v", p, q)
	}
	if root := (wire.Path{}); !root.IsRoot() || !root.Parent().IsRoot() || !p.HasPrefix(root) || root.String() != "" {
		t.Error("the root is its own parent, above all and has no text")
	}
	if _, err := wire.ParsePath(""); err != nil {
		t.Errorf("the root: %v", err)
	}
	if _, err := wire.ParseName(""); err == nil || err.Error() != "empty name" {
		t.Errorf("no name: %v", err)
	}
}

// TestTimes covers what the original reads and how it answers where it refuses;
// malformed.json has the recorded part of it.
func TestTimes(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"20261120204500Z", "2026-11-20T20:45:00Z"},
		{"20261120204500.5Z", "2026-11-20T20:45:00.005Z"},
		{"20261120204500.08Z", "2026-11-20T20:45:00.008Z"},
		{"20261120204500.080Z", "2026-11-20T20:45:00.08Z"},
		{"202611202045Z", "2026-11-20T20:45:00Z"},
		{"20261120204500+0130", "2026-11-20T19:15:00Z"},
		{"20261120204560Z", "2026-11-20T20:46:00Z"},
		{"20240229000000Z", "2024-02-29T00:00:00Z"},
		{"20230229000000Z", ""},
		{"20261320204500Z", ""},
		{"20261120204561Z", ""},
		{"20261120206000Z", ""},
		{"00000101000000+0001", ""},
		{"2026112020450", "2026-11-20T20:45:00Z"},
		{"2026", ""},
		{"_2026112020450Z", ""},
	} {
		der := []byte{0x30, 0x0b, 0x02, 0x01, 0x05, 0xa0, 0x06, 0xa2, 0x04, 0xa0, 0x02, 0x18, 0}
		n := byte(len(tt.in))
		for _, at := range []int{1, 6, 8, 10, 12} {
			der[at] += n
		}
		command, err := wire.DecodeExtension(append(der, tt.in...))
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: accepted as %v", tt.in, command)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got := command.(wire.ConsoleSubscribe).Since.Format(time.RFC3339Nano); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
}

// TestWhatCannotBeEncoded names values that have no form on the wire.
func TestWhatCannotBeEncoded(t *testing.T) {
	twoCPUs := wire.NamedInfo{Info: wire.Info{CPUIDs: []int64{0, 1}}}
	for what, err := range map[string]error{
		"no command":              second(wire.EncodeExtension(nil)),
		"integer of 64 bits":      second(wire.EncodeExtension(wire.BlockAdd{Size: math.MaxInt64})),
		"year 10000":              second(wire.EncodeExtension(wire.ConsoleSubscribe{Since: new(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))})),
		"unknown type":            second(wire.EncodeExtension(wire.UnikernelCreate{Config: wire.Config{Type: 7}})),
		"no payload":              second(wire.EncodeFrame(wire.Frame{})),
		"no command in request":   second(wire.EncodeFrame(wire.Frame{Payload: wire.Request{}})),
		"two CPUs in an old form": second(wire.EncodeFrame(wire.Frame{Payload: wire.UnikernelInfos{Form: wire.InfoForm5, Infos: []wire.NamedInfo{twoCPUs}}})),
		"code of 64 bits in a set": second(wire.EncodeExtension(wire.UnikernelRestart{Arguments: &wire.Arguments{
			FailBehaviour: wire.FailBehaviour{Restart: true, ExitCodes: []int64{math.MinInt64}},
		}})),
	} {
		if err == nil {
			t.Errorf("%s was encoded", what)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestPoliciesAreComparedAsSets(t *testing.T) {
	a := wire.Policy{Unikernels: 1, CPUIDs: []int64{1, 0}, Memory: 32, Block: new(int64(5)), Bridges: []string{"b", "a"}}
	b := wire.Policy{Unikernels: 1, CPUIDs: []int64{0, 1, 1}, Memory: 32, Block: new(int64(5)), Bridges: []string{"a", "b"}}
	if !a.Equal(b) || a.Within(b) != nil || b.Within(a) != nil {
		t.Error("order and repetition should not matter")
	}
	for what, change := range map[string]func(*wire.Policy){
		"unikernels": func(p *wire.Policy) { p.Unikernels++ },
		"memory":     func(p *wire.Policy) { p.Memory++ },
		"no block":   func(p *wire.Policy) { p.Block = nil },
		"block":      func(p *wire.Policy) { p.Block = new(int64(6)) },
		"cpus":       func(p *wire.Policy) { p.CPUIDs = []int64{2} },
		"bridges":    func(p *wire.Policy) { p.Bridges = nil },
	} {
		changed := b
		change(&changed)
		if a.Equal(changed) {
			t.Errorf("%s: equal", what)
		}
	}
}

func TestClonedArgumentsShareNothing(t *testing.T) {
	a := wire.Arguments{
		CPUIDs: []int64{1}, Argv: []string{"x"}, Blocks: []wire.BlockDevice{{Name: "b"}}, Bridges: []wire.Bridge{{Name: "n"}},
		FailBehaviour: wire.FailBehaviour{Restart: true, ExitCodes: []int64{3}},
	}
	b := a.Clone()
	b.CPUIDs[0], b.Argv[0], b.Blocks[0].Name, b.Bridges[0].Name, b.FailBehaviour.ExitCodes[0] = 9, "y", "c", "m", 9
	if a.CPUIDs[0] != 1 || a.Argv[0] != "x" || a.Blocks[0].Host() != "b" || a.Bridges[0].Host() != "n" || a.FailBehaviour.ExitCodes[0] != 3 {
		t.Errorf("the original changed: %+v", a)
	}
}

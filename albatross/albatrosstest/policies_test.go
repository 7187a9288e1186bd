package albatrosstest

import (
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross/wire"
)

// bare is a daemon without a network, with a folder of its own.
func bare(t *testing.T) *daemon {
	t.Helper()
	var o Options
	o.setDefaults()
	state := stateFolder(t.TempDir())
	if err := state.make(); err != nil {
		t.Fatal(err)
	}
	d := &daemon{
		options: &o, images: &images{dir: string(state)}, consoles: &consoles{now: o.Now}, timers: &scheduler{start: o.After}, state: state,
		waiters: map[string]*waiter{}, restarting: map[string]bool{},
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// runs has something run without running it.
func (d *daemon) runs(name string, a wire.Arguments) {
	n := parsed(name)
	d.unikernels.put(labels(n), &unikernel{name: n, config: wire.Config{Arguments: a}})
}

func (d *daemon) has(name string, size int64) {
	d.blocks.put(labels(parsed(name)), &block{size: size})
}

func policy(change func(*wire.Policy)) wire.Policy {
	p := wire.Policy{Unikernels: 5, CPUIDs: []int64{0, 1}, Memory: 128, Block: new(int64(10)), Bridges: []string{"service", "other"}}
	if change != nil {
		change(&p)
	}
	return p
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAddPolicy(t *testing.T) {
	memory := func(m int64) wire.Policy { return policy(func(p *wire.Policy) { p.Memory = m }) }
	for _, tt := range []struct {
		what string
		// before are policies that are in force, "path memory".
		before map[string]int64
		path   string
		memory int64
		text   string
		err    string
	}{
		{"the first", nil, "a", 100, "added policy", ""},
		{"the same again", map[string]int64{"a": 100}, "a", 100, "no modification of policy", ""},
		{"larger than the root's", nil, "a", 1 << 40, "added policy", ""},
		{"within its parent", map[string]int64{"a": 100}, "a:b", 100, "added policy", ""},
		{"more than its parent", map[string]int64{"a": 100}, "a:b", 101, "", "policy above allows 100 MB memory, which is fewer than 101 MB"},
		{"more than its grandparent", map[string]int64{"a": 100}, "a:b:c", 101, "", "policy above allows 100 MB memory, which is fewer than 101 MB"},
		{"the nearest above is told", map[string]int64{"a": 50, "a:b": 40}, "a:b:c", 60, "", "policy above allows 40 MB memory, which is fewer than 60 MB"},
		{"less than a child", map[string]int64{"a:b": 100}, "a", 99, "", "policy above allows 99 MB memory, which is fewer than 100 MB"},
		{"less than a grandchild", map[string]int64{"a:b:c": 100}, "a", 99, "", "policy above allows 99 MB memory, which is fewer than 100 MB"},
		{"the first child is told", map[string]int64{"a:c": 300, "a:b": 200}, "a", 100, "", "policy above allows 100 MB memory, which is fewer than 200 MB"},
		{"a grandchild before its parent", map[string]int64{"a:b": 200, "a:b:c": 150}, "a", 100, "", "policy above allows 100 MB memory, which is fewer than 150 MB"},
		{"a sibling does not matter", map[string]int64{"b": 300, "ab": 300}, "a", 10, "added policy", ""},
	} {
		d := bare(t)
		for path, m := range tt.before {
			d.policies.put(base(path).Path, memory(m))
		}
		text, err := d.addPolicy(base(tt.path).Path, memory(tt.memory))
		if text != tt.text || message(err) != tt.err {
			t.Errorf("%s: %q, %v, want %q, %s", tt.what, text, err, tt.text, tt.err)
		}
		if now, ok := d.policies.get(base(tt.path).Path); ok && (now.Memory == tt.memory) != (err == nil) {
			t.Errorf("%s: then %+v", tt.what, now)
		}
	}
}

// TestPolicyBelowUsage has what a new policy must still allow.
func TestPolicyBelowUsage(t *testing.T) {
	d := bare(t)
	d.runs("a:web", wire.Arguments{CPUIDs: []int64{0}, Memory: 30, Bridges: []wire.Bridge{{Name: "service"}}})
	d.runs("a:sub:db", wire.Arguments{CPUIDs: []int64{1}, Memory: 20, Bridges: []wire.Bridge{{Name: "net", HostDevice: new("other")}}})
	d.runs("b:web", wire.Arguments{CPUIDs: []int64{7}, Memory: 1000})
	d.has("a:data", 3)
	d.has("a:sub:data", 4)
	for _, tt := range []struct {
		err    string
		change func(*wire.Policy)
	}{
		{"policy does not allow CPUids 0, 1", func(p *wire.Policy) { p.CPUIDs = nil }},
		{"policy does not allow CPUids 1", func(p *wire.Policy) { p.CPUIDs = []int64{0}; p.Bridges = nil }},
		{"policy allows bridges service, which is not a superset of other, service", func(p *wire.Policy) { p.Bridges = []string{"service"}; p.Unikernels = 0 }},
		{"unikernel would exceed running unikernel limit set by policy to 1, running 2", func(p *wire.Policy) { p.Unikernels = 1; p.Memory = 0 }},
		{"unikernel would exceed running memory limit set by policy to 49 MB, used 50 MB", func(p *wire.Policy) { p.Memory = 49; p.Block = nil }},
		{"unikernel would exceed running block storage limit set by policy to 6 MB, used 7 MB", func(p *wire.Policy) { p.Block = new(int64(6)) }},
		{"unikernel would exceed running block storage limit set by policy to 0 MB, used 7 MB", func(p *wire.Policy) { p.Block = nil }},
		{"", func(p *wire.Policy) { p.Unikernels, p.Memory, p.Block = 2, 50, new(int64(7)) }},
	} {
		if _, err := d.addPolicy(wire.Path{"a"}, policy(tt.change)); message(err) != tt.err {
			t.Errorf("%v, want %s", err, tt.err)
		}
	}
}

// TestPolicyLimits tells what may be started beside what runs, and in which
// order the reasons are looked for.
func TestPolicyLimits(t *testing.T) {
	d := bare(t)
	d.policies.put(wire.Path{"a"}, policy(func(p *wire.Policy) { p.Unikernels, p.CPUIDs, p.Bridges = 3, []int64{0, 2}, []string{"service"} }))
	d.policies.put(wire.Path{"a", "sub"}, policy(nil))
	d.runs("a:web", wire.Arguments{Memory: 100})
	d.runs("a:sub:db", wire.Arguments{Memory: 20})
	wrong := wire.Arguments{Memory: 9, CPUIDs: []int64{3, 1, 2}, Bridges: []wire.Bridge{{Name: "x"}, {Name: "service"}, {Name: "y", HostDevice: new("a")}}}
	for _, tt := range []struct {
		path, err string
		change    func(*wire.Arguments)
	}{
		{"a", "maximum allowed memory (128, used 120) would be exceeded (requesting 9)", nil},
		{"a", "CPUids 1, 3 are not allowed by policy", func(a *wire.Arguments) { a.Memory = 8 }},
		{"a", "bridges x, a not allowed by policy", func(a *wire.Arguments) { a.Memory, a.CPUIDs = 8, []int64{0} }},
		{"a", "", func(a *wire.Arguments) { a.Memory, a.CPUIDs, a.Bridges = -100, nil, nil }},
		{"a:sub", "maximum allowed memory (128, used 20) would be exceeded (requesting 109)", func(a *wire.Arguments) { a.Memory = 109 }},
		{"b", "", nil},
		{"", "CPUids 2, 3 are not allowed by policy", nil},
	} {
		a := wrong.Clone()
		if tt.change != nil {
			tt.change(&a)
		}
		if err := d.checkPolicy(base(tt.path).Path, a); message(err) != tt.err {
			t.Errorf("%q: %v, want %s", tt.path, err, tt.err)
		}
	}
	d.runs("a:more", wire.Arguments{})
	if err := d.checkPolicy(wire.Path{"a"}, wrong); message(err) != "maximum amount of unikernels (3) reached" {
		t.Errorf("%v", err)
	}
}

// TestRestartStates has what a destroy says of a name that does not run.
func TestRestartStates(t *testing.T) {
	d := bare(t)
	d.waiters[":web"] = &waiter{}
	d.restarting[":web"] = true
	for _, want := range []string{"destroyed: removed waiter", "destroyed: removed from restarting", "destroy: not found", "destroy: not found"} {
		text, err := d.stopRestart(":web")
		if text+message(err) != want {
			t.Errorf("%q, %v, want %q", text, err, want)
		}
	}
}

// TestRegister has a later waiter take the place of an earlier one.
func TestRegister(t *testing.T) {
	for _, tt := range []struct {
		deadlocks, command bool
		want               string
	}{{false, true, "second first"}, {true, true, "second"}, {false, false, "second"}} {
		d := bare(t)
		d.options.Quirks.Deadlocks = tt.deadlocks
		var told []string
		tell := func(who string) func(exit) { return func(exit) { told = append(told, who) } }
		d.register(":web", &waiter{command: tt.command, ended: tell("first")})
		d.register(":web", &waiter{command: true, ended: tell("second")})
		d.waiters[":web"].ended(exit{})
		if got := strings.Join(told, " "); got != tt.want {
			t.Errorf("%+v: %q was told", tt, got)
		}
	}
}

package albatrosstest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

// below sends a command for a path of which each level has its own policy, given
// as unikernels, memory and block storage.
func (r *rig) below(path string, limits map[string][3]int64, cn string, command wire.Command) string {
	r.t.Helper()
	request := vectors.Request{Domain: path, CN: &cn}
	at := ""
	for _, label := range strings.Split(path, ":") {
		at = strings.TrimPrefix(at+":"+label, ":")
		p := r.policy
		p.Unikernels, p.Memory, p.Block = limits[at][0], limits[at][1], new(limits[at][2])
		request.Policies = append(request.Policies, struct {
			Path   string
			Policy vectors.Policy
		}{at, p})
	}
	conn, err := r.dial(request, command)
	if err != nil {
		r.t.Fatalf("%s %s: %v", path, cn, err)
	}
	defer conn.Close()
	frame, err := readFrame(conn)
	if err != nil {
		r.t.Fatalf("%s %s: %v", path, cn, err)
	}
	return say(frame.Payload)
}

// TestLimitsOfSubPaths has what is used at and below a path count for it, but not
// for what lies below: the limits of a path do not cover what its sub-paths use
// together.
func TestLimitsOfSubPaths(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	limits := map[string][3]int64{"org": {4, 100, 10}, "org:a": {3, 80, 8}, "org:b": {3, 80, 8}, "org:a:x": {1, 40, 2}}
	create := func(memory int64) wire.Command {
		c := config(standIn(t, "test"))
		c.Memory = memory
		return wire.UnikernelCreate{Config: c}
	}
	for i, step := range []struct {
		path, cn string
		command  wire.Command
		want     string
	}{
		{"org:a:x", "deep", create(40), "created unikernel"},
		{"org:a:x", "deep2", create(16), "maximum amount of unikernels (1) reached"},
		{"org:a", "web", create(41), "maximum allowed memory (80, used 40) would be exceeded (requesting 41)"},
		{"org:a", "web", create(40), "created unikernel"},
		{"org", "top", create(21), "maximum allowed memory (100, used 80) would be exceeded (requesting 21)"},
		{"org:b", "web", create(80), "created unikernel"}, // 160 of the 100 that org may have
		{"org", "top", create(16), "maximum allowed memory (100, used 160) would be exceeded (requesting 16)"},
		{"org:b", "db", create(16), "maximum allowed memory (80, used 80) would be exceeded (requesting 16)"},
		{"org:a:x", "disk", wire.BlockAdd{Size: 3}, "block device policy limit of 2 MB (used 0 MB) would be exceeded by the request (3 MB)"},
		{"org:a:x", "disk", wire.BlockAdd{Size: 2}, "added block device"},
		{"org:a", "disk", wire.BlockAdd{Size: 7}, "block device policy limit of 8 MB (used 2 MB) would be exceeded by the request (7 MB)"},
		{"org:a", "disk", wire.BlockAdd{Size: 6}, "added block device"},
		{"org:b", "disk", wire.BlockAdd{Size: 8}, "added block device"},
		{"org", "disk", wire.BlockAdd{Size: 1}, "block device policy limit of 10 MB (used 16 MB) would be exceeded by the request (1 MB)"},
		{"org:a", "disk", wire.BlockRemove{}, "removed block"},
		{"org:b", "disk", wire.BlockRemove{}, "removed block"},
		{"org", "disk", wire.BlockAdd{Size: 8}, "added block device"},
		{"org:a:x", "deep", wire.UnikernelDestroy{}, "destroyed unikernel"},
		{"org:a", "more", create(40), "created unikernel"},
	} {
		if got := r.below(step.path, limits, step.cn, step.command); got != step.want {
			t.Fatalf("step %d, %s:%s: %q, want %q", i, step.path, step.cn, got, step.want)
		}
	}
	var names []string
	for _, u := range r.Unikernels("org") {
		names = append(names, u.Name.String())
	}
	slices.Sort(names)
	if got := fmt.Sprint(names); got != "[org:a:more org:a:web org:b:web]" {
		t.Errorf("%s run", got)
	}
}

// TestPoliciesChangeWithTheChain follows the policy of a level when later chains
// carry another one.
func TestPoliciesChangeWithTheChain(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	limits := map[string][3]int64{"org": {4, 100, 10}, "org:a": {3, 80, 8}}
	if got := r.below("org:a", limits, ".", wire.UnikernelDestroy{}); got != "destroy: not found" {
		t.Fatalf("%q", got)
	}
	const refused = "expected success when adding policy, got: host [unikernel: %s]: command failed policy above allows %s"
	for i, step := range []struct {
		change map[string][3]int64
		want   string
	}{
		{map[string][3]int64{"org:a": {4, 100, 10}}, "destroy: not found"},
		{map[string][3]int64{"org:a": {5, 100, 10}}, fmt.Sprintf(refused, "org:a:", "4 unikernels, which is fewer than 5")},
		{map[string][3]int64{"org": {3, 100, 10}}, fmt.Sprintf(refused, "org:", "3 unikernels, which is fewer than 4")},
		// The deeper one is lowered first, so both may be lowered at once, but not raised.
		{map[string][3]int64{"org": {2, 50, 5}, "org:a": {1, 20, 1}}, "destroy: not found"},
		{map[string][3]int64{"org": {4, 100, 10}, "org:a": {3, 80, 8}}, fmt.Sprintf(refused, "org:a:", "2 unikernels, which is fewer than 3")},
		{map[string][3]int64{"org": {4, 100, 10}, "org:a": {1, 20, 1}}, "destroy: not found"},
		{map[string][3]int64{"org": {4, 100, 10}, "org:a": {3, 80, 8}}, "destroy: not found"},
	} {
		for path, l := range step.change {
			limits[path] = l
		}
		if got := r.below("org:a", limits, ".", wire.UnikernelDestroy{}); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
		for path := range step.change {
			if _, inForce := r.Policy(path); !inForce {
				t.Errorf("step %d: no policy at %s", i, path)
			}
		}
		// Go on from what is in force.
		for _, p := range r.Policies()[1:] {
			limits[p.Name.Path.String()] = [3]int64{p.Policy.Unikernels, p.Policy.Memory, *p.Policy.Block}
		}
	}
	if got := r.Policies(); len(got) != 3 || got[2].Policy.Memory != 80 {
		t.Errorf("%+v", got)
	}
}

// TestInspectedNames are those of a program, which may not be wrong. The host goes
// on after the panic.
func TestInspectedNames(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	for what, look := range map[string]func(){
		"a path":       func() { r.Unikernels("a_b") },
		"a name":       func() { r.Unikernel("a:b_c") },
		"no name":      func() { r.Kill("") },
		"a policy":     func() { r.Policy("-") },
		"block device": func() { _, _ = r.BlockContent("a:") },
	} {
		func() {
			defer func() {
				if problem := recover(); (problem == nil) != (what == "block device") {
					t.Errorf("%s: %v", what, problem)
				}
			}()
			look()
		}()
	}
	for _, name := range []string{"alice:nobody", "not a name", "alice:"} {
		if got := r.Console(name); got != nil {
			t.Errorf("%s has a console: %q", name, got)
		}
	}
	if r.Exit("alice:nobody", 1) || r.Print("alice:nobody", "hello") || r.Kill("alice:") {
		t.Error("nobody was found")
	}
}

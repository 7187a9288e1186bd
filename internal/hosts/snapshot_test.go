package hosts_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/hosts"
)

func TestSnapshotContent(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(5, 128))
	r.setPolicy("alice:test", policy(2, 64))
	h := r.connect()
	r.create(h, "alice", "web")
	r.create(h, "alice:test", "web")
	if _, err := h.Client().AddBlock(t.Context(), r.scope(h, "alice"), "data", 3); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	s := r.look(h)
	if got := keys(s.Unikernels); !reflect.DeepEqual(got, []string{"alice:test:web", "alice:web"}) {
		t.Errorf("unikernels %v", got)
	}
	if got := s.Unikernels["alice:web"].Info.Memory; got != 16 {
		t.Errorf("%d MiB", got)
	}
	if got := keys(s.Blocks); !reflect.DeepEqual(got, []string{"alice:data"}) || s.Blocks["alice:data"].Size != 3 {
		t.Errorf("blocks %v", s.Blocks)
	}
	if !s.Policies["alice"].Equal(policy(5, 128)) || !s.Policies["alice:test"].Equal(policy(2, 64)) {
		t.Errorf("policies %v", s.Policies)
	}
	if s.At.Before(before) || s.At.After(time.Now()) {
		t.Errorf("looked at %v, between %v and now", s.At, before)
	}
	if h.Snapshot() != s {
		t.Error("the snapshot of the last look is another")
	}
}

// With a delegated credential names begin where it does.
func TestNamesAreRelativeToTheCredential(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(5, 128))
	r.setPolicy("bob", policy(5, 128))
	root := r.connect()
	r.create(root, "alice", "web")
	r.create(root, "bob", "web")

	h := r.set(r.delegated("alice", policy(5, 128)))
	s := r.look(h)
	if got := keys(s.Unikernels); !reflect.DeepEqual(got, []string{":web"}) {
		t.Errorf("unikernels %v", got)
	}
	if got := keys(s.Policies); !reflect.DeepEqual(got, []string{""}) {
		t.Errorf("policies of %q", got)
	}
	if scope, missing := s.Scope(nil); len(scope) != 0 || missing != nil {
		t.Errorf("the credential's own path: %v, %v", scope, missing)
	}
}

func TestScope(t *testing.T) {
	top, sub := policy(5, 128), policy(2, 64)
	s := &hosts.Snapshot{Policies: map[string]albatross.Policy{"": policy(9, 999), "a": top, "a:b": sub, "x:y": sub}}
	for _, tt := range []struct {
		path    albatross.Path
		scope   albatross.Scope
		missing string
	}{
		{nil, nil, ""},
		{albatross.Path{"a"}, albatross.Scope{{Label: "a", Policy: top}}, ""},
		{albatross.Path{"a", "b"}, albatross.Scope{{Label: "a", Policy: top}, {Label: "b", Policy: sub}}, ""},
		{albatross.Path{"a", "b", "c"}, nil, "a:b:c"},
		{albatross.Path{"a", "c", "d"}, nil, "a:c"},
		{albatross.Path{"x", "y"}, nil, "x"}, // the one below does not help
		{albatross.Path{"z"}, nil, "z"},
	} {
		scope, missing := s.Scope(tt.path)
		if !reflect.DeepEqual(scope, tt.scope) || missing.String() != tt.missing {
			t.Errorf("%s: %v, missing %q; want %v, %q", tt.path, scope, missing, tt.scope, tt.missing)
		}
	}
}

func TestAllowsTexts(t *testing.T) {
	running := func(memory int64, names ...string) map[string]albatross.Unikernel {
		all := map[string]albatross.Unikernel{}
		for _, text := range names {
			name, err := albatross.ParseName(text)
			if err != nil {
				t.Fatal(err)
			}
			all[text] = albatross.Unikernel{Name: name, Info: albatross.Info{Memory: memory}}
		}
		return all
	}
	arguments := func(change func(*albatross.Arguments)) albatross.Arguments {
		a := small.Clone()
		if change != nil {
			change(&a)
		}
		return a
	}
	for _, tt := range []struct {
		what    string
		running map[string]albatross.Unikernel
		policy  albatross.Policy
		a       albatross.Arguments
		want    string
	}{
		{"room", nil, policy(1, 16), arguments(nil), ""},
		{"the last place", running(16, "alice:a"), policy(2, 32), arguments(nil), ""},
		{"no place", running(16, "alice:a", "alice:b"), policy(2, 128), arguments(nil), "maximum amount of unikernels (2) reached"},
		{"its own place", running(16, "alice:web", "alice:b"), policy(2, 32), arguments(nil), ""},
		{"others do not count", running(16, "bob:a", "alicex:a"), policy(1, 16), arguments(nil), ""},
		{"those below count", running(16, "alice:sub:a"), policy(1, 64), arguments(nil), "maximum amount of unikernels (1) reached"},
		{"no memory", running(16, "alice:a"), policy(5, 31), arguments(nil), "maximum allowed memory (31, used 16) would be exceeded (requesting 16)"},
		{"never memory", nil, policy(5, 64), arguments(func(a *albatross.Arguments) { a.Memory = 65 }),
			"maximum allowed memory (64, used 0) would be exceeded (requesting 65)"},
		{"unlimited", nil, policy(albatross.Unlimited, 64), arguments(nil), ""},
		{"CPU", nil, policy(5, 64), arguments(func(a *albatross.Arguments) { a.CPUIDs = []int64{1} }),
			"CPUids 1 are not allowed by policy (available: 0)"},
		{"bridge", nil, policy(5, 64), arguments(func(a *albatross.Arguments) { a.Bridges = []albatross.Bridge{{Name: "ext"}} }),
			"Bridge(s) ext not allowed by policy (available: service)"},
		{"the count comes first", running(16, "alice:a"), policy(1, 16), arguments(func(a *albatross.Arguments) { a.CPUIDs = []int64{1} }),
			"maximum amount of unikernels (1) reached"},
	} {
		s := &hosts.Snapshot{Unikernels: tt.running}
		text := ""
		if err := s.Allows(albatross.Name{Path: albatross.Path{"alice"}, Label: "web"}, tt.policy, tt.a); err != nil {
			text = err.Error()
		}
		if text != tt.want {
			t.Errorf("%s: %q, want %q", tt.what, text, tt.want)
		}
	}
}

// What is said beforehand is what the host says. Without it a replacement that
// the host refuses too late would cost the unikernel that runs.
func TestAllowsAgreesWithTheHost(t *testing.T) {
	r := newRig(t, hosts.Options{})
	h := r.connect()
	random := rand.New(rand.NewPCG(1, 2))
	var refused int
	for i := range 15 {
		path := fmt.Sprint("t", i)
		limits := policy(1+random.Int64N(3), 17+random.Int64N(48))
		r.setPolicy(path, limits)
		for j := range 3 {
			a := small.Clone()
			a.Memory = 10 + random.Int64N(30)
			a.CPUIDs = []int64{random.Int64N(5) / 4}
			name := albatross.Name{Path: albatross.Path{path}, Label: fmt.Sprint("u", j)}
			said := r.look(h).Allows(name, limits, a)
			err := r.tryCreate(h, path, name.Label, a)
			if (said == nil) != (err == nil) || err != nil && hosts.Classify(err) != hosts.PolicyExceeded {
				t.Fatalf("%s with %+v: said %v, the host %v", name, a, said, err)
			}
			if err != nil {
				refused++
			}
		}
	}
	if refused < 10 || refused > 35 {
		t.Errorf("%d of 45 refused: the test tries one side only", refused)
	}
}

func TestThreeQueriesALook(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(50, 4096))
	h := r.connect()
	cost := func() (queries int) {
		before := r.Received("", "")
		if _, err := h.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.Received("", "") - before
	}
	if got := cost(); got != 3 {
		t.Errorf("an empty host: %d queries", got)
	}
	for i := range 20 {
		r.create(h, "alice", fmt.Sprint("u", i))
	}
	if got := cost(); got != 3 {
		t.Errorf("20 unikernels: %d queries", got)
	}
}

// TestAllowsBlockAgreesWithTheHost compares the answer with the host's own.
func TestAllowsBlockAgreesWithTheHost(t *testing.T) {
	r := newRig(t, hosts.Options{})
	r.setPolicy("alice", policy(2, 64))
	none := policy(2, 64)
	none.Block = nil
	r.setPolicy("bob", none)
	h := r.connect()
	for _, tt := range []struct {
		path, label string
		size        int64
		allowed     bool
	}{{"alice", "a", 11, false}, {"alice", "a", 6, true}, {"alice", "b", 5, false}, {"alice", "b", 4, true}, {"alice", "c", 1, false}, {"bob", "a", 1, false}} {
		s := r.look(h)
		name := albatross.Name{Path: albatross.Path{tt.path}, Label: tt.label}
		scope, _ := s.Scope(name.Path)
		_, refusal := h.Client().AddBlock(t.Context(), scope, tt.label, tt.size)
		err := s.AllowsBlock(name, scope[0].Policy, tt.size)
		if (err == nil) != tt.allowed || (refusal == nil) != tt.allowed {
			t.Errorf("%s of %d: %v, the host says %v", name, tt.size, err, refusal)
		} else if err != nil && err.Error() != hosts.Text(refusal) {
			t.Errorf("%s: %q, the host says %q", name, err, hosts.Text(refusal))
		}
	}
}

package albatrosstest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross/wire"
)

func listed(t *tree[int], at ...string) []string {
	var all []string
	for _, m := range t.list(at) {
		all = append(all, fmt.Sprintf("%s=%d", strings.Join(m.labels, ":"), m.value))
	}
	return all
}

// TestTreeOrder has the order of the recorded list of all policies.
func TestTreeOrder(t *testing.T) {
	var tr tree[int]
	for i, name := range []string{"", "s42", "s42:sub", "s43", "s43:a", "s43:b", "s44", "s21:sub"} {
		path, _ := wire.ParsePath(name)
		tr.put(path, i)
	}
	want := []string{"=0", "s44=6", "s43=3", "s43:b=5", "s43:a=4", "s42=1", "s42:sub=2", "s21:sub=7"}
	if got := listed(&tr); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := listed(&tr, "s43"); !slices.Equal(got, []string{"=3", "b=5", "a=4"}) {
		t.Errorf("below s43: %v", got)
	}
	if got := tr.below([]string{"s43"}); len(got) != 2 || got[0].name().String() != ":b" {
		t.Errorf("below s43: %v", got)
	}
	if got := listed(&tr, "nothing"); got != nil {
		t.Errorf("below nothing: %v", got)
	}
}

func TestTreeMembers(t *testing.T) {
	var tr tree[string]
	name := func(s string) wire.Name { return parsed(s) }
	tr.put(labels(name("a:web")), "web")
	tr.put(labels(name("a:web:x")), "x")
	if got, ok := tr.find(name("a:web")); !ok || got != "web" {
		t.Errorf("%q %v", got, ok)
	}
	if _, ok := tr.find(name("a:web:")); ok {
		t.Error("a path has a value that belongs to a name")
	}
	tr.remove(labels(name("a:web")))
	if _, ok := tr.find(name("a:web")); ok {
		t.Error("removed, and still there")
	}
	if got, ok := tr.find(name("a:web:x")); !ok || got != "x" {
		t.Errorf("gone with its parent: %q %v", got, ok)
	}
	tr.remove(labels(name("a:web:x")))
	tr.remove(labels(name("b:nothing")))
	if len(tr.children) != 0 {
		t.Errorf("empty nodes stay: %v", tr.children)
	}
	tr.put(nil, "root")
	tr.remove(nil)
	if _, ok := tr.get(nil); ok {
		t.Error("the root's value stays")
	}
}

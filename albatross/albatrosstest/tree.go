package albatrosstest

import (
	"maps"
	"slices"

	"mollymawk.dev/operator/albatross/wire"
)

// tree keeps values by name, in the hierarchy of paths.
type tree[T any] struct {
	value    T
	set      bool
	children map[string]*tree[T]
}

// member is a value with its name relative to where the listing began.
type member[T any] struct {
	labels []string
	value  T
}

// labels is a name's place in a tree: that of a path, or of something in it.
func labels(n wire.Name) []string {
	if n.IsPath() {
		return n.Path
	}
	return n.Path.Join(n.Label)
}

func (t *tree[T]) node(at []string) *tree[T] {
	for _, label := range at {
		if t == nil {
			return nil
		}
		t = t.children[label]
	}
	return t
}

func (t *tree[T]) get(at []string) (value T, ok bool) {
	n := t.node(at)
	if n == nil {
		return value, false
	}
	return n.value, n.set
}

// find gives what has this name; a path is nothing that has a name.
func (t *tree[T]) find(n wire.Name) (value T, ok bool) {
	if n.IsPath() {
		return value, false
	}
	return t.get(labels(n))
}

func (t *tree[T]) put(at []string, value T) {
	for _, label := range at {
		if t.children == nil {
			t.children = map[string]*tree[T]{}
		}
		if t.children[label] == nil {
			t.children[label] = &tree[T]{}
		}
		t = t.children[label]
	}
	t.value, t.set = value, true
}

func (t *tree[T]) remove(at []string) {
	if len(at) == 0 {
		var none T
		t.value, t.set = none, false
		return
	}
	child := t.children[at[0]]
	if child == nil {
		return
	}
	child.remove(at[1:])
	if !child.set && len(child.children) == 0 {
		delete(t.children, at[0])
	}
}

// list gives all values at and below a place in the order of the original's
// lists: a place before what is below it, siblings in descending order
// (extra-certificate).
func (t *tree[T]) list(at []string) []member[T] {
	var all []member[T]
	if n := t.node(at); n != nil {
		n.collect(nil, &all)
	}
	return all
}

func (t *tree[T]) collect(prefix []string, all *[]member[T]) {
	if t.set {
		*all = append(*all, member[T]{labels: prefix, value: t.value})
	}
	for _, label := range slices.Backward(slices.Sorted(maps.Keys(t.children))) {
		t.children[label].collect(append(slices.Clip(prefix), label), all)
	}
}

// below is list without the place itself.
func (t *tree[T]) below(at []string) []member[T] {
	return slices.DeleteFunc(t.list(at), func(m member[T]) bool { return len(m.labels) == 0 })
}

// name is the relative name of something that is not a path.
func (m member[T]) name() wire.Name {
	last := len(m.labels) - 1
	return wire.Name{Path: m.labels[:last:last], Label: m.labels[last]}
}

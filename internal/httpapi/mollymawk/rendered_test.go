package mollymawk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/services"
)

func someUnikernels(names ...string) (all []albatross.Unikernel) {
	for _, name := range names {
		all = append(all, albatross.Unikernel{Name: albatross.Name{Label: name}, Info: albatross.Info{Memory: 32, Argv: []string{"<&>"}}})
	}
	return all
}

// TestRenderedOnce wants a list encoded once for each look, instance and namespace.
func TestRenderedOnce(t *testing.T) {
	var r rendered
	first := services.InstanceUnikernels{Instance: "a", Unikernels: someUnikernels("web")}
	text := r.list("alice", first)
	if again := r.list("alice", first); &again[0] != &text[0] {
		t.Error("the same list was encoded twice")
	}
	for name, other := range map[string][]byte{
		"looked at again":     r.list("alice", services.InstanceUnikernels{Instance: "a", Unikernels: someUnikernels("mail")}),
		"one more":            r.list("alice", services.InstanceUnikernels{Instance: "a", Unikernels: someUnikernels("web", "mail")}),
		"another instance":    r.list("alice", services.InstanceUnikernels{Instance: "b", Unikernels: someUnikernels("mail")}),
		"another's namespace": r.list("bob", services.InstanceUnikernels{Instance: "a", Unikernels: someUnikernels("mail")}),
	} {
		if !strings.Contains(string(other), "mail") {
			t.Errorf("%s: %s", name, other)
		}
	}
	if back := r.list("alice", first); !bytes.Equal(back, text) {
		t.Errorf("%s, and before %s", back, text)
	}
	if none := r.list("alice", services.InstanceUnikernels{Instance: "a"}); string(none) != "[]" {
		t.Errorf("none are %s", none)
	}
}

// TestRenderedIsBounded gives more lists than are kept.
func TestRenderedIsBounded(t *testing.T) {
	var r rendered
	large := services.InstanceUnikernels{Instance: "a", Unikernels: someUnikernels(strings.Repeat("x", maxRendered/8))}
	for i := range 20 {
		r.list(fmt.Sprint(i), large)
		kept := 0
		for _, list := range r.all {
			kept += len(list.json)
		}
		if kept != r.size || kept > maxRendered || kept == 0 {
			t.Fatalf("after %d lists %d bytes are kept, and counted as %d", i+1, kept, r.size)
		}
	}
}

// TestInParts compares envelopes that are put together with those that are encoded
// as a whole.
func TestInParts(t *testing.T) {
	lists := map[int][][]unikernelView{0: {}, 1: {{}}, 3: {{showUnikernel(someUnikernels("a")[0])}, {}, {showUnikernel(someUnikernels("b")[0]), showUnikernel(someUnikernels("c")[0])}}}
	for _, failed := range [][]instanceError{{}, {{Instance: "x]", Error: "]<&>"}}} {
		for n, list := range lists {
			var parts [][]byte
			for _, l := range list {
				parts = append(parts, encode(l))
			}
			whole := ok(listing{list, failed}).titled("Unikernel Information").encode()
			put := bytes.Join(ok(listingOf(parts, failed)).titled("Unikernel Information").encode(), nil)
			if !reflect.DeepEqual(whole, inParts{put}) || !json.Valid(put) {
				t.Errorf("%d lists: %s, and as a whole %s", n, put, whole[0])
			}
		}
	}
}

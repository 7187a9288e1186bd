package migrate_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/migrate"
)

// TestNothingGetsOutOfAComment has tenants choose what would end a line for some
// reader of YAML.
func TestNothingGetsOutOfAComment(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n", "\u0085", "\u2028", "\u2029", "\x00", "\v", "\f", "\x7f", "\ufeff", "\uffff", "\xff"} {
		evil := "x" + end + "---" + end + "kind: Namespace" + end
		uk := &v1alpha1.Unikernel{
			TypeMeta: metav1.TypeMeta{Kind: "Unikernel"}, ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1alpha1.UnikernelSpec{Arguments: []string{evil, evil + "y"}},
		}
		d := migrate.Document{Object: uk, Notes: []string{"a note: " + evil}, Problems: []string{"a problem: " + evil}}
		for line := range strings.Lines(text(t, d)) {
			if line != "---\n" && !strings.HasPrefix(line, "#") {
				t.Errorf("%q: %q", end, line)
			}
			if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\u0085\u2028\u2029\v\f\x00") {
				t.Errorf("%q: it is written as it is in %q", end, line)
			}
		}
		d.Problems = nil
		objects := objectsIn(t, text(t, d))
		if len(objects) != 1 || objects[0].GetKind() != "Unikernel" {
			t.Errorf("%q: %v", end, objects)
			continue
		}
		if got, _, _ := unstructured.NestedStringSlice(objects[0].Object, "spec", "arguments"); got[0] != strings.ToValidUTF8(evil, "\ufffd") {
			t.Errorf("%q became %q", evil, got[0])
		}
	}
}

func TestLongComments(t *testing.T) {
	d := migrate.Document{Object: &v1alpha1.Volume{}, Notes: []string{strings.Repeat("some words ", 100), strings.Repeat("x", 500)}}
	var words int
	for line := range strings.Lines(text(t, d)) {
		words += strings.Count(line, "words")
		if len(line) > 111 && !strings.Contains(line, "xxx") {
			t.Errorf("a line of %d characters", len(line))
		}
	}
	if words != 100 {
		t.Errorf("%d of 100 words are there", words)
	}
}

package v1alpha1_test

import (
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestValidExamplesAreAdmitted(t *testing.T) {
	for _, ex := range loadExamples(t, "hack/valid-examples/*.yaml", "config/samples/*.yaml") {
		t.Run(ex.name, func(t *testing.T) {
			for _, doc := range ex.docs {
				if errs := admit(doc, nil); len(errs) != 0 {
					t.Error(errs.ToAggregate())
				}
			}
		})
	}
}

func TestInvalidExamplesAreRefused(t *testing.T) {
	for _, ex := range loadExamples(t, "hack/invalid-examples/*.yaml") {
		t.Run(ex.name, func(t *testing.T) {
			if ex.want == "" || len(ex.docs) != 1 {
				t.Fatal("an invalid example begins with '# error: <text>' and has one object")
			}
			wantError(t, admit(ex.docs[0], nil), ex.want)
		})
	}
}

func TestUpdates(t *testing.T) {
	for _, ex := range loadExamples(t, "hack/invalid-updates/*.yaml", "hack/valid-updates/*.yaml") {
		t.Run(ex.name, func(t *testing.T) {
			if len(ex.docs) != 2 {
				t.Fatal("an update has two objects: before and after")
			}
			if errs := admit(ex.docs[0], nil); len(errs) != 0 {
				t.Fatal("before:", errs.ToAggregate())
			}
			errs := admit(ex.docs[1], ex.docs[0])
			if ex.want != "" {
				wantError(t, errs, ex.want)
			} else if len(errs) != 0 {
				t.Error("after:", errs.ToAggregate())
			}
		})
	}
}

// wantError demands that one of the errors has the text.
func wantError(t *testing.T, errs field.ErrorList, want string) {
	t.Helper()
	for _, e := range errs {
		if strings.Contains(e.Error(), want) {
			return
		}
	}
	t.Errorf("want an error with %q, got %v", want, errs.ToAggregate())
}

var index = regexp.MustCompile(`\[[^\]]*\]`)

// lastSegment gives the name of the innermost field of a path, without list indexes.
func lastSegment(path string) string {
	path = strings.TrimPrefix(path, "<nil>")
	path = index.ReplaceAllString(path, "")
	return path[strings.LastIndex(path, ".")+1:]
}

// TestEveryRuleHasAnInvalidExample demands, for each rule of a spec, an example in hack that this very rule refuses.
func TestEveryRuleHasAnInvalidExample(t *testing.T) {
	refusedBy := map[string]bool{}
	note := func(kind string, errs field.ErrorList) {
		for _, e := range errs {
			refusedBy[kind+" "+lastSegment(e.Field)+": "+e.Detail] = true
			refusedBy[lastSegment(e.Field)+": "+e.Detail] = true
		}
	}
	for _, ex := range loadExamples(t, "hack/invalid-examples/*.yaml") {
		note(ex.docs[0].GetKind(), admit(ex.docs[0], nil))
	}
	for _, ex := range loadExamples(t, "hack/invalid-updates/*.yaml") {
		note(ex.docs[0].GetKind(), admit(ex.docs[1], ex.docs[0]))
	}
	rules := 0
	for name, k := range kinds() {
		walk(k.schema, "", func(path string, s *apiextensionsv1.JSONSchemaProps) {
			for _, rule := range s.XValidations {
				rules++
				key := lastSegment(path) + ": " + rule.Message
				// The sources of images, volumes and catalogue entries are one type: an example of any will do.
				shared := strings.Contains(path, ".source.") || name == "UnikernelImage" && strings.HasPrefix(path, "spec.image")
				if !shared && path != "spec" {
					key = name + " " + key
				}
				if !refusedBy[key] {
					t.Errorf("%s %s: no invalid example for %q", name, path, rule.Message)
				}
				if rule.Message == "" {
					t.Errorf("%s %s: the rule %q has no message", name, path, rule.Rule)
				}
			}
		})
	}
	t.Log(rules, "rules")
}

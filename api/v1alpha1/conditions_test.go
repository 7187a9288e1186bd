package v1alpha1_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"mollymawk.dev/operator/api/v1alpha1"
)

// constants gives the string constants of a file of this package by name, each with its comment.
func constants(t *testing.T, file string) (values, docs map[string]string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	values, docs = map[string]string{}, map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, isValue := n.(*ast.ValueSpec)
		if !isValue || len(spec.Values) != 1 {
			return true
		}
		if literal, isLiteral := spec.Values[0].(*ast.BasicLit); isLiteral && literal.Kind == token.STRING {
			values[spec.Names[0].Name], _ = strconv.Unquote(literal.Value)
			docs[spec.Names[0].Name] = spec.Doc.Text()
		}
		return true
	})
	return values, docs
}

func TestConditionTypesAndReasons(t *testing.T) {
	camelCase := regexp.MustCompile(`^[A-Z][A-Za-z]*$`)
	values, docs := constants(t, "conditions.go")
	for name, value := range values {
		prefix := "Reason"
		if strings.HasPrefix(name, "Condition") {
			prefix = "Condition"
		}
		if name != prefix+value || !camelCase.MatchString(value) {
			t.Errorf("%s = %q: the value is the name without %s", name, value, prefix)
		}
		if !strings.HasPrefix(docs[name], name+" is ") || !strings.HasSuffix(strings.TrimSpace(docs[name]), ".") {
			t.Errorf("%s: the comment does not say when it is set: %q", name, docs[name])
		}
	}
	if len(values) < 30 {
		t.Error("only", len(values), "constants found")
	}
}

// TestConditionsAreDescribed compares the documentation of status.conditions with the constants.
func TestConditionsAreDescribed(t *testing.T) {
	values, _ := constants(t, "conditions.go")
	for name, k := range kinds() {
		if _, found := k.schema.Properties["status"]; !found && name == "UnikernelImage" {
			continue // an entry of the catalogue is only declared
		}
		text := strings.TrimSuffix(k.schema.Properties["status"].Properties["conditions"].Description, ".")
		text = strings.TrimPrefix(strings.ReplaceAll(text, " and ", ", "), "conditions are ")
		for _, condition := range strings.Split(text, ", ") {
			if _, found := values["Condition"+condition]; !found {
				t.Errorf("%s: the description names the condition %q, which is no constant", name, condition)
			}
		}
	}
}

func TestAnnotationsAndFinalizerAreQualifiedNames(t *testing.T) {
	values, _ := constants(t, "annotations.go")
	for name, value := range values {
		if value == v1alpha1.PanelAnnotationPrefix {
			continue
		}
		ours := strings.HasPrefix(value, v1alpha1.GroupName+"/") || strings.HasPrefix(value, v1alpha1.PanelAnnotationPrefix) && strings.HasPrefix(name, "AnnotationPanel")
		if errs := validation.IsQualifiedName(strings.ToLower(value)); len(errs) != 0 || !ours {
			t.Errorf("%s = %q: %v", name, value, errs)
		}
	}
}

func TestConditionAccessors(t *testing.T) {
	type conditioned interface {
		runtime.Object
		GetConditions() []metav1.Condition
		SetConditions([]metav1.Condition)
	}
	for _, obj := range []conditioned{&v1alpha1.AlbatrossInstance{}, &v1alpha1.Unikernel{}, &v1alpha1.Volume{}, &v1alpha1.User{}} {
		obj.SetConditions([]metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonSucceeded}})
		kept := obj.DeepCopyObject().(conditioned).GetConditions()
		if len(kept) != 1 || kept[0].Reason != v1alpha1.ReasonSucceeded {
			t.Errorf("%T: %v", obj, kept)
		}
	}
}

func TestScheme(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for name, k := range kinds() {
		for _, registered := range []string{name, k.crd.Spec.Names.ListKind} {
			if !scheme.Recognizes(v1alpha1.GroupVersion.WithKind(registered)) {
				t.Errorf("%s is not registered", registered)
			}
		}
		if got := v1alpha1.Resource(k.crd.Spec.Names.Plural).String(); got != k.crd.Name {
			t.Errorf("%s: group resource %s, CRD %s", name, got, k.crd.Name)
		}
	}
}

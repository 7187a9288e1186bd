package docs_test

import (
	"bufio"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// kinds are the pages of the kinds, with the plural names of these.
var kinds = map[string]string{
	"docs/spec/albatrossinstance.md": "albatrossinstances",
	"docs/spec/unikernel.md":         "unikernels",
	"docs/spec/unikernelimage.md":    "unikernelimages",
	"docs/spec/user.md":              "users",
	"docs/spec/volume.md":            "volumes",
}

// TestPagesHaveOneShape demands the same headings, in the same order, on each page of a kind. Those about the status are on the
// pages of kinds that have one, and on no other.
func TestPagesHaveOneShape(t *testing.T) {
	ofStatus := []string{"## Status", "### Conditions", "### Reasons"}
	for name, plural := range kinds {
		p, last := readPage(t, name), 0
		want := []string{"## Example", "## Writing a spec", "## Working with it"}
		if _, found := loadSchema(t, plural).Properties["status"]; found {
			want = append(want, ofStatus...)
		} else {
			for _, heading := range ofStatus {
				if strings.Contains(p.text, "\n"+heading+"\n") {
					t.Errorf("%s: %q, and the kind has no status", name, heading)
				}
			}
		}
		for _, heading := range want {
			at := strings.Index(p.text, "\n"+heading+"\n")
			if at < last {
				t.Errorf("%s: %q is missing or not in its place", name, heading)
				continue
			}
			last = at
		}
	}
}

// TestFieldsAreDocumented demands every field of spec and status in the tables of its kind, and no other.
func TestFieldsAreDocumented(t *testing.T) {
	for name, plural := range kinds {
		p, schema := readPage(t, name), loadSchema(t, plural)
		status := strings.Split(p.section("## Status"), "\n### Conditions\n")[0]
		for part, documented := range map[string][]string{
			"spec":   p.cells("## Writing a spec"),
			"status": page{text: status}.cells(""),
		} {
			fields := fieldsOf(schema.Properties[part], "")
			for _, field := range fields {
				if !slices.Contains(documented, field) {
					t.Errorf("%s: %s.%s is not documented", name, part, field)
				}
			}
			for _, field := range documented {
				if !slices.Contains(fields, field) {
					t.Errorf("%s: there is no %s.%s", name, part, field)
				}
			}
		}
	}
}

func loadSchema(t *testing.T, plural string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "config/crd/bases/mollymawk.dev_"+plural+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// fieldsOf names the fields of a schema, such as tenants[].policy.memory. What conditions consist of is the same everywhere.
func fieldsOf(schema apiextensionsv1.JSONSchemaProps, prefix string) (names []string) {
	for name, property := range schema.Properties {
		path := prefix + name
		if property.Type == "array" {
			path += "[]"
			property = *property.Items.Schema
		}
		names = append(names, path)
		if name != "conditions" {
			names = append(names, fieldsOf(property, path+".")...)
		}
	}
	return names
}

// TestConditionsAndReasonsAreDocumented compares the tables of all kinds with the constants.
func TestConditionsAndReasonsAreDocumented(t *testing.T) {
	constants := loadConstants(t)
	for prefix, heading := range map[string]string{"Condition": "### Conditions", "Reason": "### Reasons"} {
		documented := map[string]bool{}
		for name := range kinds {
			for _, value := range readPage(t, name).cells(heading) {
				documented[value] = true
				if constants[prefix+value] != value {
					t.Errorf("%s: there is no %s %s", name, strings.ToLower(prefix), value)
				}
			}
		}
		for constant, value := range constants {
			if strings.HasPrefix(constant, prefix) && !documented[value] {
				t.Errorf("%s is not documented", constant)
			}
		}
	}
}

var (
	stateAlias = regexp.MustCompile(`(?m)^ *state "[^"]+" as (\w+)`)
	stateArrow = regexp.MustCompile(`(?m)^ *(\S+) --> (\S+)`)
)

// TestStatesAreReasons demands that each box of a diagram of states is a reason, or is said in words what it is, and that no reason is
// forgotten.
func TestStatesAreReasons(t *testing.T) {
	constants, p := loadConstants(t), readPage(t, "docs/states.md")
	diagrams := p.blocks["mermaid"]
	if len(diagrams) < 8 {
		t.Fatal("only", len(diagrams), "diagrams")
	}
	for _, diagram := range diagrams {
		known := map[string]bool{"[*]": true}
		for _, alias := range stateAlias.FindAllStringSubmatch(diagram, -1) {
			known[alias[1]] = true
		}
		for _, arrow := range stateArrow.FindAllStringSubmatch(diagram, -1) {
			for _, state := range arrow[1:] {
				if constants["Reason"+state] != state && !known[state] {
					t.Errorf("there is no reason %s, which is in the diagram\n%s", state, diagram)
				}
			}
		}
	}
	for constant, value := range constants {
		if strings.HasPrefix(constant, "Reason") && !regexp.MustCompile(`\b`+value+`\b`).MatchString(p.text) {
			t.Errorf("%s is not in %s", constant, p.name)
		}
	}
}

// loadConstants gives the string constants of conditions.go by name.
func loadConstants(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/conditions.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, isValue := n.(*ast.ValueSpec); isValue && len(spec.Values) == 1 {
			if literal, isLiteral := spec.Values[0].(*ast.BasicLit); isLiteral && literal.Kind == token.STRING {
				values[spec.Names[0].Name], _ = strconv.Unquote(literal.Value)
			}
		}
		return true
	})
	if len(values) < 30 {
		t.Fatal("only", len(values), "constants found")
	}
	return values
}

// foreign are the groups of kinds that other programs know.
var foreign = []string{"argoproj.io", "kustomize.toolkit.fluxcd.io"}

// TestManifestsAreAccepted has a real API server check each manifest, strictly, without keeping it.
func TestManifestsAreAccepted(t *testing.T) {
	c, err := client.New(testenv.Config(t), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	namespace, checked := testenv.Namespace(t, c), 0
	for _, p := range allPages(t) {
		for _, block := range p.blocks["yaml"] {
			for _, object := range objects(t, p.name, block) {
				if slices.Contains(foreign, object.GroupVersionKind().Group) {
					continue
				}
				checked++
				if object.GetNamespace() != "" {
					object.SetNamespace(namespace)
				}
				if err := c.Create(t.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
					t.Errorf("%s: %s %s: %v", p.name, object.GetKind(), object.GetName(), err)
				}
			}
		}
	}
	if checked < 6 {
		t.Errorf("only %d manifests found", checked)
	}
}

func objects(t *testing.T, page, block string) (all []*unstructured.Unstructured) {
	t.Helper()
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(block))); ; {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(page, err)
		}
		o := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &o.Object); err != nil {
			t.Fatal(page, err)
		}
		all = append(all, o)
	}
}

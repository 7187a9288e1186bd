package v1alpha1_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
)

// walk calls visit for a schema and everything in it. The path of a list's items ends in "[]", that of a map's values in "[key]".
func walk(s *apiextensionsv1.JSONSchemaProps, path string, visit func(path string, s *apiextensionsv1.JSONSchemaProps)) {
	visit(path, s)
	for name, prop := range s.Properties {
		walk(&prop, strings.TrimPrefix(path+"."+name, "."), visit)
	}
	if s.Items != nil && s.Items.Schema != nil {
		walk(s.Items.Schema, path+"[]", visit)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		walk(s.AdditionalProperties.Schema, path+"[key]", visit)
	}
}

// isOurs says whether a path is a field of ours; the others come from Kubernetes.
func isOurs(path string) bool {
	return !slices.Contains([]string{"", "apiVersion", "kind", "metadata"}, path)
}

// TestServerAcceptsCRDs runs the API server's own validation, with the estimate of what the rules cost.
func TestServerAcceptsCRDs(t *testing.T) {
	for name, k := range kinds() {
		crd, internal := k.crd.DeepCopy(), &apiextensions.CustomResourceDefinition{}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
			t.Fatal(err)
		}
		for _, e := range validation.ValidateCustomResourceDefinition(t.Context(), internal) {
			t.Error(name, e)
		}
	}
}

func TestCRDsAreSmall(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "config/crd/bases/*.yaml"))
	if err != nil || len(files) != len(kinds()) {
		t.Fatal(files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(filepath.Base(file), info.Size(), "bytes")
		if info.Size() > 100_000 {
			t.Errorf("%s has %d bytes, more than 100 kB", file, info.Size())
		}
	}
}

func TestEveryFieldIsDescribedAndBounded(t *testing.T) {
	for name, k := range kinds() {
		walk(k.schema, "", func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if isOurs(path) {
				for _, fault := range faults(path, s) {
					t.Errorf("%s %s: %s", name, path, fault)
				}
			}
		})
	}
}

// faults lists what is missing at one place of a schema.
func faults(path string, s *apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	missing := func(bad bool, text string) {
		if bad {
			out = append(out, text)
		}
	}
	missing(s.Description == "" && !strings.HasSuffix(path, "]"), "no description")
	missing(s.Default != nil && path != "status", "a default would be written into what the user applied")
	switch s.Type {
	case "string":
		bounded := s.MaxLength != nil || s.Enum != nil || s.Format != "" || s.Pattern != ""
		missing(!bounded, "a string needs maxLength, enum, format or pattern")
		for _, value := range s.Enum {
			described := strings.Contains(s.Description, strings.Trim(string(value.Raw), `"`))
			missing(!described && !strings.Contains(path, "conditions") && !strings.HasSuffix(path, "]"),
				"the description does not name the value "+string(value.Raw))
		}
	case "array":
		missing(s.MaxItems == nil, "a list needs maxItems")
		missing(s.XListType == nil, "a list needs a list type")
	case "integer":
		spec := strings.HasPrefix(path, "spec")
		missing(s.Minimum == nil, "a number needs a minimum")
		missing(spec && s.Maximum == nil, "a number in spec needs a maximum")
	case "object":
		missing(s.AdditionalProperties != nil && s.MaxProperties == nil, "a map needs maxProperties")
	case "boolean":
	default:
		missing(!s.XIntOrString, "unknown type "+s.Type)
	}
	return out
}

func TestOptionalFieldsSayTheirDefault(t *testing.T) {
	for name, k := range kinds() {
		walk(k.schema, "", func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if s.Type != "object" || !strings.HasPrefix(path, "spec") {
				return
			}
			for prop, p := range s.Properties {
				if slices.Contains(s.Required, prop) || p.Type == "object" || p.Type == "array" {
					continue
				}
				says := []string{"Default:", "Absent", "Without it", "Required with", "It needs", "chooses", "exactly one", "that this entry admits", "names something"}
				if !slices.ContainsFunc(says, func(text string) bool { return strings.Contains(p.Description, text) }) {
					t.Errorf("%s %s.%s: the description does not say what happens without it: %s", name, path, prop, p.Description)
				}
			}
		})
	}
}

func TestNamesAndColumns(t *testing.T) {
	want := map[string]struct {
		short, scope string
		columns      []string
	}{
		"AlbatrossInstance": {"albi", "Cluster", []string{"Ready", "Reason", "Endpoint", "Unikernels", "Volumes", "Age"}},
		"UnikernelImage":    {"ukimg", "Cluster", []string{"Reference", "Job", "URL", "Description", "Age"}},
		"Unikernel":         {"uk", "Namespaced", []string{"Ready", "Reason", "Instance", "Image", "Memory", "Age"}},
		"Volume":            {"ukvol", "Namespaced", []string{"Ready", "Reason", "Instance", "Size", "AttachedTo", "Age"}},
	}
	for name, k := range kinds() {
		spec, w := k.crd.Spec, want[name]
		if !slices.Equal(spec.Names.ShortNames, []string{w.short}) || string(spec.Scope) != w.scope ||
			!slices.Equal(spec.Names.Categories, []string{"mollymawk"}) {
			t.Errorf("%s: short names %v, scope %v, categories %v", name, spec.Names.ShortNames, spec.Scope, spec.Names.Categories)
		}
		var columns, wide []string
		for _, c := range spec.Versions[0].AdditionalPrinterColumns {
			if c.Priority == 0 {
				columns = append(columns, c.Name)
			} else {
				wide = append(wide, c.Name)
			}
			if c.Description == "" {
				t.Errorf("%s: column %s has no description", name, c.Name)
			}
		}
		if !slices.Equal(columns, w.columns) {
			t.Errorf("%s: columns %v", name, columns)
		}
		if _, found := k.schema.Properties["status"]; !found && name == "UnikernelImage" {
			continue // an entry of the catalogue is only declared
		}
		if !slices.Contains(wide, "Message") {
			t.Errorf("%s: wide columns %v", name, wide)
		}
		if spec.Versions[0].Subresources.Status == nil {
			t.Errorf("%s: no status subresource", name)
		}
		if def := k.schema.Properties["status"].Default; def == nil || string(def.Raw) != `{"observedGeneration":-1}` {
			t.Errorf("%s: status has the default %v", name, def)
		}
	}
}

package v1alpha1_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// breach is a value that breaks one bound of a schema.
type breach struct {
	bound string
	value any
	// remove says that the value is to be taken away.
	remove bool
}

// breaches gives a value for each bound of a schema, made from a value that keeps them.
func breaches(s *apiextensionsv1.JSONSchemaProps, good any) []breach {
	out := []breach{{bound: "type", value: wrongType(s.Type)}}
	if s.MaxLength != nil {
		out = append(out, breach{bound: "maxLength", value: strings.Repeat("a", int(*s.MaxLength)+1)})
	}
	if s.MinLength != nil {
		out = append(out, breach{bound: "minLength", value: strings.Repeat("a", int(*s.MinLength)-1)})
	}
	if s.Enum != nil {
		out = append(out, breach{bound: "enum", value: "Nonsense"})
	}
	if s.Minimum != nil {
		out = append(out, breach{bound: "minimum", value: int64(*s.Minimum) - 1})
	}
	if s.Maximum != nil {
		out = append(out, breach{bound: "maximum", value: int64(*s.Maximum) + 1})
	}
	if list, isList := good.([]any); isList && s.MaxItems != nil {
		many := make([]any, *s.MaxItems+1)
		for i := range many {
			many[i] = list[0]
		}
		out = append(out, breach{bound: "maxItems", value: many})
	}
	if s.MinItems != nil {
		out = append(out, breach{bound: "minItems", value: []any{}})
	}
	if s.MaxProperties != nil {
		many := map[string]any{}
		for i := range *s.MaxProperties + 1 {
			many[fmt.Sprint("k", i)] = "v"
		}
		out = append(out, breach{bound: "maxProperties", value: many})
	}
	return out
}

func wrongType(schemaType string) any {
	if schemaType == "string" {
		return true
	}
	return "text"
}

// prober breaks one bound after the other of objects that keep all of them.
type prober struct {
	t     *testing.T
	kind  string
	doc   *unstructured.Unstructured
	tried map[string]bool
}

// probe visits a value and all in it. path is as in error messages, schemaPath as in walk, and set puts a value into the copy of
// an object that it is given.
func (p *prober) probe(s *apiextensionsv1.JSONSchemaProps, value any, path, schemaPath string, set func(in map[string]any, value any, remove bool)) {
	for _, b := range breaches(s, value) {
		p.try(b, path, schemaPath, set)
	}
	switch value := value.(type) {
	case map[string]any:
		for name, child := range value {
			schema, childPath := s.AdditionalProperties, schemaPath+"[key]"
			if prop, found := s.Properties[name]; found {
				schema, childPath = &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &prop}, schemaPath+"."+name
			}
			p.probe(schema.Schema, child, path+"."+name, childPath, p.within(set, value, name))
		}
		for _, name := range s.Required {
			p.try(breach{bound: "required", remove: true}, path+"."+name, schemaPath+"."+name, p.within(set, value, name))
		}
	case []any:
		for i := range value {
			p.probe(s.Items.Schema, value[i], fmt.Sprintf("%s[%d]", path, i), schemaPath+"[]", func(in map[string]any, item any, _ bool) {
				changed := slices.Clone(value)
				changed[i] = item
				set(in, changed, false)
			})
		}
	}
}

// within gives a setter for a field of an object that set itself puts into place.
func (p *prober) within(set func(map[string]any, any, bool), object map[string]any, name string) func(map[string]any, any, bool) {
	return func(in map[string]any, value any, remove bool) {
		changed := maps.Clone(object)
		changed[name] = value
		if remove {
			delete(changed, name)
		}
		set(in, changed, false)
	}
}

func (p *prober) try(b breach, path, schemaPath string, set func(map[string]any, any, bool)) {
	key := p.kind + " " + schemaPath + ": " + b.bound
	if p.tried[key] {
		return
	}
	p.tried[key] = true
	broken := p.doc.DeepCopy()
	set(broken.Object, runtime.DeepCopyJSONValue(b.value), b.remove)
	for _, e := range admit(broken, nil) {
		if e.Field == path || strings.HasPrefix(e.Field, path+".") || strings.HasPrefix(e.Field, path+"[") {
			return
		}
	}
	p.t.Errorf("%s is not refused: %s = %.60v in %s", key, path, b.value, p.doc.GetName())
}

// TestEveryBoundRefuses breaks every bound of every field of spec, in an example that is right otherwise. So each field occurs in a
// valid example too.
func TestEveryBoundRefuses(t *testing.T) {
	tried := map[string]bool{}
	for _, ex := range loadExamples(t, "hack/valid-examples/*.yaml", "config/samples/*.yaml") {
		for _, doc := range ex.docs {
			p := &prober{t: t, kind: doc.GetKind(), doc: doc, tried: tried}
			spec := kinds()[p.kind].schema.Properties["spec"]
			p.probe(&spec, doc.Object["spec"], "spec", "spec", func(in map[string]any, value any, _ bool) { in["spec"] = value })
		}
	}
	bounds := 0
	for name, k := range kinds() {
		walk(k.schema, "", func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if !strings.HasPrefix(path, "spec") {
				return
			}
			for _, b := range breaches(s, []any{nil}) {
				bounds++
				// A rule refuses it whatever is in it, so no valid example can have it.
				if name == "UnikernelImage" && strings.HasPrefix(path, "spec.image.stored") {
					continue
				}
				if key := name + " " + path + ": " + b.bound; !tried[key] {
					t.Errorf("%s: no valid example has this field", key)
				}
			}
		})
	}
	t.Log(bounds, "bounds")
}

package crd_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"
)

type schema = apiextensionsv1.JSONSchemaProps

// TestNothingBreaks demands that whatever an API server took by the CustomResourceDefinitions of the last release, it takes by the present ones.
func TestNothingBreaks(t *testing.T) {
	released, present := loadCRDs(t, "released"), loadCRDs(t, "bases")
	for name, old := range released {
		now, ok := present[name]
		if !ok {
			t.Errorf("%s is gone", name)
			continue
		}
		for _, breaks := range breakingChanges(old, now) {
			t.Errorf("%s: %s", name, breaks)
		}
	}
	if t.Failed() {
		t.Log("Who has objects or manifests for the last release would be refused. Make the change in another way, or in a new version of the API. Before the first release: make released-crds")
	}
}

func loadCRDs(t *testing.T, folder string) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "config/crd", folder, "*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatal("only", len(files), "files in", folder, err)
	}
	all := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(raw, crd); err != nil {
			t.Fatal(file, err)
		}
		all[crd.Name] = crd
	}
	return all
}

// breakingChanges says what was possible by one definition and is not by the next.
func breakingChanges(old, now *apiextensionsv1.CustomResourceDefinition) (all []string) {
	if old.Spec.Group != now.Spec.Group || old.Spec.Scope != now.Spec.Scope || old.Spec.Names.Kind != now.Spec.Names.Kind || old.Spec.Names.Plural != now.Spec.Names.Plural {
		all = append(all, "it is another kind")
	}
	for i := range old.Spec.Versions {
		was := &old.Spec.Versions[i]
		at := slices.IndexFunc(now.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == was.Name && v.Served })
		if !was.Served {
			continue
		}
		if at < 0 {
			all = append(all, "version "+was.Name+" is not served any more")
			continue
		}
		c := &comparison{}
		c.compare("", was.Schema.OpenAPIV3Schema, now.Spec.Versions[at].Schema.OpenAPIV3Schema)
		all = append(all, c.breaks...)
	}
	return all
}

// comparison collects what got narrower from one schema to the next.
type comparison struct {
	breaks []string
}

func (c *comparison) say(path, what string) { c.breaks = append(c.breaks, path+": "+what) }

func (c *comparison) compare(path string, old, now *schema) {
	if old.Type != now.Type || old.XIntOrString != now.XIntOrString {
		c.say(path, "another type")
	}
	if old.Nullable && !now.Nullable {
		c.say(path, "not nullable any more")
	}
	if now.Format != "" && old.Format != now.Format {
		c.say(path, "another format")
	}
	if now.Pattern != "" && old.Pattern != now.Pattern {
		c.say(path, "another pattern")
	}
	// A field owner of a server-side apply goes by these.
	if !reflect.DeepEqual([]any{old.XListType, old.XListMapKeys, old.XMapType}, []any{now.XListType, now.XListMapKeys, now.XMapType}) {
		c.say(path, "another type of list or map")
	}
	if !reflect.DeepEqual(old.Default, now.Default) {
		c.say(path, "another default")
	}
	if !reflect.DeepEqual([]any{old.OneOf, old.AnyOf, old.AllOf, old.Not}, []any{now.OneOf, now.AnyOf, now.AllOf, now.Not}) {
		c.say(path, "another choice of schemas")
	}
	c.compareBounds(path, old, now)
	c.compareValues(path, old, now)
	c.compareRules(path, old, now)
	c.compareParts(path, old, now)
}

func (c *comparison) compareBounds(path string, old, now *schema) {
	upper := func(what string, old, now *int64) {
		if now != nil && (old == nil || *now < *old) {
			c.say(path, what+" is lower")
		}
	}
	lower := func(what string, old, now *int64) {
		if now != nil && *now > 0 && (old == nil || *now > *old) {
			c.say(path, what+" is higher")
		}
	}
	upper("maxLength", old.MaxLength, now.MaxLength)
	upper("maxItems", old.MaxItems, now.MaxItems)
	upper("maxProperties", old.MaxProperties, now.MaxProperties)
	lower("minLength", old.MinLength, now.MinLength)
	lower("minItems", old.MinItems, now.MinItems)
	lower("minProperties", old.MinProperties, now.MinProperties)
	if now.Maximum != nil && (old.Maximum == nil || *now.Maximum < *old.Maximum || now.ExclusiveMaximum && !old.ExclusiveMaximum) {
		c.say(path, "maximum is lower")
	}
	if now.Minimum != nil && (old.Minimum == nil || *now.Minimum > *old.Minimum || now.ExclusiveMinimum && !old.ExclusiveMinimum) {
		c.say(path, "minimum is higher")
	}
	if now.MultipleOf != nil && !reflect.DeepEqual(old.MultipleOf, now.MultipleOf) {
		c.say(path, "another multipleOf")
	}
	if now.UniqueItems && !old.UniqueItems {
		c.say(path, "items must be unique")
	}
}

func (c *comparison) compareValues(path string, old, now *schema) {
	values := func(s *schema) sets.Set[string] {
		all := sets.New[string]()
		for _, v := range s.Enum {
			all.Insert(string(v.Raw))
		}
		return all
	}
	if len(now.Enum) > 0 && (len(old.Enum) == 0 || len(values(old).Difference(values(now))) > 0) {
		c.say(path, "fewer values")
	}
	for _, field := range sets.List(sets.New(now.Required...).Difference(sets.New(old.Required...))) {
		c.say(path, field+" is required")
	}
}

// compareRules allows a rule that was not there when it is about a field that was not there.
func (c *comparison) compareRules(path string, old, now *schema) {
	known := sets.New[string]()
	for _, rule := range old.XValidations {
		known.Insert(rule.Rule)
	}
	for _, rule := range now.XValidations {
		aboutNew := false
		for field := range now.Properties {
			_, there := old.Properties[field]
			aboutNew = aboutNew || !there && strings.Contains(rule.Rule, field)
		}
		if !known.Has(rule.Rule) && !aboutNew {
			c.say(path, "a new rule: "+rule.Rule)
		}
	}
}

func (c *comparison) compareParts(path string, old, now *schema) {
	for name := range old.Properties {
		was, is := old.Properties[name], now.Properties[name]
		if _, there := now.Properties[name]; !there {
			c.say(path+"."+name, "removed")
			continue
		}
		c.compare(path+"."+name, &was, &is)
	}
	if old.Items != nil && now.Items != nil {
		c.compare(path+"[]", old.Items.Schema, now.Items.Schema)
	}
	switch {
	case old.AdditionalProperties == nil || old.AdditionalProperties.Schema == nil:
	case now.AdditionalProperties == nil || now.AdditionalProperties.Schema == nil:
		c.say(path, "other keys are not allowed any more")
	default:
		c.compare(path+"{}", old.AdditionalProperties.Schema, now.AdditionalProperties.Schema)
	}
	if old.XPreserveUnknownFields != nil && *old.XPreserveUnknownFields && (now.XPreserveUnknownFields == nil || !*now.XPreserveUnknownFields) {
		c.say(path, "unknown fields are not kept any more")
	}
}

// The schemas of TestBreakingChanges.
func object(properties map[string]schema, change ...func(*schema)) schema {
	s := schema{Type: "object", Properties: properties}
	for _, f := range change {
		f(&s)
	}
	return s
}

func text(change ...func(*schema)) schema {
	s := schema{Type: "string"}
	for _, f := range change {
		f(&s)
	}
	return s
}

func rules(texts ...string) func(*schema) {
	return func(s *schema) {
		for _, text := range texts {
			s.XValidations = append(s.XValidations, apiextensionsv1.ValidationRule{Rule: text})
		}
	}
}

func values(texts ...string) func(*schema) {
	return func(s *schema) {
		for _, text := range texts {
			s.Enum = append(s.Enum, apiextensionsv1.JSON{Raw: []byte(text)})
		}
	}
}

func raw(text string) *apiextensionsv1.JSON { return &apiextensionsv1.JSON{Raw: []byte(text)} }

// TestBreakingChanges has each kind of change in both directions. An empty want is for one that breaks nothing.
func TestBreakingChanges(t *testing.T) {
	list := func(item schema, change ...func(*schema)) schema {
		s := schema{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
		for _, f := range change {
			f(&s)
		}
		return s
	}
	anyKey := func(s schema) schema {
		return schema{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &s}}
	}
	number := func(change func(*schema)) schema {
		s := schema{Type: "integer"}
		change(&s)
		return s
	}
	fields := func(s schema) map[string]schema { return map[string]schema{"a": s} }
	plain := object(fields(text()))
	for _, tt := range []struct {
		what        string
		one, other  schema
		there, back string
	}{
		{"nothing", plain, plain, "", ""},
		{"a field", plain, object(map[string]schema{"a": text(), "b": text()}), "", ".b: removed"},
		{"a field within", object(fields(plain)), object(fields(object(nil))), ".a.a: removed", ""},
		{"a type", plain, object(fields(number(func(*schema) {}))), ".a: another type", ".a: another type"},
		{"required", plain, object(fields(text()), func(s *schema) { s.Required = []string{"a"} }), ": a is required", ""},
		{"longest", text(func(s *schema) { s.MaxLength = new(int64(9)) }), text(func(s *schema) { s.MaxLength = new(int64(8)) }), ": maxLength is lower", ""},
		{"a longest", text(), text(func(s *schema) { s.MaxLength = new(int64(8)) }), ": maxLength is lower", ""},
		{"shortest", text(), text(func(s *schema) { s.MinLength = new(int64(1)) }), ": minLength is higher", ""},
		{"items", list(text()), list(text(), func(s *schema) { s.MaxItems = new(int64(1)) }), ": maxItems is lower", ""},
		{"least items", list(text()), list(text(), func(s *schema) { s.MinItems = new(int64(1)) }), ": minItems is higher", ""},
		{"least items of nothing", list(text()), list(text(), func(s *schema) { s.MinItems = new(int64(0)) }), "", ""},
		{"of an item", list(text()), list(text(func(s *schema) { s.Pattern = "^a$" })), "[]: another pattern", ""},
		{"keys", anyKey(text()), object(nil), ": other keys are not allowed any more", ""},
		{"of a key", anyKey(text()), anyKey(text(func(s *schema) { s.Format = "date-time" })), "{}: another format", ""},
		{"of keys", anyKey(text()), schema{Type: "object", AdditionalProperties: anyKey(text()).AdditionalProperties, MaxProperties: new(int64(3))}, ": maxProperties is lower", ""},
		{"largest", number(func(s *schema) { s.Maximum = new(9.0) }), number(func(s *schema) { s.Maximum = new(8.0) }), ": maximum is lower", ""},
		{"largest, without", number(func(s *schema) { s.Maximum = new(9.0) }), number(func(s *schema) { s.Maximum, s.ExclusiveMaximum = new(9.0), true }), ": maximum is lower", ""},
		{"smallest", number(func(*schema) {}), number(func(s *schema) { s.Minimum = new(0.0) }), ": minimum is higher", ""},
		{"steps", number(func(*schema) {}), number(func(s *schema) { s.MultipleOf = new(2.0) }), ": another multipleOf", ""},
		{"unique", list(text()), list(text(), func(s *schema) { s.UniqueItems = true }), ": items must be unique", ""},
		{"a value", text(values(`"a"`, `"b"`)), text(values(`"a"`)), ": fewer values", ""},
		{"a first value", text(), text(values(`"a"`)), ": fewer values", ""},
		{"a default", text(), text(func(s *schema) { s.Default = raw(`"a"`) }), ": another default", ": another default"},
		{"nullable", text(func(s *schema) { s.Nullable = true }), text(), ": not nullable any more", ""},
		{"of server-side apply", list(text()), list(text(), func(s *schema) { s.XListType = new("set") }), ": another type of list or map", ": another type of list or map"},
		{"a choice", plain, object(fields(text()), func(s *schema) { s.AnyOf = []schema{{}} }), ": another choice of schemas", ": another choice of schemas"},
		{"unknown fields", object(nil, func(s *schema) { s.XPreserveUnknownFields = new(true) }), object(nil), ": unknown fields are not kept any more", ""},
		{"a rule", plain, object(fields(text()), rules("self.a != ''")), ": a new rule: self.a != ''", ""},
		{"a rule for a new field", plain, object(map[string]schema{"a": text(), "fresh": text()}, rules("self.a != self.fresh")), "", ".fresh: removed"},
	} {
		for want, direction := range map[string][2]schema{"there: " + tt.there: {tt.one, tt.other}, "back: " + tt.back: {tt.other, tt.one}} {
			c := &comparison{}
			c.compare("", &direction[0], &direction[1])
			way, want, _ := strings.Cut(want, ": ")
			if got := strings.Join(c.breaks, "; "); got != want {
				t.Errorf("%s, %s: %q, want %q", tt.what, way, got, want)
			}
		}
	}
}

// TestBreakingDefinitions changes our own definitions.
func TestBreakingDefinitions(t *testing.T) {
	for want, change := range map[string]func(*apiextensionsv1.CustomResourceDefinition){
		"":                                   func(*apiextensionsv1.CustomResourceDefinition) {},
		"it is another kind":                 func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Scope = "Other" },
		"version v1alpha1 is not served any": func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[0].Served = false },
		"version v1alpha1 is not served":     func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[0].Name = "v1" },
		".spec: removed": func(crd *apiextensionsv1.CustomResourceDefinition) {
			delete(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties, "spec")
		},
	} {
		for name, crd := range loadCRDs(t, "bases") {
			changed := crd.DeepCopy()
			change(changed)
			got := strings.Join(breakingChanges(crd, changed), "; ")
			if (want == "") != (got == "") || !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			// A new version beside the old one breaks nothing.
			more := crd.DeepCopy()
			more.Spec.Versions = append([]apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true}}, more.Spec.Versions...)
			if got := breakingChanges(crd, more); got != nil {
				t.Errorf("%s: with another version: %q", name, got)
			}
		}
	}
}

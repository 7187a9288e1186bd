package v1alpha1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// root is the root of the module, as seen from this package.
const root = "../.."

// kind is what an API server keeps for one kind: enough to decide about objects without a server.
type kind struct {
	crd        *apiextensionsv1.CustomResourceDefinition
	schema     *apiextensionsv1.JSONSchemaProps
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// kinds gives the kinds of config/crd/bases by name.
var kinds = sync.OnceValue(func() map[string]*kind {
	out := map[string]*kind{}
	files, err := filepath.Glob(filepath.Join(root, "config/crd/bases/*.yaml"))
	if err != nil || len(files) == 0 {
		panic(fmt.Sprint("no CRDs: ", err))
	}
	for _, file := range files {
		k, err := loadKind(file)
		if err != nil {
			panic(fmt.Sprint(file, ": ", err))
		}
		out[k.crd.Spec.Names.Kind] = k
	}
	return out
})

func loadKind(file string) (*kind, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	k := &kind{crd: &apiextensionsv1.CustomResourceDefinition{}}
	if err := yaml.UnmarshalStrict(raw, k.crd); err != nil {
		return nil, err
	}
	k.schema = k.crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(k.schema, internal, nil); err != nil {
		return nil, err
	}
	if k.structural, err = structuralschema.NewStructural(internal); err != nil {
		return nil, err
	}
	if k.validator, _, err = validation.NewSchemaValidator(internal); err != nil {
		return nil, err
	}
	k.rules = cel.NewValidator(k.structural, true, celconfig.PerCallLimit)
	return k, nil
}

// admit decides about an object as an API server does with strict field validation: about a new one when old is nil, else about
// an update of old.
func admit(obj, old *unstructured.Unstructured) field.ErrorList {
	k, found := kinds()[obj.GetKind()]
	if !found {
		return field.ErrorList{field.NotSupported(field.NewPath("kind"), obj.GetKind(), slices.Sorted(maps.Keys(kinds())))}
	}
	content := obj.DeepCopy().Object
	unknown := pruning.PruneWithOptions(content, k.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	var errs field.ErrorList
	for _, path := range unknown {
		errs = append(errs, field.Invalid(field.NewPath(path), nil, fmt.Sprintf("unknown field %q", path)))
	}
	defaulting.Default(content, k.structural)
	errs = append(errs, apivalidation.ValidateObjectMetaAccessor(&unstructured.Unstructured{Object: content},
		k.crd.Spec.Scope == apiextensionsv1.NamespaceScoped, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	errs = append(errs, validation.ValidateCustomResource(nil, content, k.validator)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, content)...)
	for _, e := range errs {
		if blocksRules(e) {
			return errs
		}
	}
	var oldContent any
	if old != nil {
		oldContent = old.DeepCopy().Object
	}
	more, _ := k.rules.Validate(context.Background(), nil, k.structural, content, oldContent, celconfig.RuntimeCELCostBudget)
	return append(errs, more...)
}

// blocksRules says whether an API server evaluates no rules when it has found this.
func blocksRules(e *field.Error) bool {
	switch e.Type {
	case field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	default:
		return strings.Contains(e.Detail, "unknown field")
	}
}

// example is a file with objects; want is the text of its first line after "# error: ".
type example struct {
	name string
	want string
	docs []*unstructured.Unstructured
}

func loadExamples(t *testing.T, patterns ...string) []example {
	t.Helper()
	var out []example
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal("no examples in", pattern, err)
		}
		for _, file := range files {
			if filepath.Base(file) != "kustomization.yaml" {
				out = append(out, loadExample(t, file))
			}
		}
	}
	return out
}

func loadExample(t testing.TB, file string) example {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ex := example{name: strings.TrimSuffix(filepath.Base(file), ".yaml")}
	first, _, _ := strings.Cut(string(raw), "\n")
	if want, found := strings.CutPrefix(first, "# error: "); found {
		ex.want = want
	}
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return ex
		} else if err != nil {
			t.Fatal(file, err)
		}
		obj := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, obj); err != nil {
			t.Fatal(file, err)
		}
		ex.docs = append(ex.docs, obj)
	}
}

package crd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/testenv"
)

// root is the root of the module, as seen from this package.
const root = "../.."

// fieldManager is who applies the objects.
const fieldManager = "crd-test"

func TestMain(m *testing.M) { testenv.Main(m) }

// server is an API server and a namespace of the test's own in it.
type server struct {
	dynamic   dynamic.Interface
	client    client.Client
	namespace string
}

func newServer(t *testing.T) *server {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, clientgoscheme.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	config := testenv.Config(t)
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &server{dynamic: dyn, client: c, namespace: testenv.Namespace(t, c)}
}

// resource gives the client for the kind of an object, which it puts into the test's namespace when the kind has namespaces.
func (s *server) resource(t *testing.T, obj *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	plural := map[string]string{"AlbatrossInstance": "albatrossinstances", "Unikernel": "unikernels", "Volume": "volumes", "User": "users"}[obj.GetKind()]
	if plural == "" {
		t.Fatal("no kind of ours:", obj.GetKind())
	}
	resource := s.dynamic.Resource(v1alpha1.GroupVersion.WithResource(plural))
	if obj.GetKind() == "AlbatrossInstance" || obj.GetKind() == "User" {
		return resource
	}
	obj.SetNamespace(s.namespace)
	return resource.Namespace(s.namespace)
}

// apply is a server-side apply with strict field validation. What it created goes when the test ends.
func (s *server) apply(t *testing.T, obj *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	t.Helper()
	resource := s.resource(t, obj)
	body, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	got, err := resource.Patch(t.Context(), obj.GetName(), types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict})
	if err == nil {
		s.deleteLater(t, resource, obj.GetName())
	}
	return got, err
}

// observe writes status.observedGeneration, as an operator does that has seen the object.
func (s *server) observe(t *testing.T, obj *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	patch := []byte(`{"status":{"observedGeneration":1}}`)
	got, err := s.resource(t, obj).Patch(t.Context(), obj.GetName(), types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: "operator", FieldValidation: metav1.FieldValidationStrict}, "status")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (s *server) deleteLater(t *testing.T, resource dynamic.ResourceInterface, name string) {
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := resource.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
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

func loadExample(t *testing.T, file string) example {
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

package install_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"mollymawk.dev/operator/config/crd"
	"mollymawk.dev/operator/standalone/install"
)

// applied is a server that takes whatever is applied to it.
type applied struct {
	objects map[string]int
	// refuse is the name of what it does not take.
	refuse string
	// after is how often a definition is asked for before it is established; -1
	// means that it never is.
	after int
	gets  map[string]int
}

func (s *applied) client() client.Client {
	s.objects, s.gets = map[string]int{}, map[string]int{}
	return fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(_ context.Context, _ client.WithWatch, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			name := o.(interface{ GetName() string }).GetName()
			applied := (&client.ApplyOptions{}).ApplyOptions(options)
			if applied.FieldManager != install.FieldManager || applied.Force == nil || !*applied.Force {
				return errors.New("not applied by force as " + install.FieldManager)
			}
			if name == s.refuse {
				return errors.New("refused")
			}
			s.objects[name]++
			return nil
		},
		Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
			if s.objects[key.Name] == 0 {
				return apierrors.NewNotFound(schema.GroupResource{Resource: "customresourcedefinitions"}, key.Name)
			}
			s.gets[key.Name]++
			status := "False"
			if s.after >= 0 && s.gets[key.Name] > s.after {
				status = "True"
			}
			conditions := []any{map[string]any{"type": "NamesAccepted", "status": "True"}, map[string]any{"type": "Established", "status": status}}
			return unstructured.SetNestedSlice(o.(*unstructured.Unstructured).Object, conditions, "status", "conditions")
		},
	}).Build()
}

// TestCRDs applies every definition that there is, waits for each, and may be
// called again.
func TestCRDs(t *testing.T) {
	files, err := fs.Glob(crd.Files, "bases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d definitions, %v", len(files), err)
	}
	for _, after := range []int{0, 3} {
		s := &applied{after: after}
		c := s.client()
		for times := 1; times <= 2; times++ {
			if err := install.CRDs(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			for name, n := range s.objects {
				if n != times || s.gets[name] != after+times || !strings.HasSuffix(name, ".mollymawk.dev") {
					t.Errorf("%s: applied %d times and asked for %d times in %d calls", name, n, s.gets[name], times)
				}
			}
			if len(s.objects) != len(files) {
				t.Errorf("%v were applied, of %d files", slices.Sorted(maps.Keys(s.objects)), len(files))
			}
		}
	}
}

// TestCRDsThatFail names what it was about.
func TestCRDsThatFail(t *testing.T) {
	const name = "unikernels.mollymawk.dev"
	s := &applied{refuse: name}
	if err := install.CRDs(t.Context(), s.client()); err == nil || !strings.Contains(err.Error(), "unikernels.yaml: refused") {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	never := &applied{after: -1}
	if err := install.CRDs(ctx, never.client()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is not served") || len(never.objects) != 1 {
		t.Errorf("never established: %v after %v", err, never.objects)
	}
}

func TestNamespace(t *testing.T) {
	c := fake.NewClientBuilder().WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "known", Labels: map[string]string{"of": "others"}}}).Build()
	for _, name := range []string{"known", "new", "new"} {
		if err := install.Namespace(t.Context(), c, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var known corev1.Namespace
	if err := c.Get(t.Context(), client.ObjectKey{Name: "known"}, &known); err != nil || known.Labels["of"] != "others" {
		t.Errorf("%v, %v", known.Labels, err)
	}
	lost := errors.New("lost")
	broken := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return lost },
	})
	if err := install.Namespace(t.Context(), broken, "any"); !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
}

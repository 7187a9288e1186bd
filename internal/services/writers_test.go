package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

func TestWriteErrors(t *testing.T) {
	gr := schema.GroupResource{Group: v1alpha1.GroupName, Resource: "unikernels"}
	gk := schema.GroupKind{Group: v1alpha1.GroupName, Kind: "Unikernel"}
	owned := apierrors.NewApplyConflict([]metav1.StatusCause{
		{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflicts with "flux" with subresource "x" using v1: `, Field: ".spec.memory"},
		{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "argocd-controller"`, Field: ".spec.image"},
		{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "argocd-controller"`, Field: ".spec.cpus"},
	}, "conflicts")
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing", nil, ""},
		{"forbidden", apierrors.NewForbidden(gr, "web", errors.New("no")), ErrForbidden.Error()},
		{"invalid", apierrors.NewInvalid(gk, "web", field.ErrorList{field.Invalid(field.NewPath("spec", "memory"), "x", "must be a whole number of Mi")}), "spec.memory: "},
		{"bad request", apierrors.NewBadRequest("what"), "spec: what"},
		{"owned", owned, "spec.memory, spec.image, spec.cpus is declared by argocd-controller, flux"},
		{"another version", apierrors.NewConflict(gr, "web", errors.New("old")), "Operation cannot be fulfilled"},
		{"no answer", io.ErrUnexpectedEOF, "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := writeError(test.err)
			if err == nil && test.want == "" {
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
	if !apierrors.IsConflict(writeError(apierrors.NewConflict(gr, "web", errors.New("old")))) {
		t.Error("who retries must know a conflict of versions")
	}
}

func TestHostErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing", nil, "<nil> <nil>"},
		{"refused", &albatross.Error{Kind: albatross.ErrRefused, Text: "set block: is in use"}, "*services.Refused set block: is in use"},
		{"refused with odd text", &albatross.Error{Kind: albatross.ErrRefused, Text: "a\x1b[31m\nb"}, "*services.Refused a [31m b"},
		{"invalid", &albatross.Error{Kind: albatross.ErrInvalid, Err: errors.New("too large")}, "*services.Invalid data: too large"},
		{"our side", &albatross.Error{Kind: albatross.ErrLocal, Command: "block set", Err: io.ErrUnexpectedEOF}, "*albatross.Error block set"},
		{"not connected", fmt.Errorf("%w: no credentials yet", hosts.ErrNotConnected), `*services.Unreachable albatross instance "host": no credentials yet`},
		{"silent", &albatross.Error{Kind: albatross.ErrTimeout}, `*services.Unreachable albatross instance "host": the host does not answer in time`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := hostError("host", test.err)
			if got := fmt.Sprintf("%T %v", err, err); !strings.HasPrefix(got, test.want) {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestErrorTexts(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&NotFound{whatVolume, "data"}, `volume "data" does not exist`},
		{&Conflict{Text: "try again"}, "try again"},
		{&Conflict{Owners: []string{"flux"}, Fields: []string{"spec.memory"}}, "spec.memory is declared by flux; change it there"},
		{&NotAdmitted{"host", "alice"}, `albatross instance "host" does not admit namespace "alice"`},
		{&Invalid{"name", "no"}, "name: no"},
		{&Timeout{"being created"}, "not done in time: being created"},
	} {
		if test.err.Error() != test.want {
			t.Errorf("%q", test.err)
		}
	}
}

// recorder is an API server that remembers who asked.
type recorder struct {
	mu   sync.Mutex
	seen []http.Header
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, request.Header.Clone())
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
	})
}

func newTestWriters(t *testing.T) (*writers, *recorder) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	w, err := newWriters(&rest.Config{Host: server.URL}, scheme)
	if err != nil {
		t.Fatal(err)
	}
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("Volume"), apimeta.RESTScopeNamespace)
	w.mapper = mapper
	return w, r
}

// TestWritersImpersonate looks at what goes over the wire.
func TestWritersImpersonate(t *testing.T) {
	for _, test := range []struct {
		id     Identity
		groups string
	}{
		{Identity{Name: "alice", Namespace: "alice"}, "[]"},
		{Identity{Name: "root", Namespace: "root", SuperUser: true}, "[mollymawk:admins]"},
	} {
		w, r := newTestWriters(t)
		c, err := w.as(test.id)
		if err != nil {
			t.Fatal(err)
		}
		err = apply(t.Context(), c, declaration{object: &v1alpha1.Volume{ObjectMeta: metav1.ObjectMeta{Namespace: "alice", Name: "data"}}})
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("%v", err)
		}
		last := r.seen[len(r.seen)-1]
		if got := last.Get("Impersonate-User"); got != "mollymawk:"+test.id.Name {
			t.Errorf("as user %q", got)
		}
		if got := fmt.Sprint(last.Values("Impersonate-Group")); got != test.groups {
			t.Errorf("in groups %s", got)
		}
	}
}

func TestWritersAreKept(t *testing.T) {
	w, _ := newTestWriters(t)
	as := func(id Identity) client.Client {
		c, err := w.as(id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	alice := Identity{Name: "alice", Namespace: "alice"}
	first := as(alice)
	if as(alice) != first {
		t.Error("made anew")
	}
	admin := alice
	admin.SuperUser = true
	if as(admin) == first {
		t.Error("an administrator writes as others do")
	}
	for i := range keptWriters {
		as(Identity{Name: fmt.Sprintf("user%d", i), Namespace: "x"})
	}
	if n := len(w.kept.Keys()); n > keptWriters {
		t.Errorf("%d are kept", n)
	}
	for _, name := range []string{"", "a:b", "a/b", ":"} {
		if _, err := w.as(Identity{Name: name, Namespace: "x"}); !errors.Is(err, ErrForbidden) {
			t.Errorf("as %q: %v", name, err)
		}
	}
}

func TestAppliedFields(t *testing.T) {
	fields := func(text string) *metav1.FieldsV1 { return metav1.NewFieldsV1(text) }
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
		{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: fields(`{"f:spec":{"f:cpus":{}}}`)},
		{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: fields(`{"f:spec":{"f:image":{}}}`)},
		{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, Subresource: "status", FieldsV1: fields(`{"f:spec":{"f:type":{}}}`)},
		{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: fields(`{"f:spec":{"f:memory":{}}}`)},
	}}}
	ours, err := appliedFields(uk)
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{"spec": map[string]any{"memory": "1Mi", "cpus": 1, "image": "x", "type": "solo5"}}
	keepFields(object, ours, "spec")
	if fmt.Sprint(object) != "map[spec:map[memory:1Mi]]" {
		t.Errorf("%v", object)
	}
	keepFields(object, map[string]any{}, "spec")
	if len(object) != 0 {
		t.Errorf("%v", object)
	}
	uk.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: fields(`{`)}}
	if _, err := appliedFields(uk); err == nil {
		t.Error("no error of broken fields")
	}
}

func FuzzLabel(f *testing.F) {
	for _, name := range []string{"web", "Web", "a.b", "..", "a:b", "", "-", strings.Repeat("a", 64), "a.", "\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := label("name", name)
		if err != nil {
			if _, ok := errors.AsType[*Invalid](err); !ok {
				t.Errorf("%T", err)
			}
			return
		}
		if got != strings.ToLower(name) || len(got) > 63 || strings.ContainsAny(got, ":/ ") || strings.Trim(got, ".-") != got {
			t.Errorf("%q became %q", name, got)
		}
		p := place{}
		p.Path = albatross.Path{"alice"}
		if n, err := albatross.ParseName(p.name(got).String()); err != nil || n.Path.String() != "alice" || n.Label != got {
			t.Errorf("%q is at %v, %v", name, n, err)
		}
	})
}

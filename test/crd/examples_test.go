package crd_test

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// TestApplied creates every sample and valid example. Nothing is written into what the user applied, until an operator has looked
// an object that has a status counts as being worked on, and a second apply changes nothing.
func TestApplied(t *testing.T) {
	s := newServer(t)
	for _, ex := range loadExamples(t, "hack/valid-examples/*.yaml", "config/samples/*.yaml") {
		t.Run(ex.name, func(t *testing.T) {
			for _, doc := range ex.docs {
				if _, err := s.apply(t, doc); err != nil {
					t.Fatal(err)
				}
				wantAsApplied(t, s, doc)
				// An API server shows the default of status from the start and keeps it with the first write.
				if doc.GetKind() != catalogKind {
					s.observe(t, doc)
				}
				seen, err := s.resource(t, doc).Get(t.Context(), doc.GetName(), metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				again, err := s.apply(t, doc)
				if err != nil {
					t.Fatal(err)
				}
				if seen.GetResourceVersion() != again.GetResourceVersion() {
					t.Error("the same apply again changed resourceVersion")
				}
			}
		})
	}
}

// wantAsApplied demands that the stored object has the applied spec, labels and annotations, and the status of a new object. What has no
// status is current at once.
func wantAsApplied(t *testing.T, s *server, doc *unstructured.Unstructured) {
	t.Helper()
	got, err := s.resource(t, doc).Get(t.Context(), doc.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := encode(t, doc.Object["spec"]), encode(t, got.Object["spec"]); a != b {
		t.Errorf("spec is not as applied:\napplied %s\nkept    %s", a, b)
	}
	if len(got.GetLabels()) != len(doc.GetLabels()) || len(got.GetAnnotations()) != len(doc.GetAnnotations()) {
		t.Errorf("labels %v and annotations %v are not as applied", got.GetLabels(), got.GetAnnotations())
	}
	wantText, wantResult := `{"observedGeneration":-1}`, status.InProgressStatus
	if doc.GetKind() == catalogKind {
		wantText, wantResult = "null", status.CurrentStatus
	}
	if a := encode(t, got.Object["status"]); a != wantText {
		t.Errorf("status of a new object is %s", a)
	}
	result, err := status.Compute(got)
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != wantResult {
		t.Errorf("kstatus of a new object is %s: %s", result.Status, result.Message)
	}
}

func encode(t *testing.T, value any) string {
	t.Helper()
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRefused(t *testing.T) {
	s := newServer(t)
	for _, ex := range loadExamples(t, "hack/invalid-examples/*.yaml") {
		t.Run(ex.name, func(t *testing.T) {
			doc := ex.docs[0]
			resource := s.resource(t, doc)
			_, err := resource.Create(t.Context(), doc, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
			if err == nil {
				s.deleteLater(t, resource, doc.GetName())
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), ex.want) {
				t.Errorf("want %q, got: %v", ex.want, err)
			}
			if _, err := s.apply(t, doc); err == nil {
				t.Error("server-side apply accepted it")
			}
		})
	}
}

func TestUpdates(t *testing.T) {
	s := newServer(t)
	for _, ex := range loadExamples(t, "hack/invalid-updates/*.yaml", "hack/valid-updates/*.yaml") {
		t.Run(ex.name, func(t *testing.T) {
			before, err := s.apply(t, ex.docs[0])
			if err != nil {
				t.Fatal(err)
			}
			after, err := s.apply(t, ex.docs[1])
			switch {
			case ex.want == "" && err != nil:
				t.Error(err)
			case ex.want == "" && after.GetGeneration() != before.GetGeneration()+1:
				t.Errorf("generation was %d and is %d", before.GetGeneration(), after.GetGeneration())
			case ex.want != "" && err == nil:
				t.Error("accepted")
			case ex.want != "" && !strings.Contains(err.Error(), ex.want):
				t.Errorf("want %q, got: %v", ex.want, err)
			}
		})
	}
}

package controllers

import (
	"context"
	"strconv"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mollymawk.dev/operator/api/v1alpha1"
)

// TestFinalizerIsPatchedThoughTheObjectChanges has somebody else change the object
// before each of our patches.
func TestFinalizerIsPatchedThoughTheObjectChanges(t *testing.T) {
	label := func(uk *v1alpha1.Unikernel, n int) { uk.Labels = map[string]string{"n": strconv.Itoa(n)} }
	for _, tt := range []struct {
		what   string
		change func(uk *v1alpha1.Unikernel, n int)
		times  int
		want   bool
	}{
		{"nothing", label, 0, true},
		{"a label, once", label, 1, true},
		{"a label, as often as it is followed", label, finalizerAttempts, true},
		{"a label, without end", label, finalizerAttempts + 1, false},
		{"an annotation of somebody else", func(uk *v1alpha1.Unikernel, _ int) { uk.Annotations = map[string]string{"example.org/a": "b"} }, 1, true},
		{"an annotation of ours", func(uk *v1alpha1.Unikernel, _ int) {
			uk.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		}, 1, false},
		{"somebody else's finalizer", func(uk *v1alpha1.Unikernel, _ int) { uk.Finalizers = []string{"example.org/f"} }, 1, true},
		{"our finalizer", func(uk *v1alpha1.Unikernel, _ int) { uk.Finalizers = []string{v1alpha1.Finalizer} }, 1, false},
		{"the declaration", func(uk *v1alpha1.Unikernel, _ int) { uk.Generation++ }, 1, false},
		{"the status", func(uk *v1alpha1.Unikernel, _ int) { uk.Status.Restarts++ }, 1, false},
		{"another object of that name", func(uk *v1alpha1.Unikernel, _ int) { uk.UID = "another" }, 1, false},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c, inner := changing(t, tt.change, tt.times)
			var read v1alpha1.Unikernel
			if err := inner.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: "uk"}, &read); err != nil {
				t.Fatal(err)
			}
			object := read.DeepCopy()
			err := patchFinalizer(t.Context(), c, inner, object, &read, controllerutil.AddFinalizer)
			var now v1alpha1.Unikernel
			if err := inner.Get(t.Context(), client.ObjectKeyFromObject(object), &now); err != nil {
				t.Fatal(err)
			}
			if !tt.want {
				if !apierrors.IsConflict(err) {
					t.Errorf("got %v, want a conflict", err)
				}
				return
			}
			if err != nil || !controllerutil.ContainsFinalizer(&now, v1alpha1.Finalizer) {
				t.Fatalf("%v, finalizers %v", err, now.Finalizers)
			}
			if object.ResourceVersion != now.ResourceVersion || read.ResourceVersion != now.ResourceVersion {
				t.Errorf("goes on with %s and %s, the object is at %s", object.ResourceVersion, read.ResourceVersion, now.ResourceVersion)
			}
			if tt.times > 0 && tt.what != "somebody else's finalizer" && len(now.Labels)+len(now.Annotations) == 0 {
				t.Error("what somebody else wrote is gone")
			}
			if tt.what == "somebody else's finalizer" && len(now.Finalizers) != 2 {
				t.Errorf("finalizers %v", now.Finalizers)
			}
		})
	}
}

// changing gives a client before whose patches somebody changes the object, that
// many times, and one that does without.
func changing(t *testing.T, change func(*v1alpha1.Unikernel, int), times int) (c, inner client.WithWatch) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "uk", UID: "one", Generation: 1}}
	inner = fake.NewClientBuilder().WithScheme(scheme).WithObjects(uk).Build()
	n := 0
	return interceptor.NewClient(inner, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if n < times {
				n++
				var theirs v1alpha1.Unikernel
				if err := c.Get(ctx, client.ObjectKeyFromObject(o), &theirs); err != nil {
					return err
				}
				change(&theirs, n)
				if err := c.Update(ctx, &theirs); err != nil {
					return err
				}
			}
			return c.Patch(ctx, o, patch, options...)
		},
	}), inner
}

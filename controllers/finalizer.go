package controllers

import (
	"context"
	"maps"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/status"
)

// finalizerAttempts bounds how often [patchFinalizer] follows an object that
// changes.
const finalizerAttempts = 10

// patchFinalizer changes metadata and nothing else. object and read, which is how
// it was read, go on with the new resource version. Somebody may write labels all
// the time, faster than the cache learns of it, so an object that is no longer as
// it was read is followed while it is the same to a reconcile; else it fails with
// a conflict. live reads past the cache.
func patchFinalizer(ctx context.Context, c client.Client, live client.Reader, object, read client.Object, change func(client.Object, string) bool) error {
	base := object.DeepCopyObject().(client.Object)
	err := patchFinalizerOf(ctx, c, base, object, read, change)
	for range finalizerAttempts {
		if !apierrors.IsConflict(err) {
			return err
		}
		base = status.Empty(object)
		if getErr := live.Get(ctx, client.ObjectKeyFromObject(object), base); getErr != nil {
			return getErr
		}
		same, sameErr := sameToUs(base, read)
		if sameErr != nil {
			return sameErr
		}
		if !same {
			return err
		}
		err = patchFinalizerOf(ctx, c, base, object, read, change)
	}
	return err
}

// patchFinalizerOf does so once, from the version base.
func patchFinalizerOf(ctx context.Context, c client.Client, base, object, read client.Object, change func(client.Object, string) bool) error {
	changed := base.DeepCopyObject().(client.Object)
	change(changed, v1alpha1.Finalizer)
	if err := c.Patch(ctx, changed, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	for _, o := range []client.Object{object, read} {
		o.SetFinalizers(changed.GetFinalizers())
		o.SetResourceVersion(changed.GetResourceVersion())
	}
	return nil
}

// sameToUs tells whether two versions of an object are the same in all that a
// reconcile goes by: declaration, deletion, finalizer, annotations of ours, and
// status. Labels, other annotations and who manages which field are not.
func sameToUs(a, b client.Object) (bool, error) {
	if a.GetUID() != b.GetUID() || a.GetGeneration() != b.GetGeneration() ||
		a.GetDeletionTimestamp().IsZero() != b.GetDeletionTimestamp().IsZero() ||
		controllerutil.ContainsFinalizer(a, v1alpha1.Finalizer) != controllerutil.ContainsFinalizer(b, v1alpha1.Finalizer) ||
		!maps.Equal(ourAnnotations(a), ourAnnotations(b)) {
		return false, nil
	}
	return status.Same(a, b)
}

func ourAnnotations(o client.Object) map[string]string {
	ours := map[string]string{}
	for name, value := range o.GetAnnotations() {
		if strings.HasPrefix(name, v1alpha1.GroupName+"/") {
			ours[name] = value
		}
	}
	return ours
}

package services

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// SuspendUnikernel stops a unikernel and keeps its object and volumes, or lets it
// run again. It waits for neither. The object was read from the cache; what is given
// back is as it is now.
func (s *Services) SuspendUnikernel(ctx context.Context, id Identity, uk *v1alpha1.Unikernel, suspended bool) (*v1alpha1.Unikernel, error) {
	if err := administrates(id); err != nil {
		return nil, err
	}
	before := empty(uk)
	err := s.Live.Get(ctx, client.ObjectKeyFromObject(uk), before)
	switch {
	case apierrors.IsNotFound(err), err == nil && (before.UID != uk.UID || !before.DeletionTimestamp.IsZero()):
		return nil, &NotFound{whatUnikernel, uk.Name}
	case err != nil:
		return nil, err
	case before.Spec.Suspended == suspended:
		return before, nil
	}
	c, err := s.writers.as(id)
	if err != nil {
		return nil, err
	}
	var now *v1alpha1.Unikernel
	err = s.following(ctx, before, func(version string) error {
		now = empty(uk)
		return redeclare(ctx, c, before, version, func(u *unstructured.Unstructured) error {
			// Said, not left out: so somebody else who says otherwise is heard of.
			return unstructured.SetNestedField(u.Object, suspended, "spec", "suspended")
		}, now)
	})
	if err != nil {
		return nil, err
	}
	s.untilSeen(ctx, now)
	return now, nil
}

// RemoveUnikernel deletes the object of a unikernel and does not wait until the host
// has destroyed it. Volumes stay. That it is gone already is fine.
func (s *Services) RemoveUnikernel(ctx context.Context, id Identity, uk *v1alpha1.Unikernel) error {
	if err := administrates(id); err != nil {
		return err
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	if err := remove(ctx, c, empty(uk), uk.UID); err != nil {
		return err
	}
	s.untilCached(ctx, uk, func(now client.Object) bool { return now == nil || !now.GetDeletionTimestamp().IsZero() })
	return nil
}

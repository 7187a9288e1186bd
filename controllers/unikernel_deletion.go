package controllers

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// checkFinalizer lets an object go that has nothing on a host, or leaves it there.
func (s *unikernelScope) checkFinalizer(ctx context.Context) outcome.Outcome {
	if !s.owned() {
		s.gone = true
		return outcome.Done()
	}
	if s.uk.Spec.DeletionPolicy == v1alpha1.DeletionPolicyOrphan {
		return s.letGo(ctx)
	}
	return outcome.Continue()
}

func (s *unikernelScope) letGo(ctx context.Context) outcome.Outcome {
	s.gone = true
	if err := patchFinalizer(ctx, s.Client, s.uk, s.before, controllerutil.RemoveFinalizer); err != nil {
		return outcome.AfterWriting(err)
	}
	return outcome.Done()
}

// findForDeletion goes by where the unikernel was created, which stays true when
// instances and tenants have changed since.
func (s *unikernelScope) findForDeletion(ctx context.Context) outcome.Outcome {
	if s.uk.Status.HostName == "" {
		return s.resolve(ctx)
	}
	name, err := albatross.ParseName(s.uk.Status.HostName)
	if err != nil {
		return s.resolve(ctx)
	}
	var instance v1alpha1.AlbatrossInstance
	err = s.Get(ctx, client.ObjectKey{Name: s.uk.Status.Instance}, &instance)
	switch {
	case apierrors.IsNotFound(err):
		return s.end(status.Working(v1alpha1.ReasonInstanceNotFound, fmt.Sprintf(
			"AlbatrossInstance %q, on which it runs, does not exist; create it again, or %s", s.uk.Status.Instance, freeing(unikernelResource, s.uk))), outcome.Done())
	case err != nil:
		return outcome.Retry(err)
	}
	s.instance, s.path = &instance, name.Path
	return outcome.Continue()
}

// freeing names the command that lets an object go without its host.
func freeing(resource string, o client.Object) string {
	return fmt.Sprintf(`give it up with: kubectl patch %s %s -n %s --type=merge -p '{"spec":{"deletionPolicy":"Orphan"}}'`, resource, o.GetName(), o.GetNamespace())
}

// destroy ends what runs and lets the object go when the host no longer has it.
func (s *unikernelScope) destroy(ctx context.Context) outcome.Outcome {
	s.observe()
	deleting := status.Working(v1alpha1.ReasonDeleting, "being destroyed on the host")
	if s.observed != nil || s.uk.Spec.RestartPolicyOrDefault() == v1alpha1.RestartOnFailure {
		release, ok := s.host.TryAcquire(keyOf(unikernelKind, s.uk))
		if !ok {
			s.unchanged = true
			return outcome.Wait(lineInterval)
		}
		_, err := s.host.Client().Destroy(ctx, s.scope, s.uk.Name)
		release()
		if err != nil && hosts.Classify(err) != hosts.Gone {
			return s.end(status.Working(v1alpha1.ReasonHostError, stableText(err)), outcome.Retry(err))
		}
	}
	snapshot, err := s.host.Refresh(ctx)
	if err != nil {
		return s.end(deleting, outcome.Retry(err))
	}
	s.snapshot = snapshot
	if s.observe(); s.observed != nil {
		return s.end(deleting, outcome.Wait(waitingInterval))
	}
	return s.letGo(ctx)
}

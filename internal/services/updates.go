package services

import (
	"context"
	"strconv"

	"mollymawk.dev/operator/api/v1alpha1"
)

// UpdateRequest says which build to run from now on.
type UpdateRequest struct {
	Instance, Name string
	// Server is the build server's address; empty means the default.
	Server string
	// Job and Build name a build; Build may be [v1alpha1.LatestBuild].
	Job, Build string
	// Spec is what to declare besides; nil leaves that as it is.
	Spec *v1alpha1.UnikernelSpec
}

// UpdateUnikernel replaces the image of a unikernel by a build and waits until it
// runs. When it is refused, what was declared before is declared again.
func (s *Services) UpdateUnikernel(ctx context.Context, id Identity, r UpdateRequest) error {
	uk, err := s.declaredOn(ctx, id, r.Instance, r.Name)
	if err != nil {
		return err
	}
	spec := *uk.Spec.DeepCopy()
	if r.Spec != nil {
		spec = besides(r.Spec, &uk.Spec)
	}
	spec.Image = &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{
		Build: &v1alpha1.BuildSource{Server: r.Server, Job: r.Job, UUID: r.Build},
	}}
	return s.replace(ctx, id, uk, spec)
}

// besides gives a declaration with what callers do not say anew from the present
// one.
func besides(wanted, present *v1alpha1.UnikernelSpec) v1alpha1.UnikernelSpec {
	spec := *wanted.DeepCopy()
	spec.InstanceRef, spec.Image, spec.Type = present.InstanceRef, present.Image, present.Type
	spec.DeletionPolicy, spec.Probe, spec.Update = present.DeletionPolicy, present.Probe, present.Update
	return spec
}

// declaredOn gives the object of a unikernel on an instance that is connected.
func (s *Services) declaredOn(ctx context.Context, id Identity, instance, name string) (*v1alpha1.Unikernel, error) {
	instance, name, err := labels(instance, "name", name)
	if err != nil {
		return nil, err
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return nil, err
	}
	if _, err := s.connected(p); err != nil {
		return nil, err
	}
	uk, err := s.unikernel(ctx, id, name)
	switch {
	case err != nil:
		return nil, err
	case uk == nil || !isAt(uk, instance):
		return nil, &NotFound{whatUnikernel, name}
	case !uk.DeletionTimestamp.IsZero():
		return nil, &Refused{Text: "the unikernel is being destroyed"}
	}
	return uk, nil
}

// RollbackUnikernel brings the image and configuration back that ran before the
// present ones, also of a unikernel that GitOps declares, and waits until they run.
// build is where that image is from. It stays so until another declaration.
func (s *Services) RollbackUnikernel(ctx context.Context, id Identity, instance, name string) (build string, err error) {
	uk, err := s.declaredOn(ctx, id, instance, name)
	if err != nil {
		return "", err
	}
	if len(uk.Status.History) < 2 {
		return "", &NotFound{"earlier revision of unikernel", uk.Name}
	}
	earlier := uk.Status.History[1]
	c, err := s.writers.as(id)
	if err != nil {
		return "", err
	}
	mark := map[string]string{v1alpha1.AnnotationRollback: strconv.FormatInt(earlier.Revision, 10)}
	if err := s.following(ctx, uk, func(version string) error { return annotate(ctx, c, uk, version, mark) }); err != nil {
		return "", err
	}
	err = await(ctx, s, uk, func(now *v1alpha1.Unikernel) (bool, error) {
		// The conditions do not say which annotations they are about. So only what
		// runs shows that it was done, and only other conditions that it was not.
		done, err := verdict(now, now.Spec.InstanceRef.Name, now.Generation)
		if err != nil && sameConditions(now.Status.Conditions, uk.Status.Conditions) {
			return false, nil
		}
		return done && deployed(now, earlier), err
	})
	if err != nil {
		s.undo(ctx, "rollback", uk, func(ctx context.Context) error { return s.restoreUnikernel(ctx, c, uk, uk.Generation) })
	}
	return earlier.Source, err
}

// deployed tells whether a revision is what was started last.
func deployed(uk *v1alpha1.Unikernel, revision v1alpha1.Revision) bool {
	history := uk.Status.History
	return len(history) > 0 && history[0].Digest == revision.Digest && history[0].ConfigHash == revision.ConfigHash
}

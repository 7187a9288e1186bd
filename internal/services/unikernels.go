package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/images"
)

// CreateRequest says what to run.
type CreateRequest struct {
	Instance, Name string
	// Force replaces what has the name.
	Force bool
	// Spec is what to declare; its instanceRef is set from Instance.
	Spec v1alpha1.UnikernelSpec
	// Digest is that of an upload; empty leaves the image of Spec.
	Digest string
}

// Upload keeps an image for the caller's namespace, and gives nobody else the use
// of it.
func (s *Services) Upload(ctx context.Context, id Identity, content io.Reader, limit int64) (digest string, size int64, err error) {
	if err := checkIdentity(id); err != nil {
		return "", 0, err
	}
	if id.Namespace == "" {
		return "", 0, ErrForbidden
	}
	if s.Store == nil {
		return "", 0, errors.New("uploads are not kept here")
	}
	blob, err := s.Store.Add(ctx, content, limit)
	switch {
	case errors.Is(err, images.ErrTooLarge):
		return "", 0, &Invalid{Field: "binary", Message: fmt.Sprintf("has more than %d MiB", limit>>20)}
	case err != nil:
		return "", 0, err
	}
	return blob.Digest, blob.Size, s.Store.Grant(ctx, blob.Digest, images.UploadedFor(id.Namespace))
}

// CreateUnikernel declares a unikernel and waits until it runs. Of two callers who
// create one name, the later is refused. When it is refused nothing is left of it,
// or, with Force, what was declared before.
func (s *Services) CreateUnikernel(ctx context.Context, id Identity, r CreateRequest) error {
	instance, name, err := labels(r.Instance, r.Name)
	if err != nil {
		return err
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return err
	}
	host, err := s.connected(p)
	if err != nil {
		return err
	}
	spec := r.Spec
	spec.InstanceRef.Name = instance
	if r.Digest != "" {
		spec.Image = &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{Stored: &v1alpha1.StoredSource{SHA256: v1alpha1.SHA256(r.Digest)}}}
	}
	before, err := s.unikernel(ctx, id, name)
	if err != nil {
		return err
	}
	if before != nil {
		return s.recreate(ctx, id, before, spec, r.Force)
	}
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: id.Namespace, Name: name}, Spec: spec}
	snapshot := host.Snapshot()
	if r.Force { // what is to be replaced must be known for certain
		if snapshot, err = host.Refresh(ctx); err != nil {
			return hostError(instance, err)
		}
	}
	if _, runs := snapshot.Unikernels[p.name(name).String()]; runs {
		if !r.Force {
			return &Refused{v1alpha1.ReasonNameTaken, textUnikernelExists}
		}
		uk.Annotations = map[string]string{v1alpha1.AnnotationForce: "true"}
	}
	return s.create(ctx, id, uk)
}

// unikernel reads an object past the cache; nil when there is none.
func (s *Services) unikernel(ctx context.Context, id Identity, name string) (*v1alpha1.Unikernel, error) {
	var uk v1alpha1.Unikernel
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: id.Namespace, Name: name}, &uk)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // said so above
	}
	return &uk, err
}

// create makes an object that there is none of.
func (s *Services) create(ctx context.Context, id Identity, uk *v1alpha1.Unikernel) error {
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	instance := uk.Spec.InstanceRef.Name
	err = apply(ctx, c, declaration{object: uk, version: absentVersion})
	if apierrors.IsConflict(err) {
		return &Refused{v1alpha1.ReasonNameTaken, textUnikernelExists}
	}
	if err != nil {
		return err
	}
	err = await(ctx, s, uk, func(now *v1alpha1.Unikernel) (bool, error) { return verdict(now, instance, uk.Generation) })
	if err == nil {
		return nil
	}
	s.undo(ctx, "creation", uk, func(ctx context.Context) error {
		if err := remove(ctx, c, uk, uk.UID); err != nil {
			return err
		}
		return awaitGone(ctx, s, uk)
	})
	return asHostSays(err, textUnikernelExists)
}

// undoLimit is how long taking something back may take.
const undoLimit = 2 * time.Minute

// undo takes back what was refused. The caller's going away does not stop it. When
// it fails the caller is told of the refusal all the same.
func (s *Services) undo(ctx context.Context, what string, o client.Object, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if err := do(ctx); err != nil {
		s.Log.Error(err, "Could not take back what was refused", "what", what, "namespace", o.GetNamespace(), "name", o.GetName())
	}
}

// asHostSays gives the host's own words for a name that is taken, where the
// controllers say more.
func asHostSays(err error, taken string) error {
	var refused *Refused
	if errors.As(err, &refused) && refused.Reason == v1alpha1.ReasonNameTaken {
		return &Refused{refused.Reason, taken}
	}
	return err
}

// recreate declares an object that exists anew. Without force only one that has
// exited may be.
func (s *Services) recreate(ctx context.Context, id Identity, before *v1alpha1.Unikernel, spec v1alpha1.UnikernelSpec, force bool) error {
	switch {
	case !before.DeletionTimestamp.IsZero():
		return &Refused{v1alpha1.ReasonNameTaken, "the unikernel of that name is still being destroyed"}
	case before.Spec.InstanceRef.Name != spec.InstanceRef.Name:
		return &Conflict{Text: fmt.Sprintf("a unikernel %q is on albatross instance %q; names are unique over all instances", before.Name, before.Spec.InstanceRef.Name)}
	case !force && !exited(before):
		return &Refused{v1alpha1.ReasonNameTaken, textUnikernelExists}
	}
	return s.replace(ctx, id, before, spec)
}

func exited(uk *v1alpha1.Unikernel) bool {
	ready := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Reason == v1alpha1.ReasonExited && ready.ObservedGeneration == uk.Generation
}

// replace declares another spec for an object and waits until that runs. When it
// is refused, what was declared before is declared again; what runs goes on, since
// the controllers ask first what a host would refuse too late.
func (s *Services) replace(ctx context.Context, id Identity, before *v1alpha1.Unikernel, spec v1alpha1.UnikernelSpec) error {
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	if err := mayReplaceImage(before, &spec); err != nil {
		return err
	}
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: before.Namespace, Name: before.Name, Annotations: panelAnnotations(before)}, Spec: spec}
	if before.Annotations[v1alpha1.AnnotationForce] == "true" {
		uk.Annotations[v1alpha1.AnnotationForce] = "true"
	}
	wanted := uk
	err = s.following(ctx, before, func(version string) error {
		uk = wanted.DeepCopy()
		return apply(ctx, c, declaration{uk, version, before})
	})
	if err != nil {
		return err
	}
	if uk.Generation == before.Generation { // declared already, so it is only to begin anew
		return s.restart(ctx, c, uk)
	}
	instance := spec.InstanceRef.Name
	err = await(ctx, s, uk, func(now *v1alpha1.Unikernel) (bool, error) {
		if now.Generation > uk.Generation {
			return true, &Conflict{Text: "it was declared anew by somebody else meanwhile"}
		}
		return verdict(now, instance, uk.Generation)
	})
	var conflict *Conflict
	if err == nil || errors.As(err, &conflict) {
		return err
	}
	s.undo(ctx, "change", uk, func(ctx context.Context) error { return s.restoreUnikernel(ctx, c, before, uk.Generation) })
	return asHostSays(err, textUnikernelExists)
}

// mayReplaceImage refuses another source of the image where somebody else declares
// one. Of another kind it would stand beside that one, so the API server would tell
// of two sources and not of who declares the first.
func mayReplaceImage(before *v1alpha1.Unikernel, wanted *v1alpha1.UnikernelSpec) error {
	if equality.Semantic.DeepEqual(before.Spec.Image, wanted.Image) {
		return nil
	}
	owners, err := othersOf(before, "image")
	if err != nil || len(owners) == 0 {
		return err
	}
	return &Conflict{Owners: owners, Fields: []string{"spec.image"}}
}

// writeAttempts bounds how often a write follows an object whose status changes.
const writeAttempts = 10

// following writes to an object whose declaration is still as it was read,
// whatever its status is by now.
func (s *Services) following(ctx context.Context, before *v1alpha1.Unikernel, write func(version string) error) error {
	version := before.ResourceVersion
	for attempt := 0; ; attempt++ {
		err := write(version)
		if err == nil || !apierrors.IsConflict(err) || attempt == writeAttempts {
			return changedMeanwhile(err)
		}
		now := empty(before)
		if getErr := s.Live.Get(ctx, client.ObjectKeyFromObject(before), now); getErr != nil || now.UID != before.UID || now.Generation != before.Generation {
			return changedMeanwhile(err)
		}
		version = now.ResourceVersion
	}
}

// restoreUnikernel declares again what we declared before, unless somebody else
// has changed the declaration since.
func (s *Services) restoreUnikernel(ctx context.Context, c client.Client, before *v1alpha1.Unikernel, generation int64) error {
	for {
		now := empty(before)
		if err := s.Live.Get(ctx, client.ObjectKeyFromObject(before), now); err != nil {
			return client.IgnoreNotFound(err)
		}
		if now.UID != before.UID || now.Generation != generation {
			return nil
		}
		err := restore(ctx, c, before, now.ResourceVersion)
		if !apierrors.IsConflict(err) || ctx.Err() != nil {
			return err
		}
	}
}

// changedMeanwhile tells the caller of a version that is not the one that was read.
func changedMeanwhile(err error) error {
	if apierrors.IsConflict(err) {
		return &Conflict{Text: "it was changed by somebody else at the same time; try again"}
	}
	return err
}

// RestartRequest says what to restart.
type RestartRequest struct {
	Instance, Name string
	// Spec is what to declare besides its image and instance, which stay; nil
	// leaves the declaration as it is.
	Spec *v1alpha1.UnikernelSpec
}

// RestartUnikernel restarts a unikernel, also one that GitOps declares, and waits
// until it runs again.
func (s *Services) RestartUnikernel(ctx context.Context, id Identity, r RestartRequest) error {
	instance, name, err := labels(r.Instance, r.Name)
	if err != nil {
		return err
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return err
	}
	if _, err := s.connected(p); err != nil {
		return err
	}
	uk, err := s.unikernel(ctx, id, name)
	switch {
	case err != nil:
		return err
	case uk == nil || !isAt(uk, instance):
		return s.restartDirectly(ctx, p, name, r.Spec)
	case !uk.DeletionTimestamp.IsZero():
		return &Refused{Text: "the unikernel is being destroyed"}
	}
	if r.Spec != nil {
		return s.replace(ctx, id, uk, besides(r.Spec, &uk.Spec))
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	return s.restart(ctx, c, uk)
}

// isAt tells whether an object is, or shall be, on an instance.
func isAt(uk *v1alpha1.Unikernel, instance string) bool {
	return uk.Spec.InstanceRef.Name == instance || uk.Status.Instance == instance
}

// restart sets the annotation that asks for it.
func (s *Services) restart(ctx context.Context, c client.Client, uk *v1alpha1.Unikernel) error {
	if text := neverRestarts(uk); text != "" {
		return &Refused{Text: text}
	}
	mark := s.Now().UTC().Format(time.RFC3339Nano)
	changed := uk.DeepCopy()
	changed.Annotations = maps.Clone(uk.Annotations)
	if changed.Annotations == nil {
		changed.Annotations = map[string]string{}
	}
	changed.Annotations[v1alpha1.AnnotationRestartedAt] = mark
	if err := c.Patch(ctx, changed, client.MergeFrom(uk), client.FieldOwner(FieldManager)); err != nil {
		if apierrors.IsNotFound(err) {
			return &NotFound{whatUnikernel, uk.Name}
		}
		return writeError(err)
	}
	version := changed.ResourceVersion
	return await(ctx, s, changed, func(now *v1alpha1.Unikernel) (bool, error) {
		if now.Status.RestartedAt == mark && apimeta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionReady) {
			return true, nil
		}
		// Only what was written to the status since is about this restart.
		if now.ResourceVersion == version || sameConditions(now.Status.Conditions, uk.Status.Conditions) {
			return false, nil
		}
		done, err := verdict(now, now.Spec.InstanceRef.Name, now.Generation)
		return done && err != nil, err
	})
}

// neverRestarts says why the controllers would not act on the annotation.
func neverRestarts(uk *v1alpha1.Unikernel) string {
	ready := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady)
	stalled := apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionStalled)
	switch {
	case uk.Annotations[v1alpha1.AnnotationPaused] == "true":
		return "it is paused by the annotation " + v1alpha1.AnnotationPaused
	case uk.Spec.Suspended:
		return "it is suspended"
	case ready != nil && stalled && ready.Reason != v1alpha1.ReasonExited && ready.ObservedGeneration == uk.Generation:
		return ready.Message
	}
	return ""
}

func sameConditions(a, b []metav1.Condition) bool {
	x, y := apimeta.FindStatusCondition(a, v1alpha1.ConditionReady), apimeta.FindStatusCondition(b, v1alpha1.ConditionReady)
	return x != nil && y != nil && *x == *y
}

// DestroyUnikernel ends a unikernel, whoever made it, and waits until it is gone.
func (s *Services) DestroyUnikernel(ctx context.Context, id Identity, instance, name string) error {
	instance, name, err := labels(instance, name)
	if err != nil {
		return err
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return err
	}
	// An object that is deleted cannot be kept after all, so the host must be there.
	if _, err := s.connected(p); err != nil {
		return err
	}
	uk, err := s.unikernel(ctx, id, name)
	if err != nil {
		return err
	}
	if uk == nil || !isAt(uk, instance) {
		return s.destroyDirectly(ctx, p, name, true)
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	if err := remove(ctx, c, uk, uk.UID); err != nil {
		return err
	}
	if err := awaitGone(ctx, s, uk); err != nil {
		return err
	}
	if uk.Spec.DeletionPolicy == v1alpha1.DeletionPolicyOrphan {
		return s.destroyDirectly(ctx, p, name, false)
	}
	return nil
}

package services

import (
	"context"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// VolumeRequest says what to make or fill.
type VolumeRequest struct {
	Instance, Name string
	// Size of a volume to make, in MiB.
	Size int64
	// Data fills the volume from its beginning; nil leaves it as it is.
	Data io.Reader
	// DataSize is how many bytes Data gives, if that is known; else 0.
	DataSize int64
	// Compressed says that Data is a zlib stream.
	Compressed bool
}

// maxVolume is the largest size of a volume in MiB that can be declared.
const maxVolume = 64 << 20

// CreateVolume declares a volume, waits until it is there, and fills it if there
// is data. When either fails nothing is left of it.
func (s *Services) CreateVolume(ctx context.Context, id Identity, r VolumeRequest) error {
	instance, name, err := labels(r.Instance, r.Name)
	if err != nil {
		return err
	}
	if r.Size < 1 || r.Size > maxVolume {
		return &Invalid{"size", "must be 1 MiB to 64 TiB"}
	}
	if err := checkFits(r, r.Size); err != nil {
		return err
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return err
	}
	at, err := s.site(ctx, p)
	if err != nil {
		return err
	}
	// The controllers would adopt one that is there, and it would be filled.
	if _, exists := at.snapshot.Blocks[p.name(name).String()]; exists {
		return &Refused{v1alpha1.ReasonNameTaken, textVolumeExists}
	}
	volume := &v1alpha1.Volume{
		ObjectMeta: metav1.ObjectMeta{Namespace: id.Namespace, Name: name},
		Spec:       v1alpha1.VolumeSpec{InstanceRef: v1alpha1.InstanceReference{Name: instance}, Size: v1alpha1.FromMiB(r.Size)},
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	return s.createVolume(ctx, c, volume, p, r)
}

func (s *Services) createVolume(ctx context.Context, c client.Client, volume *v1alpha1.Volume, p place, r VolumeRequest) error {
	err := apply(ctx, c, declaration{object: volume, version: absentVersion})
	if apierrors.IsConflict(err) {
		return &Refused{v1alpha1.ReasonNameTaken, textVolumeExists}
	}
	if err != nil {
		return err
	}
	err = await(ctx, s, volume, func(now *v1alpha1.Volume) (bool, error) { return verdict(now, p.instance, volume.Generation) })
	if err == nil && r.Data != nil {
		err = s.fill(ctx, p, volume.Name, r)
	}
	if err == nil {
		return nil
	}
	s.undo(ctx, "creation", volume, func(ctx context.Context) error {
		if err := remove(ctx, c, volume, volume.UID); err != nil {
			return err
		}
		return awaitGone(ctx, s, volume)
	})
	return asHostSays(err, textVolumeExists)
}

// volume reads an object past the cache; nil when there is none on the instance.
func (s *Services) volume(ctx context.Context, id Identity, instance, name string) (*v1alpha1.Volume, error) {
	var volume v1alpha1.Volume
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: id.Namespace, Name: name}, &volume)
	if apierrors.IsNotFound(err) || err == nil && volume.Spec.InstanceRef.Name != instance {
		return nil, nil //nolint:nilnil // said so above
	}
	return &volume, err
}

// DeleteVolume removes a volume with its data, whoever made it, and waits until it
// is gone.
func (s *Services) DeleteVolume(ctx context.Context, id Identity, instance, name string) error {
	instance, name, err := labels(instance, name)
	if err != nil {
		return err
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return err
	}
	at, err := s.site(ctx, p)
	if err != nil {
		return err
	}
	// An object that is deleted cannot be kept after all.
	exists, err := s.isFree(ctx, at, name)
	if err != nil {
		return err
	}
	volume, err := s.volume(ctx, id, instance, name)
	switch {
	case err != nil:
		return err
	case volume == nil && !exists:
		return &Refused{Text: textRemoveNotFound}
	case volume == nil:
		return s.removeDirectly(ctx, at, name)
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	if err := remove(ctx, c, volume, volume.UID); err != nil {
		return err
	}
	if err := awaitGone(ctx, s, volume); err != nil {
		return err
	}
	if volume.Spec.DeletionPolicy == v1alpha1.DeletionPolicyOrphan && exists {
		return s.removeDirectly(ctx, at, name)
	}
	return nil
}

// isFree fails when a volume is in use, and tells whether there is one. A download
// that has just ended counts for a moment, so it looks twice.
func (s *Services) isFree(ctx context.Context, at *site, name string) (exists bool, err error) {
	block, exists := at.snapshot.Blocks[at.name(name).String()]
	if !block.Active {
		return exists, nil
	}
	snapshot, err := at.host.Refresh(ctx)
	if err != nil {
		return false, hostError(at.instance, err)
	}
	if block, exists = snapshot.Blocks[at.name(name).String()]; block.Active {
		return true, &Refused{v1alpha1.ReasonInUse, textRemoveInUse}
	}
	return exists, nil
}

func (s *Services) removeDirectly(ctx context.Context, at *site, name string) error {
	return s.directly(ctx, at, "remove", name, func(ctx context.Context) error {
		_, err := at.host.Client().RemoveBlock(ctx, at.scope, name)
		return err
	})
}

// UploadVolume overwrites a volume that no unikernel uses, whoever made it. The
// bytes go to the host as they come.
func (s *Services) UploadVolume(ctx context.Context, id Identity, r VolumeRequest) error {
	instance, name, err := labels(r.Instance, r.Name)
	if err != nil {
		return err
	}
	if r.Data == nil {
		return &Invalid{"data", "must be given"}
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return err
	}
	volume, err := s.volume(ctx, id, instance, name)
	if err != nil {
		return err
	}
	if volume != nil && !filled(volume) {
		return &Refused{v1alpha1.ReasonPopulating, "the volume is still being made from what its object declares"}
	}
	return s.fill(ctx, p, name, r)
}

// filled tells whether the controllers have done with the content of a volume.
func filled(v *v1alpha1.Volume) bool {
	return v.DeletionTimestamp.IsZero() && (v.Spec.Source == nil || apimeta.IsStatusConditionTrue(v.Status.Conditions, v1alpha1.ConditionPopulated))
}

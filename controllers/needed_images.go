package controllers

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// NeededImages gives a function that learns, by what the objects say now, which
// digests must stay in the image store.
func NeededImages(objects client.Reader) func(context.Context) (func(digest string) bool, error) {
	return func(ctx context.Context) (func(digest string) bool, error) {
		var unikernels v1alpha1.UnikernelList
		var volumes v1alpha1.VolumeList
		for _, list := range []client.ObjectList{&unikernels, &volumes} {
			// They are looked at only, and may be very many.
			if err := objects.List(ctx, list, &client.ListOptions{UnsafeDisableDeepCopy: new(true)}); err != nil {
				return nil, err
			}
		}
		digests := neededDigests(unikernels.Items, volumes.Items)
		return func(digest string) bool { return digests[digest] }, nil
	}
}

// neededDigests are those that objects declare, that run, and that a rollback may
// bring back. A volume needs its content until it is filled.
func neededDigests(unikernels []v1alpha1.Unikernel, volumes []v1alpha1.Volume) map[string]bool {
	needed := map[string]bool{}
	for i := range unikernels {
		uk := &unikernels[i]
		if uk.Spec.Image != nil {
			addSource(needed, &uk.Spec.Image.ContentSource)
		}
		needed[uk.Status.Digest] = true
		for _, revision := range uk.Status.History {
			needed[revision.Digest] = true
		}
	}
	for i := range volumes {
		v := &volumes[i]
		if v.Spec.Source != nil && v.Status.PopulatedAt == nil {
			addSource(needed, &v.Spec.Source.ContentSource)
		}
	}
	delete(needed, "")
	return needed
}

func addSource(needed map[string]bool, source *v1alpha1.ContentSource) {
	needed[string(source.SHA256)] = true
	if source.Stored != nil {
		needed[string(source.Stored.SHA256)] = true
	}
}

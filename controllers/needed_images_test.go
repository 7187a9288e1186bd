package controllers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

func TestNeededDigests(t *testing.T) {
	url := v1alpha1.ContentSource{URL: "https://example.org/x", SHA256: "a"}
	stored := v1alpha1.ContentSource{Stored: &v1alpha1.StoredSource{SHA256: "b"}}
	tag := v1alpha1.ContentSource{OCI: &v1alpha1.OCISource{Reference: "example.org/x:1"}}
	unikernel := func(source *v1alpha1.ContentSource, status v1alpha1.UnikernelStatus) v1alpha1.Unikernel {
		uk := v1alpha1.Unikernel{Status: status}
		if source != nil {
			uk.Spec.Image = &v1alpha1.ImageSource{ContentSource: *source}
		}
		return uk
	}
	volume := func(source *v1alpha1.ContentSource, populated *metav1.Time) v1alpha1.Volume {
		v := v1alpha1.Volume{Status: v1alpha1.VolumeStatus{PopulatedAt: populated}}
		if source != nil {
			v.Spec.Source = &v1alpha1.VolumeSource{ContentSource: *source}
		}
		return v
	}
	for what, tt := range map[string]struct {
		unikernels []v1alpha1.Unikernel
		volumes    []v1alpha1.Volume
		want       []string
	}{
		"no objects":            {},
		"a declared digest":     {unikernels: []v1alpha1.Unikernel{unikernel(&url, v1alpha1.UnikernelStatus{})}, want: []string{"a"}},
		"an upload":             {unikernels: []v1alpha1.Unikernel{unikernel(&stored, v1alpha1.UnikernelStatus{})}, want: []string{"b"}},
		"a tag, nothing runs":   {unikernels: []v1alpha1.Unikernel{unikernel(&tag, v1alpha1.UnikernelStatus{})}},
		"neither image nor run": {unikernels: []v1alpha1.Unikernel{unikernel(nil, v1alpha1.UnikernelStatus{})}},
		"what runs and what ran": {
			unikernels: []v1alpha1.Unikernel{unikernel(&tag, v1alpha1.UnikernelStatus{
				Digest: "c", History: []v1alpha1.Revision{{Revision: 3, Digest: "c"}, {Revision: 2}, {Revision: 1, Digest: "d"}},
			})},
			want: []string{"c", "d"},
		},
		"all of several": {
			unikernels: []v1alpha1.Unikernel{unikernel(&url, v1alpha1.UnikernelStatus{Digest: "e"}), unikernel(&stored, v1alpha1.UnikernelStatus{})},
			volumes:    []v1alpha1.Volume{volume(&v1alpha1.ContentSource{URL: "https://example.org/y", SHA256: "f"}, nil)},
			want:       []string{"a", "b", "e", "f"},
		},
		"volumes to be filled": {volumes: []v1alpha1.Volume{volume(&stored, nil), volume(nil, nil)}, want: []string{"b"}},
		"a filled volume":      {volumes: []v1alpha1.Volume{volume(&url, new(metav1.Now()))}},
	} {
		if got := slices.Sorted(maps.Keys(neededDigests(tt.unikernels, tt.volumes))); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", what, got, tt.want)
		}
	}
}

// listing answers lists only.
type listing struct {
	client.Reader
	uk     v1alpha1.Unikernel
	failOn client.ObjectList
}

func (l listing) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch list := list.(type) {
	case *v1alpha1.UnikernelList:
		if _, fails := l.failOn.(*v1alpha1.UnikernelList); fails {
			return errors.New("no unikernels")
		}
		list.Items = []v1alpha1.Unikernel{l.uk}
	case *v1alpha1.VolumeList:
		if _, fails := l.failOn.(*v1alpha1.VolumeList); fails {
			return errors.New("no volumes")
		}
	}
	return nil
}

func TestNeededImages(t *testing.T) {
	objects := listing{uk: v1alpha1.Unikernel{Status: v1alpha1.UnikernelStatus{Digest: "a"}}}
	needed, err := NeededImages(objects)(t.Context())
	if err != nil || !needed("a") || needed("b") || needed("") {
		t.Errorf("%v", err)
	}
	for _, kind := range []client.ObjectList{&v1alpha1.UnikernelList{}, &v1alpha1.VolumeList{}} {
		objects.failOn = kind
		if _, err := NeededImages(objects)(t.Context()); err == nil {
			t.Errorf("%T cannot be listed, and nothing is needed", kind)
		}
	}
}

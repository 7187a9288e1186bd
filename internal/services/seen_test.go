package services_test

import (
	"context"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

// behind is a cache that knows no unikernel at the first look.
type behind struct {
	client.Client
	looks int
	// change changes the object, so that there is news of it.
	change func(key client.ObjectKey)
}

func (b *behind) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if _, ok := o.(*v1alpha1.Unikernel); !ok {
		return b.Client.Get(ctx, key, o, options...)
	}
	if b.looks++; b.looks == 1 {
		b.change(key)
		return apierrors.NewNotFound(v1alpha1.Resource("unikernels"), key.Name)
	}
	return b.Client.Get(ctx, key, o, options...)
}

// TestDeploymentsAreSeen by who asks next: the call waits until the cache has it.
func TestDeploymentsAreSeen(t *testing.T) {
	cache := &behind{}
	w := newWorld(t, func(o *services.Options) { cache.Client, o.Client = o.Client, cache })
	cache.change = func(key client.ObjectKey) {
		uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		if err := w.Patch(t.Context(), uk, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"news":"yes"}}}`))); err != nil {
			t.Error(err)
		}
	}
	w.deploy("web", w.catalogued())
	if cache.looks < 2 {
		t.Errorf("it did not look again after %d", cache.looks)
	}
	if names := w.listed(); !slices.Equal(names, []string{"web"}) {
		t.Errorf("%q", names)
	}
}

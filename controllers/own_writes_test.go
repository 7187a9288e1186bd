package controllers

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mollymawk.dev/operator/api/v1alpha1"
)

func version(uid types.UID, resourceVersion string) *v1alpha1.Unikernel {
	return &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "uk", UID: uid, ResourceVersion: resourceVersion}}
}

func TestOwnWrites(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		cached *v1alpha1.Unikernel
		at     time.Time
		want   bool
	}{
		"older than our write":                       {version("one", "99"), now, true},
		"older until it is over":                     {version("one", "99"), now.Add(ownWriteMemory - 1), true},
		"older for too long":                         {version("one", "99"), now.Add(ownWriteMemory), false},
		"our write":                                  {version("one", "100"), now, false},
		"somebody's later write":                     {version("one", "101"), now, false},
		"another object of that name":                {version("two", "99"), now, false},
		"a version that cannot be compared":          {version("one", "x"), now, false},
		"older, though a text that sorts after ours": {version("one", "9"), now, true},
	} {
		var w ownWrites
		if w.unseen(c.cached, now) {
			t.Errorf("%s: unseen before we wrote anything", what)
		}
		w.note(version("one", "50"), now)
		w.note(version("one", "100"), now)
		if got := w.unseen(c.cached, c.at); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

// remembered are the objects whose writes are.
func (w *ownWrites) remembered() []types.UID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.all))
}

// TestOwnWritesAreForgotten has no more remembered than was written lately, also
// when nothing is written or read after that.
func TestOwnWritesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ownWrites
		w.note(version("one", "1"), time.Now())
		time.Sleep(ownWriteMemory / 2)
		w.note(version("two", "2"), time.Now())
		w.note(version("three", "3"), time.Now())
		w.unseen(version("three", "3"), time.Now())
		if got := w.remembered(); !slices.Equal(got, []types.UID{"one", "two"}) {
			t.Errorf("remembers %v after the cache had one", got)
		}
		time.Sleep(ownWriteMemory/2 + 1)
		synctest.Wait()
		if got := w.remembered(); !slices.Equal(got, []types.UID{"two"}) {
			t.Errorf("remembers %v after the time of the first", got)
		}
		time.Sleep(ownWriteMemory)
		synctest.Wait()
		if got := w.remembered(); len(got) != 0 {
			t.Errorf("remembers %v after the time of all", got)
		}
	})
}

// behind is a cache that has not seen a write. Whatever else is asked of it panics.
type behind struct{ client.Client }

func (behind) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.SetUID("one")
	o.SetResourceVersion("99")
	return nil
}

// TestUnseenWrites has a reconcile that is woken too early do nothing, and come
// back soon.
func TestUnseenWrites(t *testing.T) {
	uk, volume := &UnikernelReconciler{Client: behind{}}, &VolumeReconciler{Client: behind{}}
	uk.writes.note(version("one", "100"), time.Now())
	volume.writes.note(version("one", "100"), time.Now())
	for what, r := range map[string]reconcile.Reconciler{"unikernel": uk, "volume": volume} {
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "uk"}})
		if err != nil || result.RequeueAfter != ownWritePause {
			t.Errorf("%s: %v, %v", what, result, err)
		}
	}
}

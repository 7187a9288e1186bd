package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

func TestClaims(t *testing.T) {
	var c claims
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "uk", UID: "one"}}
	key := client.ObjectKeyFromObject(uk)
	wantVanished := func(what string, present types.UID, at time.Time, want bool) {
		t.Helper()
		old, ok := c.vanished(key, present, at)
		if ok != want {
			t.Errorf("%s: %v, want %v", what, ok, want)
		}
		if ok && old.GetUID() != uk.UID {
			t.Errorf("%s: it is %s", what, old.GetUID())
		}
	}
	wantVanished("never claimed", "", now, false)
	c.add(uk, now)
	wantVanished("still there", "one", now, false)
	wantVanished("gone long after", "", now.Add(claimMemory+1), false)
	wantVanished("gone", "", now.Add(claimMemory), true)
	wantVanished("gone, and its clean-up takes long", "", now.Add(time.Hour), true)
	wantVanished("gone, and another has its name", "two", now.Add(time.Hour), true)
	c.forget(uk.UID)
	wantVanished("cleaned up", "", now, false)

	// What is over does not add up.
	c.add(uk, now)
	other := uk.DeepCopy()
	other.Name, other.UID = "other", "three"
	c.add(other, now.Add(claimMemory+1))
	if len(c.all) != 1 {
		t.Errorf("remembers %d", len(c.all))
	}
}

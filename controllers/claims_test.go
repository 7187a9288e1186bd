package controllers

import (
	"testing"
	"testing/synctest"
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
}

// TestClaimsAreForgotten has what is over not add up, but keeps what is being
// cleaned up.
func TestClaimsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c claims
		for _, name := range []string{"over", "cleaned"} {
			c.add(&v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}}, time.Now())
		}
		key := client.ObjectKey{Namespace: "ns", Name: "cleaned"}
		c.vanished(key, "", time.Now())
		for range 3 {
			time.Sleep(claimMemory + 1)
			synctest.Wait()
		}
		c.mu.Lock()
		if _, ok := c.all[key]; !ok || len(c.all) != 1 {
			t.Errorf("remembers %v", c.all)
		}
		c.mu.Unlock()
		c.forget("cleaned")
		time.Sleep(claimMemory + 1) // the last sweep finds nothing, and is not asked for again
		synctest.Wait()
	})
}

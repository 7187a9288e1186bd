package controllers

import (
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

// TestExpiry lets time go from one look at an instance to the next, with nothing
// else happening: the warning comes seven days before the end, and the end is
// noticed.
func TestExpiry(t *testing.T) {
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, left := range []time.Duration{90 * 24 * time.Hour, 8*24*time.Hour + time.Minute, expiryWarning + time.Second, expiryWarning, time.Hour} {
		end, now := start.Add(left), start
		instance := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: "host", Generation: 1}}
		looks := 0
		for ; now.Before(end); looks++ {
			s := &instanceScope{
				AlbatrossInstanceReconciler: &AlbatrossInstanceReconciler{Now: func() time.Time { return now }},
				instance:                    instance, before: instance.DeepCopy(),
				state: hosts.State{Connected: true, NotAfter: end, Snapshot: &hosts.Snapshot{Policies: map[string]albatross.Policy{}}},
			}
			s.conclude()
			want := v1alpha1.ReasonSucceeded
			if end.Sub(now) < expiryWarning {
				want = v1alpha1.ReasonCredentialsExpiring
			}
			conditions := instance.Status.Conditions
			valid := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionCredentialsValid)
			if valid.Reason != want || valid.Status != metav1.ConditionTrue || !apimeta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
				t.Errorf("%s before the end: %+v", end.Sub(now), conditions)
			}
			result, err := s.again().Result()
			if err != nil || result.RequeueAfter <= 0 {
				t.Fatalf("%s before the end: looks again %+v, %v", end.Sub(now), result, err)
			}
			// What was to be told must not be late.
			next := now.Add(result.RequeueAfter)
			for _, at := range []time.Time{end.Add(-expiryWarning), end} {
				if now.Before(at) && next.After(at.Add(time.Second)) {
					t.Errorf("%s before the end: the next look, after %s, is late", end.Sub(now), result.RequeueAfter)
				}
			}
			now = next
		}
		if most := int(left/(24*time.Hour)) + 3; looks > most {
			t.Errorf("%d looks in %s", looks, left)
		}
		s := &instanceScope{AlbatrossInstanceReconciler: &AlbatrossInstanceReconciler{Now: func() time.Time { return now }}, state: hosts.State{NotAfter: end}}
		if result, err := s.again().Result(); err != nil || result.RequeueAfter != 0 {
			t.Errorf("after the end: looks again %+v, %v", result, err)
		}
	}
}

package controllers

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
)

// history makes revisions, the newest first. A letter is an image; in upper case
// it was healthy.
func history(images string) (all []v1alpha1.Revision) {
	for i, image := range images {
		all = append(all, v1alpha1.Revision{
			Revision: int64(len(images) - i), Digest: strings.ToLower(string(image)), Healthy: image < 'a',
		})
	}
	return all
}

func TestLastGood(t *testing.T) {
	for images, want := range map[string]int64{"": 0, "A": 0, "a": 0, "bA": 1, "ba": 0, "cbA": 1, "cBa": 2, "AbA": 0, "aBA": 2} {
		got := lastGood(history(images), func(int64) bool { return true })
		if (got == nil) != (want == 0) || got != nil && got.Revision != want {
			t.Errorf("%q: %+v, want %d", images, got, want)
		}
	}
	if lastGood(history("bA"), func(int64) bool { return false }) != nil {
		t.Error("without its configuration a revision cannot be brought back")
	}
}

func TestTrimHistory(t *testing.T) {
	numbers := func(all []v1alpha1.Revision) (n []int64) {
		for _, r := range all {
			n = append(n, r.Revision)
		}
		return n
	}
	for _, tt := range []struct {
		images  string
		inForce int64
		lost    int64
	}{
		{"abcdefghij", 0, 0},
		{"abcdefghijk", 0, 1},
		{"abcdefghijK", 0, 2}, // the last good one
		{"abcdefghijk", 1, 2}, // the one in force
		{"abcdefghiJk", 1, 3},
	} {
		var inForce *v1alpha1.Revision
		if tt.inForce != 0 {
			inForce = &v1alpha1.Revision{Revision: tt.inForce}
		}
		got := trimHistory(history(tt.images), inForce)
		if len(got) > maxHistory {
			t.Errorf("%q: %d are kept", tt.images, len(got))
		}
		for _, n := range numbers(got) {
			if n == tt.lost {
				t.Errorf("%q: %d is kept: %v", tt.images, n, numbers(got))
			}
		}
	}
}

func TestRevisionConfig(t *testing.T) {
	uk := declared()
	uk.Spec.Memory, uk.Spec.CPUIDs, uk.Spec.StartupPriority = new(v1alpha1.FromMiB(64)), []v1alpha1.CPUID{1}, 7
	uk.Spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartOnFailure, ExitCodes: []v1alpha1.ExitCode{3}}
	info := runningAs(desiredOf(uk)).Info
	text, err := json.Marshal(runningConfig(info, &uk.Spec))
	if err != nil {
		t.Fatal(err)
	}
	changed := uk.DeepCopy()
	changed.Spec.Memory, changed.Spec.CPUIDs, changed.Spec.Arguments, changed.Spec.NetworkInterfaces, changed.Spec.BlockDevices = nil, nil, nil, nil, nil
	changed.Spec.RestartPolicy, changed.Spec.StartupPriority = nil, 0
	changed.Spec = *readConfigs(map[string][]byte{"3": text, "x": text, "4": []byte("[")})[3].onto(&changed.Spec)
	if differences := desiredOf(changed).differences(info); len(differences) != 0 {
		t.Errorf("what is brought back differs from what ran in %v", differences)
	}
	never := declared()
	never.Spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}
	if c := runningConfig(runningAs(desiredOf(never)).Info, &never.Spec); c.RestartPolicy == nil || c.RestartPolicy.Type != v1alpha1.RestartNever {
		t.Errorf("restart policy %+v", c.RestartPolicy)
	}
}

func TestWithConfig(t *testing.T) {
	half := make([]byte, maxConfigs/2)
	old := map[string][]byte{"2": []byte("two"), "1": half, "0": []byte("gone from history")}
	got := withConfig(old, history("abc"), half)
	if len(got) != 2 || len(got["3"]) != len(half) || string(got["2"]) != "two" {
		t.Errorf("keeps %v", slices.Sorted(maps.Keys(got)))
	}
	if got := withConfig(nil, history("a"), make([]byte, maxConfigs+1)); len(got) != 0 {
		t.Error("keeps what an API server may refuse")
	}
}

func TestRevisionInForce(t *testing.T) {
	uk := declared()
	uk.Status.History = history("bA")
	uk.Annotations = map[string]string{v1alpha1.AnnotationRollback: "1"}
	configs := map[int64]revisionConfig{1: {Arguments: []string{"--old"}}}
	got, err := revisionInForce(uk, "1", configs)
	if err != nil || got.revision.Revision != 1 || got.digest != "a" || !slices.Equal(got.spec.Arguments, []string{"--old"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for number, problem := range map[string]string{"2": "is not kept", "3": "no revision", "first": "no revision", "": "no revision"} {
		if _, err := revisionInForce(uk, number, configs); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: %v", number, err)
		}
	}
}

func TestRevisionAsked(t *testing.T) {
	uk := declared()
	if _, asked := revisionAsked(uk); asked {
		t.Error("nobody asked")
	}
	uk.Status.Rollback = &v1alpha1.RollbackStatus{Revision: 3}
	if number, _ := revisionAsked(uk); number != "3" {
		t.Errorf("rolled back to %q", number)
	}
	uk.Annotations = map[string]string{v1alpha1.AnnotationRollback: "1"}
	if number, _ := revisionAsked(uk); number != "1" {
		t.Errorf("asked for %q", number)
	}
}

func TestUpdateSlot(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	begins := map[time.Time]bool{}
	for _, source := range []string{"a", "b", "c", "d", "e"} {
		slot, next := updateSlot(source, time.Hour, noon)
		if slot.After(noon) || !next.After(noon) || next.Sub(slot) != time.Hour {
			t.Errorf("%s: from %s to %s", source, slot, next)
		}
		if again, _ := updateSlot(source, time.Hour, next.Add(-1)); !again.Equal(slot) {
			t.Errorf("%s: %s, then %s", source, slot, again)
		}
		if later, _ := updateSlot(source, time.Hour, next); !later.Equal(next) {
			t.Errorf("%s: %s, want %s", source, later, next)
		}
		begins[slot] = true
	}
	if len(begins) < 4 {
		t.Errorf("all ask at the same time: %v", begins)
	}
}

func TestUpdateClock(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var c updateClock
	if c.due("a", start.Add(-time.Minute), start) {
		t.Error("due for a time before the operator started")
	}
	later := start.Add(time.Minute)
	if !c.due("a", later, later) {
		t.Error("not due")
	}
	c.done("a", later)
	if c.due("a", later, later) || !c.due("b", later, later) {
		t.Error("not kept for each object")
	}
	c.forget("a")
	if len(c.asked) != 0 {
		t.Error("not forgotten")
	}
	var fresh updateClock
	fresh.done("a", start)
	if fresh.due("a", start, later) || !fresh.due("a", later, later) {
		t.Error("what was asked first is not kept")
	}
}

func TestWindowOpen(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse("Mon 2006-01-02 15:04 -0700", text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	window := func(start string, lasts time.Duration, zone string, days ...v1alpha1.Weekday) *v1alpha1.UpdateWindow {
		return &v1alpha1.UpdateWindow{Start: start, Duration: metav1.Duration{Duration: lasts}, TimeZone: zone, Days: days}
	}
	night := window("23:00", 2*time.Hour, "")
	for _, tt := range []struct {
		what string
		w    *v1alpha1.UpdateWindow
		now  string
		next string // empty when it is open
	}{
		{"none", nil, "Thu 2026-01-01 12:00 +0000", ""},
		{"before", night, "Thu 2026-01-01 22:59 +0000", "Thu 2026-01-01 23:00 +0000"},
		{"at its beginning", night, "Thu 2026-01-01 23:00 +0000", ""},
		{"after midnight", night, "Fri 2026-01-02 00:59 +0000", ""},
		{"at its end", night, "Fri 2026-01-02 01:00 +0000", "Fri 2026-01-02 23:00 +0000"},
		{"the day it began on counts", window("23:00", 2*time.Hour, "", "Thursday"), "Fri 2026-01-02 00:59 +0000", ""},
		{"another day", window("02:00", time.Hour, "", "Sunday", "Saturday"), "Thu 2026-01-01 02:30 +0000", "Sat 2026-01-03 02:00 +0000"},
		{"a week away", window("02:00", time.Hour, "", "Thursday"), "Thu 2026-01-01 03:00 +0000", "Thu 2026-01-08 02:00 +0000"},
		{"in another zone", window("02:00", time.Hour, "Europe/Berlin"), "Thu 2026-01-01 01:30 +0000", ""},
		{"in another zone in summer", window("02:00", time.Hour, "Europe/Berlin"), "Wed 2026-07-01 01:30 +0000", "Thu 2026-07-02 00:00 +0000"},
		{"all day", window("00:00", 24*time.Hour, ""), "Thu 2026-01-01 23:59 +0000", ""},
	} {
		open, next := windowOpen(tt.w, at(tt.now))
		if open != (tt.next == "") || !open && !next.Equal(at(tt.next)) {
			t.Errorf("%s: %v, next %s", tt.what, open, next)
		}
	}
}

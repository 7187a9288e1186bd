package controllers

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"mollymawk.dev/operator/api/v1alpha1"
)

// history makes revisions, the newest first. A letter is an image; in upper case
// it was healthy.
func history(images string) (all []v1alpha1.Revision) {
	for i, image := range images {
		all = append(all, v1alpha1.Revision{
			Revision: int64(len(images) - i), Digest: strings.ToLower(string(image)), Healthy: image < 'a',
			Config: &runtime.RawExtension{Raw: []byte("{}")},
		})
	}
	return all
}

func TestLastGood(t *testing.T) {
	for images, want := range map[string]int64{"": 0, "A": 0, "a": 0, "bA": 1, "ba": 0, "cbA": 1, "cBa": 2, "AbA": 0, "aBA": 2} {
		got := lastGood(history(images))
		if (got == nil) != (want == 0) || got != nil && got.Revision != want {
			t.Errorf("%q: %+v, want %d", images, got, want)
		}
	}
	lost := history("bA")
	lost[1].Config = nil
	if lastGood(lost) != nil {
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
	large := history("abcD")
	for i := range large {
		large[i].Config.Raw = make([]byte, maxHistoryConfig/2)
	}
	got := trimHistory(large, nil)
	if got[0].Config == nil || got[1].Config != nil || got[2].Config != nil || got[3].Config == nil {
		t.Error("not the newest and the last good one keep their configurations")
	}
}

func TestRevisionConfig(t *testing.T) {
	uk := declared()
	uk.Spec.Memory, uk.Spec.CPUIDs, uk.Spec.StartupPriority = new(v1alpha1.FromMiB(64)), []v1alpha1.CPUID{1}, 7
	uk.Spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartOnFailure, ExitCodes: []v1alpha1.ExitCode{3}}
	plain := uk.Spec.DeepCopy()
	plain.Memory, plain.CPUIDs, plain.Arguments, plain.NetworkInterfaces, plain.BlockDevices, plain.RestartPolicy, plain.StartupPriority = nil, nil, nil, nil, nil, nil, 0
	back, err := withConfig(plain, configOf(&uk.Spec))
	if err != nil {
		t.Fatal(err)
	}
	want, got := *uk, *uk
	got.Spec = *back
	if desiredOf(&got).configHash() != desiredOf(&want).configHash() {
		t.Errorf("brought back %+v of %+v", back, uk.Spec)
	}
	if _, err := withConfig(plain, &runtime.RawExtension{Raw: []byte("[")}); err == nil {
		t.Error("a damaged configuration is taken")
	}
}

func TestFindInForce(t *testing.T) {
	uk := declared()
	uk.Status.History = history("bA")
	for _, tt := range []struct {
		what       string
		annotation string
		rollback   int64
		want       int64
		problem    string
	}{
		{"what spec declares", "", 0, 0, ""},
		{"as asked", "1", 0, 1, ""},
		{"as asked, though rolled back", "2", 1, 2, ""},
		{"rolled back", "", 1, 1, ""},
		{"not in history", "3", 0, 0, "no revision"},
		{"no number", "first", 0, 0, "no revision"},
	} {
		uk := uk.DeepCopy()
		if tt.annotation != "" {
			uk.Annotations = map[string]string{v1alpha1.AnnotationRollback: tt.annotation}
		}
		if tt.rollback != 0 {
			uk.Status.Rollback = &v1alpha1.RollbackStatus{Revision: tt.rollback}
		}
		got, err := findInForce(uk)
		if (err != nil) != (tt.problem != "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%s: %v", tt.what, err)
		}
		if got.spec == nil || (got.revision == nil) != (tt.want == 0) || got.revision != nil && got.revision.Revision != tt.want {
			t.Errorf("%s: %+v", tt.what, got.revision)
		}
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
	c := newUpdateClock(start)
	if c.due("a", start.Add(-time.Minute)) {
		t.Error("due for a time before the operator started")
	}
	if !c.due("a", start.Add(time.Minute)) {
		t.Error("not due")
	}
	c.done("a", start.Add(time.Minute))
	if c.due("a", start.Add(time.Minute)) || !c.due("b", start.Add(time.Minute)) {
		t.Error("not kept for each object")
	}
	c.forget("a")
	if len(c.asked) != 0 {
		t.Error("not forgotten")
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

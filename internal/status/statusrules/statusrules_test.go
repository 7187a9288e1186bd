package statusrules_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/status/statusrules"
)

var noon = metav1.NewTime(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))

func condition(conditionType string, status metav1.ConditionStatus) metav1.Condition {
	return metav1.Condition{
		Type: conditionType, Status: status, Reason: "Because", Message: "of this",
		ObservedGeneration: 2, LastTransitionTime: noon,
	}
}

func ready(status metav1.ConditionStatus) metav1.Condition { return condition("Ready", status) }
func reconciling() metav1.Condition {
	return condition("Reconciling", metav1.ConditionTrue)
}
func stalled() metav1.Condition { return condition("Stalled", metav1.ConditionTrue) }

// unikernel is at generation 2, which was observed.
func unikernel(conditions ...metav1.Condition) *v1alpha1.Unikernel {
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "alice", Generation: 2}}
	uk.Status.ObservedGeneration = 2
	uk.Status.Conditions = conditions
	return uk
}

func TestObjectsInOrder(t *testing.T) {
	unseen := unikernel()
	unseen.Status.ObservedGeneration = -1
	changed := unikernel(ready(metav1.ConditionTrue))
	changed.Generation = 3
	deleted := unikernel(ready(metav1.ConditionFalse), reconciling())
	deleted.DeletionTimestamp = &noon
	foreign := condition("example.com/Foreign", metav1.ConditionFalse)
	foreign.ObservedGeneration = 0
	for what, uk := range map[string]*v1alpha1.Unikernel{
		"not seen yet":              unseen,
		"ready":                     unikernel(ready(metav1.ConditionTrue), condition("Running", metav1.ConditionTrue)),
		"working":                   unikernel(ready(metav1.ConditionFalse), reconciling()),
		"lost":                      unikernel(ready(metav1.ConditionUnknown), reconciling()),
		"stalled":                   unikernel(ready(metav1.ConditionFalse), stalled()),
		"changed and not seen":      changed,
		"being deleted":             deleted,
		"condition of someone else": unikernel(ready(metav1.ConditionTrue), foreign),
	} {
		if broken := statusrules.Check(uk); broken != nil {
			t.Errorf("%s: %q", what, broken)
		}
	}
}

func with(c metav1.Condition, change func(*metav1.Condition)) metav1.Condition {
	change(&c)
	return c
}

func TestEveryRule(t *testing.T) {
	unseen := unikernel()
	unseen.Status.ObservedGeneration = 0 // without the default of -1
	ahead := unikernel(ready(metav1.ConditionTrue))
	ahead.Generation = 1
	behind := unikernel(ready(metav1.ConditionTrue))
	behind.Status.ObservedGeneration = 1
	for _, tt := range []struct {
		what string
		uk   *v1alpha1.Unikernel
		want string
	}{
		{"never seen, without the default", unseen, "kstatus says Current"},
		{"seen, and nothing said", unikernel(), "kstatus says Current"},
		{"details only", unikernel(condition("Running", metav1.ConditionTrue)), "Ready is missing"},
		{"both", unikernel(ready(metav1.ConditionFalse), reconciling(), stalled()), "there together"},
		{"True beside Reconciling", unikernel(ready(metav1.ConditionTrue), reconciling()), "beside Reconciling or Stalled"},
		{"True beside Stalled", unikernel(ready(metav1.ConditionTrue), stalled()), "beside Reconciling or Stalled"},
		{"Unknown alone", unikernel(ready(metav1.ConditionUnknown)), "Unknown without Reconciling"},
		{"Unknown and Stalled", unikernel(ready(metav1.ConditionUnknown), stalled()), "Unknown without Reconciling"},
		{"Unknown, and both", unikernel(ready(metav1.ConditionUnknown), reconciling(), stalled()), "should be False"},
		{"False alone", unikernel(ready(metav1.ConditionFalse)), "with neither"},
		{"Reconciling False", unikernel(ready(metav1.ConditionTrue), condition("Reconciling", metav1.ConditionFalse)), "True or absent"},
		{"Stalled Unknown", unikernel(ready(metav1.ConditionFalse), condition("Stalled", metav1.ConditionUnknown)), "True or absent"},
		{"two reasons", unikernel(ready(metav1.ConditionFalse),
			with(stalled(), func(c *metav1.Condition) { c.Reason = "Other" })), "different reasons"},
		{"two messages", unikernel(ready(metav1.ConditionFalse),
			with(reconciling(), func(c *metav1.Condition) { c.Message = "other" })), "different reasons"},
		{"no reason", unikernel(with(ready(metav1.ConditionTrue), func(c *metav1.Condition) { c.Reason = "" })), `the reason ""`},
		{"a sentence as reason", unikernel(with(ready(metav1.ConditionTrue), func(c *metav1.Condition) { c.Reason = "it works" })), "the reason"},
		{"no type", unikernel(ready(metav1.ConditionTrue), condition("", metav1.ConditionTrue)), "no type"},
		{"no status", unikernel(ready(metav1.ConditionTrue), condition("Running", "")), `the status ""`},
		{"no time", unikernel(with(ready(metav1.ConditionTrue), func(c *metav1.Condition) { c.LastTransitionTime = metav1.Time{} })), "no lastTransitionTime"},
		{"long message", unikernel(with(ready(metav1.ConditionTrue), func(c *metav1.Condition) { c.Message = strings.Repeat("x", 32769) })), "too long"},
		{"bytes as message", unikernel(with(ready(metav1.ConditionTrue), func(c *metav1.Condition) { c.Message = "\xff" })), "no UTF-8"},
		{"doubled", unikernel(ready(metav1.ConditionTrue), ready(metav1.ConditionTrue)), "there twice"},
		{"ahead of the object", ahead, "the object is at 1"},
		{"condition ahead of the object", unikernel(ready(metav1.ConditionTrue),
			with(condition("Running", metav1.ConditionTrue), func(c *metav1.Condition) { c.ObservedGeneration = 3 })), "the object is at 2"},
		{"condition ahead of the status", behind, "status.observedGeneration is 1"},
		{"condition behind the status", unikernel(with(ready(metav1.ConditionTrue),
			func(c *metav1.Condition) { c.ObservedGeneration = 1 })), "observed for generation 1"},
	} {
		if broken := strings.Join(statusrules.Check(tt.uk), "; "); !strings.Contains(broken, tt.want) {
			t.Errorf("%s: %q does not say %q", tt.what, broken, tt.want)
		}
	}
}

func TestUnstructuredObjects(t *testing.T) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(unikernel(ready(metav1.ConditionFalse)))
	if err != nil {
		t.Fatal(err)
	}
	broken := statusrules.Check(&unstructured.Unstructured{Object: content})
	if len(broken) != 1 || !strings.Contains(broken[0], "with neither") {
		t.Errorf("got %q", broken)
	}
	odd := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": "fine"}}}
	if broken := statusrules.Check(odd); len(broken) != 1 || !strings.Contains(broken[0], "usual form") {
		t.Errorf("conditions that are a text: %q", broken)
	}
	if broken := statusrules.CheckChange(odd, odd); len(broken) != 1 {
		t.Errorf("change of conditions that are a text: %q", broken)
	}
	if broken := statusrules.CheckChange(unikernel(), odd); len(broken) != 1 {
		t.Errorf("change to conditions that are a text: %q", broken)
	}
}

func TestChanges(t *testing.T) {
	later := func(c *metav1.Condition) { c.LastTransitionTime = metav1.NewTime(noon.Add(time.Second)) }
	earlier := func(c *metav1.Condition) { c.LastTransitionTime = metav1.NewTime(noon.Add(-time.Second)) }
	back := unikernel(ready(metav1.ConditionTrue))
	back.Status.ObservedGeneration = 1
	another := unikernel(with(ready(metav1.ConditionTrue), later))
	another.UID = "made-anew"
	start := unikernel(ready(metav1.ConditionTrue))
	for _, tt := range []struct {
		what string
		to   *v1alpha1.Unikernel
		want string
	}{
		{"nothing", unikernel(ready(metav1.ConditionTrue)), ""},
		{"another status", unikernel(with(ready(metav1.ConditionFalse), later), with(reconciling(), later)), ""},
		{"another reason", unikernel(with(ready(metav1.ConditionTrue), func(c *metav1.Condition) { c.Reason = "Paused" })), ""},
		{"another status in the same second", unikernel(ready(metav1.ConditionFalse), reconciling()), ""},
		{"gone", unikernel(), ""},
		{"another object of that name", another, ""},
		{"another time only", unikernel(with(ready(metav1.ConditionTrue), later)), "stayed True"},
		{"an earlier time", unikernel(with(ready(metav1.ConditionFalse), earlier)), "earlier lastTransitionTime"},
		{"an older observation", back, "from 2 back to 1"},
	} {
		broken := strings.Join(statusrules.CheckChange(start, tt.to), "; ")
		if (tt.want == "") != (broken == "") || !strings.Contains(broken, tt.want) {
			t.Errorf("%s: %q, want %q", tt.what, broken, tt.want)
		}
	}
}

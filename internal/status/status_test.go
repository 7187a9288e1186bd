package status_test

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/status"
	"mollymawk.dev/operator/internal/status/statusrules"
)

var (
	noon  = metav1.NewTime(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	owned = []string{"Ready", "Reconciling", "Stalled", "Running"}
)

// verdicts are all that can be reached, in the order of the constructors.
var verdicts = []struct {
	v       status.Verdict
	ready   metav1.ConditionStatus
	beside  string
	kstatus kstatus.Status
	stalled bool
}{
	{status.Ready("Succeeded", "running"), metav1.ConditionTrue, "", kstatus.CurrentStatus, false},
	{status.Working("Creating", "being made"), metav1.ConditionFalse, "Reconciling", kstatus.InProgressStatus, false},
	{status.Lost("HostUnreachable", "connection refused"), metav1.ConditionUnknown, "Reconciling", kstatus.InProgressStatus, false},
	{status.Stalled("NoPolicy", "no policy"), metav1.ConditionFalse, "Stalled", kstatus.FailedStatus, true},
}

func TestVerdicts(t *testing.T) {
	for _, tt := range verdicts {
		conditions := tt.v.Conditions()
		if tt.v.IsZero() || tt.v.IsStalled() != tt.stalled {
			t.Errorf("%+v: zero %v, stalled %v", tt.v, tt.v.IsZero(), tt.v.IsStalled())
		}
		want := []metav1.Condition{{Type: "Ready", Status: tt.ready, Reason: tt.v.Reason, Message: tt.v.Message}}
		if tt.beside != "" {
			want = append(want, metav1.Condition{Type: tt.beside, Status: metav1.ConditionTrue, Reason: tt.v.Reason, Message: tt.v.Message})
		}
		if !reflect.DeepEqual(conditions, want) {
			t.Errorf("%+v gives %+v, want %+v", tt.v, conditions, want)
		}
	}
}

func TestNoVerdict(t *testing.T) {
	var none status.Verdict
	if !none.IsZero() || none.IsStalled() || none.Conditions() != nil {
		t.Errorf("the zero verdict: %v, %v, %v", none.IsZero(), none.IsStalled(), none.Conditions())
	}
}

// object is a Unikernel at generation 3 with the conditions, all of it observed.
func object(conditions []metav1.Condition) *v1alpha1.Unikernel {
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "alice", Generation: 3}}
	uk.Status.ObservedGeneration = 3
	uk.Status.Conditions = conditions
	return uk
}

// Every verdict after every other, so that nothing of an earlier one is left.
func TestVerdictsKeepTheRules(t *testing.T) {
	for _, first := range verdicts {
		for _, then := range verdicts {
			earlier := status.Merge(nil, first.v.Conditions(), owned, 3, noon)
			later := status.Merge(earlier, then.v.Conditions(), owned, 3, metav1.NewTime(noon.Add(time.Minute)))
			before, after := object(earlier), object(later)
			if broken := append(statusrules.Check(after), statusrules.CheckChange(before, after)...); broken != nil {
				t.Errorf("%s after %s: %q", then.v.Reason, first.v.Reason, broken)
			}
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(after)
			if err != nil {
				t.Fatal(err)
			}
			result, err := kstatus.Compute(&unstructured.Unstructured{Object: content})
			if err != nil || result.Status != then.kstatus {
				t.Errorf("%s after %s: kstatus %v, %v, want %s", then.v.Reason, first.v.Reason, result, err, then.kstatus)
			}
		}
	}
}

func TestMessages(t *testing.T) {
	for _, tt := range []struct{ what, message, want string }{
		{"short", "fine", "fine"},
		{"just fits", strings.Repeat("x", 1024), strings.Repeat("x", 1024)},
		{"too long", strings.Repeat("x", 1025), strings.Repeat("x", 1021) + "..."},
		{"cut in half a character", "x" + strings.Repeat("é", 600), "x" + strings.Repeat("é", 510) + "..."},
		{"not UTF-8", "a\xffb", "ab"},
		{"empty", "", ""},
	} {
		c := status.Condition("Ready", metav1.ConditionFalse, "Refused", tt.message)
		if c.Message != tt.want || !utf8.ValidString(c.Message) {
			t.Errorf("%s: %d bytes, %.40q", tt.what, len(c.Message), c.Message)
		}
	}
}

func condition(conditionType string, s metav1.ConditionStatus, reason string, generation int64, at metav1.Time) metav1.Condition {
	return metav1.Condition{Type: conditionType, Status: s, Reason: reason, ObservedGeneration: generation, LastTransitionTime: at}
}

func TestMerge(t *testing.T) {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	later := metav1.NewTime(noon.Add(90*time.Minute + 123*time.Millisecond))
	whole := metav1.NewTime(noon.Add(90 * time.Minute))
	foreign := condition("example.com/Audited", yes, "Audited", 1, noon)
	for _, tt := range []struct {
		what                  string
		present, wanted, want []metav1.Condition
	}{
		{"nothing at all", nil, nil, nil},
		{"the first time, in whole seconds", nil,
			[]metav1.Condition{condition("Ready", yes, "A", 0, metav1.Time{})},
			[]metav1.Condition{condition("Ready", yes, "A", 7, whole)}},
		{"same status, other reason: same time",
			[]metav1.Condition{condition("Ready", yes, "A", 6, noon)},
			[]metav1.Condition{condition("Ready", yes, "B", 0, metav1.Time{})},
			[]metav1.Condition{condition("Ready", yes, "B", 7, noon)}},
		{"other status: other time",
			[]metav1.Condition{condition("Ready", yes, "A", 6, noon)},
			[]metav1.Condition{condition("Ready", no, "A", 0, metav1.Time{})},
			[]metav1.Condition{condition("Ready", no, "A", 7, whole)}},
		{"owned and not wanted: gone",
			[]metav1.Condition{condition("Ready", no, "A", 7, noon), condition("Stalled", yes, "A", 7, noon)},
			[]metav1.Condition{condition("Ready", no, "A", 0, metav1.Time{})},
			[]metav1.Condition{condition("Ready", no, "A", 7, noon)}},
		{"somebody else's: untouched",
			[]metav1.Condition{foreign}, []metav1.Condition{condition("Ready", yes, "A", 0, metav1.Time{})},
			[]metav1.Condition{condition("Ready", yes, "A", 7, whole), foreign}},
		{"wanted though not owned: once",
			[]metav1.Condition{condition("Odd", no, "A", 6, noon)}, []metav1.Condition{condition("Odd", no, "B", 0, metav1.Time{})},
			[]metav1.Condition{condition("Odd", no, "B", 7, noon)}},
		{"the summary first, then by name", nil,
			[]metav1.Condition{
				condition("Running", no, "A", 0, noon), condition("HostAvailable", yes, "A", 0, noon),
				condition("Stalled", yes, "A", 0, noon), condition("Reconciling", yes, "A", 0, noon), condition("Ready", no, "A", 0, noon),
			},
			[]metav1.Condition{
				condition("Ready", no, "A", 7, whole), condition("Reconciling", yes, "A", 7, whole), condition("Stalled", yes, "A", 7, whole),
				condition("HostAvailable", yes, "A", 7, whole), condition("Running", no, "A", 7, whole),
			}},
	} {
		got := status.Merge(tt.present, tt.wanted, owned, 7, later)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.what, got, tt.want)
		}
		again := status.Merge(got, tt.wanted, owned, 7, metav1.NewTime(later.Add(time.Hour)))
		if !reflect.DeepEqual(again, got) {
			t.Errorf("%s: a second merge changes it:\n got %+v\nwant %+v", tt.what, again, got)
		}
	}
}

func TestMergeLeavesItsInput(t *testing.T) {
	present := []metav1.Condition{condition("Stalled", "True", "A", 1, noon), condition("Ready", "False", "A", 1, noon)}
	wanted := status.Ready("Succeeded", "").Conditions()
	presentBefore, wantedBefore := append([]metav1.Condition(nil), present...), append([]metav1.Condition(nil), wanted...)
	status.Merge(present, wanted, owned, 2, noon)
	if !reflect.DeepEqual(present, presentBefore) || !reflect.DeepEqual(wanted, wantedBefore) {
		t.Errorf("changed its input: %+v, %+v", present, wanted)
	}
}

func TestSaveWritesOnlyWhatWasRead(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	start := object(nil)
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(start).WithStatusSubresource(start).Build()
	read := func() *v1alpha1.Unikernel {
		var uk v1alpha1.Unikernel
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(start), &uk); err != nil {
			t.Fatal(err)
		}
		return &uk
	}
	before := read()
	after := before.DeepCopy()
	after.Status.Conditions = status.Merge(nil, status.Ready("Succeeded", "running").Conditions(), owned, 3, noon)
	if err := status.Save(t.Context(), c, c, before, after); err != nil {
		t.Fatal(err)
	}
	if broken := statusrules.Check(read()); broken != nil {
		t.Errorf("after saving: %q", broken)
	}
	stale := before.DeepCopy()
	stale.Status.Conditions = status.Merge(nil, status.Lost("HostUnreachable", "").Conditions(), owned, 3, noon)
	if err := status.Save(t.Context(), c, c, before, stale); !apierrors.IsConflict(err) {
		t.Errorf("a status that was read earlier: %v", err)
	}

	// Somebody else's label is no reason to forget what was found, and stays.
	before = read()
	labelled := before.DeepCopy()
	labelled.Labels = map[string]string{"label": "new"}
	if err := c.Update(t.Context(), labelled); err != nil {
		t.Fatal(err)
	}
	after = before.DeepCopy()
	after.Status.Conditions = stale.Status.Conditions
	if err := status.Save(t.Context(), c, c, before, after); err != nil {
		t.Fatal(err)
	}
	if now := read(); now.Labels["label"] != "new" || len(now.Status.Conditions) != len(stale.Status.Conditions) {
		t.Errorf("after saving: %+v", now)
	}
}

// Package statusrules tells what is wrong with the status of an object: the
// rules of kstatus, and those of this project that keep people and tools from
// misreading conditions. It is for tests, which run it on every object they see.
package statusrules

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// Check gives the rules that an object breaks, one sentence each; nil means none.
// It holds at every instant of an object's life, from its first read (when
// status has only its default) to its last.
func Check(object client.Object) []string {
	content, o, err := read(object)
	if err != nil {
		return []string{err.Error()}
	}
	var broken []string
	for _, c := range o.Status.Conditions {
		broken = append(broken, wellFormed(c, o)...)
	}
	broken = append(broken, twice(o)...)
	broken = append(broken, summary(o)...)
	broken = append(broken, generations(o)...)
	return append(broken, computed(content, o)...)
}

// CheckChange gives the rules that a later version of an object breaks when seen
// after an earlier one: times of transitions move when a status changes and only
// then, and what was observed never becomes older.
func CheckChange(earlier, later client.Object) []string {
	_, before, err := read(earlier)
	if err != nil {
		return []string{err.Error()}
	}
	_, after, err := read(later)
	if err != nil {
		return []string{err.Error()}
	}
	if before.Metadata.UID != after.Metadata.UID {
		return nil
	}
	var broken []string
	if after.Status.ObservedGeneration < before.Status.ObservedGeneration {
		broken = append(broken, fmt.Sprintf("status.observedGeneration went from %d back to %d", before.Status.ObservedGeneration, after.Status.ObservedGeneration))
	}
	for _, c := range after.Status.Conditions {
		old := before.find(c.Type)
		switch {
		case old == nil:
		case old.Status == c.Status && !old.LastTransitionTime.Equal(&c.LastTransitionTime):
			broken = append(broken, fmt.Sprintf("%s stayed %s and has another lastTransitionTime", c.Type, c.Status))
		case c.LastTransitionTime.Before(&old.LastTransitionTime):
			broken = append(broken, fmt.Sprintf("%s has an earlier lastTransitionTime than before", c.Type))
		}
	}
	return broken
}

// object is what the rules are about, of any kind.
type object struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		ObservedGeneration int64              `json:"observedGeneration"`
		Conditions         []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

func (o object) find(conditionType string) *metav1.Condition {
	for i := range o.Status.Conditions {
		if o.Status.Conditions[i].Type == conditionType {
			return &o.Status.Conditions[i]
		}
	}
	return nil
}

func read(from client.Object) (*unstructured.Unstructured, object, error) {
	var o object
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(from)
	if err != nil {
		return nil, o, fmt.Errorf("not to be read: %w", err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &o); err != nil {
		return nil, o, fmt.Errorf("status is not of the usual form: %w", err)
	}
	return &unstructured.Unstructured{Object: content}, o, nil
}

// The forms that the schema of conditions demands.
var reasonForm = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)

const maxMessage = 32768

func wellFormed(c metav1.Condition, o object) (broken []string) {
	complain := func(format string, args ...any) {
		broken = append(broken, fmt.Sprintf("condition %q ", c.Type)+fmt.Sprintf(format, args...))
	}
	if c.Type == "" {
		complain("has no type")
	}
	switch c.Status {
	case metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown:
	default:
		complain("has the status %q", c.Status)
	}
	if !reasonForm.MatchString(c.Reason) {
		complain("has the reason %q", c.Reason)
	}
	if utf8.RuneCountInString(c.Message) > maxMessage || !utf8.ValidString(c.Message) {
		complain("has a message that is too long or no UTF-8")
	}
	if c.LastTransitionTime.IsZero() {
		complain("has no lastTransitionTime")
	}
	if c.ObservedGeneration > o.Metadata.Generation {
		complain("was observed for generation %d, and the object is at %d", c.ObservedGeneration, o.Metadata.Generation)
	}
	return broken
}

func twice(o object) (broken []string) {
	seen := map[string]bool{}
	for _, c := range o.Status.Conditions {
		if seen[c.Type] {
			broken = append(broken, fmt.Sprintf("condition %q is there twice", c.Type))
		}
		seen[c.Type] = true
	}
	return broken
}

// summary is about how Ready, Reconciling and Stalled go together.
func summary(o object) (broken []string) {
	ready, reconciling, stalled := o.find(v1alpha1.ConditionReady), o.find(v1alpha1.ConditionReconciling), o.find(v1alpha1.ConditionStalled)
	broken = append(broken, abnormal(reconciling, ready)...)
	broken = append(broken, abnormal(stalled, ready)...)
	if reconciling != nil && stalled != nil {
		broken = append(broken, "Reconciling and Stalled are there together")
	}
	if ready != nil {
		return append(broken, explained(ready.Status, reconciling != nil, stalled != nil)...)
	}
	if len(o.Status.Conditions) > 0 {
		broken = append(broken, "Ready is missing")
	}
	return broken
}

// abnormal is about Reconciling or Stalled, which say why Ready is not True.
func abnormal(c, ready *metav1.Condition) (broken []string) {
	if c == nil {
		return nil
	}
	if c.Status != metav1.ConditionTrue {
		broken = append(broken, fmt.Sprintf("%s is there and %s: it should be True or absent", c.Type, c.Status))
	}
	if ready != nil && (ready.Reason != c.Reason || ready.Message != c.Message) {
		broken = append(broken, fmt.Sprintf("%s and Ready give different reasons or messages", c.Type))
	}
	return broken
}

// explained has each status of Ready go with what it means.
func explained(ready metav1.ConditionStatus, reconciling, stalled bool) (broken []string) {
	switch ready {
	case metav1.ConditionTrue:
		if reconciling || stalled {
			broken = append(broken, "Ready is True beside Reconciling or Stalled")
		}
	case metav1.ConditionFalse:
		if !reconciling && !stalled {
			broken = append(broken, "Ready is False with neither Reconciling nor Stalled")
		}
	case metav1.ConditionUnknown:
		if !reconciling {
			broken = append(broken, "Ready is Unknown without Reconciling")
		}
		if stalled {
			broken = append(broken, "Ready is Unknown beside Stalled, where it should be False")
		}
	}
	return broken
}

// generations has readers of a condition and of status.observedGeneration come
// to the same conclusion about whether the newest declaration was seen.
func generations(o object) (broken []string) {
	observed := o.Status.ObservedGeneration
	if observed > o.Metadata.Generation {
		broken = append(broken, fmt.Sprintf("status.observedGeneration is %d, and the object is at %d", observed, o.Metadata.Generation))
	}
	for _, conditionType := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if c := o.find(conditionType); c != nil && c.ObservedGeneration != observed {
			broken = append(broken, fmt.Sprintf("%s was observed for generation %d, and status.observedGeneration is %d", c.Type, c.ObservedGeneration, observed))
		}
	}
	return broken
}

// computed compares what kstatus concludes with what the operator means.
func computed(content *unstructured.Unstructured, o object) []string {
	result, err := kstatus.Compute(content)
	if err != nil {
		return []string{"kstatus fails: " + err.Error()}
	}
	if want := meant(o); result.Status != want {
		return []string{fmt.Sprintf("kstatus says %s (%s), meant is %s", result.Status, result.Message, want)}
	}
	return argoAgrees(content.Object, o, result.Status)
}

func meant(o object) kstatus.Status {
	ready := o.find(v1alpha1.ConditionReady)
	switch {
	case o.Metadata.DeletionTimestamp != nil:
		return kstatus.TerminatingStatus
	case o.Status.ObservedGeneration != o.Metadata.Generation:
		return kstatus.InProgressStatus
	case o.find(v1alpha1.ConditionStalled) != nil:
		return kstatus.FailedStatus
	case ready != nil && ready.Status == metav1.ConditionTrue:
		return kstatus.CurrentStatus
	}
	return kstatus.InProgressStatus
}

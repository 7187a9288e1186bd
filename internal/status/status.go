// Package status keeps the conditions of objects: it sums up what a reconcile
// found, merges it with what is there, and writes it once, when it differs.
package status

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// progress says whether the operator goes on by itself.
type progress uint8

const (
	settled progress = iota
	working
	stalled
)

// Verdict is what a reconcile found about an object as a whole. Make it with
// [Ready], [Settled], [Working], [Lost] or [Stalled]; they keep the rules of
// kstatus: Reconciling and Stalled exclude each other, a Ready that is Unknown
// goes with Reconciling, and one that is True with neither.
type Verdict struct {
	Status          metav1.ConditionStatus
	Reason, Message string
	progress        progress
}

// Ready says that the object is as declared.
func Ready(reason, message string) Verdict {
	return Verdict{metav1.ConditionTrue, reason, message, settled}
}

// Working says that the object is not as declared yet and the operator goes on.
func Working(reason, message string) Verdict {
	return Verdict{metav1.ConditionFalse, reason, message, working}
}

// Lost says that the operator cannot know, and goes on trying to.
func Lost(reason, message string) Verdict {
	return Verdict{metav1.ConditionUnknown, reason, message, working}
}

// Stalled says that the object is not as declared and somebody must act.
func Stalled(reason, message string) Verdict {
	return Verdict{metav1.ConditionFalse, reason, message, stalled}
}

// IsStalled tells whether somebody must act.
func (v Verdict) IsStalled() bool { return v.progress == stalled }

// IsZero tells whether no verdict was reached.
func (v Verdict) IsZero() bool { return v.Status == "" }

// Conditions gives Ready and, while they hold, Reconciling or Stalled; nothing
// when no verdict was reached.
func (v Verdict) Conditions() []metav1.Condition {
	if v.IsZero() {
		return nil
	}
	all := []metav1.Condition{Condition(v1alpha1.ConditionReady, v.Status, v.Reason, v.Message)}
	switch v.progress {
	case working:
		all = append(all, Condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v.Reason, v.Message))
	case stalled:
		all = append(all, Condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v.Reason, v.Message))
	}
	return all
}

// maxMessage is well below the schema's limit of 32768.
const maxMessage = 1024

// Condition makes a condition; generation and time are added by [Merge].
func Condition(conditionType string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	if len(message) > maxMessage {
		message = message[:maxMessage-3] + "..."
	}
	// A host's text need not be UTF-8, and a cut may leave half a character.
	message = strings.ToValidUTF8(message, "")
	return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message}
}

// Merge gives the conditions to be kept: the wanted ones, those there are of
// other types that are not owned, and of the owned types nothing else. The time
// of a transition stays while the status does, so that merging twice is the same
// as merging once.
func Merge(present, wanted []metav1.Condition, owned []string, generation int64, now metav1.Time) []metav1.Condition {
	var merged []metav1.Condition
	for _, c := range present {
		if !slices.Contains(owned, c.Type) && apimeta.FindStatusCondition(wanted, c.Type) == nil {
			merged = append(merged, c)
		}
	}
	for _, c := range wanted {
		c.ObservedGeneration = generation
		c.LastTransitionTime = metav1.NewTime(now.Rfc3339Copy().Time)
		if old := apimeta.FindStatusCondition(present, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		merged = append(merged, c)
	}
	slices.SortFunc(merged, func(a, b metav1.Condition) int {
		return cmp.Or(cmp.Compare(rank(a.Type), rank(b.Type)), cmp.Compare(a.Type, b.Type))
	})
	return merged
}

// rank puts the summary before the details.
func rank(conditionType string) int {
	at := slices.Index([]string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled}, conditionType)
	if at < 0 {
		return 3
	}
	return at
}

// saveAttempts bounds how often [Save] follows an object that changes.
const saveAttempts = 10

// Save writes the status of after, which was read as before. The caller has
// compared the two: at steady state nothing is sent. It writes also when somebody
// changed something else of the object meanwhile, since what was done must not be
// forgotten for a label. It fails with a conflict when the status itself is
// another than was read. live reads past the cache.
func Save(ctx context.Context, c client.Client, live client.Reader, before, after client.Object) error {
	err := patch(ctx, c, before, after)
	for range saveAttempts {
		if !apierrors.IsConflict(err) {
			return err
		}
		current := Empty(after)
		if getErr := live.Get(ctx, client.ObjectKeyFromObject(after), current); getErr != nil {
			return getErr
		}
		next, same, convertErr := onto(current, before, after)
		if convertErr != nil {
			return convertErr
		}
		if !same {
			return err
		}
		err = patch(ctx, c, current, next)
	}
	return err
}

func patch(ctx context.Context, c client.Client, before, after client.Object) error {
	return c.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// Empty gives an empty object of the same kind, to read into: what the API server
// leaves out stays as it was in one that is not empty.
func Empty(o client.Object) client.Object {
	return reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
}

// Same tells whether two versions of one object have the same status.
func Same(a, b client.Object) (bool, error) {
	var content [2]map[string]any
	for i, o := range []client.Object{a, b} {
		var err error
		if content[i], err = runtime.DefaultUnstructuredConverter.ToUnstructured(o); err != nil {
			return false, err
		}
	}
	return a.GetUID() == b.GetUID() && equality.Semantic.DeepEqual(content[0]["status"], content[1]["status"]), nil
}

// onto gives the current object with the status of after; same tells whether its
// own is that of before.
func onto(current, before, after client.Object) (next client.Object, same bool, err error) {
	if same, err = Same(current, before); err != nil {
		return nil, false, err
	}
	var content [2]map[string]any
	for i, o := range []client.Object{current, after} {
		if content[i], err = runtime.DefaultUnstructuredConverter.ToUnstructured(o); err != nil {
			return nil, false, err
		}
	}
	content[0]["status"] = content[1]["status"]
	next = after.DeepCopyObject().(client.Object)
	return next, same, runtime.DefaultUnstructuredConverter.FromUnstructured(content[0], next)
}

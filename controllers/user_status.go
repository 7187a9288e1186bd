package controllers

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// userConditions are those that are ours.
var userConditions = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionNamespaceReady,
}

// settle says how things are when all is as declared.
func (s *userScope) settle(context.Context) outcome.Outcome {
	s.verdict = status.Ready(v1alpha1.ReasonSucceeded, "active, with a namespace")
	s.namespaceReady = new(status.Condition(v1alpha1.ConditionNamespaceReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "there, and the user's own"))
	return outcome.Done()
}

// conclude writes what was found into the status. A namespace that was not looked
// at keeps its last condition.
func (s *userScope) conclude() {
	if s.verdict.IsZero() {
		return
	}
	st := &s.user.Status
	wanted := withDetails(s.verdict, st.Conditions, map[string]*metav1.Condition{v1alpha1.ConditionNamespaceReady: s.namespaceReady})
	st.ObservedGeneration = s.user.Generation
	st.Conditions = status.Merge(st.Conditions, wanted, userConditions, s.user.Generation, metav1.NewTime(s.now()))
}

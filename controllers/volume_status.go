package controllers

import (
	"context"
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// volumeConditions are those that this reconciler owns.
var volumeConditions = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
	v1alpha1.ConditionHostAvailable, v1alpha1.ConditionProvisioned, v1alpha1.ConditionPopulated,
}

// settle says how things are when there is nothing left to do. A block that we
// did not make is recorded as adopted before it is owned: so it can never be
// taken for one of ours that is still to be filled.
func (s *volumeScope) settle(ctx context.Context) outcome.Outcome {
	s.recordFacts()
	s.verdict = status.Ready(v1alpha1.ReasonSucceeded, "there as declared")
	if s.populated == nil && !apimeta.IsStatusConditionTrue(s.volume.Status.Conditions, v1alpha1.ConditionPopulated) {
		s.populated = new(status.Condition(v1alpha1.ConditionPopulated, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, s.whyNotFilled()))
	}
	if s.owned() {
		return outcome.Done()
	}
	if s.before.Status.HostName == "" {
		return outcome.Again()
	}
	if err := s.own(ctx); err != nil {
		return outcome.AfterWriting(err)
	}
	return outcome.Done()
}

func (s *volumeScope) whyNotFilled() string {
	if s.volume.Spec.Source == nil {
		return "there is no source to fill it from"
	}
	return "it was there before this object; what it holds was left alone"
}

// recordFacts takes over what the host tells.
func (s *volumeScope) recordFacts() {
	st := &s.volume.Status
	st.HostName = s.at.name.String()
	st.Size = new(v1alpha1.FromMiB(s.observed.Size))
	st.AttachedTo = s.attachedTo()
	s.provisioned = new(status.Condition(v1alpha1.ConditionProvisioned, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "there in the declared size"))
}

// attachedTo names the unikernel that uses the block: by its label where it is
// of the same tenant.
func (s *volumeScope) attachedTo() string {
	if !s.observed.Active {
		return ""
	}
	for name, u := range s.snapshot.Unikernels {
		uses := slices.ContainsFunc(u.Info.Blocks, func(b albatross.BlockInfo) bool { return b.HostDevice == s.at.name.Label })
		if !uses || !u.Name.Path.Equal(s.at.name.Path) {
			continue
		}
		if u.Name.Path.Equal(s.at.name.Path) {
			return u.Name.Label
		}
		return name
	}
	return "an unknown unikernel"
}

// forgetContent is for a block that was made anew: what an earlier one held is gone.
func (s *volumeScope) forgetContent() {
	st := &s.volume.Status
	st.PopulatedAt, st.PopulatedDigest, st.AttachedTo = nil, "", ""
	if s.volume.Spec.Source != nil {
		s.populated = new(status.Condition(v1alpha1.ConditionPopulated, metav1.ConditionFalse, v1alpha1.ReasonPopulating, "being filled from its source"))
		apimeta.RemoveStatusCondition(&st.Conditions, v1alpha1.ConditionPopulated)
	}
}

// conclude writes what was found into the status. A detail that was not looked
// at keeps its last condition.
func (s *volumeScope) conclude() {
	if s.unchanged || s.verdict.IsZero() {
		return
	}
	st := &s.volume.Status
	wanted := withDetails(s.verdict, st.Conditions, map[string]*metav1.Condition{
		v1alpha1.ConditionHostAvailable: s.hostAvailable, v1alpha1.ConditionProvisioned: s.provisioned, v1alpha1.ConditionPopulated: s.populated,
	})
	st.ObservedGeneration = s.volume.Generation
	st.Conditions = status.Merge(st.Conditions, wanted, volumeConditions, s.volume.Generation, metav1.NewTime(s.now()))
}

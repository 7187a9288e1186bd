package controllers

import (
	"cmp"
	"encoding/hex"
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/status"
)

// unikernelConditions are those that this reconciler owns.
var unikernelConditions = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
	v1alpha1.ConditionHostAvailable, v1alpha1.ConditionImageReady, v1alpha1.ConditionRunning,
	v1alpha1.ConditionHealthy, v1alpha1.ConditionUpdateAvailable, v1alpha1.ConditionRolledBack,
}

// maxRestartMark is the length that status has room for.
const maxRestartMark = 64

// restartMark is what the annotation asks for, as status remembers it.
func restartMark(uk *v1alpha1.Unikernel) string {
	mark := uk.Annotations[v1alpha1.AnnotationRestartedAt]
	return mark[:min(len(mark), maxRestartMark)]
}

// stoppedOnPurpose tells whether it does not run because it was suspended.
func stoppedOnPurpose(conditions []metav1.Condition) bool {
	running := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionRunning)
	return running != nil && running.Reason == v1alpha1.ReasonSuspended
}

// conclude writes what was found into the status. A detail that was not looked
// at keeps its last condition.
func (s *unikernelScope) conclude() {
	if s.unchanged || s.verdict.IsZero() {
		return
	}
	st := &s.uk.Status
	details := map[string]*metav1.Condition{
		v1alpha1.ConditionHostAvailable: s.hostAvailable, v1alpha1.ConditionImageReady: s.imageReady, v1alpha1.ConditionRunning: s.running,
	}
	if s.uk.Spec.Probe != nil {
		details[v1alpha1.ConditionHealthy] = s.healthy
	}
	wanted := withDetails(s.verdict, st.Conditions, details)
	for _, condition := range []*metav1.Condition{s.updateCondition(), s.rolledBackCondition()} {
		if condition != nil {
			wanted = append(wanted, *condition)
		}
	}
	st.ObservedGeneration = s.uk.Generation
	st.Conditions = status.Merge(st.Conditions, wanted, unikernelConditions, s.uk.Generation, metav1.NewTime(s.now()))
}

// withDetails adds to a verdict the details that were found, and as they were
// those that were not looked at.
func withDetails(v status.Verdict, present []metav1.Condition, found map[string]*metav1.Condition) []metav1.Condition {
	wanted := v.Conditions()
	for conditionType, condition := range found {
		if condition == nil {
			condition = apimeta.FindStatusCondition(present, conditionType)
		}
		if condition != nil {
			wanted = append(wanted, *condition)
		}
	}
	return wanted
}

// pausedVerdict keeps whether the object was ready.
func pausedVerdict(conditions []metav1.Condition) status.Verdict {
	const message = "paused by the annotation " + v1alpha1.AnnotationPaused
	if apimeta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
		return status.Ready(v1alpha1.ReasonPaused, message)
	}
	return status.Stalled(v1alpha1.ReasonPaused, message)
}

// settle says how things are when there is nothing left to do.
func (s *unikernelScope) settle() {
	s.recordFacts()
	switch d := s.decision; d.reason {
	case v1alpha1.ReasonSuspended:
		s.Probes.Remove(s.key())
		s.verdict = status.Ready(d.reason, d.message)
		s.running = new(status.Condition(v1alpha1.ConditionRunning, metav1.ConditionFalse, d.reason, d.message))
	case v1alpha1.ReasonExited:
		s.verdict = status.Stalled(d.reason, d.message)
	default:
		s.judge()
	}
}

// recordFacts takes over what the host tells.
func (s *unikernelScope) recordFacts() {
	st := &s.uk.Status
	s.recordPlace()
	if s.observed == nil {
		st.Digest, st.ShortDigest, st.StartedAt, st.Memory = "", "", nil, nil
		st.NetworkInterfaces, st.BlockDevices = nil, nil
		return
	}
	info := s.observed.Info
	if info.Type == albatross.Solo5 {
		st.Digest = hex.EncodeToString(info.Digest)
		st.ShortDigest = st.Digest[:min(len(st.Digest), 12)]
	}
	st.StartedAt = new(metav1.NewTime(info.Started.Local()).Rfc3339Copy())
	st.Memory = new(v1alpha1.FromMiB(info.Memory))
	st.CPUIDs = cpuIDs(info.CPUIDs)
	st.NetworkInterfaces, st.BlockDevices = deviceFacts(info)
	if s.decision.reason == v1alpha1.ReasonSucceeded { // adopted, or made just before a crash
		s.recordRevision(v1alpha1.ReasonSucceeded)
	}
}

// recordPlace says where it is. During a move that is the old place, so that it is
// not forgotten there.
func (s *unikernelScope) recordPlace() {
	if s.leaving == nil {
		s.uk.Status.Instance, s.uk.Status.HostName = s.at.instance, s.at.name.String()
	}
}

func deviceFacts(info albatross.Info) (networks []v1alpha1.NetworkInterfaceStatus, blocks []v1alpha1.BlockDeviceStatus) {
	for _, b := range info.Bridges {
		networks = append(networks, v1alpha1.NetworkInterfaceStatus{Name: b.Device, Bridge: b.HostDevice, MAC: b.MAC.String()})
	}
	for _, b := range info.Blocks {
		blocks = append(blocks, v1alpha1.BlockDeviceStatus{
			Name: b.Device, HostDevice: b.HostDevice, SectorSize: int32(b.SectorSize), Size: new(v1alpha1.FromMiB(b.Size)), //nolint:gosec // a sector is small
		})
	}
	slices.SortFunc(networks, func(a, b v1alpha1.NetworkInterfaceStatus) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(blocks, func(a, b v1alpha1.BlockDeviceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return networks, blocks
}

// recordCommand notes what a command that worked has done.
func (s *unikernelScope) recordCommand() {
	st := &s.uk.Status
	if s.isComeback() {
		st.Restarts++
		s.Comebacks.Next(string(s.uk.UID), s.now())
	}
	s.recordPlace()
	switch s.decision.action {
	case actionCreate, actionReplace, actionReconfigure:
		s.recordRevision(s.decision.reason)
		st.RestartedAt = restartMark(s.uk)
	case actionRestart:
		st.RestartedAt = restartMark(s.uk)
	}
}

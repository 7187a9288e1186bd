package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// instanceConditions are those that this reconciler owns.
var instanceConditions = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
	v1alpha1.ConditionConnected, v1alpha1.ConditionCredentialsValid, v1alpha1.ConditionPoliciesApplied,
}

// Bounds of lists in status.
const (
	maxTenants = 256
	maxUnowned = 32
)

// report takes over what the host told.
func (s *instanceScope) report(ctx context.Context) outcome.Outcome {
	snapshot := s.state.Snapshot
	if snapshot == nil {
		return s.again()
	}
	st := &s.instance.Status
	st.Unikernels, st.Volumes = new(int32(len(snapshot.Unikernels))), new(int32(len(snapshot.Blocks))) //nolint:gosec // fewer than 2^31
	st.Used = new(usageBelow(snapshot, nil))
	st.Capacity = capacityOf(snapshot)
	st.Tenants = s.tenantStatus(snapshot)
	unowned, err := s.unowned(ctx, snapshot)
	if err != nil {
		return outcome.Retry(err)
	}
	st.Unowned = unowned
	return s.again()
}

// again comes back in time for the warning before the credentials expire; all
// else comes with a change.
func (s *instanceScope) again() outcome.Outcome {
	for _, at := range []time.Time{s.state.NotAfter.Add(-expiryWarning), s.state.NotAfter} {
		if left := at.Sub(s.now()); left > 0 {
			return outcome.Wait(min(left+time.Second, 24*time.Hour))
		}
	}
	return outcome.Done()
}

func usageBelow(snapshot *hosts.Snapshot, path albatross.Path) v1alpha1.Usage {
	var memory, storage int64
	var u v1alpha1.Usage
	for _, unikernel := range snapshot.Unikernels {
		if unikernel.Name.Path.HasPrefix(path) {
			u.Unikernels++
			memory += unikernel.Info.Memory
		}
	}
	for _, block := range snapshot.Blocks {
		if block.Name.Path.HasPrefix(path) {
			u.Volumes++
			storage += block.Size
		}
	}
	u.Memory, u.Storage = v1alpha1.FromMiB(memory), v1alpha1.FromMiB(storage)
	return u
}

// capacityOf reads the policy of the credential's own path, which for the root a
// host fills with what it found at its start.
func capacityOf(snapshot *hosts.Snapshot) *v1alpha1.Capacity {
	policy, ok := snapshot.Policies[""]
	if !ok {
		return nil
	}
	c := &v1alpha1.Capacity{Memory: new(v1alpha1.FromMiB(policy.Memory)), CPUIDs: cpuIDs(policy.CPUIDs), Bridges: policy.Bridges}
	if policy.Unikernels != albatross.Unlimited {
		c.Unikernels = &policy.Unikernels
	}
	if policy.Block != nil {
		c.Storage = new(v1alpha1.FromMiB(*policy.Block))
	}
	return c
}

func (s *instanceScope) tenantStatus(snapshot *hosts.Snapshot) (all []v1alpha1.TenantStatus) {
	for _, t := range s.paths() {
		entry := v1alpha1.TenantStatus{Path: t.String(), Used: new(usageBelow(snapshot, t)), Refused: s.refusals[t.String()]}
		if policy, ok := snapshot.Policies[t.String()]; ok {
			entry.Policy = &v1alpha1.PolicyStatus{
				Unikernels: policy.Unikernels, CPUIDs: cpuIDs(policy.CPUIDs), Memory: v1alpha1.FromMiB(policy.Memory), Bridges: policy.Bridges,
			}
			if policy.Block != nil {
				entry.Policy.Storage = new(v1alpha1.FromMiB(*policy.Block))
			}
		}
		all = append(all, entry)
	}
	slices.SortFunc(all, func(a, b v1alpha1.TenantStatus) int { return strings.Compare(a.Path, b.Path) })
	return all[:min(len(all), maxTenants)]
}

// paths gives each admitted path once.
func (s *instanceScope) paths() (all []albatross.Path) {
	for _, t := range s.tenants {
		if !slices.ContainsFunc(all, t.path.Equal) {
			all = append(all, t.path)
		}
	}
	return all
}

// ownedNames gives the full names on the host that objects stand for.
func (s *instanceScope) ownedNames(ctx context.Context) (unikernels, volumes map[string]bool, err error) {
	paths := map[string]albatross.Path{}
	for _, t := range s.tenants {
		paths[t.namespace] = t.path
	}
	own := func(names map[string]bool, o client.Object, hostName string) {
		names[hostName] = true
		names[albatross.Name{Path: paths[o.GetNamespace()], Label: o.GetName()}.String()] = true
	}
	var allUnikernels v1alpha1.UnikernelList
	var allVolumes v1alpha1.VolumeList
	for _, list := range []client.ObjectList{&allUnikernels, &allVolumes} {
		if err := s.List(ctx, list, client.MatchingFields{byInstance: s.instance.Name}, client.UnsafeDisableDeepCopy); err != nil {
			return nil, nil, err
		}
	}
	unikernels, volumes = map[string]bool{}, map[string]bool{}
	for i := range allUnikernels.Items {
		own(unikernels, &allUnikernels.Items[i], allUnikernels.Items[i].Status.HostName)
	}
	for i := range allVolumes.Items {
		own(volumes, &allVolumes.Items[i], allVolumes.Items[i].Status.HostName)
	}
	return unikernels, volumes, nil
}

// unowned counts and names what is below tenants' paths without an object.
func (s *instanceScope) unowned(ctx context.Context, snapshot *hosts.Snapshot) (*v1alpha1.Unowned, error) {
	ownUnikernels, ownVolumes, err := s.ownedNames(ctx)
	if err != nil {
		return nil, err
	}
	ours := func(path albatross.Path) bool {
		return slices.ContainsFunc(s.tenants, func(t admittedTenant) bool { return path.HasPrefix(t.path) })
	}
	var unikernels, volumes []string
	for name, u := range snapshot.Unikernels {
		if !ownUnikernels[name] && ours(u.Name.Path) {
			unikernels = append(unikernels, name)
		}
	}
	for name, b := range snapshot.Blocks {
		if !ownVolumes[name] && ours(b.Name.Path) {
			volumes = append(volumes, name)
		}
	}
	if len(unikernels)+len(volumes) == 0 {
		return nil, nil
	}
	slices.Sort(unikernels)
	slices.Sort(volumes)
	return &v1alpha1.Unowned{
		Unikernels: int32(len(unikernels)), UnikernelNames: unikernels[:min(len(unikernels), maxUnowned)], //nolint:gosec // fewer than 2^31
		Volumes: int32(len(volumes)), VolumeNames: volumes[:min(len(volumes), maxUnowned)], //nolint:gosec // fewer than 2^31
	}, nil
}

// conclude works out the conditions and puts them into the status.
func (s *instanceScope) conclude() {
	st := &s.instance.Status
	if s.verdict.IsZero() && s.credentialProblem.IsZero() && !s.state.Known() && seenBefore(st.ObservedGeneration) {
		return // after a start of the operator: the first look is on its way
	}
	if !s.state.NotAfter.IsZero() {
		st.CredentialsNotAfter = new(metav1.NewTime(s.state.NotAfter.Local()).Rfc3339Copy())
	}
	connected, problem := s.connectedCondition()
	conditions := []metav1.Condition{connected, s.credentialsCondition()}
	if s.refusals != nil {
		conditions = append(conditions, s.policiesCondition())
	}
	if s.verdict.IsZero() {
		s.verdict = s.sumUp(problem)
	}
	st.ObservedGeneration = s.instance.Generation
	st.Conditions = status.Merge(st.Conditions, append(conditions, s.verdict.Conditions()...), instanceConditions, s.instance.Generation, metav1.NewTime(s.now()))
}

// sumUp has what somebody must mend first, then what may pass.
func (s *instanceScope) sumUp(connection status.Verdict) status.Verdict {
	switch {
	case !s.credentialProblem.IsZero():
		return s.credentialProblem
	case !connection.IsZero():
		return connection
	case len(s.refusals) > 0:
		c := s.policiesCondition()
		return status.Stalled(c.Reason, c.Message)
	}
	return status.Ready(v1alpha1.ReasonSucceeded, "connected")
}

// connectedCondition says whether the host answers, and what that means for the
// instance as a whole. A host that fails is never final: it may be mended
// without a change of the object.
func (s *instanceScope) connectedCondition() (metav1.Condition, status.Verdict) {
	if s.state.Connected {
		return status.Condition(v1alpha1.ConditionConnected, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "the host answers"), status.Verdict{}
	}
	verdict := status.Working(v1alpha1.ReasonProgressing, "connecting")
	switch {
	case !s.state.Known():
		return status.Condition(v1alpha1.ConditionConnected, metav1.ConditionUnknown, verdict.Reason, verdict.Message), verdict
	case errors.Is(s.state.Err, albatross.ErrUntrusted):
		verdict = status.Lost(v1alpha1.ReasonHostCertificateInvalid, s.state.Problem())
	default:
		verdict = status.Lost(v1alpha1.ReasonHostUnreachable, s.state.Problem())
	}
	return status.Condition(v1alpha1.ConditionConnected, metav1.ConditionFalse, verdict.Reason, verdict.Message), verdict
}

func (s *instanceScope) credentialsCondition() metav1.Condition {
	if p := s.credentialProblem; !p.IsZero() {
		return status.Condition(v1alpha1.ConditionCredentialsValid, metav1.ConditionFalse, p.Reason, p.Message)
	}
	if end := s.state.NotAfter; !end.IsZero() && end.Sub(s.now()) < expiryWarning {
		return status.Condition(v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue, v1alpha1.ReasonCredentialsExpiring,
			"the credentials expire at "+end.UTC().Format(time.RFC3339)+"; renew them")
	}
	return status.Condition(v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "in use")
}

func (s *instanceScope) policiesCondition() metav1.Condition {
	if len(s.refusals) == 0 {
		return status.Condition(v1alpha1.ConditionPoliciesApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "in force")
	}
	var texts []string
	for _, path := range slices.Sorted(maps.Keys(s.refusals)) {
		texts = append(texts, fmt.Sprintf("path %q: %s", path, s.refusals[path]))
	}
	return status.Condition(v1alpha1.ConditionPoliciesApplied, metav1.ConditionFalse, v1alpha1.ReasonPolicyRefused, strings.Join(texts, "; "))
}

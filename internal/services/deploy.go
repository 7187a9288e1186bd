package services

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/tenants"
)

// Deployment says what an administrator has run for somebody.
type Deployment struct {
	Instance string
	// Namespace is whose it is, Name how its object is called.
	Namespace, Name string
	Annotations     map[string]string
	// Spec is what to declare; its instanceRef is set from Instance.
	Spec v1alpha1.UnikernelSpec
	// CPUs is how many of the host's CPUs it may run on: those that least else runs
	// on. 0 leaves them as Spec has them.
	CPUs int
}

// DeployUnikernel declares a unikernel in somebody's namespace and gives its object.
// It waits neither for the host nor for the controllers' verdict.
func (s *Services) DeployUnikernel(ctx context.Context, id Identity, d Deployment) (*v1alpha1.Unikernel, error) {
	instance, name, err := labels(d.Instance, d.Name)
	if err != nil {
		return nil, err
	}
	owner, err := ForNamespace(id, d.Namespace)
	if err != nil {
		return nil, err
	}
	p, err := s.place(ctx, owner, instance)
	if err != nil {
		return nil, err
	}
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: name, Annotations: d.Annotations}, Spec: d.Spec}
	uk.Spec.InstanceRef.Name = instance
	if d.CPUs > 0 {
		if uk.Spec.CPUIDs, err = s.leastUsedCPUs(ctx, p, d.CPUs); err != nil {
			return nil, err
		}
	}
	c, err := s.writers.as(id)
	if err != nil {
		return nil, err
	}
	err = apply(ctx, c, declaration{object: uk, version: absentVersion})
	if apierrors.IsConflict(err) {
		return nil, &Refused{v1alpha1.ReasonNameTaken, textUnikernelExists}
	}
	if err != nil {
		return nil, err
	}
	s.untilSeen(ctx, uk)
	return uk, nil
}

// leastUsedCPUs chooses CPUs of those that the policy of a place allows. It is nil
// when no policy is known: then the controllers choose when there is one.
func (s *Services) leastUsedCPUs(ctx context.Context, p place, count int) ([]v1alpha1.CPUID, error) {
	allowed, used, err := s.cpus(ctx, p)
	switch {
	case err != nil || len(allowed) == 0:
		return nil, err
	case count > len(allowed):
		return nil, &Invalid{"cpus", fmt.Sprintf("the policy on %q allows %d", p.instance, len(allowed))}
	}
	return leastUsed(allowed, used, count), nil
}

// cpus gives the CPUs that the policy of a place allows, and how many unikernels of
// the host, or that are declared on it, may run on each.
func (s *Services) cpus(ctx context.Context, p place) (allowed []v1alpha1.CPUID, used map[v1alpha1.CPUID]int, err error) {
	state, _ := s.Hosts.State(p.instance)
	var policy []int64
	used = map[v1alpha1.CPUID]int{}
	running := map[string]bool{}
	if snapshot := state.Snapshot; snapshot != nil {
		policy = snapshot.Policies[p.Path.String()].CPUIDs
		for name, u := range snapshot.Unikernels {
			running[name] = true
			for _, id := range u.Info.CPUIDs {
				used[v1alpha1.CPUID(id)]++ //nolint:gosec // the number of a CPU
			}
		}
	}
	if p.Policy != nil {
		policy = tenants.Policy(p.Policy).CPUIDs
	}
	for _, id := range policy {
		allowed = append(allowed, v1alpha1.CPUID(id)) //nolint:gosec // the number of a CPU
	}
	var declared v1alpha1.UnikernelList
	if err := s.Client.List(ctx, &declared, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, err
	}
	for i := range declared.Items {
		uk := &declared.Items[i]
		if uk.Spec.InstanceRef.Name != p.instance || running[uk.Status.HostName] {
			continue
		}
		for _, id := range uk.Spec.CPUIDs {
			used[id]++
		}
	}
	return allowed, used, nil
}

// leastUsed gives, in order, the CPUs that are used least, of equals the first.
func leastUsed(allowed []v1alpha1.CPUID, used map[v1alpha1.CPUID]int, count int) []v1alpha1.CPUID {
	all := slices.Clone(allowed)
	slices.SortFunc(all, func(a, b v1alpha1.CPUID) int { return cmp.Or(cmp.Compare(used[a], used[b]), cmp.Compare(a, b)) })
	chosen := all[:count]
	slices.Sort(chosen)
	return chosen
}

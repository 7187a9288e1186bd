package controllers

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// tenant is a namespace's place on a host.
type tenant struct {
	path albatross.Path
	// policy is the declared one; nil keeps the one in force.
	policy *v1alpha1.Policy
}

// tenantOf gives the place of a namespace by the first entry that admits it;
// admitted is false when none does. Labels that are nil are not known, and no
// selector matches them.
func tenantOf(instance *v1alpha1.AlbatrossInstance, namespace string, namespaceLabels labels.Set) (t tenant, admitted bool, err error) {
	for i := range instance.Spec.Tenants {
		entry := &instance.Spec.Tenants[i]
		matches, err := admits(entry, namespace, namespaceLabels)
		if err != nil {
			return tenant{}, false, fmt.Errorf("tenants[%d]: %w", i, err)
		}
		if !matches {
			continue
		}
		path, err := tenantPath(entry, namespace)
		return tenant{path, entry.Policy}, err == nil, err
	}
	return tenant{}, false, nil
}

func admits(entry *v1alpha1.Tenant, namespace string, namespaceLabels labels.Set) (bool, error) {
	if entry.NamespaceSelector == nil {
		return entry.Namespace == namespace, nil
	}
	selector, err := entry.NamespaceSelector.Selector()
	if err != nil {
		return false, err
	}
	return namespaceLabels != nil && selector.Matches(namespaceLabels), nil
}

func tenantPath(entry *v1alpha1.Tenant, namespace string) (albatross.Path, error) {
	if entry.Path != "" {
		return albatross.ParsePath(string(entry.Path))
	}
	return albatross.ParsePath(namespace)
}

// declaredPolicy gives a policy in the host's terms.
func declaredPolicy(p *v1alpha1.Policy) albatross.Policy {
	policy := albatross.Policy{Unikernels: int64(p.Unikernels), Memory: v1alpha1.MiB(p.Memory), CPUIDs: cpuNumbers(p.CPUIDs)}
	if p.Storage != nil && v1alpha1.MiB(*p.Storage) > 0 {
		policy.Block = new(v1alpha1.MiB(*p.Storage))
	}
	for _, bridge := range p.Bridges {
		policy.Bridges = append(policy.Bridges, string(bridge))
	}
	return policy
}

func cpuNumbers(ids []v1alpha1.CPUID) []int64 {
	numbers := make([]int64, len(ids))
	for i, id := range ids {
		numbers[i] = int64(id)
	}
	return numbers
}

func cpuIDs(numbers []int64) []v1alpha1.CPUID {
	ids := make([]v1alpha1.CPUID, len(numbers))
	for i, n := range numbers {
		ids[i] = v1alpha1.CPUID(n) //nolint:gosec // a host's CPU ids are small
	}
	return ids
}

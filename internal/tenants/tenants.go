// Package tenants finds the place that an AlbatrossInstance gives to a namespace:
// its path on the host and the policy that is declared for it.
package tenants

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// Tenant is a namespace's place on a host.
type Tenant struct {
	Path albatross.Path
	// Policy is the declared one; nil keeps the one in force.
	Policy *v1alpha1.Policy
}

// Of gives the place of a namespace by the first entry that admits it; admitted
// is false when none does.
func Of(instance *v1alpha1.AlbatrossInstance, namespace string, namespaceLabels labels.Set) (t Tenant, admitted bool, err error) {
	for i := range instance.Spec.Tenants {
		entry := &instance.Spec.Tenants[i]
		matches, err := admits(entry, namespace, namespaceLabels)
		if err != nil {
			return Tenant{}, false, fmt.Errorf("tenants[%d]: %w", i, err)
		}
		if !matches {
			continue
		}
		path, err := pathOf(entry, namespace)
		return Tenant{path, entry.Policy}, err == nil, err
	}
	return Tenant{}, false, nil
}

func admits(entry *v1alpha1.Tenant, namespace string, namespaceLabels labels.Set) (bool, error) {
	if entry.NamespaceSelector == nil {
		return entry.Namespace == namespace, nil
	}
	selector, err := entry.NamespaceSelector.Selector()
	if err != nil {
		return false, err
	}
	return selector.Matches(namespaceLabels), nil
}

func pathOf(entry *v1alpha1.Tenant, namespace string) (albatross.Path, error) {
	if entry.Path != "" {
		return albatross.ParsePath(string(entry.Path))
	}
	return albatross.ParsePath(namespace)
}

// Policy gives a declared policy in the host's terms.
func Policy(p *v1alpha1.Policy) albatross.Policy {
	policy := albatross.Policy{Unikernels: int64(p.Unikernels), Memory: v1alpha1.MiB(p.Memory)}
	policy.CPUIDs = make([]int64, len(p.CPUIDs))
	for i, id := range p.CPUIDs {
		policy.CPUIDs[i] = int64(id)
	}
	if p.Storage != nil && v1alpha1.MiB(*p.Storage) > 0 {
		policy.Block = new(v1alpha1.MiB(*p.Storage))
	}
	for _, bridge := range p.Bridges {
		policy.Bridges = append(policy.Bridges, string(bridge))
	}
	return policy
}

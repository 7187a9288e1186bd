package controllers

import (
	"k8s.io/apimachinery/pkg/labels"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/tenants"
)

// tenant is a namespace's place on a host.
type tenant struct {
	path albatross.Path
	// policy is the declared one; nil keeps the one in force.
	policy *v1alpha1.Policy
}

// tenantOf gives the place of a namespace by the first entry that admits it;
// admitted is false when none does.
func tenantOf(instance *v1alpha1.AlbatrossInstance, namespace string, namespaceLabels labels.Set) (t tenant, admitted bool, err error) {
	found, admitted, err := tenants.Of(instance, namespace, namespaceLabels)
	return tenant{found.Path, found.Policy}, admitted, err
}

// declaredPolicy gives a policy in the host's terms.
func declaredPolicy(p *v1alpha1.Policy) albatross.Policy { return tenants.Policy(p) }

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

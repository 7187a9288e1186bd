package services

import (
	"cmp"
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/tenants"
)

// Policy is what the unikernels and volumes of a user may use of an instance.
type Policy struct {
	Instance string
	// User is whom it is for, as far as the caller of [Services.SetPolicy] says.
	User string
	// Namespace is where the user's objects are.
	Namespace string
	albatross.Policy
}

// Policies lists the policies in force for the caller's namespace, sorted by
// instance. A namespace without one on an instance is missing there.
func (s *Services) Policies(ctx context.Context, id Identity) ([]Policy, error) {
	var all []Policy
	_, err := s.eachPlace(ctx, id, func(p place, snapshot *hosts.Snapshot) {
		if policy, ok := snapshot.Policies[p.Path.String()]; ok {
			all = append(all, Policy{p.instance, id.Name, id.Namespace, policy})
		}
	})
	return all, err
}

// RootPolicy gives what an instance has to give in all, for administrators.
func (s *Services) RootPolicy(_ context.Context, id Identity, instance string) (albatross.Policy, error) {
	instance, err := administered(id, instance)
	if err != nil {
		return albatross.Policy{}, err
	}
	host, err := s.Hosts.Get(instance)
	if err != nil {
		return albatross.Policy{}, hostError(instance, err)
	}
	policy, ok := host.Snapshot().Policies[""]
	if !ok {
		return albatross.Policy{}, &Refused{Text: "the host tells no policy of its own"}
	}
	return policy, nil
}

// SetPolicy admits a namespace to an instance with a policy, or changes the policy,
// and waits until the host has it. When the host refuses, the tenants stay as they
// were declared before.
func (s *Services) SetPolicy(ctx context.Context, id Identity, policy Policy) error {
	name, err := administered(id, policy.Instance)
	if err != nil {
		return err
	}
	if problems := validation.IsDNS1123Label(policy.Namespace); len(problems) > 0 {
		return &Invalid{"namespace", problems[0]}
	}
	if err := policy.Usable(); err != nil {
		return &Refused{v1alpha1.ReasonPolicyRefused, err.Error()}
	}
	if _, err := s.instance(ctx, name); err != nil {
		return err
	}
	host, err := s.Hosts.Get(name)
	if err != nil {
		return hostError(name, err)
	}
	if root, ok := host.Snapshot().Policies[""]; ok {
		if err := policy.Within(root); err != nil {
			return &Refused{v1alpha1.ReasonPolicyRefused, err.Error()}
		}
	}
	declared := declaredPolicy(policy.Policy)
	before, applied, err := s.changeTenants(ctx, id, name, func(all []v1alpha1.Tenant) ([]v1alpha1.Tenant, error) {
		return withPolicy(all, policy.Namespace, &declared), nil
	})
	if err != nil {
		return err
	}
	return s.awaitPolicy(ctx, id, before, applied, policy.Namespace)
}

// RemoveTenant no longer admits a namespace by name to an instance. What is there
// of it stays, and so does the policy on the host.
func (s *Services) RemoveTenant(ctx context.Context, id Identity, instance, namespace string) error {
	name, err := administered(id, instance)
	if err != nil {
		return err
	}
	_, _, err = s.changeTenants(ctx, id, name, func(all []v1alpha1.Tenant) ([]v1alpha1.Tenant, error) {
		rest := slices.DeleteFunc(slices.Clone(all), func(t v1alpha1.Tenant) bool { return t.Namespace == namespace })
		if len(rest) == len(all) {
			return nil, &NotFound{"tenant", namespace}
		}
		return rest, nil
	})
	return err
}

// changeTenants changes the tenants of an instance as the caller, following an
// instance that changes at the same time.
func (s *Services) changeTenants(ctx context.Context, id Identity, name string, change func([]v1alpha1.Tenant) ([]v1alpha1.Tenant, error)) (before, applied *v1alpha1.AlbatrossInstance, err error) {
	c, err := s.writers.as(id)
	if err != nil {
		return nil, nil, err
	}
	for attempt := 0; ; attempt++ {
		if before, err = s.instance(ctx, name); err != nil {
			return nil, nil, err
		}
		all, err := change(before.Spec.Tenants)
		if err != nil {
			return nil, nil, err
		}
		applied, err = applyTenants(ctx, c, before, all)
		if err == nil || !apierrors.IsConflict(err) || attempt == writeAttempts {
			return before, applied, changedMeanwhile(err)
		}
	}
}

// withPolicy gives the tenants with the policy of a namespace. One that no entry
// names goes to the front, since the first that admits a namespace decides.
func withPolicy(all []v1alpha1.Tenant, namespace string, policy *v1alpha1.Policy) []v1alpha1.Tenant {
	all = slices.Clone(all)
	i := slices.IndexFunc(all, func(t v1alpha1.Tenant) bool { return t.Namespace == namespace })
	if i < 0 {
		return slices.Insert(all, 0, v1alpha1.Tenant{Namespace: namespace, Policy: policy})
	}
	all[i].Policy = policy
	return all
}

func declaredPolicy(p albatross.Policy) v1alpha1.Policy {
	declared := v1alpha1.Policy{Unikernels: int32(min(p.Unikernels, 100_000)), Memory: v1alpha1.FromMiB(p.Memory)} //nolint:gosec // bounded
	for _, id := range p.CPUIDs {
		declared.CPUIDs = append(declared.CPUIDs, v1alpha1.CPUID(id)) //nolint:gosec // the API server refuses what is no CPU
	}
	slices.Sort(declared.CPUIDs)
	if p.Block != nil && *p.Block > 0 {
		declared.Storage = new(v1alpha1.FromMiB(*p.Block))
	}
	for _, bridge := range p.Bridges {
		declared.Bridges = append(declared.Bridges, v1alpha1.BridgeName(bridge))
	}
	slices.SortFunc(declared.Bridges, func(a, b v1alpha1.BridgeName) int { return cmp.Compare(a, b) })
	return declared
}

// applyTenants declares the tenants of an instance besides what we declared of it
// before. They are one field: whoever declares it owns it whole.
func applyTenants(ctx context.Context, c client.Client, before *v1alpha1.AlbatrossInstance, all []v1alpha1.Tenant) (*v1alpha1.AlbatrossInstance, error) {
	wanted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v1alpha1.AlbatrossInstance{Spec: v1alpha1.AlbatrossInstanceSpec{Tenants: all}})
	if err != nil {
		return nil, err
	}
	declared, some, err := unstructured.NestedSlice(wanted, "spec", "tenants")
	if err != nil {
		return nil, err
	}
	applied := &v1alpha1.AlbatrossInstance{}
	err = redeclare(ctx, c, before, before.ResourceVersion, func(u *unstructured.Unstructured) error {
		if !some {
			unstructured.RemoveNestedField(u.Object, "spec", "tenants")
			return nil
		}
		return unstructured.SetNestedSlice(u.Object, declared, "spec", "tenants")
	}, applied)
	if err != nil {
		return nil, err
	}
	return applied, nil
}

// awaitPolicy waits until the host has the policy of a namespace that was
// declared, and takes the declaration back when it refuses.
func (s *Services) awaitPolicy(ctx context.Context, id Identity, before, applied *v1alpha1.AlbatrossInstance, namespace string) error {
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	err = await(ctx, s, applied, func(now *v1alpha1.AlbatrossInstance) (bool, error) {
		return s.policyInForce(ctx, now, applied.Generation, namespace)
	})
	if err == nil {
		return nil
	}
	s.undo(ctx, "policy", applied, func(ctx context.Context) error {
		now, err := s.instance(ctx, applied.Name)
		for ; err == nil && now.Generation == applied.Generation; now, err = s.instance(ctx, applied.Name) {
			if err := restore(ctx, c, before, now.ResourceVersion); !apierrors.IsConflict(err) || ctx.Err() != nil {
				return err
			}
		}
		return err
	})
	return err
}

// policyInForce tells whether the host has the policy of a namespace that a
// generation of the instance declares. A namespace that is still to come has none.
func (s *Services) policyInForce(ctx context.Context, now *v1alpha1.AlbatrossInstance, generation int64, namespace string) (bool, error) {
	if now.Status.ObservedGeneration < generation {
		return false, nil
	}
	namespaceLabels, exists, err := s.labelsOf(ctx, namespace)
	if err != nil || !exists { // it is set when the namespace comes
		return err == nil, err
	}
	tenant, admitted, err := tenants.Of(now, namespace, namespaceLabels)
	if err != nil || !admitted || tenant.Policy == nil {
		return true, err
	}
	i := slices.IndexFunc(now.Status.Tenants, func(t v1alpha1.TenantStatus) bool { return t.Path == tenant.Path.String() })
	if i < 0 {
		return false, nil
	}
	if refused := now.Status.Tenants[i].Refused; refused != "" {
		return true, &Refused{v1alpha1.ReasonPolicyRefused, refused}
	}
	want := tenants.Policy(tenant.Policy)
	inForce := now.Status.Tenants[i].Policy
	return inForce != nil && policyOf(inForce).Equal(want), nil
}

func policyOf(p *v1alpha1.PolicyStatus) albatross.Policy {
	policy := albatross.Policy{Unikernels: p.Unikernels, Memory: v1alpha1.MiB(p.Memory), Bridges: p.Bridges}
	for _, id := range p.CPUIDs {
		policy.CPUIDs = append(policy.CPUIDs, int64(id))
	}
	if p.Storage != nil {
		policy.Block = new(v1alpha1.MiB(*p.Storage))
	}
	return policy
}

package tenants_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/tenants"
)

func TestOf(t *testing.T) {
	first, second := &v1alpha1.Policy{Unikernels: 1}, &v1alpha1.Policy{Unikernels: 2}
	staff := &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"staff": "yes"}}
	all := []v1alpha1.Tenant{
		{Namespace: "alice", Path: "customers:alice", Policy: first},
		{NamespaceSelector: staff, Policy: second},
		{Namespace: "bob"},
	}
	for _, test := range []struct {
		namespace string
		labels    labels.Set
		path      string
		policy    *v1alpha1.Policy
	}{
		{"alice", nil, "customers:alice", first},
		{"alice", labels.Set{"staff": "yes"}, "customers:alice", first}, // the first entry decides
		{"carol", labels.Set{"staff": "yes"}, "carol", second},
		{"bob", nil, "bob", nil},
		{"bob", labels.Set{"staff": "yes"}, "bob", second},
		{"carol", labels.Set{"staff": "no"}, "", nil},
		{"customers", nil, "", nil},
	} {
		instance := &v1alpha1.AlbatrossInstance{Spec: v1alpha1.AlbatrossInstanceSpec{Tenants: all}}
		tenant, admitted, err := tenants.Of(instance, test.namespace, test.labels)
		if err != nil || admitted != (test.path != "") || tenant.Path.String() != test.path || tenant.Policy != test.policy {
			t.Errorf("%s %v: %v, admitted %t, %v", test.namespace, test.labels, tenant, admitted, err)
		}
	}
}

func TestOfABrokenEntry(t *testing.T) {
	for name, entry := range map[string]v1alpha1.Tenant{
		"path":     {Namespace: "alice", Path: "a:_:b"},
		"selector": {NamespaceSelector: &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.LabelRequirement{{Key: "x", Operator: "Likes"}}}},
	} {
		instance := &v1alpha1.AlbatrossInstance{Spec: v1alpha1.AlbatrossInstanceSpec{Tenants: []v1alpha1.Tenant{entry}}}
		if _, admitted, err := tenants.Of(instance, "alice", nil); err == nil || admitted {
			t.Errorf("%s: admitted %t, %v", name, admitted, err)
		}
	}
}

func TestPolicy(t *testing.T) {
	got := tenants.Policy(&v1alpha1.Policy{
		Unikernels: 3, CPUIDs: []v1alpha1.CPUID{0, 2}, Memory: v1alpha1.FromMiB(64), Storage: new(v1alpha1.FromMiB(10)), Bridges: []v1alpha1.BridgeName{"service"},
	})
	want := albatross.Policy{Unikernels: 3, CPUIDs: []int64{0, 2}, Memory: 64, Block: new(int64(10)), Bridges: []string{"service"}}
	if !got.Equal(want) {
		t.Errorf("%v", got)
	}
	if got := tenants.Policy(&v1alpha1.Policy{Storage: new(v1alpha1.FromMiB(0))}); got.Block != nil {
		t.Errorf("no storage became %d MiB, which is not the same", *got.Block)
	}
}

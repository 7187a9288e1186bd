package v1alpha1_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/api/v1alpha1"
)

func TestDefaults(t *testing.T) {
	empty, memory := v1alpha1.UnikernelSpec{}, resource.MustParse("1.5Gi")
	full := v1alpha1.UnikernelSpec{Type: v1alpha1.UnikernelTypeBhyve, Memory: &memory, CPUs: 4,
		RestartPolicy: &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}}
	probe, dns := v1alpha1.Probe{}, v1alpha1.DNSProbe{}
	fullProbe := v1alpha1.Probe{Period: &metav1.Duration{Duration: time.Minute}, Timeout: &metav1.Duration{Duration: time.Second},
		SuccessThreshold: 2, FailureThreshold: 5}
	fullDNS := v1alpha1.DNSProbe{Port: 5353, RecordType: v1alpha1.DNSRecordAAAA}
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"port", v1alpha1.Endpoint{}.PortOrDefault(), int32(1025)},
		{"port said", v1alpha1.Endpoint{Port: 7}.PortOrDefault(), int32(7)},
		{"poll", (&v1alpha1.AlbatrossInstanceSpec{}).PollIntervalOrDefault(), 30 * time.Second},
		{"poll said", (&v1alpha1.AlbatrossInstanceSpec{PollInterval: &metav1.Duration{Duration: time.Minute}}).PollIntervalOrDefault(), time.Minute},
		{"type", empty.TypeOrDefault(), v1alpha1.UnikernelTypeSolo5},
		{"type said", full.TypeOrDefault(), v1alpha1.UnikernelTypeBhyve},
		{"memory", empty.MemoryMiB(), int64(32)},
		{"memory said", full.MemoryMiB(), int64(1536)},
		{"cpus", empty.CPUsOrDefault(), int32(1)},
		{"cpus said", full.CPUsOrDefault(), int32(4)},
		{"restart", empty.RestartPolicyOrDefault(), v1alpha1.RestartAlways},
		{"restart said", full.RestartPolicyOrDefault(), v1alpha1.RestartNever},
		{"period", probe.PeriodOrDefault(), 10 * time.Second},
		{"period said", fullProbe.PeriodOrDefault(), time.Minute},
		{"timeout", probe.TimeoutOrDefault(), 5 * time.Second},
		{"timeout said", fullProbe.TimeoutOrDefault(), time.Second},
		{"successes", probe.SuccessThresholdOrDefault(), int32(1)},
		{"successes said", fullProbe.SuccessThresholdOrDefault(), int32(2)},
		{"failures", probe.FailureThresholdOrDefault(), int32(3)},
		{"failures said", fullProbe.FailureThresholdOrDefault(), int32(5)},
		{"name server's port", dns.PortOrDefault(), int32(53)},
		{"name server's port said", fullDNS.PortOrDefault(), int32(5353)},
		{"record", dns.RecordTypeOrDefault(), v1alpha1.DNSRecordA},
		{"record said", fullDNS.RecordTypeOrDefault(), v1alpha1.DNSRecordAAAA},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestMiB(t *testing.T) {
	for text, want := range map[string]int64{"1Mi": 1, "64Mi": 64, "1Gi": 1024, "1.5Gi": 1536, "64Ti": 64 << 20, "33554432": 32, "1Pi": 1 << 30} {
		q := resource.MustParse(text)
		if got := v1alpha1.MiB(q); got != want {
			t.Errorf("%s has %d MiB, want %d", text, got, want)
		}
		back := v1alpha1.FromMiB(want)
		if back.Cmp(q) != 0 {
			t.Errorf("%d MiB are %v, want %s", want, &back, text)
		}
	}
	if printed := v1alpha1.FromMiB(32); printed.String() != "32Mi" {
		t.Errorf("32 MiB are printed as %v", &printed)
	}
}

func TestCPUIDsFor(t *testing.T) {
	type ids = []v1alpha1.CPUID
	for _, c := range []struct {
		what                         string
		spec, allowed, running, want ids
	}{
		{"what spec says, whatever else is so", ids{3, 1}, ids{0}, ids{0}, ids{3, 1}},
		{"what it runs on, while allowed", nil, ids{0, 1, 2}, ids{2, 1}, ids{2, 1}},
		{"another when one is not allowed any more", nil, ids{5}, ids{5, 6}, ids{5}},
		{"the only one", nil, ids{7}, nil, ids{7}},
		{"none to choose from", nil, nil, ids{1}, nil},
	} {
		spec := v1alpha1.UnikernelSpec{CPUIDs: c.spec}
		if got := spec.CPUIDsFor("hello", c.allowed, c.running); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestCPUIDsForSpreads(t *testing.T) {
	spec, count := v1alpha1.UnikernelSpec{}, map[v1alpha1.CPUID]int{}
	for i := range 4000 {
		name := fmt.Sprint("web-", i)
		got := spec.CPUIDsFor(name, []v1alpha1.CPUID{3, 0, 2, 1}, nil)
		if again := spec.CPUIDsFor(name, []v1alpha1.CPUID{0, 1, 2, 3}, nil); !slices.Equal(got, again) || len(got) != 1 {
			t.Fatalf("%s: %v, then %v", name, got, again)
		}
		count[got[0]]++
	}
	for id, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("CPU %d has %d of 4000 unikernels on 4 CPUs", id, n)
		}
	}
}

func TestSelector(t *testing.T) {
	team := func(op metav1.LabelSelectorOperator, values ...v1alpha1.LabelValue) *v1alpha1.NamespaceSelector {
		return &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.LabelRequirement{{Key: "team", Operator: op, Values: values}}}
	}
	set := labels.Set{"team": "a", "tier": "gold"}
	for _, c := range []struct {
		what     string
		selector *v1alpha1.NamespaceSelector
		want     bool
	}{
		{"nil matches nothing", nil, false},
		{"empty matches everything", &v1alpha1.NamespaceSelector{}, true},
		{"labels", &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"team": "a", "tier": "gold"}}, true},
		{"one label differs", &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"team": "a", "tier": "tin"}}, false},
		{"in", team(metav1.LabelSelectorOpIn, "b", "a"), true},
		{"not in", team(metav1.LabelSelectorOpNotIn, "b", "a"), false},
		{"exists", team(metav1.LabelSelectorOpExists), true},
		{"does not exist", team(metav1.LabelSelectorOpDoesNotExist), false},
	} {
		selector, err := c.selector.Selector()
		if err != nil {
			t.Fatal(c.what, err)
		}
		if got := selector.Matches(set); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	if _, err := team("Equals", "a").Selector(); err == nil {
		t.Error("an unknown operator is accepted")
	}
}

func TestUserDefaults(t *testing.T) {
	u := &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Name: "alice"}}
	if !u.IsActive() || u.NamespaceOrDefault() != "alice" {
		t.Errorf("active %v, namespace %q", u.IsActive(), u.NamespaceOrDefault())
	}
	u.UID = "4f8e"
	if id := u.ExternalIDOrDefault(); id != "4f8e" {
		t.Errorf("external id %q", id)
	}
	u.Spec.Active, u.Spec.Namespace, u.Spec.ExternalID = new(bool), "team", "4815162342"
	if u.IsActive() || u.NamespaceOrDefault() != "team" || u.ExternalIDOrDefault() != "4815162342" {
		t.Errorf("active %v, namespace %q, external id %q", u.IsActive(), u.NamespaceOrDefault(), u.ExternalIDOrDefault())
	}
}

// TestPrecedes has one of two users, and not both, come first.
func TestPrecedes(t *testing.T) {
	at := func(second int64, uid types.UID) *v1alpha1.User {
		return &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{UID: uid, CreationTimestamp: metav1.Unix(second, 0)}}
	}
	for _, c := range []struct {
		a, b *v1alpha1.User
		want bool
	}{
		{at(1, "z"), at(2, "a"), true},
		{at(2, "a"), at(1, "z"), false},
		{at(1, "a"), at(1, "b"), true},
		{at(1, "b"), at(1, "a"), false},
		{at(1, "a"), at(1, "a"), false},
	} {
		if got := c.a.Precedes(c.b); got != c.want {
			t.Errorf("%v of %v precedes %v of %v: %v", c.a.UID, c.a.CreationTimestamp, c.b.UID, c.b.CreationTimestamp, got)
		}
	}
}

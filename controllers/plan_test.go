package controllers

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// runningAs is what a host would tell of something that runs as desired.
func runningAs(d desired) *albatross.Unikernel {
	a := d.kind.Arguments
	info := albatross.Info{
		Type: d.kind.Type, FailBehaviour: a.FailBehaviour, Startup: a.Startup, CPUIDs: a.CPUIDs, Memory: a.Memory,
		Argv: a.Argv, NumCPUs: a.NumCPUs, LinuxBootPartition: a.LinuxBootPartition, Digest: make([]byte, 32),
	}
	for _, b := range a.Bridges {
		mac := albatross.DeriveMAC(d.name, b.Name)
		if b.MAC != nil {
			mac = *b.MAC
		}
		info.Bridges = append(info.Bridges, albatross.BridgeInfo{Device: b.Name, HostDevice: b.Host(), MAC: mac})
	}
	for _, b := range a.Blocks {
		info.Blocks = append(info.Blocks, albatross.BlockInfo{Device: b.Name, HostDevice: b.Host(), SectorSize: 512, Size: 4})
	}
	return &albatross.Unikernel{Name: d.name, Info: info}
}

func declared() *v1alpha1.Unikernel {
	return &v1alpha1.Unikernel{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "alice"},
		Spec: v1alpha1.UnikernelSpec{
			Image:             &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{SHA256: v1alpha1.SHA256(strings.Repeat("0", 64))}},
			Arguments:         []string{"-v"},
			NetworkInterfaces: []v1alpha1.NetworkInterface{{Name: "net0", Bridge: "service"}, {Name: "net1", MAC: "02:00:00:00:00:01"}},
			BlockDevices: []v1alpha1.BlockDevice{
				{Name: "storage", VolumeRef: &v1alpha1.VolumeReference{Name: "data"}}, {Name: "raw", HostDevice: "raw"},
			},
		},
	}
}

func desiredOf(uk *v1alpha1.Unikernel) desired {
	return desiredUnikernel(&uk.Spec, string(uk.Spec.Image.SHA256), albatross.Name{Path: albatross.Path{"alice"}, Label: uk.Name}, albatross.Policy{CPUIDs: []int64{0, 1}}, nil)
}

func TestUnikernelPlan(t *testing.T) {
	d := desiredOf(declared())
	same, otherImage, otherMemory := runningAs(d), runningAs(d), runningAs(d)
	otherImage.Info.Digest = []byte{1}
	otherMemory.Info.Memory++
	ours := planInput{desired: d, observed: same, owned: true, deployed: true, restartPolicy: v1alpha1.RestartAlways}
	for _, tt := range []struct {
		what   string
		change func(*planInput)
		action action
		reason string
	}{
		{"as declared", func(*planInput) {}, actionNone, v1alpha1.ReasonSucceeded},
		{"not there yet", func(in *planInput) { in.observed, in.deployed = nil, false }, actionCreate, v1alpha1.ReasonCreating},
		{"gone", func(in *planInput) { in.observed = nil }, actionCreate, v1alpha1.ReasonRestarting},
		{"ended with Never", func(in *planInput) { in.observed, in.restartPolicy = nil, v1alpha1.RestartNever }, actionNone, v1alpha1.ReasonExited},
		{"ended with OnFailure", func(in *planInput) { in.observed, in.restartPolicy = nil, v1alpha1.RestartOnFailure }, actionNone, v1alpha1.ReasonExited},
		{"ended, start asked", func(in *planInput) { in.observed, in.restartPolicy, in.restartAsked = nil, v1alpha1.RestartNever, true }, actionCreate, v1alpha1.ReasonRestarting},
		{"ended, other declared", func(in *planInput) { in.observed, in.restartPolicy, in.deployed = nil, v1alpha1.RestartNever, false }, actionCreate, v1alpha1.ReasonCreating},
		{"other image", func(in *planInput) { in.observed = otherImage }, actionReplace, v1alpha1.ReasonReplacing},
		{"other memory", func(in *planInput) { in.observed = otherMemory }, actionReconfigure, v1alpha1.ReasonReconfiguring},
		{"other image and memory", func(in *planInput) { in.observed = otherImage; in.desired.kind.Memory = 99 }, actionReplace, v1alpha1.ReasonReplacing},
		{"restart asked", func(in *planInput) { in.restartAsked = true }, actionRestart, v1alpha1.ReasonRestarting},
		{"restart asked and other memory", func(in *planInput) { in.restartAsked, in.observed = true, otherMemory }, actionReconfigure, v1alpha1.ReasonReconfiguring},
		{"suspended", func(in *planInput) { in.suspended = true }, actionDestroy, v1alpha1.ReasonStopping},
		{"suspended and stopped", func(in *planInput) { in.suspended, in.observed = true, nil }, actionNone, v1alpha1.ReasonSuspended},
		{"suspended, the host may restart it", func(in *planInput) {
			in.suspended, in.observed, in.restartPolicy = true, nil, v1alpha1.RestartOnFailure
		}, actionDestroy, v1alpha1.ReasonStopping},
		{"suspended and told so", func(in *planInput) {
			in.suspended, in.observed, in.restartPolicy, in.stopped = true, nil, v1alpha1.RestartOnFailure, true
		}, actionNone, v1alpha1.ReasonSuspended},
		{"foreign and equal", func(in *planInput) { in.owned, in.deployed = false, false }, actionNone, v1alpha1.ReasonSucceeded},
		{"foreign and different", func(in *planInput) { in.owned, in.observed = false, otherMemory }, actionRefuse, v1alpha1.ReasonNameTaken},
		{"foreign, suspended", func(in *planInput) { in.owned, in.suspended = false, true }, actionRefuse, v1alpha1.ReasonNameTaken},
		{"foreign, forced", func(in *planInput) { in.owned, in.observed, in.force = false, otherImage, true }, actionReplace, v1alpha1.ReasonReplacing},
	} {
		in := ours
		tt.change(&in)
		if got := planUnikernel(in); got.action != tt.action || got.reason != tt.reason || got.message == "" {
			t.Errorf("%s: %+v, want %s because of %s", tt.what, got, tt.action, tt.reason)
		}
	}
}

// TestConfigDifferences has each field of spec found to differ, and nothing else.
func TestConfigDifferences(t *testing.T) {
	running := runningAs(desiredOf(declared())).Info
	if d := desiredOf(declared()).differences(running); len(d) != 0 {
		t.Fatalf("equal, but differs in %v", d)
	}
	for field, change := range map[string]func(*v1alpha1.UnikernelSpec){
		"memory":            func(s *v1alpha1.UnikernelSpec) { s.Memory = new(v1alpha1.FromMiB(64)) },
		"cpuIDs":            func(s *v1alpha1.UnikernelSpec) { s.CPUIDs = []v1alpha1.CPUID{0, 1} },
		"cpus":              func(s *v1alpha1.UnikernelSpec) { s.CPUs = 2 },
		"arguments":         func(s *v1alpha1.UnikernelSpec) { s.Arguments = nil },
		"networkInterfaces": func(s *v1alpha1.UnikernelSpec) { s.NetworkInterfaces[0].MAC = "02:00:00:00:00:09" },
		"blockDevices":      func(s *v1alpha1.UnikernelSpec) { s.BlockDevices[0].SectorSize = 4096 },
		"restartPolicy": func(s *v1alpha1.UnikernelSpec) {
			s.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartOnFailure}
		},
		"startupPriority":    func(s *v1alpha1.UnikernelSpec) { s.StartupPriority = 1 },
		"linuxBootPartition": func(s *v1alpha1.UnikernelSpec) { s.LinuxBootPartition = "gpt2" },
		"image":              func(s *v1alpha1.UnikernelSpec) { s.Image.SHA256 = v1alpha1.SHA256(strings.Repeat("1", 64)) },
	} {
		uk := declared()
		change(&uk.Spec)
		if got := desiredOf(uk).differences(running); !slices.Equal(got, []string{field}) {
			t.Errorf("%s: differs in %v", field, got)
		}
	}
	for what, change := range map[string]func(*v1alpha1.UnikernelSpec){
		"the default written out": func(s *v1alpha1.UnikernelSpec) {
			s.Memory, s.StartupPriority, s.CPUs = new(v1alpha1.FromMiB(v1alpha1.DefaultMemoryMiB)), v1alpha1.DefaultStartupPriority, 1
			s.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartAlways}
		},
		"another order": func(s *v1alpha1.UnikernelSpec) { slices.Reverse(s.NetworkInterfaces); slices.Reverse(s.BlockDevices) },
		"the derived address": func(s *v1alpha1.UnikernelSpec) {
			s.NetworkInterfaces[0].MAC = albatross.DeriveMAC(desiredOf(declared()).name, "net0").String()
		},
	} {
		uk := declared()
		change(&uk.Spec)
		if got := desiredOf(uk).differences(running); len(got) != 0 {
			t.Errorf("%s: differs in %v", what, got)
		}
	}
}

func TestBhyveHasNoImage(t *testing.T) {
	uk := declared()
	uk.Spec.Type, uk.Spec.Image = v1alpha1.UnikernelTypeBhyve, nil
	d := desiredOf(uk)
	running := runningAs(d)
	running.Info.Digest = []byte("alba-4711")
	if got := d.differences(running.Info); len(got) != 0 {
		t.Errorf("differs in %v", got)
	}
	running.Info.Type = albatross.Solo5
	if got := d.differences(running.Info); !slices.Equal(got, []string{"image"}) {
		t.Errorf("another type differs in %v", got)
	}
}

func TestVolumePlan(t *testing.T) {
	block := func(size int64, active bool) *albatross.Block { return &albatross.Block{Size: size, Active: active} }
	for _, tt := range []struct {
		what   string
		in     volumeInput
		action action
	}{
		{"not there", volumeInput{size: 4}, actionAdd},
		{"gone with its data", volumeInput{size: 4, owned: true, added: true, populated: true, hasSource: true}, actionAdd},
		{"there", volumeInput{size: 4, observed: block(4, false), owned: true, added: true}, actionNone},
		{"in use", volumeInput{size: 4, observed: block(4, true), owned: true, populated: true, hasSource: true}, actionNone},
		{"other size", volumeInput{size: 4, observed: block(5, false), owned: true}, actionRefuse},
		{"somebody else's", volumeInput{size: 4, observed: block(4, false), hasSource: true}, actionNone},
		{"made and not filled", volumeInput{size: 4, observed: block(4, false), owned: true, added: true, hasSource: true}, actionPopulate},
		{"filled", volumeInput{size: 4, observed: block(4, false), owned: true, added: true, populated: true, hasSource: true}, actionNone},
		{"made perhaps", volumeInput{size: 4, observed: block(4, false), owned: true, hasSource: true}, actionInspect},
		{"used before it was filled", volumeInput{size: 4, observed: block(4, true), owned: true, added: true, hasSource: true}, actionRefuse},
	} {
		if got := planVolume(tt.in); got.action != tt.action || got.message == "" {
			t.Errorf("%s: %+v, want %s", tt.what, got, tt.action)
		}
	}
}

func TestTenantOf(t *testing.T) {
	instance := &v1alpha1.AlbatrossInstance{Spec: v1alpha1.AlbatrossInstanceSpec{Tenants: []v1alpha1.Tenant{
		{Namespace: "alice", Path: "customers:alice"},
		{Namespace: "bob"},
		{NamespaceSelector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"team": "ops"}}},
	}}}
	for _, tt := range []struct {
		namespace, team, path string
		admitted              bool
	}{
		{"alice", "", "customers:alice", true},
		{"alice", "ops", "customers:alice", true}, // the first entry counts
		{"bob", "", "bob", true},
		{"carol", "ops", "carol", true},
		{"carol", "dev", "", false},
		{"mallory", "", "", false},
	} {
		got, admitted, err := tenantOf(instance, tt.namespace, labels.Set{"team": tt.team})
		if err != nil || admitted != tt.admitted || got.path.String() != tt.path {
			t.Errorf("%+v: %v at %q, %v", tt, admitted, got.path, err)
		}
	}
	instance.Spec.Tenants[2].NamespaceSelector.MatchExpressions = []v1alpha1.LabelRequirement{{Key: "not a label!", Operator: metav1.LabelSelectorOpExists}}
	if _, admitted, err := tenantOf(instance, "carol", nil); err == nil || admitted {
		t.Error("an impossible selector admits")
	}
}

func TestKeys(t *testing.T) {
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "alice", Name: "web"}}
	request, ok := requestOf(unikernelKind, keyOf(unikernelKind, uk))
	if !ok || request.Namespace != "alice" || request.Name != "web" {
		t.Errorf("%v %v", request, ok)
	}
	if _, ok := requestOf(volumeKind, keyOf(unikernelKind, uk)); ok {
		t.Error("a key of another kind is taken")
	}
}

func TestDeclaredPolicy(t *testing.T) {
	got := declaredPolicy(&v1alpha1.Policy{
		Unikernels: 3, CPUIDs: []v1alpha1.CPUID{1, 0}, Memory: v1alpha1.FromMiB(512), Storage: new(v1alpha1.FromMiB(0)), Bridges: []v1alpha1.BridgeName{"service"},
	})
	want := albatross.Policy{Unikernels: 3, CPUIDs: []int64{0, 1}, Memory: 512, Bridges: []string{"service"}}
	if !got.Equal(want) {
		t.Errorf("%+v, want %+v: no storage is none at all", got, want)
	}
}

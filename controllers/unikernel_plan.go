package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// action is what the host is to be told; at most one in a reconcile.
type action string

const (
	actionNone        action = "none"
	actionCreate      action = "create"
	actionReplace     action = "replace"
	actionReconfigure action = "reconfigure"
	actionRestart     action = "restart"
	actionDestroy     action = "destroy"
	actionRefuse      action = "refuse"
)

// sendsImage tells whether the action needs the unikernel's binary.
func (a action) sendsImage() bool { return a == actionCreate || a == actionReplace }

// attachesDevices tells whether the action needs the declared volumes.
func (a action) attachesDevices() bool {
	return a == actionCreate || a == actionReplace || a == actionReconfigure
}

// endsRunning tells whether the host ends a running unikernel before it finds
// out that the new one cannot start.
func (a action) endsRunning() bool { return a == actionReplace || a == actionReconfigure }

// decision is an action with its reason, one of the reasons of the conditions.
type decision struct {
	action  action
	reason  string
	message string
}

// desired is a unikernel as declared, in the host's terms.
type desired struct {
	kind albatross.Config
	// digest of the image, empty for type bhyve, which has none.
	digest string
	name   albatross.Name
}

// planInput is everything that the plan depends on.
type planInput struct {
	desired desired
	// observed is what runs under the name, nil when nothing does.
	observed *albatross.Unikernel
	// owned says that we made it, or were about to: the object has our finalizer.
	owned bool
	// deployed says that what is desired now ran before.
	deployed bool
	// restartAsked says that the annotation asks for a restart not yet done.
	restartAsked bool
	force        bool
	suspended    bool
	// stopped says that it was stopped because it is suspended.
	stopped       bool
	restartPolicy v1alpha1.RestartPolicyType
}

// planUnikernel decides by an ordered list of questions; the first that has an
// answer counts.
func planUnikernel(in planInput) decision {
	for _, ask := range []func(planInput) (decision, bool){
		whenForeign, whenSuspended, whenAbsent, whenImageDiffers, whenConfigDiffers, whenRestartAsked,
	} {
		if d, ok := ask(in); ok {
			return d
		}
	}
	return decision{action: actionNone, reason: v1alpha1.ReasonSucceeded, message: "running as declared"}
}

// whenForeign leaves alone what somebody else made under our name, unless it is
// just what is declared (then it is adopted) or the user insists.
func whenForeign(in planInput) (decision, bool) {
	if in.observed == nil || in.owned || in.force {
		return decision{}, false
	}
	differences := in.desired.differences(in.observed.Info)
	if len(differences) == 0 && !in.suspended {
		return decision{}, false
	}
	return decision{actionRefuse, v1alpha1.ReasonNameTaken, fmt.Sprintf(
		"%s runs on the host already, was not made for this object and differs in %s; choose another name, remove it, or set the annotation %s to \"true\" to replace it",
		in.desired.name, strings.Join(append(differences, suspension(in)...), ", "), v1alpha1.AnnotationForce)}, true
}

func suspension(in planInput) []string {
	if in.suspended {
		return []string{"suspended"}
	}
	return nil
}

func whenSuspended(in planInput) (decision, bool) {
	switch {
	case !in.suspended:
		return decision{}, false
	case in.observed == nil && (in.stopped || !in.mayComeBack()):
		return decision{actionNone, v1alpha1.ReasonSuspended, "suspended"}, true
	}
	return decision{actionDestroy, v1alpha1.ReasonStopping, "being stopped because it is suspended"}, true
}

// mayComeBack tells whether the host may be about to restart what is not running.
func (in planInput) mayComeBack() bool {
	return in.owned && in.restartPolicy == v1alpha1.RestartOnFailure
}

func whenAbsent(in planInput) (decision, bool) {
	switch {
	case in.observed != nil:
		return decision{}, false
	case !in.deployed:
		return decision{actionCreate, v1alpha1.ReasonCreating, "being created on the host"}, true
	case in.restartAsked:
		return decision{actionCreate, v1alpha1.ReasonRestarting, "being started again as the annotation asks"}, true
	case in.restartPolicy == v1alpha1.RestartAlways:
		return decision{actionCreate, v1alpha1.ReasonRestarting, "was gone from the host and is being brought back"}, true
	}
	return decision{actionNone, v1alpha1.ReasonExited, fmt.Sprintf(
		"has exited; with restart policy %s it stays so until the annotation %s changes", in.restartPolicy, v1alpha1.AnnotationRestartedAt)}, true
}

func whenImageDiffers(in planInput) (decision, bool) {
	if in.desired.imageEquals(in.observed.Info) {
		return decision{}, false
	}
	return decision{actionReplace, v1alpha1.ReasonReplacing, "being replaced because the image changed"}, true
}

func whenConfigDiffers(in planInput) (decision, bool) {
	differences := in.desired.configDifferences(in.observed.Info)
	if len(differences) == 0 {
		return decision{}, false
	}
	return decision{actionReconfigure, v1alpha1.ReasonReconfiguring, "being restarted because " + strings.Join(differences, ", ") + " changed"}, true
}

func whenRestartAsked(in planInput) (decision, bool) {
	if !in.restartAsked {
		return decision{}, false
	}
	return decision{actionRestart, v1alpha1.ReasonRestarting, "being restarted as the annotation asks"}, true
}

// imageEquals compares digests. What runs under bhyve has none.
func (d desired) imageEquals(info albatross.Info) bool {
	if d.kind.Type != info.Type {
		return false
	}
	return info.Type == albatross.BHyve || hex.EncodeToString(info.Digest) == d.digest
}

func (d desired) differences(info albatross.Info) []string {
	differences := d.configDifferences(info)
	if !d.imageEquals(info) {
		differences = append([]string{"image"}, differences...)
	}
	return differences
}

// configDifferences names the fields of spec in which what runs is not as declared.
func (d desired) configDifferences(info albatross.Info) (differences []string) {
	a := d.kind.Arguments
	for _, field := range []struct {
		name  string
		equal bool
	}{
		{"memory", a.Memory == info.Memory},
		{"cpuIDs", sameSet(a.CPUIDs, info.CPUIDs)},
		{"cpus", a.NumCPUs == info.NumCPUs},
		{"arguments", slices.Equal(a.Argv, info.Argv)},
		{"networkInterfaces", d.sameBridges(info.Bridges)},
		{"blockDevices", sameBlocks(a.Blocks, info.Blocks)},
		{"restartPolicy", a.FailBehaviour.Restart == info.FailBehaviour.Restart && sameSet(a.FailBehaviour.ExitCodes, info.FailBehaviour.ExitCodes)},
		{"startupPriority", priority(a.Startup) == priority(info.Startup)},
		{"linuxBootPartition", orEmpty(a.LinuxBootPartition) == orEmpty(info.LinuxBootPartition)},
	} {
		if !field.equal {
			differences = append(differences, field.name)
		}
	}
	return differences
}

func sameSet(a, b []int64) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

func priority(p *int64) int64 {
	if p == nil {
		return int64(v1alpha1.DefaultStartupPriority)
	}
	return *p
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// sameBridges compares with the address that the host derives when none is declared.
func (d desired) sameBridges(running []albatross.BridgeInfo) bool {
	want := make(map[albatross.BridgeInfo]bool, len(d.kind.Bridges))
	for _, b := range d.kind.Bridges {
		mac := albatross.DeriveMAC(d.name, b.Name)
		if b.MAC != nil {
			mac = *b.MAC
		}
		want[albatross.BridgeInfo{Device: b.Name, HostDevice: b.Host(), MAC: mac}] = true
	}
	for _, b := range running {
		if !want[b] {
			return false
		}
	}
	return len(running) == len(want)
}

// sameBlocks leaves to the host what is not declared: the sector size.
func sameBlocks(declared []albatross.BlockDevice, running []albatross.BlockInfo) bool {
	want := make(map[string]albatross.BlockDevice, len(declared))
	for _, b := range declared {
		want[b.Name] = b
	}
	for _, b := range running {
		w, ok := want[b.Device]
		if !ok || w.Host() != b.HostDevice || w.SectorSize != nil && *w.SectorSize != b.SectorSize {
			return false
		}
	}
	return len(running) == len(want)
}

// configHash names a configuration in the history, without its image.
func (d desired) configHash() string {
	config := d.kind
	config.Image, config.Compressed = nil, false
	text, err := json.Marshal(config)
	if err != nil {
		panic(fmt.Sprintf("a configuration has no cycles and no functions: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// desiredUnikernel turns a spec and the digest of its image into the host's terms.
// running are the CPUs it runs on, kept while the policy allows them.
func desiredUnikernel(spec *v1alpha1.UnikernelSpec, digest string, name albatross.Name, policy albatross.Policy, running []int64) desired {
	d := desired{name: name, digest: digest}
	d.kind.Arguments = albatross.Arguments{
		FailBehaviour: failBehaviour(spec),
		CPUIDs:        cpuNumbers(spec.CPUIDsFor(name.Label, cpuIDs(policy.CPUIDs), cpuIDs(running))),
		Memory:        spec.MemoryMiB(),
		Argv:          spec.Arguments,
		NumCPUs:       int64(spec.CPUsOrDefault()),
	}
	if spec.TypeOrDefault() == v1alpha1.UnikernelTypeBhyve {
		d.kind.Type = albatross.BHyve
	}
	if spec.StartupPriority != 0 {
		d.kind.Startup = new(int64(spec.StartupPriority))
	}
	if spec.LinuxBootPartition != "" {
		d.kind.LinuxBootPartition = &spec.LinuxBootPartition
	}
	d.addDevices(spec)
	return d
}

// failBehaviour lets the host restart only with OnFailure: with Always the
// operator does it, which knows a back-off and counts.
func failBehaviour(spec *v1alpha1.UnikernelSpec) (f albatross.FailBehaviour) {
	if spec.RestartPolicyOrDefault() != v1alpha1.RestartOnFailure {
		return f
	}
	f.Restart = true
	for _, code := range spec.RestartPolicy.ExitCodes {
		f.ExitCodes = append(f.ExitCodes, int64(code))
	}
	return f
}

func (d *desired) addDevices(spec *v1alpha1.UnikernelSpec) {
	for _, n := range spec.NetworkInterfaces {
		bridge := albatross.Bridge{Name: n.Name}
		if n.Bridge != "" {
			bridge.HostDevice = new(string(n.Bridge))
		}
		if mac, ok := albatross.ParseMAC(n.MAC); ok {
			bridge.MAC = &mac
		}
		d.kind.Bridges = append(d.kind.Bridges, bridge)
	}
	for _, b := range spec.BlockDevices {
		device := albatross.BlockDevice{Name: b.Name}
		switch {
		case b.VolumeRef != nil:
			device.HostDevice = &b.VolumeRef.Name
		case b.HostDevice != "":
			device.HostDevice = &b.HostDevice
		}
		if b.SectorSize != 0 {
			device.SectorSize = new(int64(b.SectorSize))
		}
		d.kind.Blocks = append(d.kind.Blocks, device)
	}
}

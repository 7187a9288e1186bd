package services

import (
	"context"
	"fmt"
	"slices"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// destroyDirectly ends what runs without an object. Whether it must be there is
// for the caller to say.
func (s *Services) destroyDirectly(ctx context.Context, p place, name string, demanded bool) error {
	at, err := s.site(ctx, p)
	if err != nil {
		return err
	}
	if _, runs := at.snapshot.Unikernels[p.name(name).String()]; !runs {
		if demanded {
			return &Refused{Text: textNotFound}
		}
		return nil
	}
	return s.directly(ctx, at, "destroy", name, func(ctx context.Context) error {
		_, err := at.host.Client().Destroy(ctx, at.scope, name)
		return err
	})
}

// restartDirectly restarts what runs without an object. What the host would
// refuse only after it has ended the old one is refused before.
func (s *Services) restartDirectly(ctx context.Context, p place, name string, spec *v1alpha1.UnikernelSpec) error {
	at, err := s.site(ctx, p)
	if err != nil {
		return err
	}
	runs, ok := at.snapshot.Unikernels[p.name(name).String()]
	if !ok {
		return &Refused{Text: textNotFound}
	}
	var arguments *albatross.Arguments
	if spec != nil {
		a := argumentsOf(spec, runs.Info)
		if err := devicesFit(runs.Info, a); err != nil {
			return err
		}
		if err := at.snapshot.Allows(p.name(name), at.scope[len(at.scope)-1].Policy, a); err != nil {
			return &Refused{v1alpha1.ReasonPolicyExceeded, err.Error()}
		}
		arguments = &a
	}
	return s.directly(ctx, at, "restart", name, func(ctx context.Context) error {
		_, err := at.host.Client().Restart(ctx, at.scope, name, arguments)
		return err
	})
}

// argumentsOf turns a declaration into the host's terms. Without CPUs of its own
// it keeps those it runs on.
func argumentsOf(spec *v1alpha1.UnikernelSpec, info albatross.Info) albatross.Arguments {
	a := albatross.Arguments{Memory: spec.MemoryMiB(), Argv: spec.Arguments, NumCPUs: int64(spec.CPUsOrDefault()), CPUIDs: info.CPUIDs}
	if len(spec.CPUIDs) > 0 {
		a.CPUIDs = nil
		for _, id := range spec.CPUIDs {
			a.CPUIDs = append(a.CPUIDs, int64(id))
		}
	}
	if spec.StartupPriority != 0 {
		a.Startup = new(int64(spec.StartupPriority))
	}
	if spec.LinuxBootPartition != "" {
		a.LinuxBootPartition = &spec.LinuxBootPartition
	}
	if policy := spec.RestartPolicy; policy != nil && policy.Type == v1alpha1.RestartOnFailure {
		a.FailBehaviour.Restart = true
		for _, code := range policy.ExitCodes {
			a.FailBehaviour.ExitCodes = append(a.FailBehaviour.ExitCodes, int64(code))
		}
	}
	for _, n := range spec.NetworkInterfaces {
		bridge := albatross.Bridge{Name: n.Name}
		if n.Bridge != "" {
			bridge.HostDevice = new(string(n.Bridge))
		}
		if mac, ok := albatross.ParseMAC(n.MAC); ok {
			bridge.MAC = &mac
		}
		a.Bridges = append(a.Bridges, bridge)
	}
	for _, b := range spec.BlockDevices {
		a.Blocks = append(a.Blocks, blockOf(b))
	}
	return a
}

func blockOf(b v1alpha1.BlockDevice) albatross.BlockDevice {
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
	return device
}

// devicesFit compares the names of devices with those that run, which are just
// those that the image needs.
func devicesFit(info albatross.Info, a albatross.Arguments) error {
	var networks, blocks, wantNetworks, wantBlocks []string
	for _, b := range info.Bridges {
		networks = append(networks, b.Device)
	}
	for _, b := range info.Blocks {
		blocks = append(blocks, b.Device)
	}
	for _, b := range a.Bridges {
		wantNetworks = append(wantNetworks, b.Name)
	}
	for _, b := range a.Blocks {
		wantBlocks = append(wantBlocks, b.Name)
	}
	for _, pair := range []struct {
		what       string
		have, want []string
	}{{"bridge(s)", networks, wantNetworks}, {"block device(s)", blocks, wantBlocks}} {
		slices.Sort(pair.have)
		slices.Sort(pair.want)
		if !slices.Equal(pair.have, pair.want) {
			return &Refused{v1alpha1.ReasonImageInvalid, fmt.Sprintf("specified %s does not match with the manifest. Devices present in manifest: %v", pair.what, pair.have)}
		}
	}
	return nil
}

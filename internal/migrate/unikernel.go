package migrate

import (
	"cmp"
	"encoding/hex"
	"regexp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// unikernel declares what runs, so that it is adopted without a restart.
func (c *converter) unikernel(h *Host, u *albatross.Unikernel) Document {
	info := &u.Info
	object := &v1alpha1.Unikernel{TypeMeta: typeMeta("Unikernel"), ObjectMeta: c.objectMeta(u.Name)}
	d := Document{Object: object}
	c.checkPlace(&d, u.Name)
	d.checkInfo(info)
	spec := &object.Spec
	spec.InstanceRef.Name = objectName(h.Name)
	spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
	spec.Memory = new(v1alpha1.FromMiB(min(info.Memory, maxMemory)))
	spec.CPUIDs = numbers[v1alpha1.CPUID](info.CPUIDs)
	spec.Arguments = info.Argv
	if info.Startup != nil && *info.Startup != int64(v1alpha1.DefaultStartupPriority) {
		spec.StartupPriority = int32(min(max(*info.Startup, 1), maxStartup))
	}
	c.setType(&d, spec, info)
	setRestartPolicy(&d, spec, info.FailBehaviour)
	setNetworks(&d, spec, u)
	c.setBlocks(&d, h, spec, u)
	c.noteOrigin(&d, u)
	c.take(&d, h)
	return d
}

// setType says what runs: an image, or a disk of the host.
func (c *converter) setType(d *Document, spec *v1alpha1.UnikernelSpec, info *albatross.Info) {
	if info.Type != albatross.BHyve {
		digest := hex.EncodeToString(info.Digest)
		spec.Image = &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{Stored: &v1alpha1.StoredSource{SHA256: v1alpha1.SHA256(digest)}}}
		if note, ok := c.in.Images[digest]; ok {
			d.note("image: %s", note)
		} else {
			d.note("image: a host does not tell where an image comes from. The operator has none with this SHA-256; to have the unikernel " +
				"brought back one day, replace stored by its source (url with sha256, oci or build).")
		}
		return
	}
	spec.Type = v1alpha1.UnikernelTypeBhyve
	spec.CPUs = int32(min(max(info.NumCPUs, 1), maxCPUs))
	if partition := info.LinuxBootPartition; partition != nil && *partition != "" {
		spec.LinuxBootPartition = *partition
		d.check(len(*partition) <= maxBootPartition && partitionForm.MatchString(*partition), "it boots from %q, which is not the name of a partition", *partition)
	}
}

func setRestartPolicy(d *Document, spec *v1alpha1.UnikernelSpec, fail albatross.FailBehaviour) {
	if !fail.Restart {
		spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}
		d.note("restartPolicy: nobody brings it back when it ends. With type Always the operator would; to change that does not restart it.")
		return
	}
	spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartOnFailure, ExitCodes: numbers[v1alpha1.ExitCode](fail.ExitCodes)}
}

func setNetworks(d *Document, spec *v1alpha1.UnikernelSpec, u *albatross.Unikernel) {
	var names []string
	var macs []albatross.MAC
	for _, b := range sortedBy(u.Info.Bridges, func(b albatross.BridgeInfo) string { return b.Device }) {
		network := v1alpha1.NetworkInterface{Name: b.Device, Bridge: v1alpha1.BridgeName(b.HostDevice)}
		if b.MAC != albatross.DeriveMAC(u.Name, b.Device) {
			network.MAC = b.MAC.String()
			d.check(isUnicast(b.MAC) && !slices.Contains(macs, b.MAC), "the network device %q has the address %s, which cannot be declared", b.Device, b.MAC)
			macs = append(macs, b.MAC)
		}
		d.check(isBridge(b.HostDevice), "the network device %q is connected to %q, which is not the name of a bridge", b.Device, b.HostDevice)
		spec.NetworkInterfaces = append(spec.NetworkInterfaces, network)
		names = append(names, b.Device)
	}
	d.checkDevices("network", names, u.Info.Type == albatross.BHyve)
}

// setBlocks refers to the Volumes of the same output.
func (c *converter) setBlocks(d *Document, h *Host, spec *v1alpha1.UnikernelSpec, u *albatross.Unikernel) {
	bhyve := u.Info.Type == albatross.BHyve
	var names, used []string
	for _, b := range sortedBy(u.Info.Blocks, func(b albatross.BlockInfo) string { return b.Device }) {
		device := v1alpha1.BlockDevice{Name: b.Device}
		if volume := (albatross.Name{Path: u.Name.Path, Label: b.HostDevice}); !bhyve && c.volumes[onHost{h.Name, volume.String()}] {
			device.VolumeRef = &v1alpha1.VolumeReference{Name: b.HostDevice}
		} else {
			device.HostDevice = b.HostDevice
			d.check(isHostDevice(b.HostDevice, bhyve), "the block device %q is %q of the host, which cannot be declared", b.Device, b.HostDevice)
		}
		if b.SectorSize != smallestSector {
			device.SectorSize = int32(min(max(b.SectorSize, 0), largestSector))
			d.check(isSectorSize(b.SectorSize), "the block device %q has sectors of %d bytes, and powers of two from 512 to 65536 can be declared", b.Device, b.SectorSize)
		}
		d.check(!slices.Contains(used, b.HostDevice), "two of its block devices are %q of the host", b.HostDevice)
		spec.BlockDevices = append(spec.BlockDevices, device)
		names, used = append(names, b.Device), append(used, b.HostDevice)
	}
	d.checkDevices("block", names, bhyve)
	d.check(!bhyve || slices.Contains(names, "0"), "it has no block device 0 to boot from")
}

// cloneForm is how Mollymawk's autoscaler calls its copies.
var cloneForm = regexp.MustCompile(`^(.+)-clone-[0-9]+$`)

// noteOrigin says what Mollymawk knows about a unikernel.
func (c *converter) noteOrigin(d *Document, u *albatross.Unikernel) {
	if clone := cloneForm.FindStringSubmatch(u.Name.Label); clone != nil {
		d.note("Its name is that of a copy of %s, made by Mollymawk's autoscaler. There is none here; leave it out if it is not wanted.", clone[1])
	}
	for _, update := range c.owners[u.Name.Path.String()].Updates {
		if update.Name == u.Name.Label && update.Job != "" {
			d.note("Mollymawk has updated it from the job %q of its build server, which may be a source for image.build.", update.Job)
			return
		}
	}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

// numbers gives numbers of a host as those of a kind. Those that are too large were
// found before.
func numbers[T ~int32](from []int64) []T {
	var all []T
	for _, n := range slices.Sorted(slices.Values(from)) {
		all = append(all, T(min(max(n, 0), 1<<20)))
	}
	return slices.Compact(all)
}

// sortedBy gives a sorted copy.
func sortedBy[T any](list []T, key func(T) string) []T {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return list
}

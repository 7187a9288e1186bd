// Package solo5 reads which devices a Solo5 unikernel image needs, and makes
// minimal images for tests and samples.
//
// An image is an ELF64 file with two notes of the owner "Solo5": the ABI, which
// says for which tender it was linked, and the manifest, which names its block
// and network devices. A host refuses to start an image whose devices are not
// exactly those of its configuration, so it pays to look before sending one.
// The layout of the notes is proven by six real images (images.json of the
// recorded vectors).
package solo5

import (
	"fmt"
	"strings"
)

// Target is the tender that an image was linked for.
type Target uint32

// The targets that Solo5 knows. Albatross runs HVT and SPT only.
const (
	HVT Target = 1 + iota
	SPT
	Virtio
	Muen
	Genode
	Xen
)

var targetNames = map[Target]string{HVT: "hvt", SPT: "spt", Virtio: "virtio", Muen: "muen", Genode: "genode", Xen: "xen"}

// String gives the name that Solo5's own tools use.
func (t Target) String() string {
	if name, ok := targetNames[t]; ok {
		return name
	}
	return fmt.Sprintf("target %d", uint32(t))
}

// DeviceType says what a device is.
type DeviceType uint32

// The types of devices.
const (
	Block   DeviceType = 1
	Network DeviceType = 2
)

// String gives the name that a host's messages use.
func (t DeviceType) String() string {
	switch t {
	case Block:
		return "block"
	case Network:
		return "net"
	}
	return fmt.Sprintf("device type %d", uint32(t))
}

// Device is an entry of a manifest.
type Device struct {
	// Name has 1 to 67 letters and digits.
	Name string
	Type DeviceType
}

// String is how a host's messages name the device: net "service".
func (d Device) String() string { return fmt.Sprintf("%s %q", d.Type, d.Name) }

// Image is what the notes of an image say.
type Image struct {
	Target Target
	// ABIVersion of hvt and spt is 2 since Solo5 0.9.
	ABIVersion uint32
	// Devices in the order of the manifest.
	Devices []Device
}

// Names gives the names of all devices of a type.
func (i Image) Names(t DeviceType) []string {
	var names []string
	for _, d := range i.Devices {
		if d.Type == t {
			names = append(names, d.Name)
		}
	}
	return names
}

// DeviceList is the list of all devices for people: block "data", net "service".
func (i Image) DeviceList() string {
	all := make([]string, len(i.Devices))
	for n, d := range i.Devices {
		all[n] = d.String()
	}
	return strings.Join(all, ", ")
}

// Limits of a manifest.
const (
	// MaxDevices leaves out the reserved first entry, which counts as one of 64.
	MaxDevices = 63
	// MaxNameLength in bytes.
	MaxNameLength = 67
)

func validName(name string) bool {
	if name == "" || len(name) > MaxNameLength {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// UnikernelType is the kind of virtual machine.
//
// +kubebuilder:validation:Enum=solo5;bhyve
type UnikernelType string

const (
	// UnikernelTypeSolo5 is a Solo5 unikernel (hvt or spt), run from an image. It is the default.
	UnikernelTypeSolo5 UnikernelType = "solo5"
	// UnikernelTypeBhyve is a virtual machine under FreeBSD's bhyve, booted from a disk of the host.
	UnikernelTypeBhyve UnikernelType = "bhyve"
)

// UnikernelSpec describes a unikernel. A change of instanceRef moves it, a change of image replaces it, and any other change of
// what runs restarts it without sending the image again.
//
// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : 'solo5') == (has(oldSelf.type) ? oldSelf.type : 'solo5')",message="type is immutable"
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type == 'bhyve') != has(self.image)",message="image is required for type solo5 and must be absent for type bhyve, which boots from its first block device"
// +kubebuilder:validation:XValidation:rule="!has(self.linuxBootPartition) || (has(self.type) && self.type == 'bhyve')",message="linuxBootPartition needs type bhyve"
// +kubebuilder:validation:XValidation:rule="!has(self.cpus) || self.cpus == 1 || (has(self.type) && self.type == 'bhyve')",message="more than one virtual CPU needs type bhyve"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'bhyve' || (has(self.blockDevices) && self.blockDevices.exists(d, d.name == '0' && has(d.hostDevice)))",message="type bhyve needs a block device named 0 with hostDevice: the disk it boots from"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'bhyve' || !has(self.blockDevices) || self.blockDevices.all(d, d.name.matches('^(0|[1-9][0-9]?)$') && int(d.name) < size(self.blockDevices))",message="the block devices of type bhyve are named 0, 1, 2 and so on"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'bhyve' || !has(self.networkInterfaces) || self.networkInterfaces.all(n, n.name.matches('^(0|[1-9][0-9]?)$') && int(n.name) < size(self.networkInterfaces))",message="the network interfaces of type bhyve are named 0, 1, 2 and so on"
// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'bhyve' || !has(self.networkInterfaces) || self.networkInterfaces.all(n, has(n.bridge))",message="the network interfaces of type bhyve need bridge"
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type == 'bhyve') || !has(self.blockDevices) || self.blockDevices.all(d, !has(d.hostDevice) || (size(d.hostDevice) <= 63 && d.hostDevice.matches('^([a-z0-9][a-z0-9.-]*|[.][a-z0-9.-]+)$')))",message="hostDevice of type solo5 must be an Albatross label: 1 to 63 of a-z, 0-9, '-' and '.', not beginning with '-', and not '.' alone"
type UnikernelSpec struct {
	// instanceRef names the AlbatrossInstance that runs the unikernel.
	// A change moves it: it is created on the new host, then destroyed on the old one.
	// +required
	InstanceRef InstanceReference `json:"instanceRef"`

	// type is solo5 (a Solo5 unikernel) or bhyve (a virtual machine under FreeBSD's bhyve).
	// Immutable.
	// Default: solo5.
	// +optional
	Type UnikernelType `json:"type,omitempty"`

	// image is where the unikernel's binary comes from: exactly one of oci, url (with sha256), build, stored and catalog.
	// Required for type solo5; must be absent for type bhyve.
	// A change replaces the running unikernel.
	// +optional
	Image *ImageSource `json:"image,omitempty"`

	// memory is the unikernel's memory in whole Mi, from 1Mi to 1Ti.
	// It counts against the tenant's policy.
	// Default: 32Mi.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && double(int(quantity(self).asApproximateFloat() / 1048576.0)) * 1048576.0 == quantity(self).asApproximateFloat()",message="must be a whole number of Mi"
	// +kubebuilder:validation:XValidation:rule="!isQuantity(self) || (quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('1Ti')) <= 0)",message="must be between 1Mi and 1Ti"
	Memory *resource.Quantity `json:"memory,omitempty"`

	// cpuIDs are the physical CPUs of the host that the unikernel may run on, counted from 0.
	// The tenant's policy must allow them.
	// Default: one of the CPUs that the policy allows, chosen by the unikernel's name; a running unikernel keeps the CPUs it has while they are allowed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	CPUIDs []CPUID `json:"cpuIDs,omitempty"`

	// cpus is the number of virtual CPUs, 1 to 64.
	// A Solo5 unikernel has one.
	// Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	CPUs int32 `json:"cpus,omitempty"`

	// arguments are passed to the unikernel in this order.
	// Everybody who may read the object can read them.
	// Example: ["--ipv4=10.0.0.2/24", "--ipv4-gateway=10.0.0.1"]
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=8192
	// +kubebuilder:validation:items:XValidation:rule="!self.contains('\\u0000')",message="an argument must not contain a NUL character"
	Arguments []string `json:"arguments,omitempty"`

	// networkInterfaces connects the unikernel's network devices to bridges of the host.
	// For type solo5 the names must be exactly the network devices of the image's manifest.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="[self.filter(n, has(n.mac)).map(n, n.mac)].all(macs, macs.all(m, macs.indexOf(m) == macs.lastIndexOf(m)))",message="each MAC address may be used once only"
	NetworkInterfaces []NetworkInterface `json:"networkInterfaces,omitempty"`

	// blockDevices connects the unikernel's block devices to volumes.
	// For type solo5 the names must be exactly the block devices of the image's manifest.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="[self.map(d, has(d.volumeRef) ? d.volumeRef.name : has(d.hostDevice) ? d.hostDevice : '')].all(volumes, volumes.all(v, volumes.indexOf(v) == volumes.lastIndexOf(v)))",message="each volume may be attached once only"
	BlockDevices []BlockDevice `json:"blockDevices,omitempty"`

	// restartPolicy says what happens when the unikernel ends.
	// Default: type Always.
	// +optional
	RestartPolicy *RestartPolicy `json:"restartPolicy,omitempty"`

	// startupPriority is the order in which the host starts its unikernels after a boot: 1 first, 100 last.
	// Default: 50.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	StartupPriority int32 `json:"startupPriority,omitempty"`

	// linuxBootPartition is the partition of the first block device that a Linux guest boots from.
	// Type bhyve only.
	// Example: gpt2.
	// Default: the guest is not booted as Linux.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9/][a-zA-Z0-9/,._-]*$')",message="must be the name of a partition, such as gpt2 or /dev/sda1"
	LinuxBootPartition string `json:"linuxBootPartition,omitempty"`

	// suspended stops the unikernel and keeps it stopped; its volumes stay.
	// Default: false.
	// +optional
	Suspended bool `json:"suspended,omitempty"`

	// deletionPolicy says what becomes of the unikernel on the host when this object is deleted: Delete destroys it, Orphan leaves it running.
	// Default: Delete.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// probe says how to find out whether the unikernel works.
	// Without it a running unikernel counts as healthy.
	// +optional
	Probe *Probe `json:"probe,omitempty"`

	// update says how a new image behind a tag, the latest build or a catalogue entry is taken up.
	// Default: policy Manual.
	// +optional
	Update *UpdateStrategy `json:"update,omitempty"`
}

// NetworkInterface connects a network device of the unikernel to a bridge of the host.
type NetworkInterface struct {
	// name is the name of the unikernel's network device: letters and digits.
	// Example: service
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=67
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9]+$')",message="must be letters and digits"
	Name string `json:"name"`

	// bridge is the bridge of the host; the tenant's policy must allow it.
	// Required for type bhyve.
	// Default: the device's name.
	// +optional
	Bridge BridgeName `json:"bridge,omitempty"`

	// mac is the device's MAC address: six pairs of hexadecimal digits in lower case, a unicast address.
	// Example: 00:80:41:12:34:56
	// Default: one that the host derives from the names of the device and the unikernel, so it stays the same.
	// +optional
	// +kubebuilder:validation:MinLength=17
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$') && self != '00:00:00:00:00:00'",message="must be a unicast MAC address in lower case, such as 00:80:41:12:34:56"
	MAC string `json:"mac,omitempty"`
}

// BlockDevice connects a block device of the unikernel to a volume.
//
// +kubebuilder:validation:XValidation:rule="has(self.volumeRef) != has(self.hostDevice)",message="exactly one of volumeRef and hostDevice must be set"
type BlockDevice struct {
	// name is the name of the unikernel's block device: letters and digits.
	// Example: storage
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=67
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9]+$')",message="must be letters and digits"
	Name string `json:"name"`

	// volumeRef names a Volume of the same namespace.
	// The unikernel waits until it is provisioned and populated.
	// +optional
	VolumeRef *VolumeReference `json:"volumeRef,omitempty"`

	// hostDevice names something on the host that no Volume object stands for: for type solo5 a volume at the tenant's path (a label), for type bhyve also a device that the host opens to the tenant.
	// Examples: data, /dev/zvol/tank/vm0
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^/?[a-zA-Z0-9._:-]+(/[a-zA-Z0-9._:-]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')",message="must be the name of a volume or the path of a device, without '.' and '..' as parts"
	HostDevice string `json:"hostDevice,omitempty"`

	// sectorSize is the size of a sector in bytes, a power of two from 512 to 65536.
	// Default: what the host takes, usually 512.
	// +optional
	// +kubebuilder:validation:Minimum=512
	// +kubebuilder:validation:Maximum=65536
	// +kubebuilder:validation:XValidation:rule="self in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]",message="must be a power of two"
	SectorSize int32 `json:"sectorSize,omitempty"`
}

// RestartPolicyType says who brings an ended unikernel back.
//
// +kubebuilder:validation:Enum=Always;OnFailure;Never
type RestartPolicyType string

const (
	// RestartAlways means that the operator brings the unikernel back whenever it is gone, with a back-off from 10 s to 5 min.
	// It is the default.
	RestartAlways RestartPolicyType = "Always"
	// RestartOnFailure means that the host restarts the unikernel when it ends with an exit code of exitCodes. A unikernel that
	// is gone from the host has exited for good.
	RestartOnFailure RestartPolicyType = "OnFailure"
	// RestartNever means that a unikernel that is gone from the host has exited for good.
	RestartNever RestartPolicyType = "Never"
)

// RestartPolicy says what happens when the unikernel ends.
//
// +kubebuilder:validation:XValidation:rule="!has(self.exitCodes) || self.type == 'OnFailure'",message="exitCodes goes with type OnFailure only"
type RestartPolicy struct {
	// type is Always (the operator brings the unikernel back whenever it is gone, with a back-off from 10 s to 5 min), OnFailure (the host restarts it after the exit codes below; otherwise it has exited for good) or Never (it has exited for good).
	// +required
	Type RestartPolicyType `json:"type"`

	// exitCodes are the exit codes after which the host restarts the unikernel.
	// Whatever stands here, hosts never restart after the codes 1 and 60 to 64 or a signal.
	// Absent or empty: after every other code.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	ExitCodes []ExitCode `json:"exitCodes,omitempty"`
}

// ExitCode is the exit code of a unikernel.
//
// +kubebuilder:validation:Minimum=0
// +kubebuilder:validation:Maximum=255
type ExitCode int32

// UnikernelStatus is what the operator knows about a unikernel. While the host cannot be reached the last known facts stay.
type UnikernelStatus struct {
	// observedGeneration is the metadata.generation that the conditions were computed for.
	// It is -1 until the operator has seen the object.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, HostAvailable, ImageReady, Running, Healthy, UpdateAvailable and RolledBack.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// image is what a source that may change (a tag, the latest build, a catalogue entry) was found to be and is taken for, until an update is taken up.
	// Absent for url and stored, which say themselves what they are.
	// +optional
	Image *ResolvedImage `json:"image,omitempty"`

	// availableImage is what the source delivers now, when that is not image.
	// The annotation mollymawk.dev/updateTo with its digest, or update policy Automatic, takes it up.
	// +optional
	AvailableImage *ResolvedImage `json:"availableImage,omitempty"`

	// rollback says that an earlier revision was brought back because a change did not become healthy in time.
	// It is lifted by a change of the declaration or a newer image.
	// +optional
	Rollback *RollbackStatus `json:"rollback,omitempty"`

	// instance is the AlbatrossInstance on which the unikernel was created.
	// It differs from spec.instanceRef during a move.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Instance string `json:"instance,omitempty"`

	// hostName is the full name of the unikernel on the host: path, ':' and name.
	// Example: alice:hello
	// +optional
	// +kubebuilder:validation:MaxLength=319
	HostName string `json:"hostName,omitempty"`

	// digest is the SHA-256 of the image that runs, as the host reports it, in 64 hexadecimal digits.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// shortDigest is the first 12 digits of digest, for display.
	// +optional
	// +kubebuilder:validation:MaxLength=12
	ShortDigest string `json:"shortDigest,omitempty"`

	// startedAt is when the host started the unikernel.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// memory is the memory that the unikernel runs with.
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`

	// cpuIDs are the physical CPUs that the unikernel may run on.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	CPUIDs []CPUID `json:"cpuIDs,omitempty"`

	// networkInterfaces are the network devices that the host reports.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	NetworkInterfaces []NetworkInterfaceStatus `json:"networkInterfaces,omitempty"`

	// blockDevices are the block devices that the host reports.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	BlockDevices []BlockDeviceStatus `json:"blockDevices,omitempty"`

	// restarts counts how often the operator brought the unikernel back after it was gone.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Restarts int32 `json:"restarts,omitempty"`

	// restartedAt is the value of the annotation mollymawk.dev/restartedAt that was last acted upon.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RestartedAt string `json:"restartedAt,omitempty"`

	// history is the images and configurations that were deployed, newest first.
	// At most 10 are kept.
	// +optional
	// +listType=map
	// +listMapKey=revision
	// +kubebuilder:validation:MaxItems=10
	History []Revision `json:"history,omitempty"`
}

// NetworkInterfaceStatus is a network device as the host reports it.
type NetworkInterfaceStatus struct {
	// name is the name of the unikernel's network device.
	// +required
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name"`

	// bridge is the bridge of the host.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Bridge string `json:"bridge,omitempty"`

	// mac is the MAC address in lower case.
	// Example: 00:80:41:12:34:56
	// +optional
	// +kubebuilder:validation:MaxLength=17
	MAC string `json:"mac,omitempty"`
}

// BlockDeviceStatus is a block device as the host reports it.
type BlockDeviceStatus struct {
	// name is the name of the unikernel's block device.
	// +required
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name"`

	// hostDevice is the full name of the volume, or the device of the host.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	HostDevice string `json:"hostDevice,omitempty"`

	// sectorSize is the size of a sector in bytes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	SectorSize int32 `json:"sectorSize,omitempty"`

	// size is the size of the device.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`
}

// Revision is an image and configuration that was deployed.
type Revision struct {
	// revision is the number of the deployment, counted from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision"`

	// digest is the SHA-256 of the image in 64 hexadecimal digits.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// source says where the image came from.
	// Examples: https://example.org/hello.hvt, registry.example.org/unikernels/hello:1.2
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Source string `json:"source,omitempty"`

	// version is what the source calls the image: for oci the tag and the digest of the manifest, for build the UUID of the build.
	// +optional
	// +kubebuilder:validation:MaxLength=640
	Version string `json:"version,omitempty"`

	// configHash is a hash over everything else that was sent to the host: memory, CPUs, arguments, devices and so on.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ConfigHash string `json:"configHash,omitempty"`

	// deployedAt is when the host accepted it.
	// +optional
	DeployedAt *metav1.Time `json:"deployedAt,omitempty"`

	// reason is why it was deployed, as a reason of the condition Reconciling at that time.
	// Examples: Creating, Replacing
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// healthy says that the unikernel was ready with it. The newest such revision is what a failed change is rolled back to.
	// +optional
	Healthy bool `json:"healthy,omitempty"`

	// config is the configuration, in the fields of spec, that a rollback brings back.
	// The oldest revisions lose it when all together are above 128 KiB; they cannot be rolled back to.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	Config *runtime.RawExtension `json:"config,omitempty"`
}

// ResolvedImage is what a source that may change was found to be.
type ResolvedImage struct {
	// source is what was looked up.
	// Examples: oci registry.example.org/unikernels/hello:1.2, catalog hello
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Source string `json:"source"`

	// digest is the SHA-256 of the image in 64 hexadecimal digits.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest"`

	// version is what the source calls it: for oci the tag and the digest of the manifest, for build the UUID of the build.
	// +optional
	// +kubebuilder:validation:MaxLength=640
	Version string `json:"version,omitempty"`

	// arguments are those of the catalogue's entry, for a unikernel that declares none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=8192
	Arguments []string `json:"arguments,omitempty"`

	// foundAt is when it was found out.
	// +optional
	FoundAt *metav1.Time `json:"foundAt,omitempty"`
}

// RollbackStatus says what was brought back, and instead of what.
type RollbackStatus struct {
	// revision is the number of the revision in history that was brought back.
	// +required
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision"`

	// failed is the number of the revision that did not become healthy.
	// +required
	// +kubebuilder:validation:Minimum=1
	Failed int64 `json:"failed"`

	// declaration is a hash over what was declared, image included. The change is not tried again while it is the same.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Declaration string `json:"declaration"`

	// message is why: what the probe found, and the last lines of the console.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// Unikernel is a unikernel (or a small virtual machine) that runs on an Albatross host. Its name on the host is the path of its
// tenant and its metadata.name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=unikernels,scope=Namespaced,shortName=uk,categories=mollymawk
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].status",description="Whether it runs as declared"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].reason",description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Instance",type=string,JSONPath=".spec.instanceRef.name",description="AlbatrossInstance that runs it"
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=".status.shortDigest",description="First digits of the SHA-256 of the image that runs"
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=".status.memory",description="Memory it runs with"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp",description="Time since the object was created"
// +kubebuilder:printcolumn:name="Started",type=date,priority=1,JSONPath=".status.startedAt",description="Time since the host started it"
// +kubebuilder:printcolumn:name="Restarts",type=integer,priority=1,JSONPath=".status.restarts",description="How often it was brought back"
// +kubebuilder:printcolumn:name="Update",type=string,priority=1,JSONPath=".status.conditions[?(@.type=='UpdateAvailable')].status",description="Whether the source has a newer image"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=".status.conditions[?(@.type=='Ready')].message",description="Details of the reason"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must have at most 63 characters: it is an Albatross label"
type Unikernel struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of the object.
	// The name is the label of the unikernel on the host, at most 63 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec describes the unikernel.
	// +required
	Spec UnikernelSpec `json:"spec"`

	// status is what the operator knows about the unikernel.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status UnikernelStatus `json:"status,omitempty,omitzero"`
}

// UnikernelList is a list of Unikernel objects.
//
// +kubebuilder:object:root=true
type UnikernelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Unikernel `json:"items"`
}

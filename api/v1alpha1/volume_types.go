package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VolumeSpec describes a volume. All but deletionPolicy is immutable.
//
// +kubebuilder:validation:XValidation:rule="self.instanceRef == oldSelf.instanceRef",message="instanceRef is immutable"
// +kubebuilder:validation:XValidation:rule="quantity(self.size).compareTo(quantity(oldSelf.size)) == 0",message="size is immutable"
// +kubebuilder:validation:XValidation:rule="has(self.source) == has(oldSelf.source) && (!has(self.source) || self.source == oldSelf.source)",message="source is immutable"
type VolumeSpec struct {
	// instanceRef names the AlbatrossInstance that keeps the volume.
	// Immutable.
	// +required
	InstanceRef InstanceReference `json:"instanceRef"`

	// size is the size of the volume in whole Mi, from 1Mi to 64Ti.
	// It counts against the tenant's policy.
	// Immutable.
	// Example: 64Mi
	// +required
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && double(int(quantity(self).asApproximateFloat() / 1048576.0)) * 1048576.0 == quantity(self).asApproximateFloat()",message="must be a whole number of Mi"
	// +kubebuilder:validation:XValidation:rule="!isQuantity(self) || (quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('64Ti')) <= 0)",message="must be between 1Mi and 64Ti"
	Size resource.Quantity `json:"size"`

	// source is what the volume is filled with, once, after it was made.
	// Immutable.
	// Default: the volume stays as the host makes it, all zero.
	// +optional
	Source *VolumeSource `json:"source,omitempty"`

	// deletionPolicy says what becomes of the volume on the host when this object is deleted: Delete removes it with its data, Orphan leaves it.
	// Default: Delete.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// VolumeSource says what a volume is filled with: exactly one of oci, url, build and stored.
//
// +kubebuilder:validation:XValidation:rule="[has(self.oci), has(self.url), has(self.build), has(self.stored)].filter(x, x).size() == 1",message="exactly one of oci, url, build and stored must be set"
type VolumeSource struct {
	ContentSource `json:",inline"`

	// compressed says that the content is a zlib stream, which the host unpacks. sha256 is of the compressed content.
	// Default: false.
	// +optional
	Compressed bool `json:"compressed,omitempty"`
}

// VolumeStatus is what the operator knows about a volume. While the host cannot be reached the last known facts stay.
type VolumeStatus struct {
	// observedGeneration is the metadata.generation that the conditions were computed for.
	// It is -1 until the operator has seen the object.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, HostAvailable, Provisioned and Populated.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// hostName is the full name of the volume on the host: path, ':' and name.
	// Example: alice:data
	// +optional
	// +kubebuilder:validation:MaxLength=319
	HostName string `json:"hostName,omitempty"`

	// size is the size that the host reports.
	// +optional
	Size *resource.Quantity `json:"size,omitempty"`

	// attachedTo is the name of the Unikernel of the same namespace that uses the volume.
	// When no object stands for the user of the volume, it is the full name on the host.
	// Absent: nobody uses it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	AttachedTo string `json:"attachedTo,omitempty"`

	// populatedDigest is the SHA-256 of the content that the volume was filled with, in 64 hexadecimal digits.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PopulatedDigest string `json:"populatedDigest,omitempty"`

	// populatedAt is when the volume was filled.
	// A volume is filled once.
	// +optional
	PopulatedAt *metav1.Time `json:"populatedAt,omitempty"`
}

// Volume is a block device on an Albatross host. Its name on the host is the path of its tenant and its metadata.name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=volumes,scope=Namespaced,shortName=ukvol,categories=mollymawk
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].status",description="Whether it can be used"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].reason",description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Instance",type=string,JSONPath=".spec.instanceRef.name",description="AlbatrossInstance that keeps it"
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=".spec.size",description="Declared size"
// +kubebuilder:printcolumn:name="AttachedTo",type=string,JSONPath=".status.attachedTo",description="Unikernel that uses it"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp",description="Time since the object was created"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=".status.conditions[?(@.type=='Ready')].message",description="Details of the reason"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must have at most 63 characters: it is an Albatross label"
type Volume struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of the object.
	// The name is the label of the volume on the host, at most 63 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec describes the volume.
	// +required
	Spec VolumeSpec `json:"spec"`

	// status is what the operator knows about the volume.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status VolumeStatus `json:"status,omitempty,omitzero"`
}

// VolumeList is a list of Volume objects.
//
// +kubebuilder:object:root=true
type VolumeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Volume `json:"items"`
}

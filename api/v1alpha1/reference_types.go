package v1alpha1

// Label is one label of an Albatross name: the name of a unikernel, of a volume, or one step of a path.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9][a-z0-9.-]*|[.][a-z0-9.-]+)$')",message="must be an Albatross label: 1 to 63 of a-z, 0-9, '-' and '.', not beginning with '-', and not '.' alone"
type Label string

// Path is a place in an Albatross host's tree of tenants: labels joined by ':'.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9][a-z0-9.-]{0,62}|[.][a-z0-9.-]{1,62})(:([a-z0-9][a-z0-9.-]{0,62}|[.][a-z0-9.-]{1,62})){0,7}$')",message="must be one to eight Albatross labels joined by ':', each 1 to 63 of a-z, 0-9, '-' and '.', not beginning with '-', and not '.' alone"
type Path string

// SHA256 is a SHA-256 digest in lower case hexadecimal, without a prefix.
//
// +kubebuilder:validation:MinLength=64
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="must be a SHA-256 digest: 64 lower case hexadecimal digits"
type SHA256 string

// BridgeName is the name of a network bridge of an Albatross host, for example "service".
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9._-]*$')",message="must be the name of a bridge: letters, digits, '.', '_' and '-', beginning with a letter or digit"
type BridgeName string

// Host is a DNS name or an IP address.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="isIP(self) || self.matches('^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*[.]?$')",message="must be a DNS name or an IP address, without scheme, brackets or port"
type Host string

// CPUID is the number of a physical CPU of an Albatross host, counted from 0.
//
// +kubebuilder:validation:Minimum=0
// +kubebuilder:validation:Maximum=4095
type CPUID int32

// InstanceReference names an AlbatrossInstance.
type InstanceReference struct {
	// name is the metadata.name of the AlbatrossInstance.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

// VolumeReference names a Volume of the same namespace.
type VolumeReference struct {
	// name is the metadata.name of the Volume.
	// It must be on the same AlbatrossInstance as the unikernel.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

// SecretReference names a Secret. The field that holds it says in which namespace and with which keys.
type SecretReference struct {
	// name is the metadata.name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// DeletionPolicy says what becomes of the thing on the host when its object is deleted.
//
// +kubebuilder:validation:Enum=Delete;Orphan
type DeletionPolicy string

const (
	// DeletionPolicyDelete removes the thing from the host before the object goes. It is the default.
	DeletionPolicyDelete DeletionPolicy = "Delete"
	// DeletionPolicyOrphan leaves the thing on the host; the object goes at once, even when the host cannot be reached.
	DeletionPolicyOrphan DeletionPolicy = "Orphan"
)

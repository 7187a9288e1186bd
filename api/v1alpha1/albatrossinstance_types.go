package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AlbatrossInstanceSpec describes an Albatross host and who may use it.
type AlbatrossInstanceSpec struct {
	// endpoint is where the host's albatross-tls-endpoint listens.
	// +required
	Endpoint Endpoint `json:"endpoint"`

	// credentialsSecretRef names a Secret in the operator's namespace with three PEM encoded keys.
	// tls.crt is the certificate authority that signs commands for this host, or a certificate chain delegated by it, own certificate first.
	// tls.key is its private key (Ed25519, ECDSA or RSA).
	// ca.crt is the certificate authority that the host's own certificate is verified with.
	// A new content is used within seconds.
	// +required
	CredentialsSecretRef SecretReference `json:"credentialsSecretRef"`

	// tenants says which namespaces may use the host, each below which path and with which limits.
	// The first entry that admits a namespace decides.
	// A namespace that no entry admits is refused, so without entries the host serves nobody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="[self.filter(t, has(t.__namespace__)).map(t, t.__namespace__)].all(names, names.all(n, names.indexOf(n) == names.lastIndexOf(n)))",message="each namespace may be named by one tenant only"
	// +kubebuilder:validation:XValidation:rule="[self.filter(t, has(t.path) || has(t.__namespace__)).map(t, has(t.path) ? t.path : t.__namespace__)].all(paths, paths.all(p, paths.indexOf(p) == paths.lastIndexOf(p)))",message="each path may be given to one tenant only"
	Tenants []Tenant `json:"tenants,omitempty"`

	// unschedulable keeps new unikernels and volumes away from this host.
	// What is there goes on and is looked after.
	// Default: false.
	// +optional
	Unschedulable bool `json:"unschedulable,omitempty"`

	// compressImages has images compressed on their way to the host, which saves time on a link slower than about 500 Mbit/s.
	// Default: false.
	// +optional
	CompressImages bool `json:"compressImages,omitempty"`

	// pollInterval is the time between two looks at the host, from 1s to 1h.
	// A unikernel that vanished is noticed after this time at most; after a command of its own the operator looks at once.
	// Default: 30s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration between 1s and 1h, such as 30s"
	PollInterval *metav1.Duration `json:"pollInterval,omitempty"`
}

// Endpoint is the TCP address of a host's albatross-tls-endpoint.
type Endpoint struct {
	// host is the DNS name or the IP address of the host.
	// Examples: albatross.example.org, 192.0.2.7, 2001:db8::7
	// +required
	Host Host `json:"host"`

	// port is the TCP port.
	// Default: 1025.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// Tenant admits one namespace, or the namespaces that a selector chooses.
//
// +kubebuilder:validation:XValidation:rule="has(self.__namespace__) != has(self.namespaceSelector)",message="exactly one of namespace and namespaceSelector must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.path) || has(self.__namespace__)",message="path goes with namespace only: namespaces chosen by a selector each have the path of their own name"
type Tenant struct {
	// namespace is the name of the namespace that this entry admits.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// namespaceSelector admits every namespace whose labels match.
	// The empty selector admits every namespace.
	// +optional
	NamespaceSelector *NamespaceSelector `json:"namespaceSelector,omitempty"`

	// path is where the tenant's unikernels and volumes live on the host: one to eight labels joined by ':', below the path of the credential.
	// Example: customers:alice.
	// Default: the name of the namespace.
	// +optional
	Path Path `json:"path,omitempty"`

	// policy limits what the tenant may use; the operator sets it on the host.
	// Without it the policy in force on the host stays.
	// If there is none, the tenant's objects are Stalled with reason NoPolicy, because on Albatross a path without a policy is unlimited.
	// +optional
	Policy *Policy `json:"policy,omitempty"`
}

// NamespaceSelector chooses namespaces by their labels. All requirements must hold.
type NamespaceSelector struct {
	// matchLabels demands that each of these labels has the given value.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'))",message="each key must be the key of a label, such as team or example.org/team"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions are further demands on labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a Kubernetes label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$`
type LabelValue string

// LabelRequirement is a demand on one label.
//
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="values must be set for the operators In and NotIn, and only for these"
type LabelRequirement struct {
	// key is the name of the label.
	// Example: kubernetes.io/metadata.name
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`
	Key string `json:"key"`

	// operator is how the label's value relates to values: In or NotIn (the label has, or has not, one of the values), Exists or DoesNotExist (the label is there, or is not).
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator"`

	// values are the values for In and NotIn.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`
}

// Policy limits what the unikernels and volumes of a path may use together.
type Policy struct {
	// unikernels is the number of unikernels that may exist at the same time, 1 to 100000.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Unikernels int32 `json:"unikernels"`

	// cpuIDs are the physical CPUs of the host that unikernels may run on, counted from 0.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	CPUIDs []CPUID `json:"cpuIDs"`

	// memory is the sum of the memory of all unikernels, in whole Mi, more than 16Mi.
	// Example: 1Gi
	// +required
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && double(int(quantity(self).asApproximateFloat() / 1048576.0)) * 1048576.0 == quantity(self).asApproximateFloat()",message="must be a whole number of Mi"
	// +kubebuilder:validation:XValidation:rule="!isQuantity(self) || (quantity(self).compareTo(quantity('16Mi')) > 0 && quantity(self).compareTo(quantity('1Pi')) <= 0)",message="must be more than 16Mi and at most 1Pi"
	Memory resource.Quantity `json:"memory"`

	// storage is the sum of the sizes of all volumes, in whole Mi.
	// Absent or 0: no volumes.
	// Example: 10Gi
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && double(int(quantity(self).asApproximateFloat() / 1048576.0)) * 1048576.0 == quantity(self).asApproximateFloat()",message="must be a whole number of Mi"
	// +kubebuilder:validation:XValidation:rule="!isQuantity(self) || (quantity(self).compareTo(quantity('0')) >= 0 && quantity(self).compareTo(quantity('1Pi')) <= 0)",message="must be between 0 and 1Pi"
	Storage *resource.Quantity `json:"storage,omitempty"`

	// bridges are the host's network bridges that unikernels may be connected to.
	// Absent: none.
	// Example: [service]
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Bridges []BridgeName `json:"bridges,omitempty"`
}

// AlbatrossInstanceStatus is what the operator knows about a host.
type AlbatrossInstanceStatus struct {
	// observedGeneration is the metadata.generation that the conditions were computed for.
	// It is -1 until the operator has seen the object.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, Connected, CredentialsValid and PoliciesApplied.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// credentialsNotAfter is when the first certificate of the credential expires.
	// +optional
	CredentialsNotAfter *metav1.Time `json:"credentialsNotAfter,omitempty"`

	// unikernels is the number of unikernels on the host below the path of the credential, whoever made them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Unikernels *int32 `json:"unikernels,omitempty"`

	// volumes is the number of volumes on the host below the path of the credential, whoever made them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Volumes *int32 `json:"volumes,omitempty"`

	// capacity is what the host allows at the path of the credential in total.
	// +optional
	Capacity *Capacity `json:"capacity,omitempty"`

	// used is what all unikernels and volumes below the path of the credential use together.
	// +optional
	Used *Usage `json:"used,omitempty"`

	// tenants is the use and the policy in force of each admitted path, sorted by path.
	// At most 256 are listed.
	// +optional
	// +listType=map
	// +listMapKey=path
	// +kubebuilder:validation:MaxItems=256
	Tenants []TenantStatus `json:"tenants,omitempty"`

	// unowned is what was found on the host below the paths of tenants and belongs to no object.
	// +optional
	Unowned *Unowned `json:"unowned,omitempty"`
}

// Capacity is the policy that a host reports for the path of the credential.
type Capacity struct {
	// unikernels is the number of unikernels that the host allows.
	// Absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Unikernels *int64 `json:"unikernels,omitempty"`

	// cpuIDs are the physical CPUs of the host, counted from 0.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	CPUIDs []CPUID `json:"cpuIDs,omitempty"`

	// memory is the memory for unikernels.
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`

	// storage is the space for volumes.
	// Absent: no volumes, or not told by the host.
	// +optional
	Storage *resource.Quantity `json:"storage,omitempty"`

	// bridges are the network bridges of the host.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=255
	Bridges []string `json:"bridges,omitempty"`
}

// Usage is what unikernels and volumes use together.
type Usage struct {
	// unikernels is their number.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Unikernels int32 `json:"unikernels"`

	// volumes is their number.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Volumes int32 `json:"volumes"`

	// memory is the sum of the memory of the unikernels.
	// +required
	Memory resource.Quantity `json:"memory"`

	// storage is the sum of the sizes of the volumes.
	// +required
	Storage resource.Quantity `json:"storage"`
}

// TenantStatus is the state of one admitted path.
type TenantStatus struct {
	// path is the path on the host.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Path string `json:"path"`

	// used is what the unikernels and volumes at this path use together.
	// +optional
	Used *Usage `json:"used,omitempty"`

	// policy is the policy in force on the host.
	// Absent: none.
	// +optional
	Policy *PolicyStatus `json:"policy,omitempty"`

	// refused is the host's text when it refused the policy of spec.
	// The last accepted policy then stays in use.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Refused string `json:"refused,omitempty"`
}

// PolicyStatus is a policy as the host reports it.
type PolicyStatus struct {
	// unikernels is the number of unikernels that may exist at the same time.
	// +required
	// +kubebuilder:validation:Minimum=0
	Unikernels int64 `json:"unikernels"`

	// cpuIDs are the physical CPUs that unikernels may run on.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	CPUIDs []CPUID `json:"cpuIDs,omitempty"`

	// memory is the limit for the sum of the memory of all unikernels.
	// +required
	Memory resource.Quantity `json:"memory"`

	// storage is the limit for the sum of the sizes of all volumes.
	// Absent: no volumes.
	// +optional
	Storage *resource.Quantity `json:"storage,omitempty"`

	// bridges are the network bridges that unikernels may be connected to.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=255
	Bridges []string `json:"bridges,omitempty"`
}

// Unowned counts and names what belongs to no object.
type Unowned struct {
	// unikernels is the number of unikernels that no Unikernel object stands for.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Unikernels int32 `json:"unikernels"`

	// volumes is the number of volumes that no Volume object stands for.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Volumes int32 `json:"volumes"`

	// unikernelNames are the full names of the first 32 of these unikernels in alphabetical order.
	// Example: alice:old-web
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=1024
	UnikernelNames []string `json:"unikernelNames,omitempty"`

	// volumeNames are the full names of the first 32 of these volumes in alphabetical order.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=1024
	VolumeNames []string `json:"volumeNames,omitempty"`
}

// AlbatrossInstance is a host that runs Albatross, the credential to command it, and the namespaces that may use it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=albatrossinstances,scope=Cluster,shortName=albi,categories=mollymawk
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].status",description="Whether the host can be used"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].reason",description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=".spec.endpoint.host",description="DNS name or address of the host"
// +kubebuilder:printcolumn:name="Unikernels",type=integer,JSONPath=".status.unikernels",description="Unikernels on the host"
// +kubebuilder:printcolumn:name="Volumes",type=integer,JSONPath=".status.volumes",description="Volumes on the host"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp",description="Time since the object was created"
// +kubebuilder:printcolumn:name="Unschedulable",type=boolean,priority=1,JSONPath=".spec.unschedulable",description="Whether new unikernels are kept away"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=".status.conditions[?(@.type=='Ready')].message",description="Details of the reason"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must have at most 63 characters"
type AlbatrossInstance struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of the object.
	// The name has at most 63 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec describes the host and who may use it.
	// +required
	Spec AlbatrossInstanceSpec `json:"spec"`

	// status is what the operator knows about the host.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status AlbatrossInstanceStatus `json:"status,omitempty,omitzero"`
}

// AlbatrossInstanceList is a list of AlbatrossInstance objects.
//
// +kubebuilder:object:root=true
type AlbatrossInstanceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AlbatrossInstance `json:"items"`
}

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// UnikernelImageSpec describes an entry of the image catalogue.
type UnikernelImageSpec struct {
	// image is where the binary comes from: exactly one of oci, url (with sha256) and build.
	// Secrets that it names are in the operator's namespace.
	// A change rolls out to the unikernels that use the entry, as the spec.update of each allows.
	// +required
	Image CatalogSource `json:"image"`

	// description says what the unikernel does.
	// Default: none.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// arguments are passed to unikernels that declare none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=8192
	// +kubebuilder:validation:items:XValidation:rule="!self.contains('\\u0000')",message="an argument must not contain a NUL character"
	Arguments []string `json:"arguments,omitempty"`

	// variables are what the unikernel can be told, for tools that ask people for values.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Variables []ImageVariable `json:"variables,omitempty"`

	// networkInterfaces are what tools that deploy the image connect it to, such as the Panel API.
	// For type solo5 the names must be exactly the network devices of the image's manifest.
	// A Unikernel declares its own.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	NetworkInterfaces []ImageInterface `json:"networkInterfaces,omitempty"`
}

// CatalogSource says where the binary of a catalogue entry comes from.
//
// +kubebuilder:validation:XValidation:rule="!has(self.stored) && [has(self.oci), has(self.url), has(self.build)].filter(x, x).size() == 1",message="exactly one of oci, url and build must be set: the catalogue is for all namespaces, and stored belongs to one"
type CatalogSource struct {
	ContentSource `json:",inline"`
}

// ImageInterface is a network device of an image, with the bridge that it is usually connected to.
type ImageInterface struct {
	// name is the name of the unikernel's network device: letters and digits.
	// Example: service
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=67
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9]+$')",message="must be letters and digits"
	Name string `json:"name"`

	// bridge is the bridge of the host; the tenant's policy must allow it.
	// Default: the device's name.
	// +optional
	Bridge BridgeName `json:"bridge,omitempty"`
}

// ImageVariable is something that a unikernel can be told in an argument.
//
// +kubebuilder:validation:XValidation:rule="!has(self.argument) || self.argument.contains('{value}')",message="argument must contain {value}"
type ImageVariable struct {
	// name is what tools call it: letters, digits, '_' and '-', beginning with a letter.
	// Example: IPV4
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z][a-zA-Z0-9_-]*$')",message="must be letters, digits, '_' and '-', beginning with a letter"
	Name string `json:"name"`

	// description says what it means.
	// Default: none.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// argument is the argument that passes it on, with {value} in the place of the value.
	// Example: --ipv4={value}
	// Default: --, the name in lower case, = and the value.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Argument string `json:"argument,omitempty"`

	// default is the value when none is given.
	// Default: none.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Default string `json:"default,omitempty"`

	// required says that a value must be given when there is no default.
	// Default: false.
	// +optional
	Required bool `json:"required,omitempty"`
}

// UnikernelImage is an entry of the image catalogue: a name for an image that everybody may use.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=unikernelimages,scope=Cluster,shortName=ukimg,categories=mollymawk
// +kubebuilder:printcolumn:name="Reference",type=string,JSONPath=".spec.image.oci.reference",description="Artifact in a registry"
// +kubebuilder:printcolumn:name="Job",type=string,JSONPath=".spec.image.build.job",description="Job of a build server"
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=".spec.image.url",description="Address"
// +kubebuilder:printcolumn:name="Description",type=string,JSONPath=".spec.description",description="What it does"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp",description="Time since the object was created"
type UnikernelImage struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec describes the image.
	// +required
	Spec UnikernelImageSpec `json:"spec"`
}

// UnikernelImageList is a list of UnikernelImage objects.
//
// +kubebuilder:object:root=true
type UnikernelImageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []UnikernelImage `json:"items"`
}

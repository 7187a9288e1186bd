// Package v1alpha1 holds the kinds of the API group mollymawk.dev, version v1alpha1: AlbatrossInstance, Unikernel,
// Volume and User.
//
// The package imports apimachinery only, so that clients can use the types without pulling in a controller framework.
// The operator never writes spec, labels or annotations of these objects (its own finalizer aside). A field that is
// absent therefore stays absent; what the operator does then is said at the field and, for Go, in defaults.go.
//
// +kubebuilder:object:generate=true
// +groupName=mollymawk.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of all kinds in this package.
const GroupName = "mollymawk.dev"

// GroupVersion is the group and version of all kinds in this package.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

var schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers the kinds of this package with a scheme.
var AddToScheme = schemeBuilder.AddToScheme

// Resource gives the group resource of a plural name, for example "unikernels".
func Resource(resource string) schema.GroupResource {
	return GroupVersion.WithResource(resource).GroupResource()
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&AlbatrossInstance{}, &AlbatrossInstanceList{},
		&Unikernel{}, &UnikernelList{},
		&Volume{}, &VolumeList{},
		&User{}, &UserList{},
		&UnikernelImage{}, &UnikernelImageList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}

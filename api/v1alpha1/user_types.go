package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// UserSpec describes a person or a program that uses the operator's HTTP API.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.externalID) || (has(self.externalID) && self.externalID == oldSelf.externalID)",message="externalID is immutable once set"
type UserSpec struct {
	// email is the address by which the user logs in, in upper or lower case.
	// Of several users with the same address the one made first has it.
	// Example: alice@example.org
	// +required
	Email Email `json:"email"`

	// displayName is how the user is called in texts.
	// Default: the name of the object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	DisplayName string `json:"displayName,omitempty"`

	// namespace is where the user's unikernels and volumes are.
	// It must belong to the user: it has the annotation mollymawk.dev/user-uid with the metadata.uid of this object.
	// Default: the name of the object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",message="must be the name of a namespace: a-z, 0-9 and '-', beginning and ending with a letter or digit"
	Namespace string `json:"namespace,omitempty"`

	// externalID is the id by which another system knows the account, such as the account's number there.
	// The Panel API calls it userId.
	// Of several users with the same id the one made first has it.
	// Immutable once set.
	// Example: "4815162342"
	// Default: the metadata.uid of the object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ExternalID string `json:"externalID,omitempty"`

	// superUser lets the user administrate the HTTP API: other users, instances and policies.
	// It gives no rights on the Kubernetes API.
	// Default: false.
	// +optional
	SuperUser bool `json:"superUser,omitempty"`

	// active lets the user log in and use tokens.
	// A user who registered is not active until an administrator says so.
	// Default: true.
	// +optional
	Active *bool `json:"active,omitempty"`
}

// Email is an e-mail address without a display name.
//
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=254
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9.!#$%&*+/=?^_{|}~\\x27\\x60-]+@[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$')",message="must be an e-mail address, such as alice@example.org"
type Email string

// UserStatus is what the operator knows about a user. Passwords, tokens and sessions are in no object but a Secret of the
// operator's namespace.
type UserStatus struct {
	// observedGeneration is the metadata.generation that the conditions were computed for.
	// It is -1 until the operator has seen the object.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled and NamespaceReady.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// namespace is the namespace in which the operator gave the user rights.
	// Absent: none.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// User is somebody who uses the operator's HTTP API. Its unikernels and volumes are in a namespace of its own.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=users,scope=Cluster,shortName=ukuser,categories=mollymawk
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].status",description="Whether it is as declared"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].reason",description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Email",type=string,JSONPath=".spec.email",description="Address by which the user logs in"
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=".status.namespace",description="Namespace in which the user has rights"
// +kubebuilder:printcolumn:name="SuperUser",type=boolean,JSONPath=".spec.superUser",description="Whether the user administrates the HTTP API"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp",description="Time since the object was created"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=".status.conditions[?(@.type=='Ready')].message",description="Details of the reason"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must have at most 63 characters: it is an Albatross label"
// +kubebuilder:validation:XValidation:rule="has(self.spec.__namespace__) || !self.metadata.name.contains('.')",message="spec.namespace must be set when metadata.name has a dot: the name of a namespace has none"
type User struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of the object.
	// The name is an Albatross label, at most 63 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec describes the user.
	// +required
	Spec UserSpec `json:"spec"`

	// status is what the operator knows about the user.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status UserStatus `json:"status,omitempty,omitzero"`
}

// UserList is a list of User objects.
//
// +kubebuilder:object:root=true
type UserList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []User `json:"items"`
}

package v1alpha1

// LatestBuild as the uuid of a BuildSource follows the newest build of the job.
const LatestBuild = "latest"

// ContentSource says where the operator fetches bytes from. The types that embed it demand exactly one source.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || has(self.sha256)",message="url needs sha256: the content behind an address can change, a declaration must not"
// +kubebuilder:validation:XValidation:rule="!has(self.sha256) || has(self.url) || has(self.oci) || has(self.build)",message="sha256 goes with url, oci or build only"
type ContentSource struct {
	// oci fetches a layer of an artifact from an OCI registry.
	// +optional
	OCI *OCISource `json:"oci,omitempty"`

	// url is an http or https address that answers with the content.
	// It needs sha256, and must not contain credentials.
	// Example: https://example.org/hello.hvt
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https?://[^/?#@]+([/?#].*)?$')",message="must be an http or https URL without credentials"
	URL string `json:"url,omitempty"`

	// sha256 is the expected SHA-256 of the content, as 64 lower case hexadecimal digits.
	// Content with another digest is never used.
	// Required with url; allowed with oci and build, where it pins what a tag or the latest build may deliver.
	// +optional
	SHA256 SHA256 `json:"sha256,omitempty"`

	// build fetches the main binary of a job from a reproducible-builds server.
	// +optional
	Build *BuildSource `json:"build,omitempty"`

	// stored uses something that was uploaded through the operator's HTTP API for the object's namespace.
	// +optional
	Stored *StoredSource `json:"stored,omitempty"`
}

// OCISource names a layer of an artifact in an OCI registry. The layer is chosen by mediaType and title; with neither, the
// artifact must have a single layer.
type OCISource struct {
	// reference is the registry, the repository and a tag or digest (or both; then the digest decides).
	// Examples: registry.example.org/unikernels/hello:1.2, registry.example.org/unikernels/hello@sha256:<64 hexadecimal digits>
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9][a-zA-Z0-9-]*([.][a-zA-Z0-9-]+)+(:[0-9]{1,5})?|[a-zA-Z0-9][a-zA-Z0-9-]*:[0-9]{1,5}|localhost)(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$')",message="must be a registry host, a repository, and a tag or digest, such as registry.example.org/unikernels/hello:1.2"
	// +kubebuilder:validation:XValidation:rule="self.matches('(:[a-zA-Z0-9_][a-zA-Z0-9._-]*|@sha256:[0-9a-f]{64})$')",message="must end in a tag or a digest"
	Reference string `json:"reference"`

	// mediaType chooses the layer with this media type.
	// Example: application/vnd.solo5.unikernel.v1
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]*/[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]*$')",message="must be a media type, such as application/octet-stream"
	MediaType string `json:"mediaType,omitempty"`

	// title chooses the layer whose annotation org.opencontainers.image.title has this value, usually a file name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Title string `json:"title,omitempty"`

	// pullSecretRef names a Secret of type kubernetes.io/dockerconfigjson in the object's namespace with the credentials for the registry.
	// Without it the registry is asked anonymously.
	// +optional
	PullSecretRef *SecretReference `json:"pullSecretRef,omitempty"`

	// caSecretRef names a Secret in the object's namespace whose key ca.crt holds the PEM certificates that the registry's certificate is verified with.
	// Without it the operator's system certificates are used.
	// +optional
	CASecretRef *SecretReference `json:"caSecretRef,omitempty"`

	// insecure allows plain http, and https with a certificate that cannot be verified.
	// Default: false.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// BuildSource names a build of a job on a reproducible-builds server.
type BuildSource struct {
	// server is the address of the build server.
	// Default: https://builds.robur.coop
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https?://[^/?#@]+(/[^?#]*)?$')",message="must be an http or https URL without credentials, query and fragment"
	Server string `json:"server,omitempty"`

	// job is the name of the job.
	// Example: static-website
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9._+-]*$')",message="must be the name of a job: letters, digits, '.', '_', '+' and '-', beginning with a letter or digit"
	Job string `json:"job"`

	// uuid is the UUID of one build, or "latest", which follows the newest successful build of the job as spec.update allows.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:XValidation:rule="self == 'latest' || self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="must be the UUID of a build in lower case, or 'latest'"
	UUID string `json:"uuid"`
}

// StoredSource names something that was uploaded for the object's namespace.
type StoredSource struct {
	// sha256 is the SHA-256 of the uploaded content, as 64 lower case hexadecimal digits.
	// Uploads for other namespaces cannot be used, even when their digest is known.
	// +required
	SHA256 SHA256 `json:"sha256"`
}

// CatalogReference names an entry of the image catalogue.
type CatalogReference struct {
	// name is the metadata.name of the UnikernelImage.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ImageSource says where a unikernel's binary comes from: exactly one of oci, url, build, stored and catalog.
//
// +kubebuilder:validation:XValidation:rule="[has(self.oci), has(self.url), has(self.build), has(self.stored), has(self.catalog)].filter(x, x).size() == 1",message="exactly one of oci, url, build, stored and catalog must be set"
type ImageSource struct {
	ContentSource `json:",inline"`

	// catalog uses an entry of the image catalogue (a UnikernelImage).
	// A change of the entry rolls out as spec.update allows.
	// +optional
	Catalog *CatalogReference `json:"catalog,omitempty"`
}

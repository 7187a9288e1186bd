package images

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Source says where content comes from: exactly one of URL, OCI, Build and
// Stored is set. It is comparable, and its text shows no secrets.
type Source struct {
	// Namespace is that of the object that asks. It matters for Stored only.
	Namespace string
	// URL is an http or https address.
	URL string
	// SHA256 is the digest that the content must have. URL and Stored need it; it
	// pins what OCI and Build may deliver.
	SHA256 string
	OCI    OCI
	Build  Build
	// Stored is something that was uploaded for the namespace.
	Stored bool
}

// OCI is a layer of an artifact in an OCI registry. The layer is chosen by
// MediaType and Title; with neither, the artifact must have a single one.
type OCI struct {
	// Reference is a registry, a repository, and a tag or digest.
	Reference string
	MediaType string
	// Title is the value of the annotation org.opencontainers.image.title.
	Title string
	// Insecure allows plain http, and certificates that cannot be verified.
	Insecure bool
	// CA has the certificates in PEM that the registry's own is verified with;
	// without any, those of the system are used.
	CA string
	// With none of these, the registry is asked anonymously.
	Username, Password, IdentityToken, RegistryToken string
}

// Build is the main binary of a build of a job.
type Build struct {
	// Server is the address of the build server; empty means [DefaultBuildServer].
	Server string
	Job    string
	// UUID of the build, or [LatestBuild].
	UUID string
}

const (
	// DefaultBuildServer is where Robur builds unikernels reproducibly.
	DefaultBuildServer = "https://builds.robur.coop"
	// LatestBuild is the newest successful build of a job.
	LatestBuild = "latest"
)

// String names the source for people, without what may be secret in it.
func (s Source) String() string {
	switch {
	case s.Stored:
		return "the content uploaded for namespace " + s.Namespace
	case s.OCI != (OCI{}):
		return s.OCI.String()
	case s.Build != (Build{}):
		return s.Build.String()
	}
	return withoutQuery(s.URL)
}

// GoString implements fmt.GoStringer, so that no verb shows secrets.
func (s Source) GoString() string { return fmt.Sprintf("images.Source(%q)", s.String()) }

// String gives the reference.
func (o OCI) String() string { return o.Reference }

// GoString implements fmt.GoStringer, so that no verb shows secrets.
func (o OCI) GoString() string { return fmt.Sprintf("images.OCI(%q)", o.Reference) }

// String is the address of the build.
func (b Build) String() string { return withoutQuery(b.address()) }

// address of the build; those of what belongs to it begin with it.
func (b Build) address() string {
	return b.server() + "/job/" + url.PathEscape(b.Job) + "/build/" + url.PathEscape(b.UUID)
}

func (b Build) server() string {
	if b.Server == "" {
		return DefaultBuildServer
	}
	return strings.TrimRight(b.Server, "/")
}

// exact tells whether the source can deliver one content only.
func (s Source) exact() bool {
	switch {
	case s.SHA256 == "":
		return false
	case s.OCI != (OCI{}):
		return strings.Contains(s.OCI.Reference, "@")
	case s.Build != (Build{}):
		return s.Build.UUID != LatestBuild
	}
	return true
}

// shared is the source without what makes no difference to what it delivers.
func (s Source) shared() Source {
	if !s.Stored {
		s.Namespace = ""
	}
	if s.Build != (Build{}) {
		s.Build.Server = s.Build.server()
	}
	return s
}

// UploadedFor is the provenance of what is uploaded for a namespace.
func UploadedFor(namespace string) Provenance { return provenance("upload", namespace) }

// provenance is known to whom the source and its credentials are known, so content
// may be given to whoever names the same source in the same way as the one for
// whom it was fetched.
func (s Source) provenance() Provenance {
	switch {
	case s.Stored:
		return UploadedFor(s.Namespace)
	case s.OCI != (OCI{}):
		o := s.OCI
		return provenance("oci", repositoryOf(o.Reference), o.Username, o.Password, o.IdentityToken, o.RegistryToken)
	case s.Build != (Build{}):
		return provenance("build", s.Build.server(), s.Build.Job)
	}
	return provenance("url", s.URL)
}

// provenance is the SHA-256 of a text that no other parts have.
func provenance(parts ...string) Provenance {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // texts can always be encoded
	}
	return sha256.Sum256(text)
}

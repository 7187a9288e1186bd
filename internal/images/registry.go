package images

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// titleAnnotation is where tools keep the name of the file that a layer was.
const titleAnnotation = "org.opencontainers.image.title"

// maxManifest is how large an answer of a registry that is no layer may be; the
// specification has registries accept manifests of up to this size.
const maxManifest = 4 << 20

var (
	errTooMuch   = fmt.Errorf("%w: the registry's answer has more than %d bytes", ErrTooLarge, maxManifest)
	errPlainHTTP = fmt.Errorf("%w: plain http is used with insecure only", ErrForbidden)
)

// registry is a connection to a repository of an OCI registry.
type registry struct {
	client *http.Client
	// authorized adds the credentials to what goes to the registry itself.
	authorized http.RoundTripper
	reference  name.Reference
	// close gives up connections.
	close func()
}

// layer is one that was chosen.
type layer struct {
	manifest name.Digest
	v1.Descriptor
}

// openRegistry asks how the registry wants to be asked, and gets a token when it
// wants that. The library gives credentials to the registry and to the server of
// tokens that it names, and to no other.
func (f *Fetcher) openRegistry(ctx context.Context, oci OCI) (*registry, error) {
	var options []name.Option
	if oci.Insecure {
		options = append(options, name.Insecure)
	}
	reference, err := name.ParseReference(oci.Reference, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: not a reference of a registry, a repository, and a tag or digest", ErrInvalid)
	}
	config, err := oci.tlsConfig()
	if err != nil {
		return nil, err
	}
	client := f.options.Egress.Client(config)
	plain := &registryTransport{inner: client.Transport, insecure: oci.Insecure}
	repository := reference.Context()
	authorized, err := transport.NewWithContext(ctx, repository.Registry, oci.authenticator(), plain, []string{repository.Scope(transport.PullScope)})
	if err != nil {
		client.CloseIdleConnections()
		return nil, registryError(ctx, err)
	}
	return &registry{
		client:     &http.Client{Transport: authorized, CheckRedirect: client.CheckRedirect},
		authorized: authorized, reference: reference, close: client.CloseIdleConnections,
	}, nil
}

func (o OCI) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure} //nolint:gosec // only when the user says so
	if o.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, fmt.Errorf("%w: the registry's CA has no certificate in PEM", ErrInvalid)
		}
	}
	return config, nil
}

func (o OCI) authenticator() authn.Authenticator {
	if o.Username == "" && o.Password == "" && o.IdentityToken == "" && o.RegistryToken == "" {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: o.Username, Password: o.Password, IdentityToken: o.IdentityToken, RegistryToken: o.RegistryToken,
	})
}

// registryTransport keeps to https unless plain http was allowed, also where the
// library would try both, and bounds what is read of anything but a layer.
type registryTransport struct {
	inner    http.RoundTripper
	insecure bool
}

// ofLayer marks the context of a request whose answer is as long as it is.
type ofLayer struct{}

// RoundTrip implements http.RoundTripper.
func (t *registryTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" && !t.insecure {
		if request.Body != nil {
			request.Body.Close()
		}
		return nil, errPlainHTTP
	}
	response, err := t.inner.RoundTrip(request)
	if err == nil && request.Context().Value(ofLayer{}) == nil {
		response.Body = &boundedBody{response.Body, maxManifest}
	}
	return response, err
}

// boundedBody fails when there is more than may be read.
type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooMuch
	}
	return n, err
}

// registryError is like networkError. The library's texts quote what the registry
// says.
func registryError(ctx context.Context, err error) error {
	var status *transport.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &status):
		return statusError(status.StatusCode)
	case errors.Is(err, errTooMuch):
		return errTooMuch
	}
	return networkError(ctx, err)
}

// layer finds the one that is meant, without fetching it.
func (r *registry) layer(ctx context.Context, oci OCI) (layer, error) {
	digest, raw, kind, err := r.manifest(ctx, r.reference)
	if err == nil && kind.IsIndex() {
		if digest, err = onlyEntry(r.reference.Context(), raw); err == nil {
			digest, raw, kind, err = r.manifest(ctx, digest)
		}
	}
	if err != nil {
		return layer{}, err
	}
	if kind != types.OCIManifestSchema1 && kind != types.DockerManifestSchema2 {
		return layer{}, fmt.Errorf("%w: the reference leads to no manifest of an artifact", ErrInvalid)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return layer{}, fmt.Errorf("%w: the artifact's manifest is damaged", ErrInvalid)
	}
	chosen, err := choose(manifest.Layers, oci)
	return layer{digest, chosen}, err
}

// manifest gives one with its type; its digest was compared by the library.
func (r *registry) manifest(ctx context.Context, reference name.Reference) (name.Digest, []byte, types.MediaType, error) {
	got, err := remote.Get(reference, remote.WithContext(ctx), remote.WithTransport(r.authorized))
	if err != nil {
		// The library has no type for this error.
		if strings.Contains(err.Error(), "does not match requested digest") {
			return name.Digest{}, nil, "", fmt.Errorf("%w: the registry gave another manifest", ErrDigestMismatch)
		}
		return name.Digest{}, nil, "", registryError(ctx, err)
	}
	kind := string(got.MediaType)
	if media, _, err := mime.ParseMediaType(kind); err == nil {
		kind = media
	}
	return reference.Context().Digest(got.Digest.String()), got.Manifest, types.MediaType(kind), nil
}

// onlyEntry gives the manifest of an index when nothing has to be chosen.
func onlyEntry(repository name.Repository, raw []byte) (name.Digest, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return name.Digest{}, fmt.Errorf("%w: the image index is damaged", ErrInvalid)
	}
	if n := len(index.Manifests); n != 1 {
		return name.Digest{}, fmt.Errorf("%w: the reference leads to an index of %d manifests; give the digest of the one that is meant", ErrInvalid, n)
	}
	return repository.Digest(index.Manifests[0].Digest.String()), nil
}

// choose gives the only layer with the wanted media type and title.
func choose(layers []v1.Descriptor, oci OCI) (v1.Descriptor, error) {
	var found []v1.Descriptor
	for _, l := range layers {
		if (oci.MediaType == "" || string(l.MediaType) == oci.MediaType) && (oci.Title == "" || l.Annotations[titleAnnotation] == oci.Title) {
			found = append(found, l)
		}
	}
	wanted := wantedLayer(oci)
	switch {
	case len(layers) == 0:
		return v1.Descriptor{}, fmt.Errorf("%w: the artifact has no layers", ErrNotFound)
	case len(found) == 0:
		return v1.Descriptor{}, fmt.Errorf("%w: none of the artifact's %d layers%s", ErrNotFound, len(layers), wanted)
	case len(found) > 1 && wanted == "":
		return v1.Descriptor{}, fmt.Errorf("%w: the artifact has %d layers; choose one by mediaType or title", ErrInvalid, len(layers))
	case len(found) > 1:
		return v1.Descriptor{}, fmt.Errorf("%w: %d of the artifact's layers have%s", ErrInvalid, len(found), strings.TrimPrefix(wanted, " has"))
	case found[0].Digest.Algorithm != "sha256" || found[0].Size < 0:
		return v1.Descriptor{}, fmt.Errorf("%w: the layer has no SHA-256 or no size", ErrInvalid)
	}
	return found[0], nil
}

func wantedLayer(oci OCI) string {
	switch {
	case oci.MediaType != "" && oci.Title != "":
		return fmt.Sprintf(" has media type %s and title %q", oci.MediaType, oci.Title)
	case oci.MediaType != "":
		return " has media type " + oci.MediaType
	case oci.Title != "":
		return fmt.Sprintf(" has title %q", oci.Title)
	}
	return ""
}

// findLayer opens the registry and finds the layer that a source means.
func (f *Fetcher) findLayer(ctx context.Context, source Source) (*registry, layer, error) {
	ctx, cancel := f.forQuestion(ctx)
	defer cancel()
	r, err := f.openRegistry(ctx, source.OCI)
	if err != nil {
		return nil, layer{}, fmt.Errorf("%s: %w", source, err)
	}
	found, err := r.layer(ctx, source.OCI)
	if err == nil && found.Size > f.options.MaxSize {
		err = tooLarge(f.options.MaxSize)
	}
	if err != nil {
		r.close()
		return nil, layer{}, fmt.Errorf("%s: %w", source, err)
	}
	if err := pinned(source, found.Digest.Hex); err != nil {
		r.close()
		return nil, layer{}, err
	}
	return r, found, nil
}

// resolveLayer says which layer a tag means now.
func (f *Fetcher) resolveLayer(ctx context.Context, source Source) (Resolved, error) {
	r, found, err := f.findLayer(ctx, source)
	if err != nil {
		return Resolved{}, err
	}
	defer r.close()
	version := versionOf(found.manifest.String())
	if tag, ok := r.reference.(name.Tag); ok {
		version = tag.TagStr() + "@" + version
	}
	source.SHA256, source.OCI.Reference = found.Digest.Hex, found.manifest.String()
	return Resolved{Source: source, Version: version, Size: found.Size}, nil
}

// fetchLayer fetches the layer of a source.
func (f *Fetcher) fetchLayer(ctx context.Context, source Source) (Blob, error) {
	r, found, err := f.findLayer(ctx, source)
	if err != nil {
		return Blob{}, err
	}
	defer r.close()
	repository := r.reference.Context()
	return f.download(context.WithValue(ctx, ofLayer{}, true), content{
		client: r.client, name: source.String(), size: found.Size, immutable: true,
		address: fmt.Sprintf("%s://%s/v2/%s/blobs/%s", repository.Scheme(), repository.RegistryStr(), repository.RepositoryStr(), found.Digest),
	}, source)
}

// Registry gives the registry of a reference, as host or host:port; it is empty
// when the text is no reference.
func Registry(reference string) string {
	r, err := name.ParseReference(reference)
	if err != nil {
		return ""
	}
	return r.Context().RegistryStr()
}

// repositoryOf gives the reference without tag and digest.
func repositoryOf(reference string) string {
	r, err := name.ParseReference(reference)
	if err != nil {
		return reference
	}
	return r.Context().Name()
}

// versionOf gives the digest of a reference.
func versionOf(reference string) string {
	_, digest, _ := strings.Cut(reference, "@")
	return digest
}

package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// The Secrets that sources name are read one by one when they are needed, never
// listed and never cached.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get

// secretCA is the key of a Secret with certificates that a registry is verified with.
const secretCA = "ca.crt"

// fetchable turns a declared source into one that can be asked, with what is in
// the Secrets that it names, which are in the namespace. A problem says what is
// wrong with these.
func fetchable(ctx context.Context, live client.Reader, namespace string, c *v1alpha1.ContentSource) (source images.Source, problem status.Verdict, err error) {
	source = images.Source{Namespace: namespace, URL: c.URL, SHA256: string(c.SHA256)}
	switch {
	case c.Stored != nil:
		source.Stored, source.SHA256 = true, string(c.Stored.SHA256)
	case c.Build != nil:
		source.Build = images.Build{Server: c.Build.Server, Job: c.Build.Job, UUID: c.Build.UUID}
	case c.OCI != nil:
		source.OCI, err = withSecrets(ctx, live, namespace, c.OCI)
	}
	return source, secretProblem(err), transient(err)
}

// withSecrets reads what a registry wants to be shown, and what it is verified with.
func withSecrets(ctx context.Context, live client.Reader, namespace string, declared *v1alpha1.OCISource) (images.OCI, error) {
	oci := images.OCI{Reference: declared.Reference, MediaType: declared.MediaType, Title: declared.Title, Insecure: declared.Insecure}
	if ref := declared.PullSecretRef; ref != nil {
		config, err := secretValue(ctx, live, namespace, ref.Name, corev1.DockerConfigJsonKey)
		if err != nil {
			return images.OCI{}, err
		}
		credentials, err := images.PullCredentials(config, declared.Reference)
		if err != nil {
			return images.OCI{}, err
		}
		oci = oci.WithCredentials(credentials)
	}
	if ref := declared.CASecretRef; ref != nil {
		ca, err := secretValue(ctx, live, namespace, ref.Name, secretCA)
		if err != nil {
			return images.OCI{}, err
		}
		oci.CA = string(ca)
	}
	return oci, nil
}

// errSecretMissing says that a Secret, or a key in it, does not exist.
var errSecretMissing = errors.New("does not exist")

func secretValue(ctx context.Context, live client.Reader, namespace, name, key string) ([]byte, error) {
	var secret corev1.Secret
	if err := live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("Secret %q in namespace %q %w", name, namespace, errSecretMissing) //nolint:staticcheck // the name of a kind
		}
		return nil, err
	}
	value, ok := secret.Data[key]
	if !ok {
		return nil, fmt.Errorf("the key %s in Secret %q in namespace %q %w", key, name, namespace, errSecretMissing)
	}
	return value, nil
}

// secretProblem says what somebody has to do about a Secret.
func secretProblem(err error) status.Verdict {
	switch {
	case err == nil:
		return status.Verdict{}
	case errors.Is(err, errSecretMissing):
		return status.Working(v1alpha1.ReasonSecretNotFound, err.Error())
	case images.Permanent(err):
		return status.Stalled(v1alpha1.ReasonImageForbidden, err.Error())
	}
	return status.Verdict{}
}

// transient gives errors that no [secretProblem] is made of.
func transient(err error) error {
	if secretProblem(err).IsZero() {
		return err
	}
	return nil
}

// imageVerdict says what an error of getting or looking up an image means for
// the object.
func imageVerdict(err error, retryAfter time.Duration) (status.Verdict, outcome.Outcome) {
	if errors.Is(err, images.ErrInProgress) {
		return status.Working(v1alpha1.ReasonFetching, "the image is being fetched"), outcome.Done()
	}
	for _, kind := range []struct {
		err    error
		reason string
	}{
		{images.ErrNotFound, v1alpha1.ReasonImageNotFound}, {images.ErrForbidden, v1alpha1.ReasonImageForbidden},
		{images.ErrDigestMismatch, v1alpha1.ReasonDigestMismatch}, {images.ErrTooLarge, v1alpha1.ReasonContentTooLarge},
		{images.ErrInvalid, v1alpha1.ReasonImageInvalid},
	} {
		if errors.Is(err, kind.err) {
			return status.Stalled(kind.reason, err.Error()), outcome.Wait(stalledInterval)
		}
	}
	return status.Working(v1alpha1.ReasonImageFetchFailed, err.Error()), outcome.Wait(retryAfter + time.Second)
}

// sourceText names a source in a status. Addresses are left out: they may have a
// token in them, and sha256 says as much.
func sourceText(c *v1alpha1.ContentSource) string {
	var text string
	switch {
	case c.OCI != nil:
		text = "oci " + c.OCI.Reference
		if c.OCI.MediaType != "" {
			text += " " + c.OCI.MediaType
		}
		if c.OCI.Title != "" {
			text += " " + c.OCI.Title
		}
	case c.Build != nil:
		text = fmt.Sprintf("build %s %s %s", c.Build.ServerOrDefault(), c.Build.Job, c.Build.UUID)
	case c.Stored != nil:
		return "stored " + string(c.Stored.SHA256)
	default:
		return "url " + string(c.SHA256)
	}
	if c.SHA256 != "" {
		text += " " + string(c.SHA256)
	}
	return text
}

// mayChange tells whether a source can deliver something else one day.
func mayChange(c *v1alpha1.ContentSource) bool {
	switch {
	case c.SHA256 != "" || c.Stored != nil:
		return false
	case c.OCI != nil:
		return !c.OCI.HasDigest()
	}
	return c.Build.UUID == v1alpha1.LatestBuild
}

package controllers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ocitest "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/images"
)

// registry is an OCI registry without TLS that may demand a password.
type registry struct {
	*httptest.Server
	password string
}

const registryUser = "somebody"

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{}
	content := ocitest.New(ocitest.Logger(log.New(io.Discard, "", 0)))
	r.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
		user, password, _ := request.BasicAuth()
		if r.password != "" && (user != registryUser || password != r.password) {
			rw.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		content.ServeHTTP(rw, request)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *registry) reference(repository, tag string) string {
	return strings.TrimPrefix(r.URL, "http://") + "/" + repository + ":" + tag
}

// push puts an artifact with one layer under a tag and gives the layer's digest.
// Nobody has set a password yet.
func (r *registry) push(t *testing.T, repository, tag string, content []byte) string {
	t.Helper()
	artifact, err := mutate.AppendLayers(empty.Image, static.NewLayer(content, "application/vnd.solo5.unikernel.v1"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.reference(repository, tag))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, artifact); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (r *registry) source(repository, tag string) v1alpha1.ContentSource {
	return v1alpha1.ContentSource{OCI: &v1alpha1.OCISource{Reference: r.reference(repository, tag), Insecure: true}}
}

// binary is an image without devices; variant makes its digest another.
func binary(t *testing.T, variant string) []byte {
	t.Helper()
	content, err := solo5.Build(solo5.Image{Target: solo5.HVT, ABIVersion: 2}, []byte(variant))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (w *world) newImage(source v1alpha1.ContentSource) *v1alpha1.ImageSource {
	return &v1alpha1.ImageSource{ContentSource: source}
}

// untilRuns waits until the unikernel is ready with an image.
func (w *world) untilRuns(uk *v1alpha1.Unikernel, digest string) {
	w.Helper()
	w.until("ready with "+digest[:12], uk, func() bool { return isReady(uk) && uk.Status.Digest == digest })
}

// TestTagMoves follows a tag: what it stood for stays until the update is taken up.
func TestTagMoves(t *testing.T) {
	w := newWorld(t)
	hub := newRegistry(t)
	first := hub.push(t, "hello", "1", binary(t, "first"))
	uk := w.newUnikernel("hello")
	uk.Spec.Image = w.newImage(hub.source("hello", "1"))
	w.create(uk)
	w.untilRuns(uk, first)
	if reason(uk, v1alpha1.ConditionUpdateAvailable, metav1.ConditionFalse) != v1alpha1.ReasonSucceeded {
		t.Error(describe(uk))
	}

	second := hub.push(t, "hello", "1", binary(t, "second"))
	w.later(uk, 2*time.Hour)
	w.until("told of the second", uk, func() bool {
		return reason(uk, v1alpha1.ConditionUpdateAvailable, metav1.ConditionTrue) != "" && uk.Status.AvailableImage.Digest == second
	})
	if uk.Status.Digest != first || !isReady(uk) {
		t.Errorf("runs %s: %s", uk.Status.Digest, describe(uk))
	}
	w.stop() // an operator that starts anew takes the tag for what it was
	w.start()
	w.wake(uk)
	annotate(w, uk, v1alpha1.AnnotationUpdateTo, strings.Repeat("0", 12))
	annotate(w, uk, v1alpha1.AnnotationUpdateTo, second[:11])
	w.until("looked at", uk, func() bool { return isReady(uk) && uk.Status.AvailableImage != nil })
	annotate(w, uk, v1alpha1.AnnotationUpdateTo, second[:12])
	w.untilRuns(uk, second)
	if uk.Status.AvailableImage != nil || len(uk.Status.History) != 2 || uk.Status.History[0].Reason != v1alpha1.ReasonReplacing {
		t.Errorf("%+v", uk.Status)
	}

	// The source is away: it goes on, and says so once it is asked.
	hub.Close()
	w.later(uk, 2*time.Hour)
	w.until("told", uk, func() bool {
		return reason(uk, v1alpha1.ConditionUpdateAvailable, metav1.ConditionUnknown) == v1alpha1.ReasonImageFetchFailed
	})
	if !isReady(uk) {
		t.Error(describe(uk))
	}
}

// TestAutomaticUpdate takes a newer image up by itself, in its window.
func TestAutomaticUpdate(t *testing.T) {
	w := newWorld(t)
	hub := newRegistry(t)
	first := hub.push(t, "hello", "1", binary(t, "first"))
	// It opened yesterday and opens again tomorrow.
	opens := w.now().UTC().Add(-time.Hour)
	uk := w.newUnikernel("hello")
	uk.Spec.Image = w.newImage(hub.source("hello", "1"))
	uk.Spec.Update = &v1alpha1.UpdateStrategy{
		Policy: v1alpha1.UpdateAutomatic, Interval: &metav1.Duration{Duration: time.Minute},
		Window: &v1alpha1.UpdateWindow{Start: opens.Format("15:04"), Duration: metav1.Duration{Duration: time.Minute}},
	}
	w.create(uk)
	w.untilRuns(uk, first)
	second := hub.push(t, "hello", "1", binary(t, "second"))
	w.later(uk, 2*time.Minute)
	w.until("told of the second", uk, func() bool { return uk.Status.AvailableImage != nil })
	if uk.Status.Digest != first {
		t.Error("updated outside of the window")
	}
	next := opens.Truncate(time.Minute).Add(24*time.Hour + 10*time.Second)
	w.later(uk, next.Sub(w.now()))
	w.untilRuns(uk, second)
}

// TestCatalog uses an entry of the catalogue, which changes, goes, and comes back.
func TestCatalog(t *testing.T) {
	w := newWorld(t)
	entry := &v1alpha1.UnikernelImage{
		ObjectMeta: metav1.ObjectMeta{Name: "hello-" + utilrand.String(6)},
		Spec: v1alpha1.UnikernelImageSpec{
			Image: v1alpha1.CatalogSource{ContentSource: w.web.Publish(binary(t, "first"))}, Arguments: []string{"--from=catalogue"},
		},
	}
	uk := w.newUnikernel("hello")
	uk.Spec.Image = &v1alpha1.ImageSource{Catalog: &v1alpha1.CatalogReference{Name: entry.Name}}
	w.create(uk)
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonCatalogEntryNotFound)
	w.create(entry)
	t.Cleanup(func() { _ = w.Delete(context.Background(), entry) }) // it may be gone
	w.untilRuns(uk, string(entry.Spec.Image.SHA256))
	arguments := func() []string {
		for _, u := range w.host.Unikernels(w.namespace) {
			return u.Info.Argv
		}
		return nil
	}
	if got := arguments(); !slices.Equal(got, []string{"--from=catalogue"}) {
		t.Errorf("started with %q", got)
	}

	change(w, entry, func(e *v1alpha1.UnikernelImage) {
		e.Spec.Image.ContentSource = w.web.Publish(binary(t, "second"))
		e.Spec.Arguments = []string{"--from=changed"}
	})
	w.until("told of the change", uk, func() bool {
		return uk.Status.AvailableImage != nil && uk.Status.AvailableImage.Digest == string(entry.Spec.Image.SHA256)
	})
	change(w, uk, func(uk *v1alpha1.Unikernel) {
		uk.Spec.Update = &v1alpha1.UpdateStrategy{Policy: v1alpha1.UpdateAutomatic}
	})
	w.untilRuns(uk, string(entry.Spec.Image.SHA256))
	if got := arguments(); !slices.Equal(got, []string{"--from=changed"}) {
		t.Errorf("started anew with %q", got)
	}

	w.delete(entry)
	w.wait("deleted", func() (bool, string) {
		return client.IgnoreNotFound(w.Get(t.Context(), client.ObjectKeyFromObject(entry), entry)) == nil, ""
	})
	w.until("told", uk, func() bool {
		return reason(uk, v1alpha1.ConditionUpdateAvailable, metav1.ConditionUnknown) == v1alpha1.ReasonCatalogEntryNotFound
	})
	if !isReady(uk) {
		t.Error(describe(uk))
	}
	// What has its bytes already can be made anew without the entry.
	if !w.host.Kill(w.hostName(uk)) {
		t.Fatal("it does not run")
	}
	w.until("back", uk, func() bool { return isReady(uk) && uk.Status.Restarts == 1 })
	again := entry.DeepCopy()
	again.ResourceVersion, again.UID = "", ""
	w.create(again)
	w.until("told that it is back", uk, func() bool {
		return reason(uk, v1alpha1.ConditionUpdateAvailable, metav1.ConditionFalse) == v1alpha1.ReasonSucceeded
	})
}

// TestPullSecret has a registry with a password. A namespace without it does not
// get what another one has fetched.
func TestPullSecret(t *testing.T) {
	w := newWorld(t)
	hub := newRegistry(t)
	digest := hub.push(t, "private/hello", "1", binary(t, "private"))
	hub.password = "swordfish"
	uk := w.newUnikernel("hello")
	uk.Spec.Image = w.newImage(hub.source("private/hello", "1"))
	w.create(uk)
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonImageForbidden)
	w.delete(uk)
	w.untilGone(uk)

	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "registry", Namespace: w.namespace}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`,
			strings.TrimPrefix(hub.URL, "http://"), registryUser, hub.password)},
	}
	w.create(secret)
	uk = w.newUnikernel("hello")
	uk.Spec.Image = w.newImage(hub.source("private/hello", "1"))
	uk.Spec.Image.OCI.PullSecretRef = &v1alpha1.SecretReference{Name: secret.Name}
	w.create(uk)
	w.untilRuns(uk, digest)
	anonymous := w.newUnikernel("anonymous")
	anonymous.Spec.Image = w.newImage(hub.source("private/hello", "1"))
	anonymous.Spec.Image.SHA256 = v1alpha1.SHA256(digest)
	w.create(anonymous)
	w.untilReason(anonymous, metav1.ConditionFalse, v1alpha1.ReasonImageForbidden)
}

// TestStored uses an upload: the namespace that it was made for can, others cannot.
func TestStored(t *testing.T) {
	w := newWorld(t)
	blob, err := w.store.Add(t.Context(), bytes.NewReader(binary(t, "uploaded")), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	uk := w.newUnikernel("hello")
	uk.Spec.Image = w.newImage(v1alpha1.ContentSource{Stored: &v1alpha1.StoredSource{SHA256: v1alpha1.SHA256(blob.Digest)}})
	if err := w.store.Grant(t.Context(), blob.Digest, images.UploadedFor("somebody-else")); err != nil {
		t.Fatal(err)
	}
	w.create(uk)
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonImageNotFound)
	if err := w.store.Grant(t.Context(), blob.Digest, images.UploadedFor(w.namespace)); err != nil {
		t.Fatal(err)
	}
	w.later(uk, time.Hour) // past the pause after the failure
	w.untilRuns(uk, blob.Digest)
}

// TestBuild uses the latest build of a job.
func TestBuild(t *testing.T) {
	w := newWorld(t)
	content := binary(t, "built")
	sum := sha256.Sum256(content)
	const uuid = "6cc1a49d-eb1e-4f46-8471-6452206d1475"
	mux := http.NewServeMux()
	mux.HandleFunc("/job/hello/build/latest/{rest...}", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "/job/hello/build/"+uuid+"/"+r.PathValue("rest"), http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/job/hello/build/"+uuid+"/{$}", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(map[string]any{"job": "hello", "uuid": uuid, "main_binary": true, "main_binary_size": len(content), "platform": "debian-12"})
	})
	mux.HandleFunc("/job/hello/build/"+uuid+"/main-binary", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(content) })
	mux.HandleFunc("/hash", func(rw http.ResponseWriter, r *http.Request) {
		if r.FormValue("sha256") != hex.EncodeToString(sum[:]) {
			http.NotFound(rw, r)
			return
		}
		http.Redirect(rw, r, "/job/hello/build/"+uuid+"/", http.StatusTemporaryRedirect)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	uk := w.newUnikernel("hello")
	uk.Spec.Image = w.newImage(v1alpha1.ContentSource{Build: &v1alpha1.BuildSource{Server: server.URL, Job: "hello", UUID: v1alpha1.LatestBuild}})
	w.create(uk)
	w.untilRuns(uk, hex.EncodeToString(sum[:]))
	if uk.Status.Image.Version != uuid || uk.Status.History[0].Version != uuid {
		t.Errorf("%+v", uk.Status)
	}
}

// TestCompressedUpload sends an image compressed, which the host unpacks.
func TestCompressedUpload(t *testing.T) {
	w := newWorld(t)
	instance := w.theInstance()
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) { i.Spec.CompressImages = true })
	uk := w.newUnikernel("hello")
	uk.Spec.Image = &v1alpha1.ImageSource{ContentSource: w.web.Publish(binary(t, strings.Repeat("compressible ", 100_000)))}
	w.create(uk)
	w.untilRuns(uk, string(uk.Spec.Image.SHA256))
}

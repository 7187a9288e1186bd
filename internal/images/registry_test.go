package images

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ocitest "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"mollymawk.dev/operator/internal/egress"
)

// canary is in everything that must not be told: passwords, queries, what servers
// say.
const canary = "canary"

const (
	user     = "somebody"
	password = "word-" + canary
	// identity and token are what some registries give instead of passwords.
	identity = "identity-" + canary
	token    = "token-" + canary
)

// hub is an OCI registry, and its server of tokens. What is pushed goes past its
// doors.
type hub struct {
	*httptest.Server
	registry http.Handler
	pushURL  string
	// auth is what it demands: nothing, basic or bearer.
	auth string
	// realm is where tokens are had, unless at the hub itself.
	realm string
	// before may answer instead.
	before func(w http.ResponseWriter, r *http.Request) (done bool)

	mu       sync.Mutex
	requests []string
}

// newHub starts one with https, or with plain http.
func newHub(t *testing.T, auth string, secure bool) *hub {
	h := &hub{registry: ocitest.New(ocitest.Logger(log.New(io.Discard, "", 0))), auth: auth}
	h.pushURL = serve(t, h.registry.ServeHTTP).URL
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	return h
}

func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests = append(h.requests, r.Method+" "+r.URL.Path)
	before := h.before
	h.mu.Unlock()
	switch {
	case before != nil && before(w, r):
	case r.URL.Path == "/token":
		giveToken(w, r)
	case !h.admits(r):
		h.challenge(w)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"canary"}]}`, http.StatusUnauthorized)
	default:
		h.registry.ServeHTTP(w, r)
	}
}

func (h *hub) challenge(w http.ResponseWriter) {
	realm := h.realm
	if realm == "" {
		realm = h.URL + "/token"
	}
	switch h.auth {
	case "basic":
		w.Header().Set("WWW-Authenticate", `Basic realm="canary"`)
	case "bearer":
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="hub"`, realm))
	}
}

func (h *hub) admits(r *http.Request) bool {
	name, word, _ := r.BasicAuth()
	switch h.auth {
	case "basic":
		return name == user && word == password
	case "bearer":
		return r.Header.Get("Authorization") == "Bearer "+token
	}
	return true
}

// giveToken knows a user with a password and one with an identity token.
func giveToken(w http.ResponseWriter, r *http.Request) {
	name, word, _ := r.BasicAuth()
	if r.Method == http.MethodPost {
		if r.PostFormValue("refresh_token") == identity {
			name, word = user, password
		}
	}
	if name != user || word != password {
		http.Error(w, "canary: who are you?", http.StatusUnauthorized)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
}

// seen are the requests.
func (h *hub) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// asked counts the requests whose method and path match a pattern.
func (h *hub) asked(pattern string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	re, n := regexp.MustCompile(pattern), 0
	for _, r := range h.requests {
		if re.MatchString(r) {
			n++
		}
	}
	return n
}

func (h *hub) meanwhile(before func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = before
}

func (h *hub) host() string { return h.Listener.Addr().String() }

// source is a reference in the hub, trusted in the way that fits.
func (h *hub) source(reference string) Source {
	s := Source{OCI: OCI{Reference: h.host() + "/" + reference}}
	if strings.HasPrefix(h.URL, "https") {
		s.OCI.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}))
	} else {
		s.OCI.Insecure = true
	}
	return s
}

func (h *hub) pushed(t *testing.T, reference string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(strings.TrimPrefix(h.pushURL, "http://")+"/"+reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// file is what becomes a layer.
type file struct{ content, mediaType, title string }

const unikernelType = "application/vnd.solo5.unikernel.v1"

// raw is a manifest.
type raw struct {
	content   string
	mediaType types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return []byte(r.content), nil }
func (r raw) MediaType() (types.MediaType, error) { return r.mediaType, nil }
func (r raw) digest() string                      { return "sha256:" + digestOf(r.content) }
func (f file) descriptor() map[string]any {
	d := map[string]any{"mediaType": f.mediaType, "digest": "sha256:" + digestOf(f.content), "size": len(f.content)}
	if f.title != "" {
		d["annotations"] = map[string]string{titleAnnotation: f.title}
	}
	return d
}

// artifact is a manifest as oras makes it: the config is empty.
func artifact(files ...file) raw {
	var layers []map[string]any
	for _, f := range files {
		layers = append(layers, f.descriptor())
	}
	text, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": "application/vnd.solo5",
		"config": file{"{}", "application/vnd.oci.empty.v1+json", ""}.descriptor(), "layers": layers,
	})
	if err != nil {
		panic(err)
	}
	return raw{string(text), types.OCIManifestSchema1}
}

func (h *hub) push(t *testing.T, reference string, files ...file) raw {
	t.Helper()
	at := h.pushed(t, reference)
	for _, f := range append(files, file{"{}", "application/vnd.oci.empty.v1+json", ""}) {
		if err := remote.WriteLayer(at.Context(), static.NewLayer([]byte(f.content), types.MediaType(f.mediaType))); err != nil {
			t.Fatal(err)
		}
	}
	return h.pushManifest(t, reference, artifact(files...))
}

func (h *hub) pushManifest(t *testing.T, reference string, r raw) raw {
	t.Helper()
	if err := remote.Put(h.pushed(t, reference), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// pull resolves a source and gets what it stands for.
func pull(t *testing.T, source Source, options Options) (Resolved, Blob, error) {
	t.Helper()
	dir := t.TempDir()
	f := startFetcher(t, newStore(t, dir), options)
	resolved, err := f.Resolve(t.Context(), "key", source, time.Time{}, time.Minute)
	var blob Blob
	if err == nil {
		blob, err = f.Get(t.Context(), "key", resolved.Source, time.Minute)
	}
	if err != nil {
		tellsNothing(t, err)
		if source.SHA256 == "" {
			return resolved, blob, err
		}
		if _, found, _ := newStore(t, dir).Get(t.Context(), source.SHA256); found {
			t.Errorf("kept in spite of %v", err)
		}
	}
	return resolved, blob, err
}

func tellsNothing(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); strings.Contains(text, canary) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(user+":"+password))) {
		t.Errorf("tells what is secret or a stranger's: %s", text)
	}
}

func TestRegistries(t *testing.T) {
	for _, tt := range []struct {
		auth    string
		secure  bool
		with    Credentials
		refused bool
	}{
		{"", false, Credentials{}, false},
		{"", true, Credentials{}, false},
		{"", true, Credentials{Username: user, Password: password}, false},
		{"basic", true, Credentials{Username: user, Password: password}, false},
		{"basic", false, Credentials{Username: user, Password: password}, false},
		{"basic", true, Credentials{Username: user, Password: "wrong"}, true},
		{"basic", true, Credentials{}, true},
		{"bearer", true, Credentials{Username: user, Password: password}, false},
		{"bearer", false, Credentials{Username: user, Password: password}, false},
		{"bearer", true, Credentials{IdentityToken: identity}, false},
		{"bearer", true, Credentials{RegistryToken: token}, false},
		{"bearer", true, Credentials{Username: user, Password: "wrong"}, true},
		{"bearer", true, Credentials{IdentityToken: "wrong"}, true},
		{"bearer", true, Credentials{RegistryToken: "wrong"}, true},
		{"bearer", true, Credentials{}, true},
	} {
		what := fmt.Sprintf("%s, https %v, %+v", tt.auth, tt.secure, tt.with)
		h := newHub(t, tt.auth, tt.secure)
		manifest := h.push(t, "unikernels/hello:1.2", file{"the image", unikernelType, "hello.hvt"})
		source := h.source("unikernels/hello:1.2")
		source.OCI = source.OCI.WithCredentials(tt.with)
		resolved, blob, err := pull(t, source, quickly())
		if tt.refused {
			if !errors.Is(err, ErrForbidden) || err.Error() != source.OCI.Reference+": forbidden (status 401)" {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		want := source
		want.SHA256 = digestOf("the image")
		want.OCI.Reference = h.host() + "/unikernels/hello@" + manifest.digest()
		if resolved.Source != want || resolved.Version != "1.2@"+manifest.digest() || resolved.Size != 9 || resolved.FoundAt.IsZero() {
			t.Errorf("%s: resolved as %+v of %s, %d bytes, at %v", what, resolved.Source, resolved.Version, resolved.Size, resolved.FoundAt)
		}
		if contentOf(t, blob) != "the image" {
			t.Errorf("%s: another content", what)
		}
	}
}

// The ways in which tools make artifacts.
func TestShapesOfArtifacts(t *testing.T) {
	h := newHub(t, "", true)
	image, other := file{"the image", unikernelType, "hello.hvt"}, file{"a readme", "text/plain", "README"}
	h.push(t, "r/two:1", other, image)
	h.push(t, "r/twins:1", image, file{"another image", unikernelType, "other.hvt"})
	for repository, base := range map[string]v1.Image{"docker": empty.Image, "oci": mutate.MediaType(empty.Image, types.OCIManifestSchema1)} {
		made, err := mutate.Append(base, mutate.Addendum{
			Layer: static.NewLayer([]byte("the image"), types.MediaType(unikernelType)), Annotations: map[string]string{titleAnnotation: "hello.hvt"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Push(h.pushed(t, "r/"+repository+":1"), made); err != nil {
			t.Fatal(err)
		}
		index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: made})
		if err := remote.Push(h.pushed(t, "r/"+repository+"-index:1"), index); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ reference, mediaType, title string }{
		{"r/docker:1", "", ""}, {"r/docker:1", unikernelType, "hello.hvt"}, {"r/oci:1", "", ""}, {"r/oci-index:1", unikernelType, ""}, {"r/docker-index:1", "", ""},
		{"r/two:1", unikernelType, ""}, {"r/two:1", "", "hello.hvt"}, {"r/two:1", unikernelType, "hello.hvt"}, {"r/twins:1", "", "hello.hvt"},
	} {
		source := h.source(tt.reference)
		source.OCI.MediaType, source.OCI.Title = tt.mediaType, tt.title
		_, blob, err := pull(t, source, quickly())
		if err != nil || contentOf(t, blob) != "the image" {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestNoLayerForSure(t *testing.T) {
	h := newHub(t, "", true)
	image := file{"the image", unikernelType, "hello.hvt"}
	h.push(t, "r/one:1", image)
	h.push(t, "r/two:1", image, file{"a readme", unikernelType, "README-" + canary})
	h.push(t, "r/none:1")
	list := raw{fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%[2]s,%[2]s]}`, types.OCIImageIndex,
		fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, types.OCIManifestSchema1, artifact(image).digest(), len(artifact(image).content))), types.OCIImageIndex}
	h.pushManifest(t, "r/one:index", list)
	h.pushManifest(t, "r/one:empty-index", raw{fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, types.OCIImageIndex), types.OCIImageIndex})
	h.pushManifest(t, "r/one:odd", raw{`{"schemaVersion":2,"canary":1}`, "application/x-canary"})
	h.pushManifest(t, "r/one:sha512", raw{strings.Replace(artifact(image).content, "sha256:"+digestOf(image.content), "sha512:"+strings.Repeat("0", 128), 1), types.OCIManifestSchema1})
	for _, tt := range []struct {
		reference, mediaType, title string
		kind                        error
		want                        string
	}{
		{"r/two:1", "", "", ErrInvalid, "invalid image: the artifact has 2 layers; choose one by mediaType or title"},
		{"r/two:1", unikernelType, "", ErrInvalid, "invalid image: 2 of the artifact's layers have media type " + unikernelType},
		{"r/one:1", "text/plain", "", ErrNotFound, "not found: none of the artifact's 1 layers has media type text/plain"},
		{"r/one:1", unikernelType, "other.hvt", ErrNotFound, `not found: none of the artifact's 1 layers has media type ` + unikernelType + ` and title "other.hvt"`},
		{"r/one:1", "", "other.hvt", ErrNotFound, `not found: none of the artifact's 1 layers has title "other.hvt"`},
		{"r/none:1", "", "", ErrNotFound, "not found: the artifact has no layers"},
		{"r/one:index", "", "", ErrInvalid, "invalid image: the reference leads to an index of 2 manifests; give the digest of the one that is meant"},
		{"r/one:empty-index", "", "", ErrInvalid, "invalid image: the reference leads to an index of 0 manifests; give the digest of the one that is meant"},
		{"r/one:odd", "", "", ErrInvalid, "invalid image: the reference leads to no manifest of an artifact"},
		{"r/one:sha512", "", "", ErrInvalid, "invalid image: the layer has no SHA-256 or no size"},
		{"r/one:2", "", "", ErrNotFound, "not found (status 404)"},
		{"r/else:1", "", "", ErrNotFound, "not found (status 404)"},
	} {
		source := h.source(tt.reference)
		source.OCI.MediaType, source.OCI.Title = tt.mediaType, tt.title
		_, _, err := pull(t, source, quickly())
		if !errors.Is(err, tt.kind) || err.Error() != source.OCI.Reference+": "+tt.want {
			t.Errorf("%s %s %s:\n%v, want\n%s", tt.reference, tt.mediaType, tt.title, err, tt.want)
		}
	}
}

func TestPins(t *testing.T) {
	h := newHub(t, "", true)
	old := h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	h.push(t, "r/hello:1", file{"a newer image", unikernelType, ""})
	source := h.source("r/hello:1")
	source.SHA256 = digestOf("the image")
	want := source.OCI.Reference + ": digest mismatch: the content has SHA-256 " + digestOf("a newer image")
	if _, _, err := pull(t, source, quickly()); !errors.Is(err, ErrDigestMismatch) || err.Error() != want {
		t.Errorf("resolved: %v", err)
	}
	if _, err := fetch(t, source, quickly()); !errors.Is(err, ErrDigestMismatch) || err.Error() != want {
		t.Errorf("fetched: %v", err)
	}
	if h.asked("/blobs/") != 0 {
		t.Error("the layer was fetched in vain")
	}
	source.SHA256 = digestOf("a newer image")
	if _, _, err := pull(t, source, quickly()); err != nil {
		t.Errorf("what fits: %v", err)
	}
	// The digest decides, also beside a tag.
	source = h.source("r/hello:1@" + old.digest())
	resolved, blob, err := pull(t, source, quickly())
	if err != nil || contentOf(t, blob) != "the image" || resolved.Version != old.digest() {
		t.Errorf("by digest: %+v, %v", resolved, err)
	}
	source.SHA256 = digestOf("a newer image")
	if _, _, err := pull(t, source, quickly()); !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("another one by digest: %v", err)
	}
}

// exact sources need not be asked what they deliver.
func TestExactSourcesAreNotAsked(t *testing.T) {
	h := newHub(t, "", true)
	f := startFetcher(t, newStore(t, t.TempDir()), quickly())
	oci := h.source("r/hello@sha256:" + digestOf("manifest"))
	oci.SHA256 = digestOf("content")
	build := Source{SHA256: digestOf("content"), Build: Build{Server: h.URL, Job: "job", UUID: "00000000-0000-0000-0000-000000000001"}}
	for want, source := range map[string]Source{
		"sha256:" + digestOf("manifest"): oci, build.Build.UUID: build, "sha256:" + digestOf("content"): at(h.URL, digestOf("content")),
	} {
		if got, err := f.Resolve(t.Context(), "key", source, time.Now(), 0); err != nil || got.Source != source || got.Version != want || got.FoundAt.IsZero() {
			t.Errorf("%s: %+v, %v", source, got, err)
		}
	}
	for _, source := range []Source{{}, {Stored: true}, {URL: h.URL}, {URL: h.URL, SHA256: "x"}, {OCI: oci.OCI, SHA256: "x"}} {
		if got, err := f.Resolve(t.Context(), "key", source, time.Now(), time.Minute); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v", source, got, err)
		}
	}
	if len(h.seen()) != 0 {
		t.Errorf("asked %q", h.seen())
	}
}

// Whatever a registry does with a layer, what is kept is right.
func TestDamagedLayers(t *testing.T) {
	const content = "the image of a unikernel"
	body := func(text string, length string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
			return true
		}
	}
	status := func(path string, status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			http.Error(w, `{"errors":[{"code":"DENIED","message":"canary"}]}`, status)
			return true
		}
	}
	for _, tt := range []struct {
		what   string
		before func(http.ResponseWriter, *http.Request) bool
		kind   error
		want   string
	}{
		{"another content", body("canary, not the unikernel"[:24], "24"), ErrDigestMismatch, "digest mismatch: the content has SHA-256 " + digestOf("canary, not the unikernel"[:24])},
		{"a truncated one", body("the image", "9"), ErrDigestMismatch, "digest mismatch: the server has 9 bytes of what should be 24"},
		{"a longer one", body(content+content, "48"), ErrDigestMismatch, "digest mismatch: the server has 48 bytes of what should be 24"},
		{"a longer one of unknown length", body(content+content, ""), ErrDigestMismatch, "digest mismatch: the content has SHA-256 " + digestOf(content+content)},
		{"a truncated one of unknown length", body("the image", ""), nil, errNoResume.Error()},
		{"a missing one", status("/blobs/", 404), ErrNotFound, "not found (status 404)"},
		{"a refused one", status("/blobs/", 403), ErrForbidden, "forbidden (status 403)"},
		{"a broken registry", status("/blobs/", 500), nil, "the server answered with status 500"},
		{"a busy registry", status("/manifests/", 429), nil, "the server answered with status 429"},
		{"a refused manifest", status("/manifests/", 403), ErrForbidden, "forbidden (status 403)"},
		{"a broken front", status("/v2/", 502), nil, "the server answered with status 502"},
		{"a manifest that is none", func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1)+"; charset=utf-8")
			_, _ = io.WriteString(w, "canary")
			return true
		}, ErrInvalid, "invalid image: the artifact's manifest is damaged"},
		{"a huge manifest", func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			_, _ = w.Write(make([]byte, maxManifest+1))
			return true
		}, ErrTooLarge, errTooMuch.Error()},
	} {
		h := newHub(t, "", true)
		h.push(t, "r/hello:1", file{content, unikernelType, ""})
		h.meanwhile(tt.before)
		source := h.source("r/hello:1")
		_, _, err := pull(t, source, quickly())
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) || Permanent(err) != (tt.kind != nil) || tt.kind != nil && !errors.Is(err, tt.kind) {
			t.Errorf("%s: %v, want %s", tt.what, err, tt.want)
		}
	}
}

func TestAnotherManifestThanItsDigest(t *testing.T) {
	h := newHub(t, "", true)
	old := h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	other := h.push(t, "r/hello:2", file{"another image", unikernelType, ""})
	h.meanwhile(func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.Replace(r.URL.Path, old.digest(), other.digest(), 1)
		return false
	})
	source := h.source("r/hello@" + old.digest())
	if _, _, err := pull(t, source, quickly()); !errors.Is(err, ErrDigestMismatch) || !strings.HasSuffix(err.Error(), ": the registry gave another manifest") {
		t.Errorf("%v", err)
	}
}

func TestLargeLayers(t *testing.T) {
	h := newHub(t, "", true)
	h.push(t, "r/hello:1", file{strings.Repeat("x", 1001), unikernelType, ""})
	options := quickly()
	for limit, want := range map[int64]error{1000: ErrTooLarge, 1001: nil} {
		options.MaxSize = limit
		if _, _, err := pull(t, h.source("r/hello:1"), options); !errors.Is(err, want) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if h.asked("/blobs/") != 1 {
		t.Error("a layer that is too large was fetched")
	}
}

// cutting has layers break off after so many bytes, one number for each answer.
func cutting(h *hub, sent *atomic.Int64, cuts ...int) {
	h.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		left := 1 << 30
		if len(cuts) > 0 {
			left, cuts = cuts[0], cuts[1:]
		}
		counter := &flaky{}
		defer func() { sent.Add(int64(counter.gave())) }()
		h.registry.ServeHTTP(&cut{w, counter, left}, r)
		return true
	})
}

func TestLayersGoOnWhereTheyBrokeOff(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for round := range 10 {
		h := newHub(t, "", round%2 == 0)
		content := randomContent(100 + random.IntN(200_000))
		h.push(t, "r/hello:1", file{content, unikernelType, ""})
		var cuts []int
		for range 1 + random.IntN(maxTries-1) {
			cuts = append(cuts, random.IntN(1+len(content)/maxTries))
		}
		var sent atomic.Int64
		cutting(h, &sent, slices.Clone(cuts)...)
		_, blob, err := pull(t, h.source("r/hello:1"), quickly())
		if err != nil || contentOf(t, blob) != content || sent.Load() != int64(len(content)) {
			t.Errorf("round %d, %d bytes cut after %v: %v; %d were sent", round, len(content), cuts, err, sent.Load())
		}
	}
}

// A token may run out during a download.
func TestTokenRunsOut(t *testing.T) {
	h := newHub(t, "bearer", true)
	h.push(t, "r/hello:1", file{randomContent(1000), unikernelType, ""})
	source := h.source("r/hello:1")
	source.OCI.Username, source.OCI.Password = user, password
	var sent atomic.Int64
	cutting(h, &sent, 500)
	var expired atomic.Bool
	inner := h.before
	h.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") != "" && expired.CompareAndSwap(false, true) {
			h.challenge(w)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return inner(w, r)
	})
	if _, _, err := pull(t, source, quickly()); err != nil || !expired.Load() || sent.Load() != 1000 {
		t.Errorf("%v; expired %v, %d bytes", err, expired.Load(), sent.Load())
	}
}

func TestRegistriesThatCannotBeReached(t *testing.T) {
	secure, plain, gone, stranger := newHub(t, "", true), newHub(t, "", false), newHub(t, "", true), newHub(t, "", true)
	for _, h := range []*hub{secure, plain, gone, stranger} {
		h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
	}
	gone.Close()
	change := func(s Source, do func(*OCI)) Source {
		do(&s.OCI)
		return s
	}
	for _, tt := range []struct {
		what   string
		source Source
		kind   error
		want   string
	}{
		{"gone", gone.source("r/hello:1"), nil, "connection refused"},
		{"untrusted", change(secure.source("r/hello:1"), func(o *OCI) { o.CA = "" }), nil, "the server's certificate is not trusted: it is signed by an unknown authority"},
		{"another host", change(secure.source("r/hello:1"), func(o *OCI) { o.Reference = strings.Replace(o.Reference, "127.0.0.1", "localhost", 1) }), nil,
			"the server's certificate is not trusted: it is for another server"},
		{"no CA", change(secure.source("r/hello:1"), func(o *OCI) { o.CA = canary }), ErrInvalid, "invalid image: the registry's CA has no certificate in PEM"},
		{"plain http", change(plain.source("r/hello:1"), func(o *OCI) { o.Insecure = false }), nil, "the server speaks plain http where https is asked for"},
		{"no reference", change(secure.source("r/hello:1"), func(o *OCI) { o.Reference = "a b" }), ErrInvalid, "invalid image: not a reference of a registry, a repository, and a tag or digest"},
		{"insecure when said", change(secure.source("r/hello:1"), func(o *OCI) { o.CA, o.Insecure = "", true }), nil, ""},
	} {
		_, _, err := pull(t, tt.source, quickly())
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
			continue
		}
		if err == nil || err.Error() != tt.source.OCI.Reference+": "+tt.want || Permanent(err) != (tt.kind != nil) {
			t.Errorf("%s: %v, want %s", tt.what, err, tt.want)
		}
	}
	if plain.asked("hello") != 0 {
		t.Error("plain http was used without having been said")
	}
	source := secure.source("r/hello:1")
	if _, _, err := pull(t, source, Options{}); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("on the operator's own machine: %v", err)
	}
}

func TestSlowRegistries(t *testing.T) {
	for _, path := range []string{"/v2/", "/manifests/"} {
		h := newHub(t, "", true)
		h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
		h.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			_, _ = io.WriteString(w, canary)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // does not end the answer well at the last moment
		})
		options := quickly()
		options.Deadline = 100 * time.Millisecond
		if _, _, err := pull(t, h.source("r/hello:1"), options); err == nil || !strings.HasSuffix(err.Error(), ": not complete after 100ms") || Permanent(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// Slow but steady is no problem.
	h := newHub(t, "", true)
	content := randomContent(2000)
	h.push(t, "r/hello:1", file{content, unikernelType, ""})
	h.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.Header().Set("Content-Length", "2000")
		for part := range slices.Chunk([]byte(content), 100) {
			_, _ = w.Write(part)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
		return true
	})
	if _, _, err := pull(t, h.source("r/hello:1"), quickly()); err != nil {
		t.Errorf("slow and steady: %v", err)
	}
}

// witness is another server; it remembers what it was told.
type witness struct {
	*httptest.Server
	mu      sync.Mutex
	headers []http.Header
}

func newWitness(t *testing.T, handler http.HandlerFunc) *witness {
	w := &witness{}
	w.Server = serve(t, func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.headers = append(w.headers, r.Header.Clone())
		w.mu.Unlock()
		handler(rw, r)
	})
	return w
}

func (w *witness) told() []http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.headers
}

// Registries keep layers elsewhere. Credentials do not go there.
func TestLayersElsewhere(t *testing.T) {
	for _, auth := range []string{"basic", "bearer"} {
		h := newHub(t, auth, false)
		content := randomContent(1000)
		h.push(t, "r/hello:1", file{content, unikernelType, ""})
		flaky := newFlaky(t, content, 300)
		elsewhere := newWitness(t, flaky.serve)
		h.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") || !h.admits(r) {
				return false
			}
			http.Redirect(w, r, elsewhere.URL+"/bucket?signature=canary", http.StatusTemporaryRedirect)
			return true
		})
		source := h.source("r/hello:1")
		source.OCI.Username, source.OCI.Password = user, password
		if _, _, err := pull(t, source, quickly()); err != nil || len(elsewhere.told()) != 2 {
			t.Errorf("%s: %v after %d requests", auth, err, len(elsewhere.told()))
		}
		for _, header := range elsewhere.told() {
			if header.Get("Authorization") != "" || header.Get("Referer") != "" {
				t.Errorf("%s: told %v", auth, header)
			}
		}
	}
}

func TestWhereRegistriesMustNotLead(t *testing.T) {
	to := func(target string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
		}
	}
	outside := newWitness(t, func(http.ResponseWriter, *http.Request) {})
	for _, path := range []string{"^/v2/$", "/manifests/", "/blobs/"} {
		for _, target := range []string{"http://169.254.169.254/canary", "https://169.254.169.254/canary", "https://[fd00:ec2::254]/canary", "ftp://h/canary", outside.URL} {
			h := newHub(t, "", true)
			h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
			h.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
				if !regexp.MustCompile(path).MatchString(r.URL.Path) {
					return false
				}
				to(target)(w, r)
				return true
			})
			if _, _, err := pull(t, h.source("r/hello:1"), quickly()); err == nil || path == "/blobs/" && !errors.Is(err, ErrForbidden) {
				t.Errorf("%s to %s: %v", path, target, err)
			}
		}
	}
	if len(outside.told()) != 0 {
		t.Error("led from https to plain http")
	}
}

func TestServersOfTokens(t *testing.T) {
	for _, tt := range []struct {
		what         string
		secure       bool
		realm        func(witness string) string
		asked, works bool
	}{
		{"elsewhere", false, func(w string) string {
			return strings.Replace(w, "127.0.0.1", "localhost", 1) + "/token?account=canary"
		}, true, true},
		{"from https to plain http", true, func(w string) string { return strings.Replace(w, "127.0.0.1", "localhost", 1) + "/token" }, false, false},
		{"the metadata of a cloud", false, func(string) string { return "http://169.254.169.254/canary" }, false, false},
		{"no address", false, func(string) string { return "http://[canary" }, false, false},
		{"no http", false, func(string) string { return "file:///canary" }, false, false},
	} {
		tokens := newWitness(t, giveToken)
		h := newHub(t, "bearer", tt.secure)
		h.realm = tt.realm(tokens.URL)
		h.push(t, "r/hello:1", file{"the image", unikernelType, ""})
		source := h.source("r/hello:1")
		source.OCI.Username, source.OCI.Password = user, password
		_, _, err := pull(t, source, quickly())
		if (err == nil) != tt.works || (len(tokens.told()) > 0) != tt.asked {
			t.Errorf("%s: %v; asked %d times", tt.what, err, len(tokens.told()))
		}
		for _, header := range tokens.told() {
			if name, word, _ := (&http.Request{Header: header}).BasicAuth(); name != user || word != password {
				t.Errorf("%s: told %v", tt.what, header)
			}
		}
	}
	// Its name must not lead to the operator's own surroundings.
	tokens := newWitness(t, giveToken)
	h := newHub(t, "bearer", false)
	h.realm = strings.Replace(tokens.URL, "127.0.0.1", "localhost", 1)
	_, _, err := pull(t, h.source("r/hello:1"), Options{Egress: egress.Policy{AllowHosts: []string{"127.0.0.1"}}})
	if !errors.Is(err, ErrForbidden) || len(tokens.told()) != 0 {
		t.Errorf("tokens from where nobody may go: %v", err)
	}
	// One that answers with something else.
	for _, body := range []string{"", "canary", `{"token":""}`, `{"token":5}`, strings.Repeat("canary", 1<<20)} {
		h := newHub(t, "bearer", true)
		h.meanwhile(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/token" {
				return false
			}
			_, _ = io.WriteString(w, body)
			return true
		})
		if _, _, err := pull(t, h.source("r/hello:1"), quickly()); err == nil || Permanent(err) {
			t.Errorf("a token of %d bytes: %v", len(body), err)
		}
	}
}

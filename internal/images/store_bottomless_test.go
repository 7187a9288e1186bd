package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patternDigest is that of the beginning of a pattern.
func patternDigest(t *testing.T, size int64) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.CopyN(h, &pattern{peak: &peak{}}, size); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// bottomlessGCS is what [bottomless] is, as a server of Google Cloud Storage.
type bottomlessGCS struct {
	*bottomless
	host string
}

// ServeHTTP implements http.Handler.
func (b bottomlessGCS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := r.URL.Query()
	object := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/storage/v1/b/images/o"), "/images")
	switch key := strings.TrimPrefix(object, "/"); {
	case q.Get("uploadType") == "multipart":
		b.write(w, r)
	case q.Has("upload_id"):
		b.receive(w, r, q.Get("upload_id"))
	case q.Get("uploadType") == "resumable":
		w.Header().Set("Location", "http://"+b.host+r.URL.Path+"?upload_id="+nameOf(r.Body))
	case key == "":
		fmt.Fprint(w, `{"items": []}`)
	case r.Method == http.MethodDelete:
		delete(b.sizes, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		b.read(w, r, key)
	}
}

// write takes a small object, which comes with its description.
func (b bottomlessGCS) write(w http.ResponseWriter, r *http.Request) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	description, err := parts.NextPart()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key := nameOf(description)
	content, err := parts.NextPart()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.sizes[key], _ = io.Copy(io.Discard, content)
	b.describe(w, key)
}

// receive takes a part of a large object.
func (b bottomlessGCS) receive(w http.ResponseWriter, r *http.Request, key string) {
	_, _ = io.Copy(io.Discard, r.Body)
	var first, last, size int64
	of := r.Header.Get("Content-Range")
	if n, _ := fmt.Sscanf(of, "bytes %d-%d/%d", &first, &last, &size); n < 3 && !strings.HasPrefix(of, "bytes */") {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", last))
		w.Header().Set("X-Http-Status-Code-Override", "308") // there is more to come
		return
	}
	b.sizes[key] = b.size
	b.describe(w, key)
}

func (b bottomlessGCS) describe(w http.ResponseWriter, key string) {
	_ = json.NewEncoder(w).Encode(map[string]string{
		"name": key, "bucket": "images", "size": fmt.Sprint(b.sizes[key]), "etag": "1", "updated": time.Unix(0, 0).UTC().Format(time.RFC3339),
	})
}

// read gives an object, or its description.
func (b bottomlessGCS) read(w http.ResponseWriter, r *http.Request, key string) {
	size, known := b.sizes[key]
	switch {
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case strings.HasPrefix(r.URL.Path, "/storage/"):
		b.describe(w, key)
	default:
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.CopyN(w, &pattern{peak: &peak{}}, size)
	}
}

// nameOf reads a description of an object.
func nameOf(description io.Reader) string {
	var object struct{ Name string }
	_ = json.NewDecoder(description).Decode(&object)
	return object.Name
}

// bottomlessAzure is what [bottomless] is, as a server of Azure Blob Storage.
type bottomlessAzure struct{ *bottomless }

// ServeHTTP implements http.Handler.
func (b bottomlessAzure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	key := r.URL.Path
	past := time.Unix(0, 0).UTC().Format(http.TimeFormat)
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Last-Modified", past)
	switch size, known := b.sizes[key]; {
	case r.URL.Query().Get("comp") == "list":
		fmt.Fprint(w, `<EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>`)
	case r.URL.Query().Get("comp") == "block":
		w.WriteHeader(http.StatusCreated)
	case r.URL.Query().Get("comp") == "blocklist":
		b.sizes[key] = b.size
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		b.sizes[key] = n
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodDelete:
		delete(b.sizes, key)
		w.WriteHeader(http.StatusAccepted)
	case !known:
		w.Header().Set("X-Ms-Error-Code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Header().Set("X-Ms-Creation-Time", past)
		w.Header().Set("Content-Length", fmt.Sprint(size))
		if r.Method == http.MethodGet {
			_, _ = io.CopyN(w, &pattern{peak: &peak{}}, size)
		}
	}
}

// The servers of the measurements do what the store needs of them, so what is
// measured is what it does with a real one.
func TestBottomless(t *testing.T) {
	const size = 3*partSize + 1
	digest := patternDigest(t, size)
	onEachOf(t, bottomlessKinds(size, asIs), func(t *testing.T, open func() *Store) {
		s := open()
		put(t, s, "small")
		if _, err := s.Put(t.Context(), io.LimitReader(&pattern{peak: &peak{}}, size), digest, size); err != nil {
			t.Fatal(err)
		}
		blob, found, err := open().Get(t.Context(), digest)
		if !found || err != nil || blob.Size != size {
			t.Errorf("%+v, %v, %v", blob, found, err)
		}
		if _, found, err := open().Get(t.Context(), digestOf("other")); found || err != nil {
			t.Errorf("%v, %v", found, err)
		}
	})
}

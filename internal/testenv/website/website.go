// Package website has a web server for tests with images and data of volumes.
package website

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
)

// Site serves files by the last part of their path.
type Site struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
}

// New is a site without files. It ends with the test.
func New(t testing.TB) *Site {
	s := &Site{files: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *Site) serve(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	content, ok := s.files[path.Base(r.URL.Path)]
	s.mu.Unlock()
	if !ok {
		http.NotFound(rw, r)
		return
	}
	_, _ = rw.Write(content) // whoever left does not need it
}

// Set puts a file of that name on the site, or takes it away when it has no content.
func (s *Site) Set(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[name] = bytes.Clone(content); content == nil {
		delete(s.files, name)
	}
}

// Publish puts content on the site under its digest.
func (s *Site) Publish(content []byte) v1alpha1.ContentSource {
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	s.Set(digest, content)
	return v1alpha1.ContentSource{URL: s.URL + "/" + digest, SHA256: v1alpha1.SHA256(digest)}
}

// Image puts an image with the devices on the site; another payload makes its digest
// another.
func (s *Site) Image(t testing.TB, image solo5.Image, payload string) *v1alpha1.ImageSource {
	t.Helper()
	content, err := solo5.Build(image, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return &v1alpha1.ImageSource{ContentSource: s.Publish(content)}
}

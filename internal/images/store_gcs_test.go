package images

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// gcsServer is a server of Google Cloud Storage in this process, at this host and
// port, with an empty bucket.
func gcsServer(t *testing.T, host string) http.Handler {
	t.Helper()
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "images"})
	return server.HTTPHandler()
}

// inGCS opens a store in a bucket of such a server.
func inGCS(t *testing.T, server string) (*Store, error) {
	t.Helper()
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(server, "http://"))
	return OpenStore(t.Context(), "gs://images")
}

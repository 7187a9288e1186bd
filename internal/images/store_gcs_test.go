package images

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// inGCS gives stores that share a bucket of a server of Google Cloud Storage in
// this process.
func inGCS(t *testing.T) (open func() *Store) {
	t.Helper()
	return gcsAt(t, func(host string) http.Handler { return gcsServer(t, host) })
}

// gcsServer is one with an empty bucket, at this host and port.
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

// gcsAt gives stores that share a bucket of a server, which is told its host and
// port.
func gcsAt(t *testing.T, handler func(host string) http.Handler) (open func() *Store) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	host := server.Listener.Addr().String()
	server.Config.Handler = handler(host)
	server.Start()
	t.Cleanup(server.Close)
	t.Setenv("STORAGE_EMULATOR_HOST", host)
	return func() *Store { return newStore(t, "gs://images") }
}

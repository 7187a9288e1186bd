package images

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// s3Server is an S3 server in this process, with an empty bucket.
func s3Server(t *testing.T, _ string) http.Handler {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("images"); err != nil {
		t.Fatal(err)
	}
	return gofakes3.New(backend).Server()
}

// inS3 opens a store in a bucket of such a server.
func inS3(t *testing.T, server string) (*Store, error) {
	t.Helper()
	return OpenStore(t.Context(), s3Location(t, server, "images"))
}

func s3Location(t *testing.T, server, bucket string) string {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "s3://" + bucket + "?region=eu-west-1&use_path_style=true&endpoint=" + url.QueryEscape(server)
}

// s3At gives stores that share a bucket of a server.
func s3At(t *testing.T, handler http.Handler, bucket, more string) (open func() *Store) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	location := s3Location(t, server.URL, bucket) + more
	return func() *Store { return newStore(t, location) }
}

// A folder of a bucket can be a store; the rest of the bucket is not touched.
func TestPrefix(t *testing.T) {
	server := s3Server(t, "")
	whole, part := s3At(t, server, "images", "")(), s3At(t, server, "images", "&prefix=mollymawk/")()
	put(t, whole, "others")
	put(t, part, "ours")
	holds(t, part, "ours")
	if _, err := part.Collect(t.Context(), func(string) bool { return false }, -1); err != nil {
		t.Fatal(err)
	}
	holds(t, part)
	holds(t, whole, "others")
}

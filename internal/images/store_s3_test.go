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
	return OpenStore(t.Context(), s3Location(t, server))
}

func s3Location(t *testing.T, server string) string {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "s3://images?region=eu-west-1&use_path_style=true&endpoint=" + url.QueryEscape(server)
}

// A folder of a bucket can be a store; the rest of the bucket is not touched.
func TestPrefix(t *testing.T) {
	server := httptest.NewServer(s3Server(t, ""))
	defer server.Close()
	location := s3Location(t, server.URL)
	whole, part := newStore(t, location), newStore(t, location+"&prefix=mollymawk/")
	put(t, whole, "others")
	put(t, part, "ours")
	holds(t, part, "ours")
	if _, err := part.Collect(t.Context(), func(string) bool { return false }, -1); err != nil {
		t.Fatal(err)
	}
	holds(t, part)
	holds(t, whole, "others")
}

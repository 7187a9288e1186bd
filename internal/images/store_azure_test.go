package images

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"
)

// inAzure opens a store in a container of a server of Azure Blob Storage that asks
// for no credentials.
func inAzure(t *testing.T, server string) (*Store, error) {
	t.Helper()
	return inAzureWith(t, server, nil)
}

func inAzureWith(t *testing.T, server string, options *container.ClientOptions) (*Store, error) {
	t.Helper()
	client, err := container.NewClientWithNoCredential(server+"/images", options)
	if err != nil {
		t.Fatal(err)
	}
	b, err := azureblob.OpenBucket(t.Context(), client, nil)
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t.Context(), &bucket{Bucket: b})
}

// A name that is not resolved just now says nothing about what is there.
func TestUnknownHost(t *testing.T) {
	s, err := inAzureWith(t, "http://nowhere.invalid", &container.ClientOptions{ClientOptions: policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}})
	if err != nil {
		t.Fatalf("at the start: %v", err)
	}
	defer s.Close()
	var name *net.DNSError
	if _, found, err := s.Get(t.Context(), digestOf("x")); found || !errors.As(err, &name) || err.Error() != "image store: the name of the bucket's server cannot be resolved" {
		t.Errorf("%v, %v", found, err)
	}
}

// What is sent to Azure is held in memory that Go does not count, a block for each
// that is under way.
func TestBlocks(t *testing.T) {
	const size = 4*partSize + 1
	var mu sync.Mutex
	var largest, blocks int64
	atATime, most := 0, 0
	server := bottomlessAzure{newBottomless(size)}
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("comp") == "block" {
			mu.Lock()
			atATime++
			most = max(most, atATime)
			mu.Unlock()
			n, _ := io.Copy(io.Discard, r.Body)
			mu.Lock()
			atATime--
			blocks++
			largest = max(largest, n)
			mu.Unlock()
		}
		server.ServeHTTP(w, r)
	})
	s := clouds["Azure"].at(func(*testing.T, string) http.Handler { return counting })(t)()
	if _, err := s.Put(t.Context(), io.LimitReader(&pattern{peak: &peak{}}, size), patternDigest(t, size), size); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if largest != partSize || blocks != 5 || most != partsAtATime {
		t.Errorf("%d blocks of %d bytes at most, %d at a time", blocks, largest, most)
	}
}

// Who writes the same content at the same time as somebody else, and later, is
// told by Azure that its blocks are unknown. What counts is what the other has
// left, if that is new and sound.
func TestFasterWriter(t *testing.T) {
	const size = partSize + 1
	now := time.Unix(0, 0) // by the clock of the server
	for what, tt := range map[string]struct {
		size     int64
		modified time.Time
		content  io.Reader
		want     bool
	}{
		"the same":          {size, now, &pattern{peak: &peak{}}, true},
		"nothing":           {want: false},
		"something shorter": {size - 1, now, &pattern{peak: &peak{}}, false},
		"something bad":     {size, now, zeros{}, false},
		// It could be collected before it is granted.
		"what was there before": {size, now.Add(-longGrace), &pattern{peak: &peak{}}, false},
	} {
		t.Run(what, func(t *testing.T) {
			slower := func(*testing.T, string) http.Handler {
				server := bottomlessAzure{newBottomless(size)}
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Query().Get("comp") == "blocklist":
						clouds["Azure"].refusing(http.StatusBadRequest, "InvalidBlockList").ServeHTTP(w, r)
					case tt.size > 0 && strings.HasSuffix(r.URL.Path, blobKey(patternDigest(t, size))) && (r.Method == http.MethodHead || r.Method == http.MethodGet):
						w.Header().Set("ETag", `"2"`)
						w.Header().Set("X-Ms-Creation-Time", tt.modified.UTC().Format(http.TimeFormat))
						w.Header().Set("Last-Modified", tt.modified.UTC().Format(http.TimeFormat))
						w.Header().Set("Content-Length", fmt.Sprint(tt.size))
						if r.Method == http.MethodGet {
							_, _ = io.CopyN(w, tt.content, tt.size)
						}
					default:
						server.ServeHTTP(w, r)
					}
				})
			}
			s := clouds["Azure"].at(slower)(t)()
			blob, err := s.Put(t.Context(), io.LimitReader(&pattern{peak: &peak{}}, size), patternDigest(t, size), size)
			if tt.want != (err == nil) {
				t.Fatalf("%+v, %v", blob, err)
			}
			if err != nil {
				saysOnly(t, err, "fails (InvalidBlockList)")
			} else if known, found := s.Known(blob.Digest); !found || known != blob || blob.Size != size {
				t.Errorf("%+v, known as %+v", blob, known)
			}
		})
	}
}

package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"gocloud.dev/blob/memblob"
)

// testStores names buckets, separated by spaces, with which the tests of the store
// are run as well: real ones, or those of an emulator.
const testStores = "MOLLYMAWK_TEST_STORES"

func namedStores() []string { return strings.Fields(os.Getenv(testStores)) }

// kind is a kind of place in which a store can be. It gives stores that share one
// such place, as replicas do.
type kind func(t *testing.T) (open func() *Store)

// bucketKinds are those of buckets, by the names of their tests.
func bucketKinds() map[string]kind {
	kinds := map[string]kind{"memory": memory, "S3": clouds["S3"].at(s3Server), "GCS": clouds["GCS"].at(gcsServer)}
	for i, location := range namedStores() {
		scheme, _, _ := strings.Cut(location, ":")
		kinds[fmt.Sprintf("%s-%d", scheme, i+1)] = named(location)
	}
	return kinds
}

// onEach runs a test in a folder and in each kind of bucket.
func onEach(t *testing.T, test func(t *testing.T, open func() *Store)) {
	t.Helper()
	kinds := bucketKinds()
	kinds["folder"] = folder
	onEachOf(t, kinds, test)
}

// onEachBucket runs a test in each kind of bucket.
func onEachBucket(t *testing.T, test func(t *testing.T, open func() *Store)) {
	t.Helper()
	onEachOf(t, bucketKinds(), test)
}

func onEachOf(t *testing.T, kinds map[string]kind, test func(t *testing.T, open func() *Store)) {
	t.Helper()
	for name, where := range kinds {
		t.Run(name, func(t *testing.T) { test(t, where(t)) })
	}
}

// folder gives stores that share a folder.
func folder(t *testing.T) (open func() *Store) {
	t.Helper()
	dir := t.TempDir()
	return func() *Store { return newStore(t, dir) }
}

// memory gives stores that share a bucket in memory.
func memory(t *testing.T) (open func() *Store) {
	t.Helper()
	shared := memblob.OpenBucket(nil)
	t.Cleanup(func() { shared.Close() })
	return func() *Store { return storeOn(&bucket{Bucket: shared}) }
}

// named gives stores that share a part of their own of a bucket, and clears it.
func named(location string) kind {
	return func(t *testing.T) (open func() *Store) {
		t.Helper()
		u, err := url.Parse(location)
		if err != nil {
			t.Fatalf("%s: there is something that is no URL", testStores)
		}
		q := u.Query()
		q.Set("prefix", q.Get("prefix")+"test-"+newID()+"/")
		u.RawQuery = q.Encode()
		t.Cleanup(func() {
			if err := clearAll(u.String()); err != nil {
				t.Errorf("not cleared: %v", err)
			}
		})
		return func() *Store { return newStore(t, u.String()) }
	}
}

func clearAll(location string) error {
	ctx := context.Background()
	b, err := openBucket(ctx, location)
	if err != nil {
		return err
	}
	left, err := b.list(ctx, "")
	for _, e := range left {
		err = errors.Join(err, b.Delete(ctx, e.name))
	}
	return errors.Join(err, b.Close())
}

// lookForCredentials has the libraries do so, once for all tests, before some of
// these say where their own servers are.
func lookForCredentials() error {
	for _, location := range namedStores() {
		s, err := OpenStore(context.Background(), location)
		if err != nil {
			return fmt.Errorf("%s: %w", testStores, err)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// leaks are the goroutines that may be left: to a server that goes on, idle
// connections stay.
func leaks() []goleak.Option {
	// What the server of Google Cloud Storage links begins this one and never ends it.
	allowed := []goleak.Option{goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")}
	if len(namedStores()) > 0 {
		allowed = append(allowed, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	}
	return allowed
}

// Content of several parts is what was put, also when all replicas put it at the
// same time: none of them fails.
func TestContentOfParts(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		content := string(block) + strings.Repeat("part ", partSize/5) + string(block) + strings.Repeat("ial ", partSize/4) + "!"
		digest, size := digestOf(content), int64(len(content))
		var all sync.WaitGroup
		for i := range 4 {
			s := open()
			all.Go(func() {
				var blob Blob
				var err error
				if i%2 == 0 {
					blob, err = s.Put(t.Context(), strings.NewReader(content), digest, size)
				} else {
					blob, err = s.Add(t.Context(), strings.NewReader(content), size)
				}
				if err != nil || blob.Digest != digest || blob.Size != size {
					t.Errorf("%+v, %v", blob, err)
				}
			})
		}
		all.Wait()
		holds(t, open(), content)
		if blob, found, err := open().Get(t.Context(), digest); !found || err != nil || contentOf(t, blob) != content {
			t.Errorf("%v, %v", found, err)
		}
	})
}

// What was begun and broken off after several parts is nowhere to be seen.
func TestBrokenOffAfterParts(t *testing.T) {
	onEach(t, func(t *testing.T, open func() *Store) {
		s, other := open(), open()
		put(t, s, "before")
		broken := errors.New("the line is dead")
		content := strings.Repeat("part ", 3*partSize/5)
		from := func() io.Reader {
			return io.MultiReader(strings.NewReader(content), readFunc(func([]byte) (int, error) {
				if visible := names(t, other, blobPrefix); !slices.Equal(visible, []string{digestOf("before")}) {
					t.Errorf("in the middle there is %v", visible)
				}
				return 0, broken
			}))
		}
		if _, err := s.Put(t.Context(), from(), digestOf(content), 1<<30); !errors.Is(err, broken) {
			t.Errorf("put: %v", err)
		}
		if _, err := s.Add(t.Context(), from(), 1<<30); !errors.Is(err, broken) {
			t.Errorf("add: %v", err)
		}
		holds(t, open(), "before")
		if _, found, err := open().Get(t.Context(), digestOf(content)); found || err != nil {
			t.Errorf("%v, %v", found, err)
		}
	})
}

package operator_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/options"
	"mollymawk.dev/operator/internal/testenv"
)

// limit is how long something may take that normally takes milliseconds.
const limit = time.Minute

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

// settings are those of an operator of the test's own.
func settings(t *testing.T, c client.Client) options.Options {
	t.Helper()
	o := options.Default()
	o.Namespace = testenv.Namespace(t, c)
	o.ImageStore = t.TempDir()
	o.MetricsAddress, o.HealthAddress = freeAddress(t), freeAddress(t)
	return o
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme, err := operator.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(testenv.Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits until try succeeds.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func get(address, path string) (string, error) {
	response, err := http.Get("http://" + address + path) //nolint:noctx // the test's own server
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", path, response.StatusCode, body)
	}
	return string(body), err
}

// oldImage puts something into an image store that was written long ago.
func oldImage(t *testing.T, store string) (path string) {
	t.Helper()
	sum := sha256.Sum256([]byte("surplus"))
	path = filepath.Join(store, "blobs", hex.EncodeToString(sum[:]))
	past := time.Now().Add(-48 * time.Hour)
	for _, err := range []error{os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("surplus"), 0o600), os.Chtimes(path, past, past)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestRun starts the whole operator with a leader's lease, asks all its servers,
// and ends it.
func TestRun(t *testing.T) {
	c := newClient(t)
	o := settings(t, c)
	surplus := oldImage(t, o.ImageStore)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- operator.Run(ctx, testenv.Config(t), o, logr.Discard()) }()

	eventually(t, "healthy", func() error { _, err := get(o.HealthAddress, "/healthz"); return err })
	eventually(t, "ready", func() error { _, err := get(o.HealthAddress, "/readyz"); return err })
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "mollymawk-operator", Namespace: o.Namespace}}
	eventually(t, "leader", func() error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(lease), lease); err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return errors.New("nobody holds the lease")
		}
		return nil
	})

	// An instance without its Secret is looked at: the reconcilers run.
	instance := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: "looked-at"}, Spec: v1alpha1.AlbatrossInstanceSpec{
		Endpoint: v1alpha1.Endpoint{Host: "127.0.0.1"}, CredentialsSecretRef: v1alpha1.SecretReference{Name: "missing"},
	}}
	if err := c.Create(ctx, instance); err != nil {
		t.Fatal(err)
	}
	eventually(t, "looked at", func() error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(instance), instance); err != nil {
			return err
		}
		if instance.Status.ObservedGeneration != instance.Generation {
			return errors.New("not looked at yet")
		}
		return nil
	})
	if err := c.Delete(ctx, instance); err != nil {
		t.Fatal(err)
	}
	eventually(t, "gone", func() error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(instance), instance); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("still there: %w", err)
		}
		return nil
	})
	eventually(t, "an image that nobody needs is removed", func() error {
		if _, err := os.Stat(surplus); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("still there: %w", err)
		}
		return nil
	})
	metrics, err := get(o.MetricsAddress, "/metrics")
	if err != nil || !strings.Contains(metrics, `controller_runtime_reconcile_total{controller="albatrossinstance"`) {
		t.Errorf("metrics: %v", err)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(lease), lease); err != nil || *lease.Spec.HolderIdentity != "" {
		t.Errorf("the lease is not given back: %v", err)
	}
}

// TestTwoReplicas has the second work only when the first has ended.
func TestTwoReplicas(t *testing.T) {
	c := newClient(t)
	first := settings(t, c)
	second := first
	second.MetricsAddress, second.HealthAddress, second.ImageStore = freeAddress(t), freeAddress(t), t.TempDir()
	holder := func() string {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "mollymawk-operator", Namespace: first.Namespace}}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(lease), lease); err != nil || lease.Spec.HolderIdentity == nil {
			return ""
		}
		return *lease.Spec.HolderIdentity
	}
	endFirst, firstEnded := start(t, first)
	eventually(t, "a leader", func() error {
		if holder() == "" {
			return errors.New("none")
		}
		return nil
	})
	leader := holder()
	endSecond, secondEnded := start(t, second)
	eventually(t, "the second ready", func() error { _, err := get(second.HealthAddress, "/readyz"); return err })
	if holder() != leader {
		t.Error("the second took the lease")
	}
	endFirst()
	if err := <-firstEnded; err != nil {
		t.Error(err)
	}
	eventually(t, "a new leader", func() error {
		if now := holder(); now == "" || now == leader {
			return fmt.Errorf("still %q", now)
		}
		return nil
	})
	endSecond()
	if err := <-secondEnded; err != nil {
		t.Error(err)
	}
}

func start(t *testing.T, o options.Options) (end context.CancelFunc, ended chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ended = make(chan error, 1)
	go func() { ended <- operator.Run(ctx, testenv.Config(t), o, logr.Discard()) }()
	return cancel, ended
}

func TestRefusals(t *testing.T) {
	o := settings(t, newClient(t))
	o.Workers = 0
	if err := operator.Run(t.Context(), testenv.Config(t), o, logr.Discard()); err == nil || !strings.Contains(err.Error(), "--workers") {
		t.Errorf("impossible settings: %v", err)
	}
	o = settings(t, newClient(t))
	o.ImageStore = "/dev/null/images"
	if err := operator.Run(t.Context(), testenv.Config(t), o, logr.Discard()); err == nil || !strings.Contains(err.Error(), "image store") {
		t.Errorf("an impossible folder: %v", err)
	}
}

// Package demo gives a newcomer something to look at: a simulated host, its
// AlbatrossInstance, and the sample Unikernel running on it.
package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/config/samples"
	"mollymawk.dev/operator/standalone/install"
)

// Limits of what normally takes less than a second.
const (
	readyLimit = 2 * time.Minute
	readyPoll  = 50 * time.Millisecond
	closeLimit = 5 * time.Second
)

// imagePath is where the sample image is served.
const imagePath = "/hello.hvt"

// Options say where the demonstration keeps its data.
type Options struct {
	// Client has the rights of an administrator.
	Client client.Client
	// DataDir keeps the simulated host: what it ran, it runs again.
	DataDir string
	// Namespace is the operator's, for the Secret of the host's credentials.
	Namespace string
}

// Demo is a running demonstration.
type Demo struct {
	options Options
	host    *albatrosstest.Host
	web     *http.Server
	webAddr string
	image   []byte
}

// Start brings up the simulated host and the server of the sample image, and
// applies the samples.
func Start(ctx context.Context, options Options) (*Demo, error) {
	image, err := albatrosstest.StandIn("test_tick", solo5.Image{Target: solo5.HVT, ABIVersion: 2}, imageSize)
	if err != nil {
		return nil, err
	}
	host, err := albatrosstest.New(albatrosstest.Options{Dir: filepath.Join(options.DataDir, "host")})
	if err != nil {
		return nil, fmt.Errorf("simulated host: %w", err)
	}
	d := &Demo{options: options, host: host, image: image}
	if err := errors.Join(d.serve(ctx), d.apply(ctx)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// imageSize makes the sample as large as a real unikernel that does little.
const imageSize = 128 << 10

// Close ends host and server.
func (d *Demo) Close() error {
	d.host.Close()
	if d.web == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	return d.web.Shutdown(ctx)
}

// serve gives the sample image to whoever asks on this machine.
func (d *Demo) serve(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("server of the sample image: %w", err)
	}
	d.webAddr = listener.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+imagePath, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(d.image) })
	d.web = &http.Server{Handler: mux, ReadHeaderTimeout: closeLimit}
	go func() { _ = d.web.Serve(listener) }()
	return nil
}

// apply makes the samples, with the addresses and the digest of this demonstration.
func (d *Demo) apply(ctx context.Context) error {
	host, port, err := net.SplitHostPort(d.host.Addr())
	if err != nil {
		return err
	}
	portNumber, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(d.image)
	return errors.Join(
		d.applySecret(ctx),
		d.applySample(ctx, samples.Instance, func(o map[string]any) error {
			return errors.Join(unstructured.SetNestedField(o, host, "spec", "endpoint", "host"), unstructured.SetNestedField(o, portNumber, "spec", "endpoint", "port"),
				admitUsers(o))
		}),
		d.applySample(ctx, samples.Unikernel, func(o map[string]any) error {
			return errors.Join(unstructured.SetNestedField(o, "http://"+d.webAddr+imagePath, "spec", "image", "url"),
				unstructured.SetNestedField(o, hex.EncodeToString(sum[:]), "spec", "image", "sha256"))
		}),
	)
}

// admitUsers lets the users of the HTTP APIs have something on the host.
func admitUsers(instance map[string]any) error {
	tenants, _, err := unstructured.NestedSlice(instance, "spec", "tenants")
	if err != nil {
		return err
	}
	policy := map[string]any{
		"unikernels": int64(100), "cpuIDs": []any{int64(0), int64(1)}, "memory": "8Gi", "storage": "8Gi", "bridges": []any{"service"},
	}
	users := map[string]any{"matchExpressions": []any{map[string]any{"key": v1alpha1.LabelUser, "operator": "Exists"}}}
	return unstructured.SetNestedSlice(instance, append(tenants, map[string]any{"namespaceSelector": users, "policy": policy}), "spec", "tenants")
}

// secretName is what the sample instance refers to.
const secretName = "local-albatross"

func (d *Demo) applySecret(ctx context.Context) error {
	credentials := d.host.Credentials()
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: secretName, Namespace: d.options.Namespace},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(secret)
	if err != nil {
		return err
	}
	return install.Apply(ctx, d.options.Client, &unstructured.Unstructured{Object: object})
}

func (d *Demo) applySample(ctx context.Context, file string, fill func(map[string]any) error) error {
	manifest, err := samples.Files.ReadFile(file)
	if err != nil {
		return err
	}
	var object unstructured.Unstructured
	if err := yaml.Unmarshal(manifest, &object.Object); err != nil {
		return fmt.Errorf("sample %s: %w", file, err)
	}
	if err := fill(object.Object); err != nil {
		return fmt.Errorf("sample %s: %w", file, err)
	}
	return install.Apply(ctx, d.options.Client, &object)
}

// WaitReady waits until the sample Unikernel runs.
func (d *Demo) WaitReady(ctx context.Context) error {
	var uk v1alpha1.Unikernel
	err := wait.PollUntilContextTimeout(ctx, readyPoll, readyLimit, true, func(ctx context.Context) (bool, error) {
		if err := d.options.Client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "hello"}, &uk); err != nil {
			return false, err
		}
		return uk.Status.ObservedGeneration == uk.Generation && apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionReady), nil
	})
	if err != nil {
		return fmt.Errorf("the sample unikernel is not ready: %w; last seen: %v", err, uk.Status.Conditions)
	}
	return nil
}

// Explain says what there is to see and what to try next.
func Explain(w io.Writer, kubeconfig string) error {
	_, err := fmt.Fprintf(w, `
Try, in another terminal:

  export KUBECONFIG=%s
  kubectl get unikernels,albatrossinstances --all-namespaces
  kubectl explain unikernel.spec
  kubectl delete unikernel hello

Ctrl-C ends it; the next start goes on with the same data.
`, kubeconfig)
	return err
}

package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
)

// The environment that names a real host.
const (
	envAddr        = "ALBATROSS_ADDR"
	envCredentials = "ALBATROSS_CREDENTIALS"
	envImages      = "ALBATROSS_IMAGES"
)

// imageFile is an image that needs no devices and runs until it is ended.
const imageFile = "test_tick.hvt"

// target is the host that the operator is to manage.
type target struct {
	address       string
	caCert, caKey []byte
	image         []byte
	client        *albatross.Client
	// cpu is one that the host has.
	cpu int64
}

// findTarget gives the real host of the environment, or a simulated one that lives as long as the test: longer than the operator.
func findTarget(t *testing.T) *target {
	t.Helper()
	h := &target{address: os.Getenv(envAddr)}
	credentials, images := os.Getenv(envCredentials), os.Getenv(envImages)
	switch {
	case h.address == "" && credentials == "" && images == "":
		simulated := albatrosstest.Start(t, albatrosstest.Options{})
		c := simulated.Credentials()
		image, err := albatrosstest.StandIn("test_tick", solo5.Image{Target: solo5.HVT, ABIVersion: 2}, 128<<10)
		if err != nil {
			t.Fatal(err)
		}
		h.address, h.caCert, h.caKey, h.image = simulated.Addr(), c.Cert, c.Key, image
	case h.address == "" || credentials == "" || images == "":
		t.Fatalf("%s, %s and %s must be set together", envAddr, envCredentials, envImages)
	default:
		h.caCert = readFile(t, filepath.Join(credentials, albatrosstest.CACertFile))
		h.caKey = readFile(t, filepath.Join(credentials, albatrosstest.CAKeyFile))
		h.image = readFile(t, filepath.Join(images, imageFile))
	}
	h.client = newHostClient(t, h.address, h.caCert, h.caKey, h.caCert)
	h.look(t)
	return h
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// look asks the host for a CPU that tenants may be given.
func (h *target) look(t *testing.T) {
	t.Helper()
	policies, err := h.client.Policies(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(policies, func(p albatross.PathPolicy) bool { return p.Name.Path.IsRoot() })
	if i < 0 || len(policies[i].Policy.CPUIDs) == 0 {
		t.Fatalf("the host tells no CPU of its own: %+v", policies)
	}
	h.cpu = policies[i].Policy.CPUIDs[0]
}

// destroyAll removes what a failed test left at its path.
func (h *target) destroyAll(t *testing.T, path string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	all, err := h.client.Unikernels(ctx, nil)
	if err != nil {
		t.Error("clean up:", err)
	}
	for _, u := range all {
		if u.Name.Path.String() != path {
			continue
		}
		t.Errorf("%s is left on the host", u.Name)
		if _, err := h.client.Destroy(ctx, albatross.Scope{{Label: path, Policy: h.policy()}}, u.Name.Label); err != nil {
			t.Error("clean up:", err)
		}
	}
}

// policy is that of the test's tenant.
func (h *target) policy() albatross.Policy {
	return albatross.Policy{Unikernels: 3, CPUIDs: []int64{h.cpu}, Memory: 128}
}

// TestHost has the operator manage a host as a cluster's operator would: the host is somewhere else and goes on when the operator
// is killed. It leaves the policy of its tenant on the host: policies cannot be lifted over TLS.
func TestHost(t *testing.T) {
	host := findTarget(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(host.image) }))
	t.Cleanup(web.Close)
	tenant := "e2e-" + unique()
	t.Cleanup(func() { host.destroyAll(t, tenant) })

	dataDir := filepath.Join(t.TempDir(), "data")
	p := run(t, dataDir)
	c := newCluster(t, p.kubeconfig)
	introduce(t, c, host, tenant)
	u := anyUser(t, c)
	sum := sha256.Sum256(host.image)
	manifest := func(name string, more ...string) string {
		return unikernelManifest(tenant, name, tenant, web.URL+"/"+imageFile, hex.EncodeToString(sum[:]), more...)
	}
	u.apply(t, manifest("tick"))
	first := c.waitReady(t, tenant, "tick")
	wantOnHost(t, host, first, 32)

	p.kill()
	p = run(t, dataDir)
	c = newCluster(t, p.kubeconfig)
	u = anyUser(t, c)
	// When the new operator has made another one, it has seen what the last one left.
	u.apply(t, manifest("tock"))
	u.remove(t, c.waitReady(t, tenant, "tock"))
	wantUndisturbed(t, c, host, first)

	u.apply(t, manifest("tick", "  memory: 48Mi\n"))
	wantOnHost(t, host, c.waitReady(t, tenant, "tick"), 48)
	u.remove(t, first)
	if _, found := running(t.Context(), t, host.client, first.Status.HostName); found {
		t.Errorf("the host still has %s", first.Status.HostName)
	}
	u.remove(t, c.instance(t, tenant))
	p.terminate(t)
}

func unique() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // It never fails.
	return hex.EncodeToString(b)
}

// anyUser is one who has kubectl, if there is one.
func anyUser(t *testing.T, c *cluster) user {
	t.Helper()
	all := users(t, c)
	if u, found := all["kubectl"]; found {
		return u
	}
	return all["client-go"]
}

// introduce makes the host known to the operator, with one tenant: a namespace of the same name as its path.
func introduce(t *testing.T, c *cluster, h *target, tenant string) {
	t.Helper()
	address, portText, err := net.SplitHostPort(h.address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(portText, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	instance := &v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{Name: tenant},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: v1alpha1.Host(address), Port: int32(port)},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: tenant},
			Tenants: []v1alpha1.Tenant{{Namespace: tenant, Policy: &v1alpha1.Policy{
				Unikernels: int32(h.policy().Unikernels), Memory: v1alpha1.FromMiB(h.policy().Memory), CPUIDs: []v1alpha1.CPUID{v1alpha1.CPUID(h.cpu)},
			}}},
			PollInterval: &metav1.Duration{Duration: time.Second},
		},
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: tenant, Namespace: systemNamespace},
		Data:       map[string][]byte{"tls.crt": h.caCert, "tls.key": h.caKey, "ca.crt": h.caCert},
	}
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), instance); err != nil {
		t.Fatal(err)
	}
}

// wantOnHost demands that the host runs what the object says, as of the same time, with this memory in MiB.
func wantOnHost(t *testing.T, h *target, uk *v1alpha1.Unikernel, memory int64) {
	t.Helper()
	u, found := running(t.Context(), t, h.client, uk.Status.HostName)
	switch {
	case !found:
		t.Fatalf("the host has no %q", uk.Status.HostName)
	case u.Info.Memory != memory || hex.EncodeToString(u.Info.Digest) != uk.Status.Digest:
		t.Errorf("the host runs %d MiB of %x, status is %+v", u.Info.Memory, u.Info.Digest, uk.Status)
	case uk.Status.StartedAt == nil || !uk.Status.StartedAt.Equal(new(metav1.NewTime(u.Info.Started.Truncate(time.Second)))):
		t.Errorf("started at %v, status says %v", u.Info.Started, uk.Status.StartedAt)
	}
}

// wantUndisturbed demands that a new operator finds all as it was, and lets it be.
func wantUndisturbed(t *testing.T, c *cluster, h *target, before *v1alpha1.Unikernel) {
	t.Helper()
	after := c.waitReady(t, before.Namespace, before.Name)
	if after.UID != before.UID || !after.Status.StartedAt.Equal(before.Status.StartedAt) || after.Status.Restarts != 0 {
		t.Errorf("was %s %+v, is %s %+v", before.UID, before.Status, after.UID, after.Status)
	}
	wantOnHost(t, h, after, 32)
}

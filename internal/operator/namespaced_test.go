package operator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/testenv"
)

// confined is a cluster in which the operator has the rights of config/namespaced.
type confined struct {
	*testing.T
	client.Client
	system, tenant, other string
	user                  string
	host                  *albatrosstest.Host
}

func newConfined(t *testing.T) *confined {
	c := &confined{T: t, Client: newClient(t)}
	c.system, c.tenant, c.other = testenv.Namespace(t, c), testenv.Namespace(t, c), testenv.Namespace(t, c)
	c.user = "system:serviceaccount:" + c.system + ":controller-manager"
	c.host = albatrosstest.Start(t, albatrosstest.Options{})
	for file, namespace := range map[string]string{
		"rbac/role.yaml": c.system, "rbac/leader_election_role.yaml": c.system,
		"namespaced/cluster_role_patch.yaml": "", "namespaced/instance_events_role.yaml": metav1.NamespaceDefault, "namespaced/tenant/role.yaml": c.tenant,
	} {
		c.grant(file, namespace)
	}
	return c
}

// grant gives the user what the first role of the wanted kind in a file allows.
func (c *confined) grant(file, namespace string) {
	c.Helper()
	raw, err := os.ReadFile(filepath.Join("../../config", file))
	if err != nil {
		c.Fatal(err)
	}
	kind := "Role"
	if namespace == "" {
		kind = "ClusterRole"
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		var role struct {
			metav1.TypeMeta `json:",inline"`
			Rules           []rbacv1.PolicyRule `json:"rules"`
		}
		if err := decoder.Decode(&role); err != nil {
			c.Fatalf("no %s in %s: %v", kind, file, err)
		}
		if role.Kind == kind {
			c.bind(kind, namespace, role.Rules)
			return
		}
	}
}

func (c *confined) bind(kind, namespace string, rules []rbacv1.PolicyRule) {
	c.Helper()
	meta := metav1.ObjectMeta{GenerateName: "confined-", Namespace: namespace}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: c.user}}
	var role client.Object = &rbacv1.Role{ObjectMeta: meta, Rules: rules}
	if namespace == "" {
		role = &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}
	}
	c.create(role)
	ref := rbacv1.RoleRef{Kind: kind, APIGroup: rbacv1.GroupName, Name: role.GetName()}
	if namespace == "" {
		c.create(&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
		return
	}
	c.create(&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
}

// create has an object until the test ends.
func (c *confined) create(o client.Object) {
	c.Helper()
	if err := c.Create(c.Context(), o); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := client.IgnoreNotFound(c.Delete(context.Background(), o)); err != nil {
			c.Error(err)
		}
	})
}

// config is the operator's access.
func (c *confined) config() *rest.Config {
	config := testenv.Config(c.T)
	config.Impersonate = rest.ImpersonationConfig{UserName: c.user}
	return config
}

func (c *confined) newInstance() *v1alpha1.AlbatrossInstance {
	credentials := c.host.Credentials()
	c.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "host", Namespace: c.system},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	})
	host, port := c.host.HostPort()
	policy := &v1alpha1.Policy{
		Unikernels: 10, CPUIDs: []v1alpha1.CPUID{0}, Memory: v1alpha1.FromMiB(512), Storage: new(v1alpha1.FromMiB(100)), Bridges: []v1alpha1.BridgeName{"service"},
	}
	return &v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{Name: c.tenant},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint: v1alpha1.Endpoint{Host: v1alpha1.Host(host), Port: port}, CredentialsSecretRef: v1alpha1.SecretReference{Name: "host"},
			Tenants: []v1alpha1.Tenant{
				// Nobody's labels are known, so this admits nobody.
				{NamespaceSelector: &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.LabelRequirement{{Key: "no", Operator: metav1.LabelSelectorOpDoesNotExist}}}},
				{Namespace: c.tenant, Policy: policy}, {Namespace: c.other, Policy: policy},
			},
		},
	}
}

// newUnikernel has an image that a server of its own gives.
func (c *confined) newUnikernel(namespace string) *v1alpha1.Unikernel {
	image, err := solo5.Build(solo5.Image{Target: solo5.HVT, ABIVersion: 2}, nil)
	if err != nil {
		c.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(image) }))
	c.Cleanup(server.Close)
	digest := sha256.Sum256(image)
	return &v1alpha1.Unikernel{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace},
		Spec: v1alpha1.UnikernelSpec{
			InstanceRef: v1alpha1.InstanceReference{Name: c.tenant},
			Image:       &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{URL: server.URL, SHA256: v1alpha1.SHA256(hex.EncodeToString(digest[:]))}},
		},
	}
}

func (c *confined) untilReady(o interface {
	client.Object
	GetConditions() []metav1.Condition
}) {
	c.Helper()
	eventually(c.T, "ready", func() error {
		if err := c.Get(c.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if !apimeta.IsStatusConditionTrue(o.GetConditions(), v1alpha1.ConditionReady) {
			return fmt.Errorf("%+v", o.GetConditions())
		}
		return nil
	})
}

func (c *confined) untilGone(o client.Object) {
	c.Helper()
	if err := c.Delete(c.Context(), o); err != nil {
		c.Fatal(err)
	}
	eventually(c.T, "gone", func() error {
		if err := c.Get(c.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s is still there: %w", o.GetName(), err)
		}
		return nil
	})
}

func (c *confined) untilTold(about client.Object, namespace string) {
	c.Helper()
	eventually(c.T, "told", func() error {
		var all eventsv1.EventList
		if err := c.List(c.Context(), &all, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, e := range all.Items {
			if e.Regarding.Name == about.GetName() && e.Reason == v1alpha1.ReasonSucceeded {
				return nil
			}
		}
		return fmt.Errorf("%d events, and none of them about %s", len(all.Items), about.GetName())
	})
}

// TestNamespaced runs the operator with the rights of config/namespaced: it does
// all that it does otherwise in the namespaces that it is given, and nothing in
// others.
func TestNamespaced(t *testing.T) {
	c := newConfined(t)
	o := settings(t, c)
	o.Namespace, o.WatchNamespaces, o.AllowLoopbackSources = c.system, []string{c.tenant}, true
	var log sync.Map
	logger := funcr.New(func(prefix, args string) {
		if strings.Contains(args, "forbidden") {
			log.Store(prefix+" "+args, true)
		}
	}, funcr.Options{Verbosity: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- operator.Run(ctx, c.config(), o, logger) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		log.Range(func(line, _ any) bool {
			t.Error(line)
			return true
		})
	})

	instance := c.newInstance()
	c.create(instance)
	c.untilReady(instance)
	elsewhere, uk := c.newUnikernel(c.other), c.newUnikernel(c.tenant)
	c.create(elsewhere)
	c.create(uk)
	v := &v1alpha1.Volume{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: c.tenant},
		Spec:       v1alpha1.VolumeSpec{InstanceRef: v1alpha1.InstanceReference{Name: instance.Name}, Size: v1alpha1.FromMiB(1)},
	}
	c.create(v)
	c.untilReady(uk)
	c.untilReady(v)
	c.untilTold(uk, c.tenant)
	c.untilTold(instance, metav1.NamespaceDefault)
	// Of the instance's tenants it serves those whose namespaces it is given.
	for path, want := range map[string]bool{c.tenant: true, c.other: false} {
		if _, ok := c.host.Policy(path); ok != want {
			t.Errorf("policy of path %q: %v", path, ok)
		}
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(elsewhere), elsewhere); err != nil || elsewhere.Status.ObservedGeneration > 0 || len(elsewhere.Finalizers) > 0 {
		t.Errorf("looked at what is in another namespace: %+v, %v", elsewhere.Status, err)
	}
	for _, o := range []client.Object{uk, v, instance} {
		c.untilGone(o)
	}
	if left := len(c.host.Unikernels("")) + len(c.host.Blocks("")); left != 0 {
		t.Errorf("%d things left on the host", left)
	}
}

// TestNamespacedRights has the rights be no more than they need to be.
func TestNamespacedRights(t *testing.T) {
	c := newConfined(t)
	scheme, err := operator.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	confined, err := client.New(c.config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"Namespaces":                   func() error { return confined.List(t.Context(), &corev1.NamespaceList{}) },
		"Unikernels of all namespaces": func() error { return confined.List(t.Context(), &v1alpha1.UnikernelList{}) },
		"Volumes of all namespaces":    func() error { return confined.List(t.Context(), &v1alpha1.VolumeList{}) },
		"Unikernels elsewhere": func() error {
			return confined.List(t.Context(), &v1alpha1.UnikernelList{}, client.InNamespace(c.other))
		},
		"Secrets of the tenant":          func() error { return confined.List(t.Context(), &corev1.SecretList{}, client.InNamespace(c.tenant)) },
		"Secrets of all namespaces":      func() error { return confined.List(t.Context(), &corev1.SecretList{}) },
		"a new Unikernel of the tenant":  func() error { return confined.Create(t.Context(), c.newUnikernel(c.tenant)) },
		"deletion of a tenant's objects": func() error { return confined.Delete(t.Context(), c.newUnikernel(c.tenant)) },
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

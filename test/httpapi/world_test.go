package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/config/rbac"
	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/options"
	"mollymawk.dev/operator/internal/services"
	"mollymawk.dev/operator/internal/testenv"
	"mollymawk.dev/operator/internal/testenv/website"
)

const (
	// limit is how long something may take that normally takes milliseconds.
	limit = time.Minute
	// instance is the document's.
	instance = "eu-west-2"
	// account is the name of the operator's ServiceAccount.
	account = "controller-manager"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

// world is an operator with its HTTP API, a simulated host that admits all users, and an administrator.
type world struct {
	testing.TB
	client.Client
	// system is the operator's namespace, images its store.
	system, images string
	url            string
	http           *http.Client
	host           *albatrosstest.Host
	log            *logBuffer
	root           *person
	// rights has what a part of the operator's own rights consists of.
	rights map[string]client.Object
	builds *buildServer
	web    *website.Site
}

func newWorld(t *testing.T, adminEmail string) *world {
	t.Helper()
	scheme, err := operator.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(testenv.Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		TB: t, Client: c, system: testenv.Namespace(t, c), images: t.TempDir(), log: &logBuffer{}, rights: map[string]client.Object{},
		http: &http.Client{Timeout: limit, Transport: &http.Transport{}}, host: albatrosstest.Start(t, albatrosstest.Options{}), builds: newBuildServer(t), web: website.New(t),
	}
	w.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(w.cleanUp)
	w.root = newPerson(adminEmail)
	w.grantAll()
	w.declareHost()
	w.create(&v1alpha1.UnikernelImage{
		ObjectMeta: metav1.ObjectMeta{Name: "hello"},
		Spec:       v1alpha1.UnikernelImageSpec{Image: v1alpha1.CatalogSource{ContentSource: v1alpha1.ContentSource{Build: &v1alpha1.BuildSource{Server: w.builds.URL, Job: "hello", UUID: aBuild}}}},
	})
	w.run(w.options())
	w.signInFirst(w.root)
	return w
}

// in has what fails belong to a part of the test.
func (w *world) in(t *testing.T) *world {
	part := *w
	part.TB = t
	return &part
}

func (w *world) options() options.Options {
	w.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	listener.Close()
	password := filepath.Join(w.TempDir(), "password")
	if err := os.WriteFile(password, []byte(w.root.password), 0o600); err != nil {
		w.Fatal(err)
	}
	o := options.Default()
	o.Namespace, o.ImageStore, o.MetricsAddress, o.HealthAddress = w.system, w.images, "0", "0"
	o.AllowLoopbackSources, o.Registration, o.ProvisionNamespaces = true, true, true
	o.BootstrapAdmin, o.BootstrapAdminPasswordFile = w.root.email, password
	o.API.Address, o.API.Rate, o.API.BuildServer = listener.Addr().String(), 0, w.builds.URL
	w.url = "http://" + o.API.Address
	return o
}

// run has the operator work until the test ends. Whatever it may not do it would say.
func (w *world) run(o options.Options) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- operator.Run(ctx, w.access(), o, w.log.logger()) }()
	w.Cleanup(func() {
		w.http.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("operator: %v", err)
		}
		if w.Failed() {
			w.Logf("the operator's log ends with\n%s", w.log.tail())
		}
	})
}

// access is the operator's: that of its ServiceAccount.
func (w *world) access() *rest.Config {
	w.Helper()
	request := &authenticationv1.TokenRequest{}
	serviceAccount := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: w.system}}
	if err := w.SubResource("token").Create(w.Context(), serviceAccount, request); err != nil {
		w.Fatal(err)
	}
	config := rest.AnonymousClientConfig(testenv.Config(w.TB))
	config.BearerToken = request.Status.Token
	return config
}

// grantAll makes the ServiceAccount with what config/default gives it for the HTTP API.
func (w *world) grantAll() {
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: w.system}})
	for _, file := range []string{"role.yaml", "leader_election_role.yaml", "api_role.yaml", "namespace_provisioner_role.yaml"} {
		for i, rules := range w.roles(file) {
			w.grant(fmt.Sprint(file, i), rules)
		}
	}
	for _, file := range []string{"tenant_role.yaml", "api_admin_role.yaml"} {
		w.createAll(file)
	}
}

// roles gives those of a file. They are the operator's, in its own namespace or in the cluster.
func (w *world) roles(file string) (all []rbacv1.ClusterRole) {
	w.Helper()
	for decoder := w.manifest(file); ; {
		var role rbacv1.ClusterRole
		if err := decoder.Decode(&role); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			w.Fatalf("%s: %v", file, err)
		}
		all = append(all, role)
	}
}

func (w *world) manifest(file string) *utilyaml.YAMLOrJSONDecoder {
	w.Helper()
	raw, err := os.ReadFile(filepath.Join("../../config/rbac", file))
	if err != nil {
		w.Fatal(err)
	}
	return utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
}

// grant gives the operator what a role allows. The role can be found by the file that it is from.
func (w *world) grant(from string, role rbacv1.ClusterRole) {
	w.Helper()
	meta := metav1.ObjectMeta{GenerateName: "test-httpapi-"}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.system, Name: account}}
	ref := rbacv1.RoleRef{Kind: role.Kind, APIGroup: rbacv1.GroupName}
	if role.Kind == "Role" {
		meta.Namespace = w.system
		made := &rbacv1.Role{ObjectMeta: meta, Rules: role.Rules}
		w.create(made)
		ref.Name, w.rights[from] = made.Name, made
		w.create(&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
		return
	}
	made := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: role.Rules}
	w.create(made)
	ref.Name, w.rights[from] = made.Name, made
	w.create(&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
}

// createAll makes what a file has under the names that it has in a cluster.
func (w *world) createAll(file string) {
	w.Helper()
	for decoder := w.manifest(file); ; {
		var manifest struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
			Rules             []rbacv1.PolicyRule `json:"rules"`
			RoleRef           rbacv1.RoleRef      `json:"roleRef"`
			Subjects          []rbacv1.Subject    `json:"subjects"`
		}
		if err := decoder.Decode(&manifest); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			w.Fatalf("%s: %v", file, err)
		}
		meta := metav1.ObjectMeta{Name: rbac.NamePrefix + manifest.Name}
		if manifest.Kind == "ClusterRole" {
			w.create(&rbacv1.ClusterRole{ObjectMeta: meta, Rules: manifest.Rules})
			continue
		}
		manifest.RoleRef.Name = rbac.NamePrefix + manifest.RoleRef.Name
		w.create(&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: manifest.RoleRef, Subjects: manifest.Subjects})
	}
}

// create has an object until the test ends, unless it is there already.
func (w *world) create(o client.Object, options ...client.CreateOption) {
	w.Helper()
	if err := w.Create(w.Context(), o, options...); apierrors.IsAlreadyExists(err) {
		return
	} else if err != nil {
		w.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
	w.Cleanup(func() {
		if err := client.IgnoreNotFound(w.Delete(context.Background(), o)); err != nil {
			w.Error(err)
		}
	})
}

// declareHost admits the namespaces of all users, each with a policy of its own.
func (w *world) declareHost() {
	w.Helper()
	credentials := w.host.Credentials()
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: instance, Namespace: w.system},
		Data:       map[string][]byte{"tls.crt": credentials.Cert, "tls.key": credentials.Key, "ca.crt": credentials.ServerCA},
	})
	address, port := w.host.HostPort()
	declared := &v1alpha1.AlbatrossInstance{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AlbatrossInstance"},
		ObjectMeta: metav1.ObjectMeta{Name: instance},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint: v1alpha1.Endpoint{Host: v1alpha1.Host(address), Port: port}, CredentialsSecretRef: v1alpha1.SecretReference{Name: instance},
			PollInterval: &metav1.Duration{Duration: time.Second},
			Tenants: []v1alpha1.Tenant{{
				NamespaceSelector: &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.LabelRequirement{{Key: v1alpha1.LabelUser, Operator: metav1.LabelSelectorOpExists}}},
				Policy: &v1alpha1.Policy{
					Unikernels: 50, CPUIDs: []v1alpha1.CPUID{0, 1}, Memory: v1alpha1.FromMiB(2048), Storage: new(v1alpha1.FromMiB(2048)), Bridges: []v1alpha1.BridgeName{"service"},
				},
			}},
		},
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(declared)
	if err != nil {
		w.Fatal(err)
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	// As if an administrator had declared it by the HTTP API, by which it may be changed then.
	if err := w.Apply(w.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(services.FieldManager)); err != nil {
		w.Fatal(err)
	}
}

// cleanUp lets go of what nobody looks after any more. Users, their namespaces and hosts belong to the whole server.
func (w *world) cleanUp() {
	ctx := context.Background()
	var all []client.Object
	namespaces := &corev1.NamespaceList{}
	if err := w.List(ctx, namespaces, client.HasLabels{v1alpha1.LabelUser}); err != nil {
		w.Error(err)
	}
	for _, list := range append(w.lists(ctx), namespaces) {
		_ = apimeta.EachListItem(list, func(o runtime.Object) error {
			all = append(all, o.(client.Object))
			return nil
		})
	}
	for _, o := range all {
		if len(o.GetFinalizers()) > 0 {
			o.SetFinalizers(nil)
			_ = w.Update(ctx, o)
		}
		_ = w.Delete(ctx, o)
	}
}

// wait until something holds; last says why not.
func (w *world) wait(what string, holds func() (ok bool, last string)) {
	w.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		ok, last := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("still not: %s: %s", what, last)
		}
	}
}

// send asks, and demands that the reply is as described.
func (w *world) send(a apitest.Ask) apitest.Reply {
	w.Helper()
	return apitest.Send(w.TB, w.http, w.url, a)
}

// must is a call that has to work.
func (w *world) must(a apitest.Ask) apitest.Reply {
	w.Helper()
	reply := w.send(a)
	if reply.Status != http.StatusOK {
		w.Fatalf("%s: %d %s", a.Path, reply.Status, reply.Body)
	}
	return reply
}

// logBuffer keeps what the operator said.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) logger() logr.Logger {
	return funcr.New(func(prefix, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.text.WriteString(prefix + " " + args + "\n")
	}, funcr.Options{Verbosity: 1})
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBuffer) tail() string {
	text := l.String()
	return text[max(0, len(text)-8192):]
}

// unique makes a name that no other world has.
func unique(name string) string { return name + "-" + utilrand.String(5) }

package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// fixture is a running server and the administrator's clients.
type fixture struct {
	server  *Server
	dir     string
	client  *kubernetes.Clientset
	dynamic dynamic.Interface
}

// TestAPI uses one server for everything that clients expect of it.
func TestAPI(t *testing.T) {
	log := &logCheck{}
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	server := start(t, Options{DataDir: dir, Log: log})
	config := server.RESTConfig()
	config.QPS = -1
	f := &fixture{server: server, dir: dir, client: newClient(t, config)}
	var err error
	if f.dynamic, err = dynamic.NewForConfigAndClient(config, f.client.RESTClient().(*rest.RESTClient).Client); err != nil {
		t.Fatal(err)
	}
	f.createKind(t)
	t.Run("FilesAreClosedToOthers", f.filesAreClosedToOthers)
	t.Run("SecondServerInOneProcessIsRefused", f.secondServerIsRefused)
	t.Run("ServerSideApply", f.serverSideApply)
	t.Run("InvalidObjectIsRefused", f.invalidObjectIsRefused)
	t.Run("StatusPatchAndWatch", f.statusPatchAndWatch)
	t.Run("Discovery", f.discovery)
	t.Run("NamespaceDeletionFinishes", f.namespaceDeletionFinishes)
	t.Run("OwnersTakeTheirDependents", f.ownersTakeTheirDependents)
	t.Run("SecretsAndServiceAccounts", f.secretsAndServiceAccounts)
	t.Run("Roles", f.roles)
	t.Run("RolesAreAggregated", f.rolesAreAggregated)
	t.Run("NobodyIsAnonymous", f.nobodyIsAnonymous)
	t.Run("LeaderElection", f.leaderElection)
	t.Run("Events", f.events)
	t.Run("StopsWithOpenWatch", f.stopsWithOpenWatch)
	if log.keys.Load() {
		t.Error("a private key or a token was logged")
	}
	if log.bytes.Load() == 0 {
		t.Error("nothing was logged")
	}
}

// logCheck takes a log and remembers what it must not hold.
type logCheck struct {
	keys  atomic.Bool
	bytes atomic.Int64
}

func (l *logCheck) Write(p []byte) (int, error) {
	l.bytes.Add(int64(len(p)))
	for _, secret := range []string{"PRIVATE KEY", "eyJhbGciOi"} {
		if bytes.Contains(p, []byte(secret)) {
			l.keys.Store(true)
		}
	}
	return len(p), nil
}

var (
	kindResource  = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "gulls"}
	kindsResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

const kind = `{
	"apiVersion": "apiextensions.k8s.io/v1",
	"kind": "CustomResourceDefinition",
	"metadata": {"name": "gulls.example.com"},
	"spec": {
		"group": "example.com",
		"scope": "Namespaced",
		"names": {"plural": "gulls", "singular": "gull", "kind": "Gull", "shortNames": ["gl"], "categories": ["birds"]},
		"versions": [{
			"name": "v1", "served": true, "storage": true,
			"subresources": {"status": {}},
			"schema": {"openAPIV3Schema": {
				"type": "object",
				"properties": {
					"spec": {
						"type": "object",
						"properties": {"wings": {"type": "integer", "description": "Number of wings."}},
						"x-kubernetes-validations": [{"rule": "self.wings == oldSelf.wings", "message": "wings do not change"}]
					},
					"status": {"type": "object", "properties": {"flying": {"type": "boolean"}}}
				}
			}}
		}]
	}
}`

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	var o unstructured.Unstructured
	if err := o.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return &o
}

func gull(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	return object(t, `{"apiVersion": "example.com/v1", "kind": "Gull", "metadata": {"name": "`+name+`"}, "spec": {"wings": 2}}`)
}

var applied = metav1.ApplyOptions{FieldManager: "test"}

// createKind applies a CustomResourceDefinition and waits until it is served.
func (f *fixture) createKind(t *testing.T) {
	t.Helper()
	started := time.Now()
	if _, err := f.dynamic.Resource(kindsResource).Apply(t.Context(), "gulls.example.com", object(t, kind), applied); err != nil {
		t.Fatal(err)
	}
	eventually(t, "listing objects of the new kind", func(ctx context.Context) (bool, error) {
		_, err := f.dynamic.Resource(kindResource).List(ctx, metav1.ListOptions{})
		return err == nil, err
	})
	t.Logf("a new kind was served after %v", time.Since(started).Round(time.Millisecond))
}

// namespace creates one that its name tells apart.
func (f *fixture) namespace(t *testing.T) string {
	t.Helper()
	ns, err := f.client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func (f *fixture) filesAreClosedToOthers(t *testing.T) {
	for name, want := range map[string]fs.FileMode{
		"":                        0o700,
		"kubeconfig":              0o600,
		"lock":                    0o600,
		"pki":                     0o700,
		"pki/ca.pem":              0o600,
		"pki/serving.pem":         0o600,
		"pki/admin.pem":           0o600,
		"pki/service-account.pem": 0o600,
		"etcd":                    0o700,
	} {
		info, err := os.Stat(filepath.Join(f.dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %v, want %v", name, got, want)
		}
	}
}

func (f *fixture) secondServerIsRefused(t *testing.T) {
	_, err := Start(t.Context(), Options{DataDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "this process runs a control plane already") {
		t.Errorf("a second Start: %v", err)
	}
}

func (f *fixture) serverSideApply(t *testing.T) {
	gulls := f.dynamic.Resource(kindResource).Namespace(f.namespace(t))
	first, err := gulls.Apply(t.Context(), "mew", gull(t, "mew"), applied)
	if err != nil {
		t.Fatal(err)
	}
	again, err := gulls.Apply(t.Context(), "mew", gull(t, "mew"), applied)
	if err != nil {
		t.Fatal(err)
	}
	if first.GetResourceVersion() != again.GetResourceVersion() {
		t.Error("the same object applied once more changed something")
	}
	other := gull(t, "mew")
	if err := unstructured.SetNestedField(other.Object, int64(4), "spec", "wings"); err != nil {
		t.Fatal(err)
	}
	if _, err := gulls.Apply(t.Context(), "mew", other, metav1.ApplyOptions{FieldManager: "other"}); !apierrors.IsConflict(err) {
		t.Errorf("another manager's field: %v, want a conflict", err)
	}
}

func (f *fixture) invalidObjectIsRefused(t *testing.T) {
	gulls := f.dynamic.Resource(kindResource).Namespace(f.namespace(t))
	bad := gull(t, "bad")
	if err := unstructured.SetNestedField(bad.Object, "two", "spec", "wings"); err != nil {
		t.Fatal(err)
	}
	if _, err := gulls.Create(t.Context(), bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a field of the wrong type: %v", err)
	}
	made, err := gulls.Create(t.Context(), gull(t, "good"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(made.Object, int64(3), "spec", "wings"); err != nil {
		t.Fatal(err)
	}
	if _, err := gulls.Update(t.Context(), made, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "wings do not change") {
		t.Errorf("a change that a rule forbids: %v", err)
	}
}

func (f *fixture) statusPatchAndWatch(t *testing.T) {
	gulls := f.dynamic.Resource(kindResource).Namespace(f.namespace(t))
	made, err := gulls.Create(t.Context(), gull(t, "mew"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	watch, err := gulls.Watch(ctx, metav1.ListOptions{ResourceVersion: made.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	patch := []byte(`{"spec": {"wings": 7}, "status": {"flying": true}}`)
	if _, err := gulls.Patch(t.Context(), "mew", "application/merge-patch+json", patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	event, open := <-watch.ResultChan()
	if !open {
		t.Fatal("no event")
	}
	seen, ok := event.Object.(*unstructured.Unstructured)
	if !ok {
		t.Fatalf("event %v of %T", event.Type, event.Object)
	}
	flying, _, _ := unstructured.NestedBool(seen.Object, "status", "flying")
	wings, _, _ := unstructured.NestedInt64(seen.Object, "spec", "wings")
	if event.Type != "MODIFIED" || !flying || wings != 2 || seen.GetGeneration() != 1 {
		t.Errorf("event %v: flying %v, wings %d, generation %d", event.Type, flying, wings, seen.GetGeneration())
	}
}

// discovery shows what kubectl needs for short names, categories and explain.
func (f *fixture) discovery(t *testing.T) {
	resources, err := f.client.Discovery().ServerResourcesForGroupVersion("example.com/v1")
	if err != nil {
		t.Fatal(err)
	}
	if r := resources.APIResources[0]; !slices.Equal(r.ShortNames, []string{"gl"}) || !slices.Equal(r.Categories, []string{"birds"}) {
		t.Errorf("short names %v, categories %v", r.ShortNames, r.Categories)
	}
	groups, _, failed, err := f.client.Discovery().(interface {
		GroupsAndMaybeResources() (*metav1.APIGroupList, map[schema.GroupVersion]*metav1.APIResourceList, map[schema.GroupVersion]error, error)
	}).GroupsAndMaybeResources()
	if err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
	served := map[string]bool{}
	for _, group := range groups.Groups {
		served[group.Name] = true
	}
	for _, name := range []string{"", "example.com", "apiextensions.k8s.io", "rbac.authorization.k8s.io", "coordination.k8s.io", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "admissionregistration.k8s.io"} {
		if !served[name] {
			t.Errorf("group %q is not served", name)
		}
	}
	eventually(t, "schema of the new kind", func(ctx context.Context) (bool, error) {
		document, err := f.client.RESTClient().Get().AbsPath("/openapi/v3/apis/example.com/v1").DoRaw(ctx)
		return bytes.Contains(document, []byte("Number of wings.")), err
	})
}

func (f *fixture) namespaceDeletionFinishes(t *testing.T) {
	name := f.namespace(t)
	if _, err := f.dynamic.Resource(kindResource).Namespace(name).Create(t.Context(), gull(t, "mew"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the namespace", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// ownersTakeTheirDependents uses the kind that was created after the garbage
// collector started, once with background and once with foreground deletion.
func (f *fixture) ownersTakeTheirDependents(t *testing.T) {
	name := f.namespace(t)
	gulls := f.dynamic.Resource(kindResource).Namespace(name)
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
		owner, err := gulls.Create(t.Context(), gull(t, "owner"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		block := true
		dependent := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "dependent", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "example.com/v1", Kind: "Gull", Name: "owner", UID: owner.GetUID(), BlockOwnerDeletion: &block,
		}}}}
		if _, err := f.client.CoreV1().ConfigMaps(name).Create(t.Context(), dependent, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := gulls.Delete(t.Context(), "owner", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		eventually(t, string(policy)+" deletion", func(ctx context.Context) (bool, error) {
			_, ownerErr := gulls.Get(ctx, "owner", metav1.GetOptions{})
			_, dependentErr := f.client.CoreV1().ConfigMaps(name).Get(ctx, "dependent", metav1.GetOptions{})
			return apierrors.IsNotFound(ownerErr) && apierrors.IsNotFound(dependentErr), nil
		})
	}
}

func (f *fixture) secretsAndServiceAccounts(t *testing.T) {
	name := f.namespace(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": "v"}}
	if _, err := f.client.CoreV1().Secrets(name).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	read, err := f.client.CoreV1().Secrets(name).Get(t.Context(), "s", metav1.GetOptions{})
	if err != nil || string(read.Data["k"]) != "v" {
		t.Errorf("read %q, %v", read.Data["k"], err)
	}
	eventually(t, "service account default", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	})
}

// token makes a token of the namespace's default service account.
func (f *fixture) token(t *testing.T, namespace string) string {
	t.Helper()
	var token string
	eventually(t, "token", func(ctx context.Context) (bool, error) {
		request, err := f.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err == nil {
			token = request.Status.Token
		}
		return err == nil, err
	})
	return token
}

// as makes a client with other credentials than the administrator's.
func (f *fixture) as(t *testing.T, change func(*rest.Config)) *kubernetes.Clientset {
	t.Helper()
	config := rest.AnonymousClientConfig(f.server.RESTConfig())
	change(config)
	return newClient(t, config)
}

func (f *fixture) roles(t *testing.T) {
	name := f.namespace(t)
	token := f.token(t, name)
	account := f.as(t, func(c *rest.Config) { c.BearerToken = token })
	if _, err := account.CoreV1().Secrets(name).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("without a role: %v", err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"},
	}}}
	if _, err := f.client.RbacV1().Roles(name).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: name, Name: "default"}},
	}
	if _, err := f.client.RbacV1().RoleBindings(name).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "listing with a role", func(ctx context.Context) (bool, error) {
		_, err := account.CoreV1().Secrets(name).List(ctx, metav1.ListOptions{})
		return err == nil, err
	})
	if err := account.CoreV1().Secrets(name).Delete(t.Context(), "s", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a verb that the role does not have: %v", err)
	}
	f.reviews(t, name, token)
}

// reviews shows the two that a server such as the operator's asks for, and
// impersonation by the administrator.
func (f *fixture) reviews(t *testing.T, namespace, token string) {
	t.Helper()
	user := "system:serviceaccount:" + namespace + ":default"
	review, err := f.client.AuthenticationV1().TokenReviews().Create(t.Context(),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil || !review.Status.Authenticated || review.Status.User.Username != user {
		t.Errorf("token review: %+v, %v", review.Status, err)
	}
	for verb, want := range map[string]bool{"list": true, "delete": false} {
		access, err := f.client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Resource: "secrets",
			}},
		}, metav1.CreateOptions{})
		if err != nil || access.Status.Allowed != want {
			t.Errorf("access review of %s: %+v, %v", verb, access.Status, err)
		}
	}
	config := f.server.RESTConfig()
	config.Impersonate.UserName = user
	impersonated := newClient(t, config)
	if _, err := impersonated.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("impersonated, with a role: %v", err)
	}
	if _, err := impersonated.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("impersonated, without a role: %v", err)
	}
}

func (f *fixture) rolesAreAggregated(t *testing.T) {
	roles := f.client.RbacV1().ClusterRoles()
	part := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "gull-viewer", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{"gulls"}, Verbs: []string{"get"}}},
	}
	if _, err := roles.Create(t.Context(), part, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "rule in the role view", func(ctx context.Context) (bool, error) {
		view, err := roles.Get(ctx, "view", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(view.Rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.APIGroups, "example.com")
		}), nil
	})
}

func (f *fixture) nobodyIsAnonymous(t *testing.T) {
	for name, token := range map[string]string{"no credentials": "", "a wrong token": "wrong"} {
		client := f.as(t, func(c *rest.Config) { c.BearerToken = token })
		for _, path := range []string{"/readyz", "/version", "/apis", "/api/v1/namespaces"} {
			if err := client.RESTClient().Get().AbsPath(path).Do(t.Context()).Error(); !apierrors.IsUnauthorized(err) {
				t.Errorf("%s with %s: %v", path, name, err)
			}
		}
	}
}

func (f *fixture) leaderElection(t *testing.T) {
	name := f.namespace(t)
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, name, "operator", f.client.CoreV1(), f.client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: "me"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	led := false
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { led = true; cancel() },
			OnStoppedLeading: func() {},
		},
	})
	lease, err := f.client.CoordinationV1().Leases(name).Get(t.Context(), "operator", metav1.GetOptions{})
	if err != nil || !led {
		t.Fatalf("led: %v, %v", led, err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		t.Errorf("the lease is still held by %q", *holder)
	}
}

// events are written in the new form and read in the old one, as kubectl does.
func (f *fixture) events(t *testing.T) {
	name := f.namespace(t)
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: name}, EventTime: metav1.NowMicro(),
		ReportingController: "example.com/test", ReportingInstance: "test-1", Action: "Test", Reason: "Tested", Type: "Normal", Note: "a note",
		Regarding: corev1.ObjectReference{APIVersion: "example.com/v1", Kind: "Gull", Namespace: name, Name: "mew"},
	}
	if _, err := f.client.EventsV1().Events(name).Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := f.client.CoreV1().Events(name).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=mew"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Message != "a note" {
		content, _ := json.Marshal(list)
		t.Errorf("events %s, %v", content, err)
	}
}

// stopsWithOpenWatch shows that a client that watches does not delay the end.
func (f *fixture) stopsWithOpenWatch(t *testing.T) {
	watch, err := f.client.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	started := time.Now()
	stop(t, f.server)
	t.Logf("stopped after %v", time.Since(started).Round(time.Millisecond))
	for range watch.ResultChan() {
		// The channel is closed when the watch has ended.
		continue
	}
}

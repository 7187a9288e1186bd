package migrate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/options"
	"mollymawk.dev/operator/internal/testenv"
)

// site is two hosts as Mollymawk left them, a control plane, and the operator.
type site struct {
	*testing.T
	client.Client
	first, second      *hostClient
	alice, bob, carol  string
	rack1, rack2       string
	system, api, store string
}

const aliceToken = "3cb6bc72-a52d-4f4f-969c-c85465875774"

// newSite has unikernels and volumes of all kinds on the hosts, and starts the
// operator. The names are the test's own.
func newSite(t *testing.T) *site {
	t.Helper()
	tail := "-" + rand.String(5)
	s := &site{
		T: t, Client: newClient(t), first: newHost(t), second: newHost(t), alice: "alice" + tail, bob: "bob.smith" + tail, carol: "customers" + tail,
		rack1: "rack1" + tail, rack2: "rack2" + tail, store: t.TempDir(),
	}
	s.system = testenv.Namespace(t, s)
	s.fill()
	t.Cleanup(s.cleanUp)
	s.runOperator()
	return s
}

func (s *site) fill() {
	s.Helper()
	alice, carol := scope(s.alice), scope(s.carol, "carol")
	s.first.block(alice, "data", "everything that alice has")
	s.first.block(alice, "spare", "and a copy")
	mac, _ := albatross.ParseMAC("02:00:00:00:00:07")
	s.first.run(alice, "web", albatross.Arguments{
		FailBehaviour: albatross.FailBehaviour{Restart: true, ExitCodes: []int64{2, 3}}, Startup: new(int64(20)), CPUIDs: []int64{0, 1}, Memory: 64,
		Blocks: []albatross.BlockDevice{{Name: "storage", HostDevice: new("data"), SectorSize: new(int64(4096))}},
		Bridges: []albatross.Bridge{
			{Name: "service"}, {Name: "admin", HostDevice: new("management"), MAC: &mac},
		},
		Argv: []string{"--ipv4=10.0.0.2/24", "--greeting=it's: \"# no comment\"\n--- neither"},
	})
	s.first.run(alice, "quiet", albatross.Arguments{CPUIDs: []int64{1}, Memory: 32})
	s.first.run(carol, "web", albatross.Arguments{FailBehaviour: albatross.FailBehaviour{Restart: true}, CPUIDs: []int64{0}, Memory: 16})
	s.first.run(scope(s.bob), "web", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16})
	// What no object can stand for.
	s.first.run(alice, "ends-", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16})
	s.first.run(alice, "early", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16, Startup: new(int64(0))})
	s.first.run(nil, "rooted", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16})
	// The same names on another host.
	s.second.block(alice, "data", "another volume of this name")
	s.second.run(alice, "web", albatross.Arguments{CPUIDs: []int64{0}, Memory: 16})
	s.second.run(alice, "other", albatross.Arguments{
		CPUIDs: []int64{0}, Memory: 16, Blocks: []albatross.BlockDevice{{Name: "storage", HostDevice: new("data")}},
	})
}

// stored is what Mollymawk has stored.
func (s *site) stored() string {
	s.Helper()
	now := time.Now().UTC()
	timeOf := func(t time.Time) string { return t.Format("2006-01-02 15:04:05") + "-00:00" }
	user := func(name, email string, active, admin bool, tokens ...any) any {
		return map[string]any{
			"name": name, "email": email, "email_verified": nil, "password": "c2VjcmV0IGhhc2g=", "uuid": "8ed4e0ad-6b2a-4ae4-9b4e-6f7fd2a4b2fa",
			"tokens": tokens, "cookies": []any{map[string]any{"name": "molly_session", "value": "secret-session"}}, "created_at": timeOf(now), "updated_at": timeOf(now),
			"active": active, "super_user": admin, "unikernel_updates": []any{map[string]any{"name": "quiet", "job": "quiet-job", "uuid": "x", "config": map[string]any{}}},
			"scaling_policies": []any{},
		}
	}
	token := map[string]any{
		"token_type": "Bearer", "value": aliceToken, "expires_in": 86400, "created_at": timeOf(now), "last_access": timeOf(now), "name": "CI", "usage_count": 7,
	}
	return storage(s.T, []any{
		user(s.alice, "Alice A. <"+s.alice+"@example.org>", true, true, token), user(s.bob, s.bob+"@example.org", false, false),
	}, []any{s.first.asStored(s.rack1), s.second.asStored(s.rack2)})
}

func (s *site) runOperator() {
	s.Helper()
	o := options.Default()
	o.Namespace, o.ImageStore, o.LeaderElection, o.ProvisionNamespaces = s.system, s.store, false, true
	o.MetricsAddress, o.HealthAddress = "0", "0"
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(s.T)
	s.api = listener.Addr().String()
	listener.Close()
	o.API.Address = s.api
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- operator.Run(ctx, testenv.Config(s.T), o, logr.Discard()) }()
	s.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// cleanUp lets go of everything: the tests after this one may share the server.
func (s *site) cleanUp() {
	for _, list := range []client.ObjectList{&v1alpha1.UnikernelList{}, &v1alpha1.VolumeList{}, &v1alpha1.AlbatrossInstanceList{}, &v1alpha1.UserList{}} {
		all := &unstructured.UnstructuredList{}
		kinds, _, err := s.Scheme().ObjectKinds(list)
		if err != nil {
			s.Fatal(err)
		}
		all.SetGroupVersionKind(kinds[0])
		if err := s.List(context.Background(), all); err != nil {
			s.Error(err)
		}
		for i := range all.Items {
			o := &all.Items[i]
			if strings.HasPrefix(o.GetNamespace()+o.GetName(), s.system) {
				continue
			}
			o.SetFinalizers(nil)
			_ = s.Update(context.Background(), o)
			_ = s.Delete(context.Background(), o)
		}
	}
	_ = s.Delete(context.Background(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "mollymawk-tenant"}})
}

// apply does what kubectl does, of everything.
func (s *site) apply(all []*unstructured.Unstructured) {
	s.Helper()
	for _, o := range all {
		o := o.DeepCopy()
		err := s.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test"), client.ForceOwnership)
		if err != nil {
			s.Fatalf("apply %s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
}

func (s *site) untilReady(all []*unstructured.Unstructured) {
	s.Helper()
	for _, o := range all {
		if o.GroupVersionKind().Group != v1alpha1.GroupName {
			continue
		}
		eventually(s.T, o.GetKind()+" "+o.GetName()+" is ready", func() error {
			now := o.DeepCopy()
			if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), now); err != nil {
				return err
			}
			conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
			for _, c := range conditions {
				if c := c.(map[string]any); c["type"] == "Ready" && c["status"] == "True" && c["observedGeneration"] == now.GetGeneration() {
					return nil
				}
			}
			return fmt.Errorf("%v", conditions)
		})
	}
}

// users is what kubectl get users.mollymawk.dev -o json says.
func (s *site) users() string {
	s.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("UserList"))
	if err := s.List(s.Context(), list); err != nil {
		s.Fatal(err)
	}
	return string(must(json.Marshal(list))(s.T))
}

// call makes a call of the HTTP API.
func (s *site) call(method, path, bearer, body string) (reply string) {
	s.Helper()
	request := must(http.NewRequestWithContext(s.Context(), method, "http://"+s.api+path, strings.NewReader(body)))(s.T)
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestAdoption takes a whole site over as the documentation says, and demands that
// nothing on the hosts is touched.
func TestAdoption(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	file := writeFile(t, in("mollymawk.json"), s.stored())
	before1, before2 := s.first.state(), s.second.state()

	_, said, err := imported(t, "--mollymawk", file, "--namespace", s.system, "--output", in("first"))
	if err != nil || !strings.Contains(said, "import again with --users") {
		t.Fatalf("%v, %s", err, said)
	}
	users := objectsIn(t, read(t, in("first/1-users.yaml")))
	s.apply(users)
	s.untilReady(users)

	_, said, err = imported(t, "--mollymawk", file, "--namespace", s.system, "--users", writeFile(t, in("users.json"), s.users()),
		"--passwords", in("passwords.txt"), "--image-store", s.store, "--output", in("manifests"))
	if err != nil || !strings.Contains(said, "not taken over: 5") {
		t.Fatalf("%v, %s", err, said)
	}
	all := objectsOf(t, in("manifests"))
	s.apply(all)
	s.untilReady(all)
	for name, host := range map[string]struct {
		before map[string]any
		now    map[string]any
	}{"first": {before1, s.first.state()}, "second": {before2, s.second.state()}} {
		for _, key := range keys(host.before) {
			if !reflect.DeepEqual(host.before[key], host.now[key]) {
				t.Errorf("%s: %s was %v and is %v", name, key, host.before[key], host.now[key])
			}
		}
		if len(host.before) != len(host.now) {
			t.Errorf("%s: there was %v, and there is %v", name, keys(host.before), keys(host.now))
		}
	}
	s.wantComplete(all, in("manifests"))
	s.wantPrivate(dir)
	t.Run("Accounts", func(t *testing.T) { s.wantAccounts(t, read(t, in("passwords.txt"))) })
	t.Run("ComesBack", s.wantComeback)
	t.Run("Orphan", s.wantOrphan)
}

// wantComplete demands an object for everything that can have one.
func (s *site) wantComplete(all []*unstructured.Unstructured, dir string) {
	s.Helper()
	counts := map[string]int{}
	for _, o := range all {
		counts[o.GetKind()]++
	}
	want := map[string]int{"User": 2, "Namespace": 2, "Secret": 4, "AlbatrossInstance": 2, "Volume": 2, "Unikernel": 5}
	if !reflect.DeepEqual(counts, want) {
		s.Errorf("there are %v, not %v", counts, want)
	}
	text := read(s.T, filepath.Join(dir, "6-unikernels.yaml"))
	for _, reason := range []string{
		`"ends-" cannot be the name of an object`, "its startup priority is 0", "it is at the path of the credential itself",
		"has an object of this kind and name already, for the one on " + s.rack1, `from the job "quiet-job"`,
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\n#   ", " "), reason) {
			s.Errorf("nothing says: %s", reason)
		}
	}
	other := named(all, "Unikernel", "other")
	if devices, _, _ := unstructured.NestedSlice(other.Object, "spec", "blockDevices"); devices[0].(map[string]any)["hostDevice"] != "data" {
		s.Errorf("the volume of the other host is meant: %v", devices)
	}
}

// wantPrivate demands that others cannot read what was written, and that no more of
// the secrets of Mollymawk is in it than is needed.
func (s *site) wantPrivate(dir string) {
	s.Helper()
	for _, name := range []string{"first", "manifests", "manifests/3-secrets.yaml", "passwords.txt"} {
		info := must(os.Stat(filepath.Join(dir, name)))(s.T)
		if info.Mode().Perm()&0o077 != 0 {
			s.Errorf("%s: %v", name, info.Mode())
		}
	}
	for _, name := range must(filepath.Glob(filepath.Join(dir, "*/*.yaml")))(s.T) {
		text := read(s.T, name)
		for _, secret := range []string{"c2VjcmV0IGhhc2g=", "secret-session", aliceToken, "PRIVATE KEY"} {
			if strings.Contains(text, secret) {
				s.Errorf("%s has %s", name, secret)
			}
		}
	}
}

// wantAccounts uses the token that was taken over and the password that was made.
func (s *site) wantAccounts(t *testing.T, passwords string) {
	eventually(t, "the token works", func() error {
		reply := s.call(http.MethodGet, "/api/unikernels", aliceToken, "")
		if !strings.Contains(reply, `"name":"quiet"`) {
			return errors.New(reply)
		}
		return nil
	})
	if reply := s.call(http.MethodGet, "/api/unikernels", "3cb6bc72-a52d-4f4f-969c-000000000000", ""); !strings.Contains(reply, `"success":false`) {
		t.Errorf("any token works: %s", reply)
	}
	var login string
	for line := range strings.Lines(passwords) {
		email, password, _ := strings.Cut(strings.TrimSpace(line), " ")
		if email == s.alice+"@example.org" {
			login = fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
		}
	}
	if reply := s.call(http.MethodPost, "/api/login", "", login); !strings.Contains(reply, `"success":true`) || !strings.Contains(reply, `"name":"CI"`) {
		t.Errorf("login: %s", reply)
	}
}

// wantComeback has a unikernel end that shall come back, which needs its image.
func (s *site) wantComeback(t *testing.T) {
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: s.alice, Name: "quiet"}}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"restartPolicy":{"type":"Always"}}}`))
	if err := s.Patch(t.Context(), uk, patch); err != nil {
		t.Fatal(err)
	}
	name := s.alice + ":quiet"
	eventually(t, "the change is seen", func() error {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(uk), uk); err != nil || uk.Status.ObservedGeneration != uk.Generation {
			return fmt.Errorf("generation %d, %w", uk.Status.ObservedGeneration, err)
		}
		return nil
	})
	if n := s.first.host.Mutations(name); n != 1 {
		t.Errorf("another restart policy restarts it: %d commands", n)
	}
	// So that its end is noticed soon.
	host := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: s.rack1}}
	if err := s.Patch(t.Context(), host, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"pollInterval":"1s"}}`))); err != nil {
		t.Fatal(err)
	}
	before, _ := s.first.host.Unikernel(name)
	if !s.first.host.Kill(name) {
		t.Fatal("it does not run")
	}
	eventually(t, "it is back", func() error {
		now, running := s.first.host.Unikernel(name)
		if !running || now.Started.Equal(before.Started) {
			return errors.New("not running")
		}
		if !bytes.Equal(now.Digest, before.Digest) {
			t.Fatal("with another image")
		}
		return nil
	})
}

// wantOrphan deletes what was taken over by mistake.
func (s *site) wantOrphan(t *testing.T) {
	before := s.first.host.Mutations(s.alice+":web") + s.first.host.Mutations(s.alice+":spare")
	for _, o := range []client.Object{
		&v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: s.alice, Name: "web"}},
		&v1alpha1.Volume{ObjectMeta: metav1.ObjectMeta{Namespace: s.alice, Name: "spare"}},
	} {
		if err := s.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the object is gone", func() error {
			if err := s.Get(t.Context(), client.ObjectKeyFromObject(o), o); client.IgnoreNotFound(err) != nil || err == nil {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		})
	}
	if content, err := s.first.host.BlockContent(s.alice + ":spare"); err != nil || !bytes.HasPrefix(content, []byte("and a copy")) {
		t.Errorf("the volume is lost: %v", err)
	}
	if _, running := s.first.host.Unikernel(s.alice + ":web"); !running {
		t.Error("the unikernel was ended")
	}
	if after := s.first.host.Mutations(s.alice+":web") + s.first.host.Mutations(s.alice+":spare"); after != before {
		t.Errorf("the host was told %d times to change something", after-before)
	}
}

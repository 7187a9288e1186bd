package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/standalone/controlplane"
	"mollymawk.dev/operator/standalone/demo"
	"mollymawk.dev/operator/standalone/install"
)

// waitLimit bounds every wait. It is generous: machines that run tests are busy.
const waitLimit = 2 * time.Minute

// program runs as from the command line; what it says can be read meanwhile.
type program struct {
	mu    sync.Mutex
	said  bytes.Buffer
	heard chan struct{}
	ended chan error
	stop  context.CancelFunc
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.heard <- struct{}{}:
	default:
	}
	return p.said.Write(b)
}

func (p *program) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{heard: make(chan struct{}, 1), ended: make(chan error, 1), stop: cancel}
	cmd := New()
	cmd.SetArgs(args)
	cmd.SetOut(p)
	cmd.SetErr(p)
	go func() { p.ended <- cmd.ExecuteContext(ctx) }()
	t.Cleanup(cancel)
	return p
}

// end waits for the end and gives its error.
func (p *program) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(waitLimit):
		t.Fatalf("it does not end; it said\n%s", p)
		return nil
	}
}

// ready waits until the program says so, and gives the kubeconfig's path.
func (p *program) ready(t *testing.T) string {
	t.Helper()
	limit := time.After(waitLimit)
	for {
		if _, rest, found := strings.Cut(p.String(), "\nready kubeconfig="); found && strings.HasSuffix(rest, "\n") {
			return strings.TrimSuffix(rest, "\n")
		}
		select {
		case <-p.heard:
		case err := <-p.ended:
			t.Fatalf("it ended with %v and said\n%s", err, p)
		case <-limit:
			t.Fatalf("it is not ready; it said\n%s", p)
		}
	}
}

// TestEverything starts all parts with the demonstration, looks at them, and ends
// them; a part that cannot start at the next time ends all.
func TestEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, "--data-dir", dir, "--demo")
	kubeconfig := p.ready(t)
	for _, want := range []string{"Starting the API server", "Making the administrator admin@localhost", "NAME ", "\nlocal ", "\nhello ", "export KUBECONFIG=" + kubeconfig + "\n", "kubectl explain"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("%q is not said:\n%s", want, p)
		}
	}
	t.Run("administrator", func(t *testing.T) { testAdministrator(t, kubeconfig) })
	t.Run("installed again", func(t *testing.T) { testInstalledAgain(t, kubeconfig) })
	t.Run("a second one", func(t *testing.T) { testSecond(t, dir, kubeconfig) })
	p.stop()
	if err := p.end(t); err != nil {
		t.Errorf("ended with %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "operator.log")); err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("the operator's log: %v, %v", info, err)
	}
	t.Run("folder in use", func(t *testing.T) { testFolderInUse(t, dir) })
	t.Run("a part fails", func(t *testing.T) { testPartFails(t, dir) })
}

// testAdministrator waits for the first user, with a namespace and rights in it.
func testAdministrator(t *testing.T, kubeconfig string) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	var user v1alpha1.User
	for deadline := time.Now().Add(waitLimit); !apimeta.IsStatusConditionTrue(user.Status.Conditions, v1alpha1.ConditionReady); time.Sleep(50 * time.Millisecond) {
		if err := c.Get(t.Context(), client.ObjectKey{Name: "admin"}, &user); time.Now().After(deadline) {
			t.Fatalf("%v: %+v", err, user.Status)
		}
	}
	if user.Spec.Email != adminEmail || !user.Spec.SuperUser || user.Status.Namespace != "admin" {
		t.Errorf("%+v", user)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "mollymawk-tenant"}, &rbacv1.ClusterRole{}); err != nil {
		t.Error(err)
	}
}

// testInstalledAgain changes nothing of what is installed already.
func testInstalledAgain(t *testing.T, kubeconfig string) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	versions := func() map[string]string {
		var all unstructured.UnstructuredList
		all.SetAPIVersion("apiextensions.k8s.io/v1")
		all.SetKind("CustomResourceDefinitionList")
		if err := c.List(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, o := range all.Items {
			found[o.GetName()] = o.GetResourceVersion()
		}
		return found
	}
	before := versions()
	if err := errors.Join(install.CRDs(t.Context(), c), install.Namespace(t.Context(), c, systemNamespace), install.TenantRole(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
	for name, version := range versions() {
		if before[name] != version {
			t.Errorf("%s was %q and is %q", name, before[name], version)
		}
	}
	var namespace unstructured.Unstructured
	namespace.SetAPIVersion("v1")
	namespace.SetKind("Namespace")
	if err := c.Get(t.Context(), client.ObjectKey{Name: systemNamespace}, &namespace); err != nil || len(before) < 3 {
		t.Errorf("%d definitions, and the namespace: %v", len(before), err)
	}
	var out bytes.Buffer
	if err := demo.PrintTable(t.Context(), &out, config, "nothings"); err == nil || !strings.Contains(err.Error(), "list nothings") || out.Len() > 0 {
		t.Errorf("a table of nothings: %v\n%s", err, out.String())
	}
}

// testSecond starts a second program, which ends by itself and leaves the first
// alone.
func testSecond(t *testing.T, dir, kubeconfig string) {
	second := start(t, "--data-dir", dir)
	if err := second.end(t); err == nil || !strings.Contains(err.Error(), "runs a control plane already") {
		t.Errorf("a second one: %v", err)
	}
	if strings.Contains(second.String(), "ready") || strings.Contains(second.String(), "Usage:") {
		t.Errorf("the second one said\n%s", second)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := demo.PrintTable(t.Context(), &out, config, "unikernels"); err != nil || !strings.Contains(out.String(), "hello") {
		t.Errorf("the first one: %v\n%s", err, out.String())
	}
}

// testFolderInUse has somebody else hold the folder's lock.
func testFolderInUse(t *testing.T, dir string) {
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_RDWR, 0o600)
	if err != nil {
		t.Fatalf("the folder is not free after the end: %v", err)
	}
	defer lock.Close()
	p := start(t, "--data-dir", dir, "--demo")
	var inUse *controlplane.InUseError
	if err := p.end(t); !errors.As(err, &inUse) || inUse.DataDir != dir || strings.Contains(p.String(), "ready") {
		t.Errorf("ended with %v and said\n%s", err, p)
	}
}

// testPartFails has the store of images unusable: the operator says so, and the
// API server and the simulated host end with it.
func testPartFails(t *testing.T, dir string) {
	store := filepath.Join(dir, "images")
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--data-dir", dir, "--demo")
	err := p.end(t)
	if err == nil || !strings.Contains(err.Error(), store) || strings.Contains(err.Error(), "context canceled") {
		t.Errorf("ended with %v", err)
	}
	h, err := albatrosstest.New(albatrosstest.Options{Dir: filepath.Join(dir, "host")})
	if err != nil {
		t.Fatalf("the simulated host: %v", err)
	}
	h.Close()
}

// TestRefusedCommandLines ends before anything is started.
func TestRefusedCommandLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"unknown flag: --demonstration", []string{"--demonstration"}},
		{"unknown command", []string{"everything"}},
		{"invalid argument", []string{"--port", "http"}},
		{"port 65536 is not between 0 and 65535", []string{"--data-dir", file, "--port", "65536"}},
		{`bind address "localhost" is not an IP address`, []string{"--data-dir", file, "--bind-address", "localhost"}},
		{"no data folder given", []string{"--data-dir", ""}},
		{file, []string{"--data-dir", file}},
		{file, []string{"control-plane", "--data-dir", file}},
	} {
		p := start(t, tt.args...)
		if err := p.end(t); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(p.String(), "Usage:") {
			t.Errorf("%v: %v, want %q\n%s", tt.args, err, tt.want, p)
		}
	}
}

func TestOpenLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "operator.log")
	for range 2 {
		log, closeLog, err := openLog(file)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello from the test")
		closeLog()
	}
	if content, err := os.ReadFile(file); err != nil || bytes.Count(content, []byte("hello from the test")) != 2 {
		t.Errorf("%v\n%s", err, content)
	}
	if _, _, err := openLog(filepath.Join(file, "log")); err == nil || !strings.Contains(err.Error(), "operator's log") {
		t.Errorf("%v", err)
	}
}

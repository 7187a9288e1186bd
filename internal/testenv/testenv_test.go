package testenv

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newClient(t *testing.T) client.Client {
	t.Helper()
	s := scheme.Scheme
	if err := apiextensionsv1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(Config(t), client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigReachesTheServerAsAdministrator(t *testing.T) {
	c := newClient(t)
	key := client.ObjectKey{Namespace: Namespace(t, c), Name: "kept"}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		StringData: map[string]string{"a": "b"},
	}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	var read corev1.Secret
	if err := c.Get(t.Context(), key, &read); err != nil {
		t.Fatal(err)
	}
	if got := string(read.Data["a"]); got != "b" {
		t.Errorf("data a = %q, want %q", got, "b")
	}
}

func TestConfigIsACopy(t *testing.T) {
	first := Config(t)
	host := first.Host
	first.Host = "changed.invalid"
	if got := Config(t).Host; got != host {
		t.Errorf("a second Config has host %q, want %q", got, host)
	}
}

func TestKubeconfigNamesTheSameServer(t *testing.T) {
	path := Kubeconfig(t)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if want := Config(t).Host; config.Host != want {
		t.Errorf("kubeconfig names %q, want %q", config.Host, want)
	}
}

func TestKindsOfTheRepositoryAreServed(t *testing.T) {
	root, err := moduleRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	var list apiextensionsv1.CustomResourceDefinitionList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	established := map[string]bool{}
	for _, crd := range list.Items {
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				established[crd.Spec.Group+"_"+crd.Spec.Names.Plural] = true
			}
		}
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); !established[name] {
			t.Errorf("%s is not established", name)
		}
	}
}

func TestNamespaceIsUniqueAndDeleted(t *testing.T) {
	c := newClient(t)
	var first string
	t.Run("Inner/Test with an Odd_Name", func(t *testing.T) {
		first = Namespace(t, c)
		if second := Namespace(t, c); second == first {
			t.Errorf("two namespaces have the name %q", first)
		}
		if !strings.HasPrefix(first, "t-testnamespaceisuniqueanddelete") {
			t.Errorf("name %q does not tell the test", first)
		}
	})
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		var ns corev1.Namespace
		err := c.Get(ctx, client.ObjectKey{Name: first}, &ns)
		return apierrors.IsNotFound(err) || ns.DeletionTimestamp != nil, client.IgnoreNotFound(err)
	})
	if err != nil {
		t.Errorf("namespace %s is not deleted: %v", first, err)
	}
}

func TestNamePrefixMakesNames(t *testing.T) {
	for test, want := range map[string]string{
		"TestPlain":                         "t-testplain-",
		"TestParent/child_with spaces":      "t-testparent-child-with-spaces-",
		"TestÜmlaut/#01":                    "t-test-mlaut-01-",
		"Test" + strings.Repeat("Long", 20): "t-test" + strings.Repeat("long", 6) + "lo-",
		"Test/" + strings.Repeat("-", 60):   "t-test-",
	} {
		got := namePrefix(test)
		if got != want {
			t.Errorf("namePrefix(%q) = %q, want %q", test, got, want)
		}
		if errs := validation.IsDNS1123Label(got + "abcde"); errs != nil {
			t.Errorf("namePrefix(%q) = %q makes invalid names: %v", test, got, errs)
		}
	}
}

// TestNeedsMain runs Config in a process whose TestMain does not use Main.
func TestNeedsMain(t *testing.T) {
	if os.Getenv("TESTENV_WITHOUT_MAIN") != "" {
		shared.Lock()
		shared.inMain = false
		shared.Unlock()
		Config(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestNeedsMain$")
	cmd.Env = append(os.Environ(), "TESTENV_WITHOUT_MAIN=1")
	output, err := cmd.CombinedOutput()
	if err == nil || !regexp.MustCompile(`this package needs: func TestMain`).Match(output) {
		t.Errorf("the process ended with %v and\n%s", err, output)
	}
}

func TestRunKeepsTheExitCodeAndStopsTheServer(t *testing.T) {
	saved := shared.env
	t.Cleanup(func() { shared.env, shared.inMain = saved, true })
	stopped := 0
	shared.env = &Environment{stop: func() error { stopped++; return nil }}
	if code := run(func() int { return 3 }); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if stopped != 1 || shared.env != nil {
		t.Errorf("stopped %d times, environment left: %v", stopped, shared.env)
	}
	shared.env = &Environment{stop: func() error { return context.DeadlineExceeded }}
	if code := run(func() int { return 0 }); code != 1 {
		t.Errorf("exit code %d after a failed stop, want 1", code)
	}
	shared.env = nil
	if code := run(func() int { return 0 }); code != 0 {
		t.Errorf("exit code %d when no server was started, want 0", code)
	}
}

// TestStartGivesAServerOfItsOwn shows that what one server has the other one
// has not, and that nothing is left of a server that was stopped.
func TestStartGivesAServerOfItsOwn(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	env, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	if env.Config().Host == Config(t).Host {
		t.Fatalf("both are %s", env.Config().Host)
	}
	own, err := client.New(env.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "of-its-own"}}
	if err := own.Create(t.Context(), namespace); err != nil {
		t.Error(err)
	}
	if err := newClient(t).Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace); !apierrors.IsNotFound(err) {
		t.Errorf("the shared server has it too: %v", err)
	}
	for range 2 {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	}
	if err := own.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace); err == nil {
		t.Error("it serves still")
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestKilledAndResumed has a control plane go on with its data, for those who knew
// it before.
func TestKilledAndResumed(t *testing.T) {
	env, err := StartProgram()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(env.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace(t, c), Name: "kept"}}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := env.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err == nil || apierrors.IsNotFound(err) {
		t.Errorf("a killed server answers: %v", err)
	}
	if err := env.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil {
		t.Error(err)
	}
	other := &Environment{}
	if err := errors.Join(other.Kill(), other.Resume()); !errors.Is(err, errNoProgram) {
		t.Errorf("an existing cluster: %v", err)
	}
}

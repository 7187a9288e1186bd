// Package testenv gives integration tests a real Kubernetes API server with the
// CustomResourceDefinitions of this repository.
//
// A package of tests has one API server, which the first test that asks for it
// starts:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		c, err := client.New(testenv.Config(t), client.Options{})
//		...
//		namespace := testenv.Namespace(t, c)
//	}
//
// # Which API server
//
// The first of these that applies:
//
//   - MOLLYMAWK_TEST_KUBECONFIG names the kubeconfig of an existing cluster. The
//     CustomResourceDefinitions are installed into it and stay there.
//   - KUBEBUILDER_ASSETS names a folder with the programs etcd and
//     kube-apiserver, as setup-envtest of controller-runtime makes it. Such a
//     server has no controllers: deleted namespaces stay, and owner references
//     have no effect.
//   - MOLLYMAWK_TEST_STANDALONE names a built program standalone.
//   - Otherwise the program standalone is built from this repository, into its
//     folder bin, when it is not there or its sources have changed. That takes
//     some minutes with an empty build cache, hence "go test" may need a longer
//     -timeout the first time.
//
// The control plane of the program standalone runs as a process of its own,
// with a temporary data folder, and does not outlive the test process.
package testenv

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// requestLimit bounds the requests that this package makes for a test.
const requestLimit = time.Minute

// shared is the environment of the tests of this process.
var shared struct {
	sync.Mutex
	// inMain tells that Main runs, which ends the environment.
	inMain bool
	env    *Environment
	err    error
}

// Main runs a package's tests, ends the API server if one of them started it,
// and exits. It is all that TestMain needs to do.
func Main(m *testing.M) {
	os.Exit(run(m.Run))
}

// run answers the exit code of the process.
func run(tests func() int) int {
	shared.Lock()
	shared.inMain = true
	shared.Unlock()
	code := tests()
	shared.Lock()
	defer shared.Unlock()
	shared.inMain = false
	if shared.env == nil {
		return code
	}
	if err := shared.env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	shared.env = nil
	return code
}

// Config is the administrator's access to the API server of this package's
// tests, which it starts if need be. The caller may change the copy it gets.
func Config(t testing.TB) *rest.Config {
	t.Helper()
	return environment(t).Config()
}

// Kubeconfig is the path of a kubeconfig with the same access as Config, for
// programs such as kubectl.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	return environment(t).Kubeconfig()
}

func environment(t testing.TB) *Environment {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.inMain {
		t.Fatal("this package needs: func TestMain(m *testing.M) { testenv.Main(m) }")
	}
	if shared.env == nil && shared.err == nil {
		shared.env, shared.err = Start()
	}
	if shared.err != nil {
		t.Fatalf("starting an API server: %v", shared.err)
	}
	return shared.env
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace creates a namespace whose name nobody else has and deletes it when
// the test ends. It does not wait until the namespace is gone: objects that
// their controllers no longer release may keep it.
func Namespace(t testing.TB, c client.Client) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestLimit)
	defer cancel()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: namePrefix(t.Name())}}
	if err := c.Create(ctx, ns); err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
		defer cancel()
		if err := client.IgnoreNotFound(c.Delete(ctx, ns)); err != nil {
			t.Errorf("deleting namespace %s: %v", ns.Name, err)
		}
	})
	return ns.Name
}

// namePrefix makes the start of an object's name out of a test's name, short
// enough that labels and Albatross names can hold the whole.
func namePrefix(test string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(test), "-"), "-")
	const longest = 30
	if len(name) > longest {
		name = strings.Trim(name[:longest], "-")
	}
	return "t-" + name + "-"
}

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// readyLimit is how long a second unikernel may take on a machine that is busy with other tests. On an idle one it takes some
// tenths of a second.
const readyLimit = 20 * time.Second

// TestDemo goes through what `make run` offers, from the first start to the one after a crash.
func TestDemo(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	p := run(t, dataDir, "--demo")
	c := newCluster(t, p.kubeconfig)
	wantOutput(t, p)
	wantPrivate(t, p.kubeconfig)
	for name, u := range users(t, c) {
		t.Run(name, func(t *testing.T) { useDemo(t, c, u) })
	}
	t.Run("NewUser", func(t *testing.T) { wantNewUserAdmitted(t, c) })
	if !t.Run("SecondStartRefused", func(t *testing.T) { wantSecondStartRefused(t, dataDir) }) {
		return
	}
	before := c.waitReady(t, "default", "hello")
	t.Run("Terminate", p.terminate)
	p = run(t, dataDir, "--demo")
	t.Run("AfterEnd", func(t *testing.T) { wantSame(t, p, before) })
	p.kill()
	p = run(t, dataDir, "--demo")
	t.Run("AfterKill", func(t *testing.T) { wantSame(t, p, before) })
	p.terminate(t)
}

// wantOutput demands that the program shows the sample running and what to try.
func wantOutput(t *testing.T, p *program) {
	t.Helper()
	text := p.output()
	for _, want := range []string{"READY", "REASON", "INSTANCE", "IMAGE", "hello", "True", "local", "export KUBECONFIG=" + p.kubeconfig, "kubectl get "} {
		if !strings.Contains(text, want) {
			t.Errorf("the program does not print %q:\n%s", want, text)
		}
	}
}

// wantPrivate demands that nobody else can read the administrator's key.
func wantPrivate(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", file, info.Mode())
	}
}

// useDemo is what somebody tries who has just started it.
func useDemo(t *testing.T, c *cluster, u user) {
	wantColumns(t, u)
	for _, field := range []string{"unikernel", "unikernel.spec.image", "unikernel.spec.networkInterfaces.mac", "volume.spec.size", "albatrossinstance.spec.tenants.policy"} {
		if text := u.explain(t, field); len(strings.TrimSpace(text)) < 20 {
			t.Errorf("explain %s says %q", field, text)
		}
	}
	second := secondUnikernel(c.unikernel(t, "default", "hello"))
	started := time.Now()
	u.apply(t, second)
	uk := c.waitReady(t, "default", "second")
	if took := time.Since(started); took > readyLimit {
		t.Errorf("ready after %v", took)
	} else {
		t.Logf("ready %v after apply", took.Round(time.Millisecond))
	}
	host := c.host(t, "local")
	if _, found := running(t.Context(), t, host, uk.Status.HostName); !found {
		t.Errorf("the host has no %q", uk.Status.HostName)
	}
	u.remove(t, uk)
	if _, found := running(t.Context(), t, host, uk.Status.HostName); found {
		t.Errorf("the host still has %q", uk.Status.HostName)
	}
	eventually(t, "the instance tells of one unikernel, which is owned", func() error {
		st := c.instance(t, "local").Status
		if st.Unikernels == nil || *st.Unikernels != 1 || st.Unowned != nil {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
}

// wantNewUserAdmitted adds a user of the HTTP API, whose namespace the demonstration's host admits.
func wantNewUserAdmitted(t *testing.T, c *cluster) {
	const name = "newcomer"
	user := &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.UserSpec{Email: name + "@example.org"}}
	if err := c.Create(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the user has a namespace", func() error {
		return c.Get(t.Context(), client.ObjectKey{Name: name}, &corev1.Namespace{})
	})
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "first"}, Spec: c.unikernel(t, "default", "hello").Spec}
	if err := c.Create(t.Context(), uk); err != nil {
		t.Fatal(err)
	}
	c.waitReady(t, name, "first")
	if err := c.Delete(t.Context(), uk); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(uk), uk); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%v, status %+v", err, uk.Status)
		}
		return nil
	})
}

func wantColumns(t *testing.T, u user) {
	t.Helper()
	for resource, wanted := range map[string][]string{
		"unikernels":         {"READY", "REASON", "INSTANCE", "IMAGE", "MEMORY", "AGE", "hello", "True", "Succeeded", "local", "32Mi"},
		"albatrossinstances": {"READY", "REASON", "ENDPOINT", "UNIKERNELS", "VOLUMES", "AGE", "local", "True", "Succeeded", "127.0.0.1"},
	} {
		table := u.table(t, resource)
		for _, want := range wanted {
			if !strings.Contains(table, want) {
				t.Errorf("the table of %s lacks %q:\n%s", resource, want, table)
			}
		}
	}
}

// secondUnikernel runs the sample's image under another name.
func secondUnikernel(sample *v1alpha1.Unikernel) string {
	return unikernelManifest("default", "second", sample.Spec.InstanceRef.Name, sample.Spec.Image.URL, string(sample.Spec.Image.SHA256))
}

func unikernelManifest(namespace, name, instance, url, digest string, more ...string) string {
	return fmt.Sprintf(`apiVersion: mollymawk.dev/v1alpha1
kind: Unikernel
metadata:
  name: %s
  namespace: %s
spec:
  instanceRef:
    name: %s
  image:
    url: %s
    sha256: %s
%s`, name, namespace, instance, url, digest, strings.Join(more, ""))
}

// wantSecondStartRefused demands that two programs never share a folder.
func wantSecondStartRefused(t *testing.T, dataDir string) {
	second := launch(t, "--demo", "--data-dir", dataDir)
	select {
	case <-second.ended:
	case <-time.After(patience):
		t.Fatal("it runs beside the first")
	}
	text := second.stderr.String()
	if second.err == nil || !strings.Contains(text, "is in use by another process") || !strings.Contains(text, "--data-dir") {
		t.Errorf("it ended with %v and %q", second.err, text)
	}
	if strings.Count(text, "\n") > 2 {
		t.Errorf("the message is too long to be read:\n%s", text)
	}
}

// wantSame demands that a new start goes on with the data of the last.
func wantSame(t *testing.T, p *program, before *v1alpha1.Unikernel) {
	c := newCluster(t, p.kubeconfig)
	after := c.waitReady(t, before.Namespace, before.Name)
	if after.UID != before.UID || !after.CreationTimestamp.Equal(&before.CreationTimestamp) {
		t.Errorf("another object: uid %s of %v, was %s of %v", after.UID, after.CreationTimestamp, before.UID, before.CreationTimestamp)
	}
	// The demonstration's host ends with the program and starts its unikernels again, so the operator has nothing to do.
	eventually(t, "the host has been looked at", func() error {
		u, found := running(t.Context(), t, c.host(t, "local"), after.Status.HostName)
		after = c.unikernel(t, before.Namespace, before.Name)
		if shown := after.Status.StartedAt; !found || shown == nil || !shown.Equal(new(metav1.NewTime(u.Info.Started.Truncate(time.Second)))) {
			return fmt.Errorf("running %v since %v, status says %v", found, u.Info.Started, shown)
		}
		return nil
	})
	if after.Status.Restarts != before.Status.Restarts || len(after.Status.History) != len(before.Status.History) {
		t.Errorf("the operator started it again: %+v, was %+v", after.Status, before.Status)
	}
	var all v1alpha1.UnikernelList
	if err := c.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Items) != 1 {
		t.Errorf("%d unikernels, want the sample only", len(all.Items))
	}
}

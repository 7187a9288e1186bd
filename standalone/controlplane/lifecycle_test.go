package controlplane

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func createConfigMap(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	_, err := client.CoreV1().ConfigMaps(corev1.NamespaceDefault).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func expectConfigMap(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	if _, err := client.CoreV1().ConfigMaps(corev1.NamespaceDefault).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Errorf("object of an earlier start: %v", err)
	}
}

// TestSequentialStarts shows that a process can start several control planes
// one after the other, that data, port and access are kept, and that nothing
// listens any more when one has ended.
func TestSequentialStarts(t *testing.T) {
	dir := t.TempDir()
	var host string
	var kubeconfig []byte
	for _, name := range []string{"first", "second", "third"} {
		started := time.Now()
		server := start(t, Options{DataDir: dir})
		t.Logf("%s start: ready after %v", name, time.Since(started).Round(time.Millisecond))
		client := fileClient(t, server.Kubeconfig())
		content, err := os.ReadFile(server.Kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		if host == "" {
			host, kubeconfig = server.RESTConfig().Host, content
			createConfigMap(t, client, "kept")
		}
		if server.RESTConfig().Host != host || !bytes.Equal(content, kubeconfig) {
			t.Errorf("%s start: kubeconfig changed, host %s after %s", name, server.RESTConfig().Host, host)
		}
		expectConfigMap(t, client, "kept")
		stopped := time.Now()
		stop(t, server)
		t.Logf("%s stop: %v", name, time.Since(stopped).Round(time.Millisecond))
		if conn, err := net.Dial("tcp", strings.TrimPrefix(host, "https://")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s stop: something listens still: %v %v", name, conn, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "etcd", "client.sock")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s stop: etcd's socket is left: %v", name, err)
		}
	}
}

// TestContextEndsDuringStart shows that such a control plane ends properly:
// Kubernetes would end the process were its start interrupted.
func TestContextEndsDuringStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	server, err := Start(ctx, Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	waitDone(t, server)
	if err := server.Err(); err != nil {
		t.Error(err)
	}
	stop(t, server) // Once more does no harm.
}

// TestEndOfEtcdEndsTheProcess uses a process of its own: an API server that
// lost its storage does not end in any sensible time.
func TestEndOfEtcdEndsTheProcess(t *testing.T) {
	dir := t.TempDir()
	process := startChild(t, dir, faultVariable+"=yes")
	process.waitReady(t)
	said := process.read("")
	if !strings.Contains(said, "etcd ended") {
		t.Errorf("it said:\n%s", said)
	}
	if err := process.cmd.Wait(); err == nil {
		t.Error("it ended without an error")
	}
	start(t, Options{DataDir: dir})
}

func waitDone(t *testing.T, server *Server) {
	t.Helper()
	select {
	case <-server.Done():
	case <-time.After(waitLimit):
		t.Fatal("did not end")
	}
}

func TestSecondStartIsRefused(t *testing.T) {
	dir := t.TempDir()
	process := startChild(t, dir)
	process.waitReady(t)
	kubeconfig, err := os.ReadFile(filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}

	_, err = Start(t.Context(), Options{DataDir: dir})
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != process.cmd.Process.Pid || inUse.DataDir != dir {
		t.Fatalf("Start on a folder in use: %v", err)
	}
	for _, want := range []string{dir, "stop it or choose another with --data-dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "kubeconfig")); err != nil || !bytes.Equal(after, kubeconfig) {
		t.Errorf("the refused start changed the kubeconfig (%v)", err)
	}
	createConfigMap(t, fileClient(t, filepath.Join(dir, "kubeconfig")), "still-served")
}

// TestProcessesKeepTheirData ends one process properly and kills another one.
// It shows as well that Kubernetes and etcd log nothing past the log, neither
// while they run nor when they end.
func TestProcessesKeepTheirData(t *testing.T) {
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	terminated := startChild(t, dir)
	terminated.waitReady(t)
	createConfigMap(t, fileClient(t, kubeconfig), "before-sigterm")
	if err := terminated.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := terminated.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if terminated.stderr.Len() > 0 {
		t.Errorf("written to the standard error:\n%s", &terminated.stderr)
	}

	killed := startChild(t, dir)
	killed.waitReady(t)
	expectConfigMap(t, fileClient(t, kubeconfig), "before-sigterm")
	createConfigMap(t, fileClient(t, kubeconfig), "before-sigkill")
	killed.kill()

	client := fileClient(t, start(t, Options{DataDir: dir}).Kubeconfig())
	expectConfigMap(t, client, "before-sigterm")
	expectConfigMap(t, client, "before-sigkill")
}

// TestKilledDuringFirstStart kills processes at moments of the first start, so
// that each finds what the one before left half made.
func TestKilledDuringFirstStart(t *testing.T) {
	dir := t.TempDir()
	for after := 50 * time.Millisecond; after <= time.Second; after *= 2 {
		process := startChild(t, dir)
		time.Sleep(after) // Not a wait: the moment is what is tested.
		process.kill()
	}
	start(t, Options{DataDir: dir})
}

// TestUnfinishedEtcdStartsAnew has what a killed process may leave that had not
// yet written the first entry of etcd's log: with that etcd would never be
// ready.
func TestUnfinishedEtcdStartsAnew(t *testing.T) {
	dir := t.TempDir()
	server := start(t, Options{DataDir: dir})
	createConfigMap(t, newClient(t, server.RESTConfig()), "kept")
	stop(t, server)
	server = start(t, Options{DataDir: dir})
	expectConfigMap(t, newClient(t, server.RESTConfig()), "kept")
	stop(t, server)

	etcd := filepath.Join(dir, "etcd")
	if err := os.Remove(filepath.Join(etcd, "initialised")); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(etcd, "member", "wal", "*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("etcd's log: %v, %v", logs, err)
	}
	for _, log := range logs {
		if err := os.Truncate(log, 0); err != nil {
			t.Fatal(err)
		}
	}
	server = start(t, Options{DataDir: dir})
	createConfigMap(t, newClient(t, server.RESTConfig()), "kept")
}

func TestPorts(t *testing.T) {
	dir := t.TempDir()
	server := start(t, Options{DataDir: dir})
	host := server.RESTConfig().Host
	stop(t, server)

	address := strings.TrimPrefix(host, "https://")
	taken, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port

	_, err = Start(t.Context(), Options{DataDir: dir, Port: port})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Start with a port that is taken: %v", err)
	}
	server = start(t, Options{DataDir: dir})
	if server.RESTConfig().Host == host {
		t.Errorf("still at %s, which is taken", host)
	}
	expectNamespaceDefault(t, fileClient(t, server.Kubeconfig()))
	stop(t, server)
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}

	server = start(t, Options{DataDir: dir, Port: port, BindAddress: "0.0.0.0"})
	if got := server.RESTConfig().Host; got != host {
		t.Errorf("with the port given the server is at %s, want %s", got, host)
	}
	expectNamespaceDefault(t, fileClient(t, server.Kubeconfig()))
}

func expectNamespaceDefault(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), corev1.NamespaceDefault, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// TestLongPath uses a folder whose path is too long for a unix socket and has a
// space, as folders of users have.
func TestLongPath(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	dir := filepath.Join(temp, strings.Repeat("long and ", 12), "deep")
	server := start(t, Options{DataDir: dir})
	expectNamespaceDefault(t, fileClient(t, server.Kubeconfig()))
	stop(t, server)
	left, err := filepath.Glob(filepath.Join(temp, "etcd-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

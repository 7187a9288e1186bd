package controlplane

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

func TestKubeconfigIsCompleteAndPrivate(t *testing.T) {
	dir := t.TempDir()
	p := mustEnsurePKI(t, dir, loopback, time.Now())
	for _, test := range []struct {
		address *net.TCPAddr
		server  string
	}{
		{address: &net.TCPAddr{IP: loopback, Port: 6443}, server: "https://127.0.0.1:6443"},
		{address: &net.TCPAddr{IP: net.IPv4zero, Port: 6443}, server: "https://127.0.0.1:6443"},
		{address: &net.TCPAddr{IP: net.IPv6unspecified, Port: 6443}, server: "https://127.0.0.1:6443"},
		{address: &net.TCPAddr{IP: net.IPv6loopback, Port: 6443}, server: "https://[::1]:6443"},
		{address: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 443}, server: "https://192.0.2.7:443"},
	} {
		path := filepath.Join(dir, "kubeconfig")
		config, err := newKubeconfig(test.address, p)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeKubeconfig(path, config); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		read, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatal(err)
		}
		if read.Host != test.server {
			t.Errorf("%v: server %s, want %s", test.address, read.Host, test.server)
		}
		if len(read.CAData) == 0 || len(read.CertData) == 0 || len(read.KeyData) == 0 {
			t.Error("certificates are missing")
		}
		if got := keptPort(path); got != test.address.Port {
			t.Errorf("%v: kept port %d", test.address, got)
		}
	}
}

func TestKeptPortOfWhatIsNotOurs(t *testing.T) {
	if got := keptPort(filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("no file: %d", got)
	}
	for _, content := range []string{
		"",
		"nonsense: [",
		"apiVersion: v1\nkind: Config\nclusters: [{name: other, cluster: {server: 'https://127.0.0.1:1'}}]",
		"apiVersion: v1\nkind: Config\nclusters: [{name: mollymawk, cluster: {server: 'https://127.0.0.1'}}]",
		"apiVersion: v1\nkind: Config\nclusters: [{name: mollymawk, cluster: {server: 'https://[::1'}}]",
	} {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := keptPort(path); got != 0 {
			t.Errorf("%q: %d", content, got)
		}
	}
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port

	if _, err := listen("127.0.0.1", port, 0); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a wanted port that is taken: %v", err)
	}
	for name, kept := range map[string]int{"nothing kept": 0, "a kept port that is taken": port} {
		listener, err := listen("127.0.0.1", 0, kept)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := listener.Addr().(*net.TCPAddr).Port; got == port || got == 0 {
			t.Errorf("%s: port %d", name, got)
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	listener, err := listen("127.0.0.1", 0, port)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if got := listener.Addr().(*net.TCPAddr).Port; got != port {
		t.Errorf("a kept port that is free: port %d, want %d", got, port)
	}
}

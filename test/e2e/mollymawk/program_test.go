package mollymawk_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	root            = "../../.."
	programVariable = "MOLLYMAWK_STANDALONE_BIN"
	// patience bounds every wait. It is generous: machines that run tests are busy.
	patience = 2 * time.Minute
	// server is the name in the document's addresses.
	server = "mollymawk.test"
)

// built gives the path of the program standalone.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(programVariable); path != "" {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join(root, "bin", "standalone"))
	if err != nil {
		return "", err
	}
	build := exec.Command(filepath.Join(root, "standalone", "build.sh"), path)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	return path, build.Run()
})

// site is a running program whose HTTP API has the document's name, as far as its curl knows.
type site struct {
	testing.TB
	// folder is the program's, work that in which curl runs.
	folder, work string
	token        string
}

// newSite starts the program with the user of the document as its administrator.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{TB: t, folder: filepath.Join(t.TempDir(), "data"), work: t.TempDir()}
	certificates := t.TempDir()
	s.write(filepath.Join(s.work, "password"), []byte("password123\n"))
	writeCertificate(t, certificates)
	s.start("--api-tls-cert-dir", certificates, "--bootstrap-admin", "user@example.com", "--bootstrap-admin-password-file", filepath.Join(s.work, "password"))
	address, err := os.ReadFile(filepath.Join(s.folder, "api-address"))
	if err != nil {
		t.Fatal(err)
	}
	// What the reader of the document has by DNS and by a real certificate.
	s.write(filepath.Join(s.work, ".curlrc"), []byte(
		"silent\nshow-error\nmax-time = 60\nconnect-to = \""+server+":443:"+string(address)+"\"\ncacert = \""+filepath.Join(certificates, "tls.crt")+"\"\n"))
	return s
}

// start runs the program until the test ends.
func (s *site) start(args ...string) {
	s.Helper()
	path, err := built()
	if err != nil {
		s.Fatal("build standalone:", err)
	}
	var output lines
	cmd := exec.Command(path, append([]string{"--data-dir", s.folder}, args...)...)
	cmd.Stdout, cmd.Stderr = &output, &output
	endWithThisProcess(cmd)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The kernel takes the end of the thread that started a process for the end of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // It may have ended.
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
			s.Error("the program does not end")
		}
		if s.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.folder, "operator.log"))
			s.Logf("the operator's log ends with\n%s", log[max(0, len(log)-8192):])
		}
	})
	s.eventually("the program is ready", func() bool {
		select {
		case <-ended:
			s.Fatalf("the program ended: %s", output.text())
		default:
		}
		return strings.Contains(output.text(), "ready kubeconfig=")
	})
}

// lines is what a process has said.
type lines struct {
	mu   sync.Mutex
	said strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}

func (s *site) eventually(what string, is func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (s *site) write(file string, content []byte) {
	s.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		s.Fatal(err)
	}
}

// writeCertificate makes a certificate for the document's server.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: server}, DNSNames: []string{server}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: certificate}, "tls.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

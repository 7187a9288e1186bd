package site

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/internal/operator"
)

// patience bounds every wait. It is generous: machines that run tests are busy.
const patience = 2 * time.Minute

// Options say what a site is like.
type Options struct {
	// Server is the name in the addresses, without a port.
	Server string
	// Email and Password are the administrator's.
	Email, Password string
	// Args are further flags of the program.
	Args []string
}

// Site is a running program whose HTTP API has a name of its own, as far as its curl knows.
type Site struct {
	testing.TB
	// Folder is the program's, Work that in which curl runs.
	Folder, Work string
	// Address is where the HTTP API really is, and Certificate the file with its certificate.
	Address, Certificate string
	options              Options
	client               func() (client.Client, error)
}

// New starts the program. It ends with the test.
func New(t testing.TB, o Options) *Site {
	t.Helper()
	s := &Site{TB: t, Folder: filepath.Join(t.TempDir(), "data"), Work: t.TempDir(), options: o}
	s.client = sync.OnceValues(s.newClient)
	certificates, password := t.TempDir(), filepath.Join(t.TempDir(), "password")
	s.Certificate = filepath.Join(certificates, "tls.crt")
	s.Write(password, []byte(o.Password+"\n"))
	s.writeCertificate(certificates)
	s.start(append([]string{"--api-tls-cert-dir", certificates, "--bootstrap-admin", o.Email, "--bootstrap-admin-password-file", password}, o.Args...)...)
	s.Address = string(s.Read(filepath.Join(s.Folder, "api-address")))
	// What the reader of a document has by DNS and by a real certificate.
	s.Write(filepath.Join(s.Work, ".curlrc"), []byte(
		"silent\nshow-error\nmax-time = 60\nwrite-out = \"%{stderr}%{http_code}\"\nconnect-to = \""+o.Server+":443:"+s.Address+"\"\ncacert = \""+s.Certificate+"\"\n"))
	return s
}

// In has what fails belong to a part of the test.
func (s *Site) In(t testing.TB) *Site {
	part := *s
	part.TB = t
	return &part
}

// Run runs a line of a shell whose curl knows the site. It gives what the line prints, and the status of the last reply.
func (s *Site) Run(line string, environment ...string) (output, status string) {
	s.Helper()
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir, cmd.Env = s.Work, append(append(os.Environ(), "CURL_HOME="+s.Work, "HOME="+s.Work), environment...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	if err != nil {
		s.Fatalf("%s\n%v: %s", line, err, &stderr)
	}
	return string(printed), stderr.String()[max(0, stderr.Len()-3):]
}

// Token makes a token of the administrator, who is made while the program starts.
func (s *Site) Token() string {
	s.Helper()
	login, err := json.Marshal(map[string]string{"email": s.options.Email, "password": s.options.Password})
	if err != nil {
		s.Fatal(err)
	}
	s.Write(filepath.Join(s.Work, "login.json"), login)
	s.Eventually("the administrator is there", func() bool {
		reply, _ := s.Run("curl -c cookies -d @login.json https://" + s.options.Server + "/api/login")
		return strings.Contains(reply, `"success":true`)
	})
	return s.TokenOfSession("cookies")
}

// TokenOfSession makes a token with the session in a file of cookies, as a page would.
func (s *Site) TokenOfSession(cookies string) string {
	s.Helper()
	var csrf struct {
		Token string `json:"molly_csrf"`
	}
	url := "curl -b " + cookies + " https://" + s.options.Server + "/api/"
	reply, _ := s.Run(url + "account/csrf")
	s.Data(reply, &csrf)
	var token struct{ Value string }
	reply, _ = s.Run(url + `tokens/create -d '{"token_name":"first","token_expiry":86400,"molly_csrf":"` + csrf.Token + `"}'`)
	s.Data(reply, &token)
	return token.Value
}

// Data reads what a reply of the Mollymawk API has.
func (s *Site) Data(reply string, into any) {
	s.Helper()
	var envelope struct{ Data json.RawMessage }
	if err := json.Unmarshal([]byte(reply), &envelope); err != nil {
		s.Fatalf("%v in %s", err, reply)
	}
	if err := json.Unmarshal(envelope.Data, into); err != nil {
		s.Fatalf("%v in %s", err, reply)
	}
}

// Kubeconfig is the file with the access of an administrator of the control plane.
func (s *Site) Kubeconfig() string { return filepath.Join(s.Folder, "kubeconfig") }

// Client gives access to the objects behind the API.
func (s *Site) Client() client.Client {
	s.Helper()
	c, err := s.client()
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// newClient reads the file with the access of the control plane's administrator.
func (s *Site) newClient() (client.Client, error) {
	ctrllog.SetLogger(logr.Discard()) // The library says at length when it has none.
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
	if err != nil {
		return nil, err
	}
	scheme, err := operator.Scheme()
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// NewHost starts a simulated host, which ends with the test.
func (s *Site) NewHost() *albatrosstest.Host {
	s.Helper()
	host, err := albatrosstest.New(albatrosstest.Options{})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(host.Close)
	return host
}

// Image gives an image with some devices that the simulated host runs.
func (s *Site) Image(size int, devices ...solo5.Device) []byte {
	s.Helper()
	content, err := albatrosstest.StandIn("test_tick", solo5.Image{Target: solo5.HVT, ABIVersion: 2, Devices: devices}, size)
	if err != nil {
		s.Fatal(err)
	}
	return content
}

// Eventually waits until something is so.
func (s *Site) Eventually(what string, is func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// Read reads a file whole.
func (s *Site) Read(file string) []byte {
	s.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		s.Fatal(err)
	}
	return content
}

// Write writes a file that only this user can read.
func (s *Site) Write(file string, content []byte) {
	s.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		s.Fatal(err)
	}
}

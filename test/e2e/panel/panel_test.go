package panel_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/test/e2e/site"
)

const (
	server = "mollymawk.example.org"
	// systemNamespace is the operator's.
	systemNamespace = "mollymawk-system"
	adminEmail      = "admin@example.org"
	adminPassword   = "the administrator's password"
	// documented and source are the profiles.
	documented, source = "documented", "source"
)

// tally counts what was proven.
var tally struct {
	sync.Mutex
	checks, passed map[string]int
}

func TestMain(m *testing.M) {
	tally.checks, tally.passed = map[string]int{}, map[string]int{}
	code := m.Run()
	for _, what := range []string{documented, source, "flags"} {
		fmt.Printf("panel (%s): %d of %d checks pass\n", what, tally.passed[what], tally.checks[what])
	}
	os.Exit(code)
}

// panel is a running site and what a client of its Panel API knows.
type panel struct {
	*site.Site
	// profile is the site's, and what its checks count for.
	profile string
	// key is a token of an administrator.
	key  string
	http *http.Client
	// known are ids that were learned, by name.
	known known
	seen  *replies
}

// replies are all that the Panel API has said.
type replies struct {
	mu    sync.Mutex
	texts map[string]string // by the request that each was first said to
}

func (r *replies) add(request, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, found := r.texts[text]; !found {
		r.texts[text] = request
	}
}

// newPanel starts a site.
func newPanel(t *testing.T, profile string, args ...string) *panel {
	t.Helper()
	s := site.New(t, site.Options{Server: server, Email: adminEmail, Password: adminPassword, Args: args})
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.Read(s.Certificate)) {
		t.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: server}}
	t.Cleanup(transport.CloseIdleConnections)
	p := &panel{Site: s, profile: profile, http: &http.Client{Transport: transport, Timeout: time.Minute}, known: known{}, seen: &replies{texts: map[string]string{}}}
	p.key = s.Token()
	return p
}

// check is a part of the proof, which counts.
func (p *panel) check(name string, f func(p *panel)) {
	tally.Lock()
	tally.checks[p.profile]++
	tally.Unlock()
	passed := p.TB.(*testing.T).Run(name, func(t *testing.T) {
		part := *p
		part.Site = p.In(t)
		f(&part)
	})
	if passed {
		tally.Lock()
		tally.passed[p.profile]++
		tally.Unlock()
	}
}

// part is a group of checks.
func (p *panel) part(name string, f func(p *panel)) {
	p.TB.(*testing.T).Run(name, func(t *testing.T) {
		part := *p
		part.Site = p.In(t)
		f(&part)
	})
}

// by gives what is so in the site's profile.
func by[T any](p *panel, inDocumented, inSource T) T {
	if p.profile == source {
		return inSource
	}
	return inDocumented
}

// request is a call. Names of known ids in path and body are replaced: <node>.
type request struct {
	method, path, body string
	header             http.Header
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	text   string
}

// withKey is a header with this key; without one, nothing.
func withKey(key string) http.Header {
	if key == "" {
		return http.Header{}
	}
	return http.Header{"X-Api-Key": {key}}
}

// ask makes a request as the administrator, unless it has headers of its own. What looks like JSON is sent as such, and everything
// else as a form.
func (p *panel) ask(r request) reply {
	p.Helper()
	r.path, r.body = p.known.fill(r.path), p.known.fill(r.body)
	h, err := http.NewRequestWithContext(p.Context(), r.method, "https://"+p.Address+r.path, strings.NewReader(r.body))
	if err != nil {
		p.Fatal(err)
	}
	if h.Header = r.header.Clone(); h.Header == nil {
		h.Header = withKey(p.key)
	}
	if r.body != "" && h.Header.Get("Content-Type") == "" {
		h.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if strings.HasPrefix(r.body, "{") {
			h.Header.Set("Content-Type", "application/json")
		}
	}
	response, err := p.http.Do(h)
	if err != nil {
		p.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	p.seen.add(r.method+" "+r.path, string(text)+fmt.Sprint(response.Header))
	return reply{response.StatusCode, response.Header, string(text)}
}

func (p *panel) get(path string) reply {
	p.Helper()
	return p.ask(request{method: http.MethodGet, path: path})
}
func (p *panel) post(path, body string) reply {
	p.Helper()
	return p.ask(request{method: http.MethodPost, path: path, body: body})
}
func (p *panel) delete(path, body string) reply {
	p.Helper()
	return p.ask(request{method: http.MethodDelete, path: path, body: body})
}

// want demands a status and a body like the pattern, whose names become known, and that errors are JSON.
func (p *panel) want(what string, got reply, status int, like string) {
	p.Helper()
	if err := p.known.match(like, got.text); got.status != status || err != nil {
		p.Errorf("%s:\ngot  %d %s\nwant %d %s", what, got.status, got.text, status, like)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
		p.Errorf("%s: Content-Type %q", what, kind)
	}
}

// host is a simulated host and where it is.
type host struct {
	*albatrosstest.Host
	address, port string
}

func (p *panel) newHost() host {
	p.Helper()
	h := host{Host: p.NewHost()}
	var err error
	if h.address, h.port, err = net.SplitHostPort(h.Addr()); err != nil {
		p.Fatal(err)
	}
	return h
}

// secret gives the Secret with the host's credentials.
func (h host) secret(name string) *corev1.Secret {
	c := h.Credentials()
	secret := &corev1.Secret{Data: map[string][]byte{"tls.crt": c.Cert, "tls.key": c.Key, "ca.crt": c.ServerCA}}
	secret.Namespace, secret.Name = systemNamespace, name
	return secret
}

// secretsStaySecret looks for keys and hashes that the operator's Secrets have, and passwords that were sent, in all that was said, logged
// and declared. Replies have no fields for them either.
func (p *panel) secretsStaySecret(more ...string) {
	p.Helper()
	var all corev1.SecretList
	if err := p.Client().List(p.Context(), &all, client.InNamespace(systemNamespace)); err != nil {
		p.Fatal(err)
	}
	hidden := append([]string{p.key, adminPassword, "$argon2id$", "$2b$", "PRIVATE KEY"}, more...)
	hashes := 0
	for i := range all.Items {
		for key, value := range all.Items[i].Data {
			switch {
			case key == "password" || key == "tls.key":
				hashes++
				hidden = append(hidden, strings.TrimSpace(string(value)))
			case strings.HasPrefix(key, "token."):
				var token struct{ Value string }
				if err := json.Unmarshal(value, &token); err != nil || token.Value == "" {
					p.Fatalf("%s: %v", key, err)
				}
				hidden = append(hidden, token.Value)
			}
		}
	}
	p.seen.mu.Lock()
	defer p.seen.mu.Unlock()
	if hashes < 2 || len(p.seen.texts) < 10 {
		p.Fatalf("%d passwords and keys, %d replies: nothing is proven", hashes, len(p.seen.texts))
	}
	for text, request := range p.seen.texts {
		p.hides(request, text, append(hidden, `"password"`, `"apiKey"`, `"configureKey"`, `"resetToken"`, `"twoFASecret"`))
	}
	p.hides("the log", string(p.Read(filepath.Join(p.Folder, "operator.log"))), hidden)
	for what, list := range map[string]client.ObjectList{
		"User": &v1alpha1.UserList{}, "Unikernel": &v1alpha1.UnikernelList{}, "AlbatrossInstance": &v1alpha1.AlbatrossInstanceList{}, "Event": &eventsv1.EventList{},
	} {
		if err := p.Client().List(p.Context(), list); err != nil {
			p.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			p.Fatal(err)
		}
		p.hides("an object "+what, string(text), hidden)
	}
}

func (p *panel) hides(what, text string, secrets []string) {
	p.Helper()
	for _, secret := range secrets {
		if at := strings.Index(text, secret); at >= 0 {
			p.Errorf("%s shows %.12s...: ...%s", what, secret, text[max(0, at-200):at])
		}
	}
}

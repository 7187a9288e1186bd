package perf

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

const (
	// apiUser is the administrator of the HTTP API and the user's namespace.
	apiUser     = "perf"
	apiEmail    = apiUser + "@localhost"
	apiPassword = "correct horse battery staple"
	// apiPoll is how often hosts are looked at.
	apiPoll = 30 * time.Second
)

// api is the HTTP API of the operator with a user, who has a token and a place on one host.
type api struct {
	*world
	m *manager
	// address is host:port, url has the scheme too.
	address, url, token string
	client              *http.Client
	// dir has files for the operator.
	dir string
	// pair and trusted are the certificate of the API, and who trusts it.
	pair    tls.Certificate
	trusted *x509.CertPool
}

// newAPI starts the operator with its API and a host of some latency. Over TLS the API has a certificate that the client trusts.
func newAPI(b *testing.B, latency time.Duration, overTLS bool) *api {
	b.Helper()
	w := newWorldWithoutHosts(b)
	w.latency, w.namespace = latency, apiUser
	w.addHost("host", apiPoll)
	w.letAdministratorsWrite()
	a := &api{world: w, dir: b.TempDir(), address: freeAddress(b)}
	a.makeCertificate()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	a.client = &http.Client{Jar: jar, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64, WriteBufferSize: relayBuffer, ReadBufferSize: relayBuffer,
		TLSClientConfig: &tls.Config{RootCAs: a.trusted, DynamicRecordSizingDisabled: true},
	}}
	b.Cleanup(a.client.CloseIdleConnections)
	a.url = "http://" + a.address
	flags := []string{"--api-bind-address", a.address, "--api-rate", "0", "--provision-namespaces", "--bootstrap-admin", apiEmail, "--bootstrap-admin-password-file", a.file("password", []byte(apiPassword))}
	if overTLS {
		a.url = "https://" + a.address
		flags = append(flags, "--api-tls-cert-dir", filepath.Dir(a.file("tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.pair.Certificate[0]}))))
	}
	a.m = w.startManager(flags...)
	a.login()
	w.seen.untilConnected()
	a.m.wait("admitted", func() (bool, string) {
		var policies []json.RawMessage
		err := a.call(http.MethodGet, "/api/policies", nil, &policies)
		return err == nil && len(policies) > 0, fmt.Sprint(policies, err)
	})
	return a
}

// letAdministratorsWrite gives the group as which the API writes for administrators the rights that it has in a cluster.
func (w *world) letAdministratorsWrite() {
	w.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "api-admins"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"unikernels", "volumes"}, Verbs: []string{rbacv1.VerbAll}},
	}}
	w.create(role)
	w.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "mollymawk:admins"}},
	})
}

// makeCertificate takes the one that net/http has for tests; the key goes where the certificate goes later.
func (a *api) makeCertificate() {
	a.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	a.pair, a.trusted = server.TLS.Certificates[0], x509.NewCertPool()
	a.trusted.AddCert(server.Certificate())
	key, err := x509.MarshalPKCS8PrivateKey(a.pair.PrivateKey)
	if err != nil {
		a.Fatal(err)
	}
	a.file("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

// file writes one into the folder of this benchmark.
func (a *api) file(name string, content []byte) (path string) {
	a.Helper()
	path = filepath.Join(a.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		a.Fatal(err)
	}
	return path
}

// login makes a token as anybody with the password could.
func (a *api) login() {
	a.Helper()
	a.m.wait("letting the administrator in", func() (bool, string) {
		err := a.call(http.MethodPost, "/api/login", map[string]any{"email": apiEmail, "password": apiPassword}, nil)
		return err == nil, fmt.Sprint(err)
	})
	var csrf struct {
		Token string `json:"molly_csrf"`
	}
	a.must(a.call(http.MethodGet, "/api/account/csrf", nil, &csrf))
	var token struct {
		Value string `json:"value"`
	}
	a.must(a.call(http.MethodPost, "/api/tokens/create", map[string]any{"token_name": apiUser, "token_expiry": 86400, "molly_csrf": csrf.Token}, &token))
	a.token = token.Value
	a.client.Jar = nil
}

func (a *api) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatalf("%v\n%s", err, a.m.logTail())
	}
}

// call sends a document, if there is one, and reads the data of the reply.
func (a *api) call(method, path string, document, data any) error {
	var body io.Reader
	if document != nil {
		encoded, err := json.Marshal(document)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := a.request(a.Context(), method, path, body)
	if err != nil {
		return err
	}
	return a.send(request, data)
}

func (a *api) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, body)
	if err == nil && a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	return request, err
}

// send reads the data of the reply to a request.
func (a *api) send(request *http.Request, data any) error {
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", request.Method, request.URL.Path, response.Status, text[:min(len(text), 500)])
	}
	if data == nil {
		return nil
	}
	var envelope struct{ Data json.RawMessage }
	if err := json.Unmarshal(text, &envelope); err != nil {
		return err
	}
	return json.Unmarshal(envelope.Data, data)
}

// post sends a form whose last part is a file of some size.
func (a *api) post(path string, fields map[string]string, name string, file io.Reader, size int64) error {
	request, err := a.formRequest(path, fields, name, file, size)
	if err != nil {
		return err
	}
	return a.send(request, nil)
}

func (a *api) formRequest(path string, fields map[string]string, name string, file io.Reader, size int64) (*http.Request, error) {
	var before bytes.Buffer
	form := multipart.NewWriter(&before)
	for field, value := range fields {
		if err := form.WriteField(field, value); err != nil {
			return nil, err
		}
	}
	if _, err := form.CreateFormFile(name, name); err != nil {
		return nil, err
	}
	after := "\r\n--" + form.Boundary() + "--\r\n"
	length := int64(before.Len()) + size + int64(len(after))
	request, err := a.request(a.Context(), http.MethodPost, path, io.MultiReader(&before, file, strings.NewReader(after)))
	if err != nil {
		return nil, err
	}
	request.ContentLength = length
	request.Header.Set("Content-Type", form.FormDataContentType())
	return request, nil
}

// exchange sends a request over a connection of its own and hands the body of the answer to take. It copies as a relay does, where
// http.Client would copy once more.
func (a *api) exchange(request *http.Request, take func(io.Reader) error) error {
	conn := a.dialTLS(a.address)
	defer conn.Close()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", request.Method, request.URL.RequestURI(), request.URL.Host, request.ContentLength)
	for name := range request.Header {
		head += name + ": " + request.Header.Get(name) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return err
	}
	if _, err := copyPlain(conn, request.Body); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, relayBuffer), request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s %s: %s: %s", request.Method, request.URL.Path, response.Status, text)
	}
	return take(response.Body)
}

// direct is a client of the host itself, and the scope of the user's place.
func (a *api) direct() (*albatross.Client, albatross.Scope) {
	a.Helper()
	credentials := a.hosts[0].Credentials()
	credential, err := albatross.ParseCredential(credentials.Cert, credentials.Key)
	a.must(err)
	cas, err := albatross.ParseServerCA(credentials.ServerCA)
	a.must(err)
	client, err := albatross.New(albatross.Options{Addr: a.hosts[0].Addr(), Credential: credential, ServerCAs: cas})
	a.must(err)
	policy, found := a.hosts[0].Policy(apiUser)
	if !found {
		a.Fatal("the user has no policy on the host")
	}
	return client, albatross.Scope{{Label: apiUser, Policy: policy}}
}

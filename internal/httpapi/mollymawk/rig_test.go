package mollymawk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
	"mollymawk.dev/operator/internal/httpapi/openapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is the face behind the real server, with accounts and hosts in memory.
type rig struct {
	t      testing.TB
	people *people
	world  *world
	url    string
	log    *logged
	client *http.Client
	// user and admin are bearer tokens, the cookies are the same people's.
	user, admin, userCookie, adminCookie string
}

func newRig(t testing.TB, change ...func(*mollymawk.Options)) *rig {
	t.Helper()
	g := &rig{t: t, people: newPeople(), world: newWorld(), log: &logged{}, client: &http.Client{Transport: &http.Transport{}}}
	g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	g.user, g.userCookie = g.people.add("user", true, false)
	g.admin, g.adminCookie = g.people.add("root", true, true)
	options := mollymawk.Options{
		Gate: g.people, Account: g.people, Tokens: g.people, Users: g.people,
		Unikernels: g.world, Volumes: g.world, Instances: g.world, Policies: g.world, Updates: g.world, Log: g.log.logger(),
	}
	options.Limits.SpoolDir = t.TempDir()
	for _, c := range change {
		c(&options)
	}
	server, err := httpapi.Listen(t.Context(), httpapi.Options{Address: "127.0.0.1:0", Handler: mollymawk.New(options), Log: g.log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + server.Addr()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		g.world.viewers.Wait()
	})
	return g
}

// ask is a request in short.
type ask struct {
	method, path string
	// bearer and cookie are credentials; headers are more.
	bearer, cookie string
	headers        map[string]string
	// body is sent as it is, json as JSON, form as a multipart form.
	body string
	json any
	form []part
}

// part of a form; with a file's name it is a file.
type part struct{ name, value, file string }

func (a ask) request(t testing.TB, base string) *http.Request {
	t.Helper()
	body, contentType := []byte(a.body), ""
	switch {
	case a.json != nil:
		encoded, err := json.Marshal(a.json)
		if err != nil {
			t.Fatal(err)
		}
		body, contentType = encoded, "application/json"
	case a.form != nil:
		body, contentType = encodeForm(t, a.form)
	case a.body != "":
		contentType = "application/json"
	}
	method := a.method
	if method == "" {
		method = http.MethodGet
		if len(body) > 0 {
			method = http.MethodPost
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), method, base+a.path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if a.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	if a.cookie != "" {
		request.Header.Set("Cookie", "molly_session="+a.cookie)
	}
	for name, value := range a.headers {
		request.Header.Set(name, value)
	}
	return request
}

func encodeForm(t testing.TB, parts []part) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		disposition := `form-data; name="` + p.name + `"`
		if p.file != "" {
			disposition += `; filename="` + p.file + `"`
		}
		to, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(to, p.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

// heard is a reply.
type heard struct {
	status int
	header http.Header
	body   string
}

// send asks and demands that the reply is as the description of the API says.
func (g *rig) send(t testing.TB, a ask) heard {
	t.Helper()
	request := a.request(t, g.url)
	response, err := g.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", request.Method, a.path, err)
	}
	h := heard{response.StatusCode, response.Header, string(body)}
	h.check(t, request)
	return h
}

// data gives what is in the envelope, which must be one.
func (h heard) data(t testing.TB) string {
	t.Helper()
	_, rest, found := strings.Cut(h.body, `,"data":`)
	if !found || !strings.HasPrefix(h.body, `{"status":`) || !strings.HasSuffix(rest, "}") {
		t.Fatalf("not an envelope: %q", h.body)
	}
	return strings.TrimSuffix(rest, "}")
}

// describe loads the description of the API, once.
var describe = sync.OnceValues(func() (routers.Router, error) {
	loader := openapi3.NewLoader()
	document, err := loader.LoadFromData(openapi.Document)
	if err != nil {
		return nil, err
	}
	if err := document.Validate(loader.Context); err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(document)
})

// check validates the reply against the description. Paths and methods that it
// does not have are answered with an envelope all the same.
func (h heard) check(t testing.TB, request *http.Request) {
	t.Helper()
	router, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	route, parameters, err := router.FindRoute(request)
	if err != nil {
		h.data(t)
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route},
		Status:                 h.status, Header: h.header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes([]byte(h.body))
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s is answered otherwise than described: %v\n%.300s", request.Method, request.URL.Path, err, h.body)
	}
}

func init() {
	for _, plain := range []string{"text/event-stream", "application/yaml"} {
		openapi3filter.RegisterBodyDecoder(plain, openapi3filter.FileBodyDecoder)
	}
}

// logged keeps what was logged.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) logger() logr.Logger { return logr.New(&sink{to: l}) }

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

type sink struct{ to *logged }

func (s *sink) Init(logr.RuntimeInfo)              {}
func (s *sink) Enabled(int) bool                   { return true }
func (s *sink) WithValues(...any) logr.LogSink     { return s }
func (s *sink) WithName(string) logr.LogSink       { return s }
func (s *sink) Info(_ int, m string, kv ...any)    { s.add(m, nil, kv) }
func (s *sink) Error(e error, m string, kv ...any) { s.add(m, e, kv) }

func (s *sink) add(message string, err error, keysAndValues []any) {
	line := message
	if err != nil {
		line += " error=" + err.Error()
	}
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		value, _ := json.Marshal(keysAndValues[i+1])
		line += " " + keysAndValues[i].(string) + "=" + string(value)
	}
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.to.lines = append(s.to.lines, line)
}

var (
	requestID  = regexp.MustCompile(`\(request [0-9a-f-]{36}\)`)
	freshToken = regexp.MustCompile(`("data":\{"token_type":"Bearer","value":")[0-9a-f-]{36}(","expires_in":400000)`)
	sessions   = regexp.MustCompile(`"cookies":\[[^\]]+\]`)
)

// masked hides what is another at each time.
func masked(body string) string {
	body = requestID.ReplaceAllString(body, "(request …)")
	body = freshToken.ReplaceAllString(body, "$1…$2")
	return sessions.ReplaceAllString(body, `"cookies":[…]`)
}

// quote is a text in JSON, with < > & as they are.
func quote(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text)
	return strings.TrimSuffix(b.String(), "\n")
}

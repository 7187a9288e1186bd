package panel_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"

	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/panel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is the face behind the real server, with accounts and objects in memory.
type rig struct {
	testing.TB
	*world
	url    string
	log    *logged
	client *http.Client
}

func newRig(t testing.TB, change ...func(*panel.Options)) *rig {
	t.Helper()
	g := &rig{TB: t, world: newWorld(), log: &logged{}, client: &http.Client{Transport: &http.Transport{}}}
	server, err := httpapi.Listen(t.Context(), httpapi.Options{Address: "127.0.0.1:0", Handler: g.face(g.log.logger(), change...), Log: g.log.logger()})
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
	})
	return g
}

// face puts the face in front of a world.
func (w *world) face(log logr.Logger, change ...func(*panel.Options)) *panel.Face {
	options := panel.Options{Gate: w, Users: w, Namespaces: w, Unikernels: w, Nodes: w, Images: w, Name: "Mollymawk", Log: log}
	for _, c := range change {
		c(&options)
	}
	return panel.New(options)
}

func inProfile(p panel.Profile) func(*panel.Options) { return func(o *panel.Options) { o.Profile = p } }

// ask is a request in short: a method and a path, a key, and a body.
type ask struct {
	call string
	// key is sent when it is not empty.
	key string
	// json is sent as JSON, body as it is with its kind.
	json       any
	body, kind string
}

func (a ask) request(t testing.TB, base string) *http.Request {
	t.Helper()
	method, path, _ := strings.Cut(a.call, " ")
	body, kind := a.body, a.kind
	if a.json != nil {
		body, kind = encode(t, a.json), "application/json"
	}
	request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if a.key != "" {
		request.Header.Set("x-api-key", a.key)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	return request
}

func encode(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// heard is a reply.
type heard struct {
	status int
	header http.Header
	body   string
}

// is compares a reply with a status and a body, in which … stands for anything.
func (h heard) is(status int, body string) bool {
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(body), "…", `.*`) + "$"
	return h.status == status && regexp.MustCompile(pattern).MatchString(h.body)
}

// value gives a member of the document.
func (h heard) value(t testing.TB, name string) any {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal([]byte(h.body), &document); err != nil {
		t.Fatalf("%v: %s", err, h.body)
	}
	return document[name]
}

// send asks and demands that the reply is as the description of the API says.
func (g *rig) send(a ask) heard {
	g.Helper()
	request := a.request(g, g.url)
	response, err := g.client.Do(request)
	if err != nil {
		g.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		g.Fatalf("%s: %v", a.call, err)
	}
	h := heard{response.StatusCode, response.Header, string(body)}
	h.check(g, request)
	return h
}

// do asks as an administrator.
func (g *rig) do(call string, document any) heard {
	g.Helper()
	return g.send(ask{call: call, key: adminKey, json: document})
}

// check demands JSON, and validates it against the description where that has the
// path in just this spelling.
func (h heard) check(t testing.TB, request *http.Request) {
	t.Helper()
	if request.Method == http.MethodHead || request.Method == http.MethodOptions {
		return
	}
	if h.header.Get("Content-Type") != "application/json; charset=utf-8" || !json.Valid([]byte(h.body)) || strings.HasSuffix(h.body, "\n") {
		t.Errorf("%s %s: not a line of JSON: %s %q", request.Method, request.URL, h.header.Get("Content-Type"), h.body)
	}
	apitest.Reply{Status: h.status, Header: h.header, Body: h.body}.Matches(t, request)
}

// logged keeps what was logged.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) logger() logr.Logger {
	return funcr.NewJSON(func(line string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, line)
	}, funcr.Options{Verbosity: 1})
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

package mollymawk_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
)

// fuzzRig answers without a network.
func fuzzRig(f *testing.F) (g *rig, face http.Handler) {
	f.Helper()
	g = &rig{people: newPeople(), world: newWorld()}
	close(g.world.live)
	g.user, g.userCookie = g.people.add("user", true, false)
	g.admin, g.adminCookie = g.people.add("root", true, true)
	g.people.add("spare", true, true)
	return g, mollymawk.New(mollymawk.Options{
		Gate: g.people, Account: g.people, Tokens: g.people, Users: g.people,
		Unikernels: g.world, Volumes: g.world, Instances: g.world, Policies: g.world, Updates: g.world, Log: logr.Discard(),
		Limits: mollymawk.Limits{Image: 1 << 16, Volume: 1 << 16, SpoolDir: f.TempDir()},
	})
}

// answers demands an envelope or a stream, and nothing that would be our fault.
// What a host refuses is documented as 500, and says failure.
func answers(t *testing.T, face http.Handler, request *http.Request) {
	t.Helper()
	recorder := httptest.NewRecorder()
	face.ServeHTTP(recorder, request)
	h := heard{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.String()}
	if h.Status >= 500 && !strings.Contains(h.Body, "failure: ") && !strings.Contains(h.Body, "configuration ") {
		t.Errorf("%s %s: %d %s", request.Method, request.URL.Path, h.Status, h.Body)
	}
	if kind := h.Header.Get("Content-Type"); kind == "application/json" {
		h.Data(t)
		h.Check(t, request)
	}
}

// postRoutes are the calls with a JSON body.
func postRoutes(form bool) (all []string) {
	for _, route := range mollymawk.New(mollymawk.Options{}).Routes() {
		isForm := strings.HasSuffix(route, "/unikernel/create") || strings.HasSuffix(route, "/create") && strings.Contains(route, "/volume/") ||
			strings.HasSuffix(route, "/upload") || strings.HasSuffix(route, "/block/create")
		if path, found := strings.CutPrefix(route, "POST "); found && isForm == form {
			all = append(all, path)
		}
	}
	return all
}

// FuzzDocuments sends anything as the JSON body of every call.
func FuzzDocuments(f *testing.F) {
	g, face := fuzzRig(f)
	for _, seed := range []string{
		"", "{", "[]", "null", `{"a":1,}`, `{"name":"hello","albatross_instance":"eu-west-2"}`, `{"block_name":"v","albatross_instance":"eu-west-2","compression_level":5}`,
		`{"token_name":"x","token_expiry":9223372036854775807,"token_value":"x"}`, `{"email":"user@example.com","password":"password123"}`,
		`{"name":"eu-west-2","server_ip":"::1","server_port":1,"certificate":"","private_key":""}`, `{"arguments":"{\"cpuid\":0}","name":"a","albatross_instance":"eu-west-2"}`,
		`{"user_uuid":"x","albatross_instance":"eu-west-2","unikernels":1,"memory":64,"block":-1,"cpuids":"0,,x","bridges":","}`, "\xff{\"a\":\"\\ud800\"}", strings.Repeat("[", 100),
	} {
		f.Add(uint8(len(seed)), seed)
	}
	paths := postRoutes(false)
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		request := httptest.NewRequest(http.MethodPost, paths[int(which)%len(paths)], strings.NewReader(body))
		request.Header.Set("Authorization", "Bearer "+g.admin)
		if which > 127 {
			request.Header.Set("Authorization", "Bearer "+g.user)
		}
		answers(t, face, request)
		g.people.reset()
	})
}

// reset makes good what calls by chance did to the users of the test.
func (p *people) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.users {
		u.Active, u.SuperUser = true, u.Name != "user"
		if len(u.Tokens) > 1 {
			u.Tokens = u.Tokens[len(u.Tokens)-1:]
		}
		clear(u.sessions)
	}
}

// FuzzForms sends anything as the multipart body of every call that takes one.
func FuzzForms(f *testing.F) {
	g, face := fuzzRig(f)
	const boundary = "b"
	for _, parts := range [][]part{createForm(nil), volumeForm(nil), {{Name: "binary", Value: "x", File: "f"}, {Name: "binary", Value: "y", File: "f"}}, {{Name: "block_data", Value: "undefined"}}} {
		body, contentType := apitest.EncodeForm(f, parts)
		for which := range uint8(8) {
			f.Add(which, strings.ReplaceAll(string(body), contentType[strings.Index(contentType, "boundary=")+9:], boundary))
		}
	}
	f.Add(uint8(0), "--b\r\nContent-Disposition: form-data; name=\"binary\"\r\n\r\nabc")
	f.Add(uint8(1), "--b--")
	paths := postRoutes(true)
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		request := httptest.NewRequest(http.MethodPost, paths[int(which)%len(paths)], strings.NewReader(body))
		request.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
		if which > 200 {
			request.Header.Set("Content-Type", body[:min(len(body), 40)])
		}
		request.Header.Set("Authorization", "Bearer "+g.user)
		answers(t, face, request)
		g.world.forget()
	})
}

// forget keeps what is made by chance from adding up.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.images)
	clear(w.unikernels)
	clear(w.volumes)
	w.created = nil
}

// FuzzQueries sends anything as the query and as the path of calls without a body.
func FuzzQueries(f *testing.F) {
	g, face := fuzzRig(f)
	f.Add("/api/unikernel/console", "instance=eu-west-2&unikernel=a")
	f.Add("/api/admin/albatross/retry", "instance=..&instance=a")
	f.Add("/api/../x", "%zz")
	f.Fuzz(func(t *testing.T, path, query string) {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			request := httptest.NewRequest(method, "/", nil)
			request.URL.Path, request.URL.RawQuery = path, query
			request.Header.Set("Authorization", "Bearer "+g.admin)
			recorder := httptest.NewRecorder()
			face.ServeHTTP(recorder, request)
			h := heard{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.String()}
			if h.Status >= 500 && !strings.Contains(h.Body, "failure: ") {
				t.Errorf("%s %q: %d %s", method, path, h.Status, h.Body)
			}
			if h.Header.Get("Content-Type") == "application/json" {
				h.Data(t)
			}
		}
	})
}

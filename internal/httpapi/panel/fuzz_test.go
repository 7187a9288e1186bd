package panel_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/httpapi/panel"
)

// fuzzed is a world with one of each, made anew for each try.
func fuzzed() *world {
	w := newWorld()
	w.addUser("42")
	w.addNode("rack1")
	w.addImage("hello", "registry.example.org/hello:1", v1alpha1.ImageVariable{Name: "HELLO", Argument: "--hello={value}", Default: "you"})
	uk := v1alpha1.Unikernel{}
	uk.Namespace, uk.Name, uk.UID = "42", "web", "0a1b2c3d-0000-4000-8000-000000000001"
	w.unikernels = append(w.unikernels, uk)
	return w
}

// answers demands JSON as described, and nothing that would be our fault. What was
// made of it has a name that Kubernetes takes.
func answers(t *testing.T, w *world, request *http.Request, profile panel.Profile) {
	t.Helper()
	request.Header.Set("x-api-key", adminKey)
	recorder := httptest.NewRecorder()
	w.face(logr.Discard(), inProfile(profile)).ServeHTTP(recorder, request)
	h := heard{recorder.Code, recorder.Header(), recorder.Body.String()}
	if h.status >= 500 {
		t.Errorf("%s %s: %d %s", request.Method, request.URL.Path, h.status, h.body)
	}
	h.check(t, request)
	for _, d := range w.deployed {
		if len(d.Name) > 63 || strings.Trim(d.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || d.Name[0] == '-' || d.Spec.MemoryMiB() < 1 || d.CPUs < 1 {
			t.Errorf("deployed %+v", d)
		}
	}
}

// calls are those with a body.
func calls(t testing.TB) (all []string) {
	for _, call := range described(t) {
		if !strings.HasPrefix(call, "GET") {
			all = append(all, strings.ReplaceAll(call, "{id}", "0a1b2c3d"))
		}
	}
	return all
}

// which chooses a call and a profile.
func which(all []string, n uint8) (method, path string, profile panel.Profile) {
	method, path, _ = strings.Cut(all[int(n)%len(all)], " ")
	if n > 127 {
		return method, path, panel.Source
	}
	return method, path, panel.Documented
}

// FuzzDocuments sends anything as the JSON body of every call that has one.
func FuzzDocuments(f *testing.F) {
	for i, seed := range []any{
		newUser("userId", 42), newNode("tags", []any{nil, 1.5}), newInstance("variables", object{"HELLO": true}), newInstance("variables", `{"HELLO":1e400}`),
		newInstance("memory", "512MB", "cpu", 1.9, "ports", "1:2,3"), object{"id": "42/web"}, object{"type": "email", "value": 0.0}, object{"nodeId": "rack1", "userId": []any{}},
	} {
		for call := range uint8(32) {
			f.Add(call*8+uint8(i), encode(f, seed))
		}
	}
	for _, seed := range []string{"", "{", "[]", "null", `{"a":1}{"b":2}`, "\xff{\"id\":\"\\ud800\"}", strings.Repeat("[", 20_000), `{"id":-0,"id":0.0}`} {
		f.Add(uint8(3), seed)
	}
	all := calls(f)
	f.Fuzz(func(t *testing.T, call uint8, body string) {
		method, path, profile := which(all, call)
		request := httptest.NewRequest(method, path, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		answers(t, fuzzed(), request, profile)
	})
}

// FuzzForms sends anything as a form.
func FuzzForms(f *testing.F) {
	for call := range uint8(32) {
		f.Add(call*8, "username=a&email=a@x&password=p%&userId=%31&admin=true&type=email&value=x")
		f.Add(call*8+1, "name=n&tags=a&tags=b&ram=8&disk=1&processor=p&address=192.0.2.1&port=1025&nodeId=rack1&id=0a1b2c3d")
		f.Add(call*8+2, "image=hello&memory=64&cpu=1&ports=80:80&nodeId=rack1&name=n&user=42&primary=&variables=%7B%22HELLO%22:%22%00%22%7D&userId=42")
	}
	f.Add(uint8(0), "%&=&a=%zz&%ff=\xff&a;b&++=+")
	all := calls(f)
	f.Fuzz(func(t *testing.T, call uint8, body string) {
		method, path, profile := which(all, call)
		request := httptest.NewRequest(method, path, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answers(t, fuzzed(), request, profile)
	})
}

// FuzzPaths sends anything as a path and a query.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{"/api/instances/suspend/x", "/API/instances/unsuspend/42/web/", "/api/../x", "/api/instances/suspend/{id}", "//", "/api/İnstances"} {
		f.Add(path, "id=0a1b2c3d&nodeId=%zz")
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			request := httptest.NewRequest(method, "/", nil)
			request.URL.Path, request.URL.RawQuery = path, query
			answers(t, fuzzed(), request, panel.Documented)
		}
	})
}

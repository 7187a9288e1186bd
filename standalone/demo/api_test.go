package demo

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// api stands in for the HTTP API: it lets one in at the second try.
type api struct {
	logins, created, asked int
	token                  string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	success, data := true, `"done"`
	switch r.URL.Path {
	case "/api/account":
		success = r.Header.Get("Authorization") == "Bearer "+a.token && a.token != ""
	case "/api/login":
		a.logins++
		success = a.logins > 1 && string(body) == `{"email":"admin@localhost","password":"secret"}`
		http.SetCookie(w, &http.Cookie{Name: "molly_session", Value: "session", Path: "/"})
	case "/api/account/csrf":
		data = `{"molly_csrf":"csrf"}`
	case "/api/policies":
		if data = "[]"; a.asked > 0 {
			data = `[{"instance":"local"}]`
		}
		a.asked++
	case "/api/tokens/create":
		cookie, err := r.Cookie("molly_session")
		success = err == nil && cookie.Value == "session" && strings.Contains(string(body), `"molly_csrf":"csrf"`)
		a.created++
		a.token, data = "token", `{"value":"token"}`
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"success": success, "data": json.RawMessage(data)})
}

func TestPrepareToken(t *testing.T) {
	stand := &api{}
	server := httptest.NewServer(stand)
	defer server.Close()
	dir := t.TempDir()
	password := filepath.Join(dir, "admin-password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &API{URL: server.URL, Email: "admin@localhost", PasswordFile: password}
	for range 2 { // the second time the token is there
		if err := a.PrepareToken(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(a.TokenFile)
	if info, statErr := os.Stat(a.TokenFile); err != nil || statErr != nil || string(content) != "token\n" || info.Mode().Perm() != 0o600 || stand.created != 1 {
		t.Errorf("%q, %v, made %d", content, err, stand.created)
	}
	// One that counts no longer is made anew.
	stand.token = "another"
	if err := a.PrepareToken(t.Context(), dir); err != nil || stand.created != 2 {
		t.Errorf("made %d, %v", stand.created, err)
	}
	if err := a.WaitAdmitted(t.Context()); err != nil || stand.asked < 2 {
		t.Errorf("admitted after %d looks, %v", stand.asked, err)
	}
	var out bytes.Buffer
	if err := a.Explain(&out); err != nil || !strings.Contains(out.String(), server.URL+"/openapi.yaml") || !strings.Contains(out.String(), a.TokenFile) || strings.Contains(out.String(), "secret") {
		t.Errorf("%v\n%s", err, out.String())
	}
	a.PasswordFile = filepath.Join(dir, "missing")
	stand.token = ""
	if err := a.PrepareToken(t.Context(), dir); err == nil {
		t.Error("no password")
	}
}

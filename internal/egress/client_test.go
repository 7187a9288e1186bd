package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// site is a server that is silent about what clients do to it and remembers the
// header of the last request.
type site struct {
	*httptest.Server
	last http.Header
}

func newSite(t *testing.T, handler http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.last = r.Header.Clone()
		handler(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func redirectTo(target string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) }
}

func ok(http.ResponseWriter, *http.Request) {}

// get asks with everything that must not be passed on.
func get(t *testing.T, client *http.Client, address string) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer canary")
	request.Header.Set("Cookie", "name=canary")
	request.Header.Set("Proxy-Authorization", "canary")
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func newClient(t *testing.T, p Policy, config *tls.Config) *http.Client {
	client := p.Client(config)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestCredentialsStayAtHome(t *testing.T) {
	client := newClient(t, Policy{AllowLoopback: true}, nil)
	var home *site
	other := newSite(t, ok)
	there := newSite(t, func(w http.ResponseWriter, r *http.Request) { redirectTo(home.URL+"/end")(w, r) })
	home = newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/within":
			redirectTo("/end?token=canary")(w, r)
		case "/other":
			redirectTo(other.URL)(w, r)
		case "/name":
			redirectTo(strings.Replace(home.URL, "127.0.0.1", "localhost", 1)+"/end")(w, r)
		case "/there-and-back":
			redirectTo(there.URL)(w, r)
		}
	})
	for _, tt := range []struct {
		path string
		end  *site
		kept bool
	}{
		{"/within", home, true}, {"/other", other, false}, {"/name", home, false}, {"/there-and-back", home, false},
	} {
		if err := get(t, client, home.URL+tt.path+"?token=canary"); err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		for _, header := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			if kept := tt.end.last.Get(header) != ""; kept != tt.kept {
				t.Errorf("%s: %s was passed on: %v", tt.path, header, kept)
			}
		}
		if tt.end.last.Get("Referer") != "" || tt.end.last.Get("Accept") != "application/json" {
			t.Errorf("%s: %v", tt.path, tt.end.last)
		}
	}
}

func TestRedirectsAreBounded(t *testing.T) {
	client := newClient(t, Policy{AllowLoopback: true}, nil)
	chain := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		var left int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &left); err != nil {
			t.Error(err)
		}
		if left > 0 {
			redirectTo(fmt.Sprintf("/%d", left-1))(w, r)
		}
	})
	if err := get(t, client, chain.URL+"/5"); err != nil {
		t.Errorf("five: %v", err)
	}
	var refused *RefusedError
	if err := get(t, client, chain.URL+"/6"); !errors.As(err, &refused) || refused.Error() != "more than 5 redirects" {
		t.Errorf("six: %v", err)
	}
}

func TestRedirectsToWhatIsRefused(t *testing.T) {
	for _, target := range []string{
		"http://127.0.0.1:1/", "http://[::1]:1/", "http://[::ffff:127.0.0.1]:1/", "http://169.254.169.254/latest/meta-data", "http://0.0.0.0:1/",
		"http://[64:ff9b::a9fe:a9fe]/", "ftp://192.0.2.1/", "file:///etc/passwd", "gopher://192.0.2.1/",
	} {
		start := newSite(t, redirectTo(target))
		// Only the place where it begins is allowed.
		client := newClient(t, Policy{AllowHosts: []string{"localhost"}}, nil)
		err := get(t, client, strings.Replace(start.URL, "127.0.0.1", "localhost", 1))
		var refused *RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestTLSConfig(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for config, want := range map[*tls.Config]bool{nil: false, {RootCAs: roots}: true} {
		if err := get(t, newClient(t, Policy{AllowLoopback: true}, config), server.URL); (err == nil) != want {
			t.Errorf("with %v: %v", config, err)
		}
	}
}

// The digest of content is of the bytes that the server has.
func TestNothingIsUnpacked(t *testing.T) {
	server := newSite(t, ok)
	if err := get(t, newClient(t, Policy{AllowLoopback: true}, nil), server.URL); err != nil {
		t.Fatal(err)
	}
	if server.last.Get("Accept-Encoding") != "" {
		t.Errorf("asked with %v", server.last)
	}
}

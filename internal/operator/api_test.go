package operator_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/testenv"
)

// TestAPI has the HTTP API answered by two replicas, of which one works.
func TestAPI(t *testing.T) {
	c := newClient(t)
	first := settings(t, c)
	first.API.Address = freeAddress(t)
	second := first
	second.MetricsAddress, second.HealthAddress, second.ImageStore, second.API.Address = freeAddress(t), freeAddress(t), t.TempDir(), freeAddress(t)
	endFirst, firstEnded := start(t, first)
	endSecond, secondEnded := start(t, second)
	for _, address := range []string{first.API.Address, second.API.Address} {
		eventually(t, "the API answers", func() error {
			text, err := get(address, "/openapi.yaml")
			if err == nil && !strings.HasPrefix(text, "openapi: 3.1") {
				err = errors.New(text)
			}
			return err
		})
		eventually(t, "the accounts are read", func() error {
			response, err := http.Get("http://" + address + "/api/unikernels") //nolint:noctx // the test's own server
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusBadRequest || response.Header.Get("X-Frame-Options") != "DENY" {
				return errors.New(response.Status)
			}
			return nil
		})
	}
	endFirst()
	endSecond()
	if err := errors.Join(<-firstEnded, <-secondEnded); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", first.API.Address); err == nil {
		conn.Close()
		t.Error("it listens still")
	}
}

// TestTwoFaces has each path answered by the face that it is of, and the one that both
// have by that of the credential.
func TestTwoFaces(t *testing.T) {
	o := settings(t, newClient(t))
	o.API.Address = freeAddress(t)
	end, ended := start(t, o)
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	bearer, cookie, key := []string{"Authorization", "Bearer x"}, []string{"Cookie", "molly_session=x"}, []string{"X-Api-Key", "x"}
	const envelope, noKey, badKey, notFound = `{"status":400,`, `{"error":"API key is required"}`, `{"error":"API Key Invalid"}`, `{"error":"Not found"}`
	eventually(t, "the accounts are read", func() error {
		if body := ask(t, http.MethodGet, o.API.Address+"/api/users", key); body != badKey {
			return errors.New(body)
		}
		return nil
	})
	for _, tt := range []struct {
		method, path string
		headers      []string
		want         string
	}{
		{"GET", "/api/instances", nil, noKey},
		{"GET", "/api/instances", bearer, envelope},
		{"GET", "/api/instances", cookie, envelope},
		{"GET", "/api/instances", key, badKey},
		{"GET", "/api/instances", append(key, bearer...), badKey},
		{"GET", "/API/instances", bearer, noKey},
		{"GET", "/api/instances/", bearer, noKey},
		{"POST", "/api/instances", bearer, envelope},
		{"POST", "/api/instances", nil, notFound},
		{"GET", "/api/users", bearer, noKey},
		{"GET", "/api/unikernels", key, envelope},
		{"GET", "/API/unikernels", nil, envelope},
		{"GET", "/api/unikernels/", nil, envelope},
		{"GET", "/api/unikernels/", key, notFound},
		{"GET", "/nothing", nil, envelope},
		{"GET", "/nothing", bearer, envelope},
		{"GET", "/nothing", key, notFound},
		{"POST", "/api/auth/reset-password", key, notFound},
		{"POST", "/api/instances/suspend/x", nil, noKey},
	} {
		if body := ask(t, tt.method, o.API.Address+tt.path, tt.headers); !strings.HasPrefix(body, tt.want) {
			t.Errorf("%s %s with %q: %s", tt.method, tt.path, tt.headers, body)
		}
	}
}

// ask gives the body of a reply.
func ask(t *testing.T, method, address string, headers []string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestImpossibleAPIs(t *testing.T) {
	o := settings(t, newClient(t))
	o.API.Address = "nowhere"
	if err := operator.Run(t.Context(), testenv.Config(t), o, logr.Discard()); err == nil || !strings.Contains(err.Error(), "HTTP API") {
		t.Errorf("an impossible address: %v", err)
	}
	o = settings(t, newClient(t))
	o.API.Address, o.API.TLSCertDir = freeAddress(t), t.TempDir()
	if err := operator.Run(t.Context(), testenv.Config(t), o, logr.Discard()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("no certificate: %v", err)
	}
}

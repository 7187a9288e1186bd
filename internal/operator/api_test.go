package operator_test

import (
	"errors"
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

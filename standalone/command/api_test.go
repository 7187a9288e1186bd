package command

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"mollymawk.dev/operator/internal/options"
)

// TestAPIAddress keeps the address of the last start while it is free.
func TestAPIAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "api-address")
	first, err := apiAddress(file, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := apiAddress(file, "127.0.0.1:0"); err != nil || again != first {
		t.Errorf("%s, then %s, %v", first, again, err)
	}
	taken, err := net.Listen("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if other, err := apiAddress(file, "127.0.0.1:0"); err != nil || other == first || !strings.HasPrefix(other, "127.0.0.1:") {
		t.Errorf("%s is taken, and so %s, %v", first, other, err)
	}
	if wanted, err := apiAddress(file, "127.0.0.1:8443"); err != nil || wanted != "127.0.0.1:8443" {
		t.Errorf("%s, %v", wanted, err)
	}
	for _, bad := range []string{"8443", "192.0.2.1:0"} {
		if got, err := apiAddress(file, bad); err == nil || !strings.Contains(err.Error(), "--api-bind-address") {
			t.Errorf("%s: %s, %v", bad, got, err)
		}
	}
	if _, err := apiAddress(t.TempDir(), "127.0.0.1:0"); err == nil {
		t.Error("a folder is no file")
	}
}

func TestPrepareAPI(t *testing.T) {
	o := options.Default()
	flags := pflag.NewFlagSet("standalone", pflag.ContinueOnError)
	addAPIFlags(flags, &o)
	if err := flags.Parse([]string{"--api-rate=5", "--trusted-proxies=10.0.0.0/8", "--panel-profile=source"}); err != nil || o.API.Rate != 5 || o.API.Off() || o.API.Panel.Profile != "source" {
		t.Errorf("%+v, %v", o.API, err)
	}
	if flags.Lookup("workers") != nil {
		t.Error("all flags of the operator are taken")
	}
	if err := prepareAPI(t.TempDir(), &o); err != nil || strings.HasSuffix(o.API.Address, ":0") {
		t.Errorf("%s, %v", o.API.Address, err)
	}
	o.API.Address = "0"
	if err := prepareAPI(filepath.Join(t.TempDir(), "missing"), &o); err != nil {
		t.Error(err)
	}
}

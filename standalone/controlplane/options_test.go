package controlplane

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestOptionsComplete(t *testing.T) {
	opts, err := Options{DataDir: "data"}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(opts.DataDir) || filepath.Base(opts.DataDir) != "data" {
		t.Errorf("data folder %s", opts.DataDir)
	}
	if opts.BindAddress != "127.0.0.1" || opts.Port != 0 {
		t.Errorf("address %s, port %d", opts.BindAddress, opts.Port)
	}
	kept := Options{DataDir: opts.DataDir, BindAddress: "::1", Port: 6443}
	if got, err := kept.complete(); err != nil || got != kept {
		t.Errorf("changed to %+v, %v", got, err)
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for want, opts := range map[string]Options{
		"no data folder given":                  {},
		`bind address "localhost" is not an IP`: {DataDir: "d", BindAddress: "localhost"},
		"port -1 is not between 0 and 65535":    {DataDir: "d", Port: -1},
		"port 65536 is not between 0 and 65535": {DataDir: "d", Port: 65536},
	} {
		if _, err := Start(t.Context(), opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", opts, err, want)
		}
	}
}

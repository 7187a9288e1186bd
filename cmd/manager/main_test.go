package main

import (
	"strings"
	"testing"
)

// TestImport has the word for another program reach it, before a cluster is looked for.
func TestImport(t *testing.T) {
	for want, args := range map[string][]string{
		"nothing to import":            {"import"},
		"unknown flag: --leader-elect": {"import", "--leader-elect"},
		"--instance, --address":        {"import", "--instance", "rack1"},
	} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestFlags(t *testing.T) {
	if err := run(t.Context(), []string{"--no-such-flag"}); err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("%v", err)
	}
	t.Setenv("KUBECONFIG", t.TempDir()+"/missing")
	if err := run(t.Context(), []string{"--kubeconfig", t.TempDir() + "/missing"}); err == nil || !strings.Contains(err.Error(), "no access to a cluster") {
		t.Errorf("%v", err)
	}
}

package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAdminPassword(t *testing.T) {
	dir := t.TempDir()
	file, made, err := adminPassword(dir)
	if err != nil || !made || file != filepath.Join(dir, "admin-password") {
		t.Fatalf("%q, made %v, %v", file, made, err)
	}
	first, err := os.ReadFile(file)
	if err != nil || len(strings.TrimSpace(string(first))) < 20 {
		t.Errorf("%d characters, %v", len(first), err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, made, err := adminPassword(dir); err != nil || made {
		t.Errorf("made again: %v, %v", made, err)
	}
	if second, err := os.ReadFile(file); err != nil || string(second) != string(first) {
		t.Errorf("it is another password: %v", err)
	}
	if other, _, err := adminPassword(t.TempDir()); err != nil {
		t.Error(err)
	} else if content, err := os.ReadFile(other); err != nil || string(content) == string(first) {
		t.Errorf("the same password elsewhere: %v", err)
	}
	if _, _, err := adminPassword(filepath.Join(dir, "missing")); err == nil {
		t.Error("a folder that is not there")
	}
}

func TestPrepareAdmin(t *testing.T) {
	var said strings.Builder
	e := everything{out: &said}
	e.controlPlane.DataDir = t.TempDir()
	if err := e.prepareAdmin(); err != nil || said.Len() > 0 || e.operator.BootstrapAdminPasswordFile != "" {
		t.Errorf("without an address: %v, %q", err, said.String())
	}
	e.operator.BootstrapAdmin = adminEmail
	if err := e.prepareAdmin(); err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(e.operator.BootstrapAdminPasswordFile)
	if err != nil || !strings.Contains(said.String(), adminEmail) || !strings.Contains(said.String(), e.operator.BootstrapAdminPasswordFile) {
		t.Errorf("%v, %q", err, said.String())
	}
	if strings.Contains(said.String(), strings.TrimSpace(string(password))) {
		t.Error("the password is printed")
	}
	said.Reset()
	if err := e.prepareAdmin(); err != nil || said.Len() > 0 {
		t.Errorf("at the next start: %v, %q", err, said.String())
	}
}

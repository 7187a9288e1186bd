package testenv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// fakeRoot makes a root folder whose build notes each of its runs and takes a
// moment.
func fakeRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	writeFiles(t, filepath.Join(root, "standalone"), map[string]string{
		"build.sh":                      "#!/bin/sh\nset -e\ntest \"$1\" = --control-plane\necho built >> \"$(dirname \"$0\")/../builds\"\nsleep 0.2\necho program > \"$2\"\n",
		"go.mod":                        "module standalone",
		"go.sum":                        "",
		"main.go":                       "package main",
		"cmd/control-plane/main.go":     "package main",
		"controlplane/server.go":        "package controlplane",
		"controlplane/server_test.go":   "package controlplane",
		"controlplane/deep/er/other.go": "package er",
	})
	if err := os.Chmod(filepath.Join(root, "standalone", "build.sh"), 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func builds(t *testing.T, root string) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "builds"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(content), "built\n")
}

func mustBuild(t *testing.T, root string) string {
	t.Helper()
	program, err := buildStandalone(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(program); err != nil || string(content) != "program\n" {
		t.Fatalf("the program is %q, %v", content, err)
	}
	return program
}

func TestBuildHappensWhenSourcesChange(t *testing.T) {
	root := fakeRoot(t)
	source := filepath.Join(root, "standalone")
	program := mustBuild(t, root)
	for _, step := range []struct {
		name   string
		change func()
		builds int
	}{
		{"nothing changed", func() {}, 1},
		{"a test changed", func() { writeFiles(t, source, map[string]string{"controlplane/server_test.go": "changed"}) }, 1},
		{"the operator's part changed", func() { writeFiles(t, source, map[string]string{"main.go": "changed"}) }, 1},
		{"a source changed", func() { writeFiles(t, source, map[string]string{"controlplane/deep/er/other.go": "changed"}) }, 2},
		{"a dependency changed", func() { writeFiles(t, source, map[string]string{"go.sum": "changed"}) }, 3},
		{"a source was added", func() { writeFiles(t, source, map[string]string{"controlplane/new.go": "new"}) }, 4},
		{"the program was removed", func() {
			if err := os.Remove(program); err != nil {
				t.Fatal(err)
			}
		}, 5},
	} {
		step.change()
		if again := mustBuild(t, root); again != program {
			t.Errorf("%s: the program is %s, was %s", step.name, again, program)
		}
		if got := builds(t, root); got != step.builds {
			t.Errorf("%s: %d builds, want %d", step.name, got, step.builds)
		}
	}
}

func TestBuildsAtTheSameTimeAreOne(t *testing.T) {
	root := fakeRoot(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := buildStandalone(t.Context(), root); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := builds(t, root); got != 1 {
		t.Errorf("%d builds, want 1", got)
	}
}

func TestBuildThatFailsShowsItsOutput(t *testing.T) {
	root := fakeRoot(t)
	writeFiles(t, filepath.Join(root, "standalone"), map[string]string{"build.sh": "#!/bin/sh\necho what is wrong >&2\nexit 1\n"})
	for range 2 {
		if _, err := buildStandalone(t.Context(), root); err == nil || !strings.Contains(err.Error(), "what is wrong") {
			t.Errorf("error %v", err)
		}
	}
	if _, err := buildStandalone(t.Context(), t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without sources: %v", err)
	}
}

func TestWaitForAnothersBuildIsBounded(t *testing.T) {
	root := fakeRoot(t)
	writeFiles(t, filepath.Join(root, "bin", "testenv"), map[string]string{"lock": ""})
	lock := flock.New(filepath.Join(root, "bin", "testenv", "lock"))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lock.Unlock(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := buildStandalone(ctx, root); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting for the build") {
		t.Errorf("error %v", err)
	}
}

// TestSourceFilesAreThoseOfTheControlPlane looks at the real ones.
func TestSourceFilesAreThoseOfTheControlPlane(t *testing.T) {
	root, err := moduleRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	files, err := sourceFiles(filepath.Join(root, "standalone"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"build.sh", "go.mod", "go.sum", "cmd/control-plane/main.go", "controlplane/server.go", "controlplane/command/command.go"} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is not among %v", want, files)
		}
	}
}

func TestModuleRoot(t *testing.T) {
	root := t.TempDir()
	writeFiles(t, root, map[string]string{
		"go.mod":                   "module " + modulePath + "\n\ngo 1.26\n",
		"standalone/go.mod":        "module " + modulePath + "/standalone\n",
		"standalone/deep/file":     "",
		"internal/package/main.go": "",
	})
	for _, dir := range []string{".", "internal/package", "standalone/deep"} {
		if got, err := moduleRoot(filepath.Join(root, dir)); err != nil || got != root {
			t.Errorf("from %s: %s, %v", dir, got, err)
		}
	}
	if got, err := moduleRoot(t.TempDir()); err == nil {
		t.Errorf("from elsewhere: %s", got)
	}
}

// TestExistingClusterIsUsed takes this package's own server for the cluster.
func TestExistingClusterIsUsed(t *testing.T) {
	t.Setenv(kubeconfigVariable, Kubeconfig(t))
	env, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	if env.Config().Host != Config(t).Host || env.Kubeconfig() != Kubeconfig(t) {
		t.Errorf("it is %s", env.Config().Host)
	}
	if err := env.Stop(); err != nil {
		t.Error(err)
	}
	TestConfigReachesTheServerAsAdministrator(t) // It serves still.
	t.Setenv(kubeconfigVariable, filepath.Join(t.TempDir(), "none"))
	if _, err := Start(); err == nil || !strings.Contains(err.Error(), kubeconfigVariable) {
		t.Errorf("a kubeconfig that is missing: %v", err)
	}
}

func TestProgramOfTheVariableIsUsed(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv(kubeconfigVariable, "")
	t.Setenv(assetsVariable, "")
	t.Setenv(standaloneVariable, script(t, "echo this one >&2; exit 1"))
	if _, err := Start(); err == nil || !strings.Contains(err.Error(), "this one") {
		t.Errorf("error %v", err)
	}
}

func TestAssetsOfTheVariableAreUsed(t *testing.T) {
	t.Setenv(kubeconfigVariable, "")
	t.Setenv(assetsVariable, t.TempDir())
	if _, err := Start(); err == nil || !strings.Contains(err.Error(), assetsVariable) {
		t.Errorf("a folder without programs: %v", err)
	}
}

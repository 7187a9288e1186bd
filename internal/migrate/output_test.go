package migrate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
)

func someDocuments() []Document {
	return []Document{
		{Object: &v1alpha1.Unikernel{TypeMeta: typeMeta("Unikernel"), ObjectMeta: metav1.ObjectMeta{Name: "web"}}},
		{Object: &v1alpha1.User{TypeMeta: typeMeta("User"), ObjectMeta: metav1.ObjectMeta{Name: "alice"}}},
		namespaceDocument("alice", nil),
		{Object: &v1alpha1.User{TypeMeta: typeMeta("User"), ObjectMeta: metav1.ObjectMeta{Name: "bob"}}},
	}
}

// TestWrite has the kinds in the order in which they need each other, each with a
// word about it.
func TestWrite(t *testing.T) {
	var b strings.Builder
	if err := write(&b, someDocuments()); err != nil {
		t.Fatal(err)
	}
	var order []string
	for line := range strings.Lines(b.String()) {
		if name, is := strings.CutPrefix(line, "  name: "); is {
			order = append(order, strings.TrimSpace(name))
		}
	}
	if !slices.Equal(order, []string{"alice", "bob", "alice", "web"}) || strings.Count(b.String(), "# Users of") != 1 || strings.Contains(b.String(), "status:") {
		t.Errorf("%v in\n%s", order, b.String())
	}
	if err := write(brokenWriter{}, someDocuments()); err == nil {
		t.Error("nobody notices that nothing is written")
	}
}

type brokenWriter struct{}

// Write implements io.Writer.
func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestWriteFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "manifests")
	if err := makeFolder(dir); err != nil {
		t.Fatal(err)
	}
	if err := writeFolder(dir, someDocuments()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if !slices.Equal(names, []string{"1-users.yaml", "2-namespaces.yaml", "6-unikernels.yaml"}) {
		t.Errorf("%v", names)
	}
	if err := makeFolder(dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder with manifests: %v", err)
	}
	if err := writeFolder(dir, someDocuments()); !errors.Is(err, os.ErrExist) {
		t.Errorf("what is there is written over: %v", err)
	}
	if err := makeFolder(filepath.Join(dir, "1-users.yaml")); err == nil {
		t.Error("a file is no folder")
	}
}

func TestReadFileIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, []byte("small"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content, err := readFile(file); err != nil || string(content) != "small" {
		t.Errorf("%q, %v", content, err)
	}
	if err := os.Truncate(file, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readFile(file); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
	if _, err := readFile(file + "-missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestEveryKindHasAFile keeps what is converted from being left out of the output.
func TestEveryKindHasAFile(t *testing.T) {
	for _, document := range []Document{{Object: &corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret"}}}, {Object: &v1alpha1.Volume{TypeMeta: typeMeta("Volume")}}, {Object: &v1alpha1.AlbatrossInstance{TypeMeta: typeMeta("AlbatrossInstance")}}} {
		contents, err := byFile([]Document{document})
		if err != nil || len(contents) != 1 {
			t.Errorf("%T: %d files, %v", document.Object, len(contents), err)
		}
	}
}

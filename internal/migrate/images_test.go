package migrate

import (
	"bytes"
	"compress/zlib"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mollymawk.dev/operator/internal/images"
)

func TestInflate(t *testing.T) {
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	if _, err := w.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if image, err := inflate(packed.Bytes(), 7); err != nil || string(image) != "content" {
		t.Errorf("%q, %v", image, err)
	}
	if _, err := inflate(packed.Bytes(), 6); err == nil || !strings.Contains(err.Error(), "more than 6 bytes") {
		t.Errorf("it is not bounded: %v", err)
	}
	for name, bad := range map[string][]byte{"no zlib": []byte("content"), "cut": packed.Bytes()[:packed.Len()-6], "nothing": nil} {
		if image, err := inflate(bad, 100); err == nil {
			t.Errorf("%s: %q", name, image)
		}
	}
}

// TestStore has an image for the namespace that runs it, and no other.
func TestStore(t *testing.T) {
	opened, err := images.OpenStore(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	content := []byte("image")
	digest := digestOf(content)
	if note, err := (store{opened}).keep(t.Context(), digest, "alice", content); err != nil || !strings.Contains(note, "the operator's store") {
		t.Fatalf("%q, %v", note, err)
	}
	for namespace, want := range map[string]bool{"alice": true, "bob": false} {
		if granted, err := opened.Granted(t.Context(), digest, images.UploadedFor(namespace)); err != nil || granted != want {
			t.Errorf("%s: %v, %v", namespace, granted, err)
		}
	}
	if _, err := (store{opened}).keep(t.Context(), digest, "alice", []byte("another")); err == nil {
		t.Error("content is kept under the digest of another")
	}
}

func TestFolderThatIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := folder(file).keep(t.Context(), digestOf(nil), "alice", nil); err == nil {
		t.Error("a file is no folder")
	}
}

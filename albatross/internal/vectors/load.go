// Package vectors reads the recorded behaviour of the original Albatross and
// turns its JSON values into the types of package wire. It serves tests only.
// The form of the files is described in their README.md.
package vectors

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Dir is the folder of the vectors: $ALBATROSS_VECTORS, or the project's copy.
func Dir() string {
	if dir := os.Getenv("ALBATROSS_VECTORS"); dir != "" {
		return dir
	}
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "testdata", "vectors")
}

// Load reads a file of the folder, which holds a list or one object.
func Load[T any](t testing.TB, elem ...string) T {
	t.Helper()
	var v T
	data, err := os.ReadFile(filepath.Join(append([]string{Dir()}, elem...)...))
	if err != nil {
		t.Fatalf("read vectors (is ALBATROSS_VECTORS right?): %v", err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("vectors %v: %v", elem, err)
	}
	return v
}

// Chains lists the folders below chains/.
func Chains(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(Dir(), "chains"))
	if err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// Hex is a byte string written in hexadecimal.
type Hex []byte

// UnmarshalJSON implements json.Unmarshaler.
func (h *Hex) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	b, err := hex.DecodeString(s)
	*h = b
	return err
}

// Text is a string that need not be UTF-8: a JSON string or {"hex": ".."}.
type Text string

// UnmarshalJSON implements json.Unmarshaler.
func (s *Text) UnmarshalJSON(data []byte) error {
	var plain string
	if json.Unmarshal(data, &plain) == nil {
		*s = Text(plain)
		return nil
	}
	var other struct{ Hex Hex }
	if err := json.Unmarshal(data, &other); err != nil {
		return err
	}
	*s = Text(other.Hex)
	return nil
}

// Blob is a byte string that may be described by length and SHA-256 only.
type Blob struct {
	Data   []byte
	Length int64
	SHA256 string
}

// Known tells whether the bytes themselves are recorded.
func (b Blob) Known() bool { return b.SHA256 == "" }

// UnmarshalJSON implements json.Unmarshaler.
func (b *Blob) UnmarshalJSON(data []byte) error {
	var h Hex
	if h.UnmarshalJSON(data) == nil {
		b.Data, b.Length = h, int64(len(h))
		return nil
	}
	var other struct {
		Length int64
		SHA256 string
	}
	err := json.Unmarshal(data, &other)
	b.Length, b.SHA256 = other.Length, other.SHA256
	return err
}

package images

import (
	"errors"
	"strings"
	"testing"
)

func TestUploadsBelongToTheirNamespace(t *testing.T) {
	s := newStore(t, t.TempDir())
	digest, size, err := s.Keep(t.Context(), "alice", strings.NewReader("content"), 7)
	if err != nil || size != 7 || digest != digestOf("content") {
		t.Fatal(digest, size, err)
	}
	for namespace, want := range map[string]bool{"alice": true, "bob": false} {
		if granted, err := s.Granted(t.Context(), digest, UploadedFor(namespace)); err != nil || granted != want {
			t.Errorf("%s: %v, %v", namespace, granted, err)
		}
	}
	if _, _, err := s.Keep(t.Context(), "alice", strings.NewReader("too much"), 7); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than the limit: %v", err)
	}
}

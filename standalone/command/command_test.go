package command

import (
	"strings"
	"testing"
)

// TestSubcommands has the program do one of its other works when asked to.
func TestSubcommands(t *testing.T) {
	for _, name := range []string{"control-plane", "import"} {
		if found, _, err := New().Find([]string{name}); err != nil || found.Name() != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	root := New()
	root.SetArgs([]string{"import"})
	if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing to import") {
		t.Errorf("%v", err)
	}
}

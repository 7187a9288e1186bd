package controlplane

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/klog/v2"

	"mollymawk.dev/operator/standalone/controlplane/internal/processlog"
)

func TestLogGoesToTheFileOrTheWriter(t *testing.T) {
	captureLogs()
	file := filepath.Join(t.TempDir(), "control-plane.log")
	closeLog := openLog(nil, file)
	if got := processlog.Log.Name(); got != file {
		t.Errorf("the log is named %q", got)
	}
	klog.Info("to the file")
	if err := closeLog(); err != nil {
		t.Fatal(err)
	}

	var buffer bytes.Buffer
	closeLog = openLog(&buffer, file)
	klog.Background().Info("to the writer", "key", "value")
	if err := closeLog(); err != nil {
		t.Fatal(err)
	}
	klog.Info("lost")

	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ got, want string }{
		"file": {string(content), "to the file"}, "writer": {buffer.String(), "to the writer"},
	} {
		if !strings.Contains(test.got, test.want) || strings.Count(test.got, "\n") != 1 {
			t.Errorf("the %s holds %q", name, test.got)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

package redact_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"mollymawk.dev/operator/internal/redact"
)

func TestLog(t *testing.T) {
	var lines []string
	log := redact.Log(funcr.New(func(prefix, args string) { lines = append(lines, prefix+" "+args) }, funcr.Options{Verbosity: 10, LogCaller: funcr.All}))
	log = log.WithName("name").WithValues("key", "value")
	for level := range 11 {
		log.V(level).Info("told")
		if log.V(level).Enabled() != (level < 8) {
			t.Errorf("level %d enabled: %v", level, log.V(level).Enabled())
		}
	}
	log.WithCallDepth(0).Error(errors.New("bad"), "failed")
	if len(lines) != 9 {
		t.Errorf("%d lines: %v", len(lines), lines)
	}
	if i := slices.IndexFunc(lines, func(line string) bool {
		return !strings.HasPrefix(line, "name ") || !strings.Contains(line, `"key"="value"`) || !strings.Contains(line, "log_test.go")
	}); i >= 0 {
		t.Errorf("line %q lacks its name, values or caller", lines[i])
	}
}

func TestLogDiscarded(*testing.T) {
	redact.Log(logr.Discard()).Info("nobody hears it")
	redact.Log(logr.Logger{}).Info("nobody hears it")
}

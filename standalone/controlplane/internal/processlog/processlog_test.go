package processlog

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.uber.org/zap/zapcore"
)

func TestTargetWritesToItsDestination(t *testing.T) {
	var target Target
	var first, second bytes.Buffer
	for _, step := range []struct {
		set  func()
		text string
		name string
	}{
		{set: func() {}, text: "lost ", name: ""},
		{set: func() { target.Set(&first, "first") }, text: "one ", name: "first"},
		{set: func() { target.Set(&second, "second") }, text: "two ", name: "second"},
		{set: func() { target.Set(nil, "") }, text: "lost too ", name: ""},
		{set: func() { target.Set(&first, "first") }, text: "three", name: "first"},
	} {
		step.set()
		if n, err := target.Write([]byte(step.text)); n != len(step.text) || err != nil {
			t.Errorf("Write(%q) = %d, %v", step.text, n, err)
		}
		if got := target.Name(); got != step.name {
			t.Errorf("Name() = %q, want %q", got, step.name)
		}
	}
	if first.String() != "one three" || second.String() != "two " {
		t.Errorf("first got %q, second %q", &first, &second)
	}
	if err := errors.Join(target.Sync(), target.Close()); err != nil {
		t.Error(err)
	}
}

func TestTargetMayBeUsedConcurrently(t *testing.T) {
	var target Target
	var destination bytes.Buffer
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				target.Set(&destination, "buffer")
				if _, err := target.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := destination.String(); got != strings.Repeat("x", 800) {
		t.Errorf("%d bytes arrived, want 800", len(got))
	}
}

func TestDefaultLoggersOfEtcdWriteHere(t *testing.T) {
	var log bytes.Buffer
	Log.Set(&log, "test")
	defer Log.Set(nil, "")
	logger, err := logutil.CreateDefaultZapLogger(zapcore.InfoLevel)
	if err != nil {
		t.Fatal(err)
	}
	logger.Warn("here")
	if !strings.Contains(log.String(), "here") {
		t.Errorf("the log holds %q", &log)
	}
}

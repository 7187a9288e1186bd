package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waitLimit bounds every wait of these tests.
const waitLimit = time.Minute

// script writes a program that stands for the control plane. Its data folder is
// the third argument.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func startScript(t *testing.T, body string, change func(*process)) *process {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	p, err := newProcess()
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	if err := p.start(script(t, body)); err != nil {
		t.Fatal(err)
	}
	return p
}

func expectGone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

func TestProcessSaysWhenItIsReady(t *testing.T) {
	p := startScript(t, `echo starting; echo "ready kubeconfig=$3/with a space"; echo more; exec sleep 600`, func(*process) {})
	kubeconfig, err := p.waitReady()
	if err != nil || kubeconfig != p.dataDir+"/with a space" {
		t.Errorf("kubeconfig %q, %v", kubeconfig, err)
	}
	if err := p.stop(); err == nil || !strings.Contains(err.Error(), "signal: terminated") {
		t.Errorf("an end by the signal: %v", err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("stopped again: %v", err)
	}
	expectGone(t, p.dataDir)
}

func TestProcessThatEndsOnRequest(t *testing.T) {
	p := startScript(t, `trap 'exit 0' TERM; echo "ready kubeconfig=k"; while :; do sleep 0.01; done`, func(*process) {})
	if _, err := p.waitReady(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestProcessThatFailsSaysWhy(t *testing.T) {
	p := startScript(t, `echo the reason >&2; echo "end of the log" > "$3/control-plane.log"; exit 7`, func(*process) {})
	_, err := p.waitReady()
	for _, want := range []string{"exit status 7", "the reason", "end of the log"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if err := p.stop(); err == nil || !strings.Contains(err.Error(), "ended by itself: exit status 7") {
		t.Errorf("stopping it: %v", err)
	}
	expectGone(t, p.dataDir)
}

func TestProcessThatIsNeverReady(t *testing.T) {
	p := startScript(t, `echo "what it does" > "$3/control-plane.log"; exec sleep 600`, func(p *process) { p.startLimit = 2 * time.Second })
	_, err := p.waitReady()
	if err == nil || !strings.Contains(err.Error(), "not ready after 2s") || !strings.Contains(err.Error(), "what it does") {
		t.Errorf("error %v", err)
	}
	_ = p.stop() // It does not end with 0, which the test above is about.
}

func TestProcessThatDoesNotEndIsKilled(t *testing.T) {
	p := startScript(t, `trap '' TERM; echo "ready kubeconfig=k"; while :; do sleep 0.01; done`, func(p *process) { p.stopLimit = 200 * time.Millisecond })
	if _, err := p.waitReady(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("stopping it: %v", err)
	}
	select {
	case <-p.ended:
	default:
		t.Error("it runs still")
	}
	expectGone(t, p.dataDir)
}

func TestProgramThatIsMissing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := startStandalone(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "testenv-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestProgramWithoutKubeconfig(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := startStandalone(script(t, `echo "ready kubeconfig=$3/none"; exec sleep 600`)); err == nil || !strings.Contains(err.Error(), "reading the control plane's kubeconfig") {
		t.Errorf("error %v", err)
	}
}

// TestControlPlaneDiesWithTheTests kills a test process that has a control
// plane, here a shell that writes down its process id.
func TestControlPlaneDiesWithTheTests(t *testing.T) {
	const variable = "TESTENV_PID_FILE"
	if file := os.Getenv(variable); file != "" {
		startScript(t, `echo $$ > "`+file+`"; echo "ready kubeconfig=k"; exec sleep 600`, func(*process) {})
		time.Sleep(10 * time.Minute) // The other process ends it.
		return
	}
	file := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(os.Args[0], "-test.run=^TestControlPlaneDiesWithTheTests$")
	// What the killed process cannot remove goes with this test's folder.
	cmd.Env = append(os.Environ(), variable+"="+file, "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	poll(t, "start of the control plane", func() bool {
		content, err := os.ReadFile(file)
		if err != nil || !bytes.HasSuffix(content, []byte("\n")) {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err == nil
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed.
	poll(t, fmt.Sprintf("end of process %d", pid), func() bool { return !runs(pid) })
}

// runs tells whether a process is there that has not ended: where nobody waits
// for it, a dead one stays as a zombie.
func runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(status), ") ")
	return !strings.HasPrefix(state, "Z")
}

func poll(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for the %s took too long", what)
		}
	}
}

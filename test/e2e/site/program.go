package site

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// root is the root of the module, as seen from the packages that use this one.
	root            = "../../.."
	programVariable = "MOLLYMAWK_STANDALONE_BIN"
)

// built gives the path of the program standalone.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(programVariable); path != "" {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join(root, "bin", "standalone"))
	if err != nil {
		return "", err
	}
	build := exec.Command(filepath.Join(root, "standalone", "build.sh"), path)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	return path, build.Run()
})

// start runs the program until the test ends.
func (s *Site) start(args ...string) {
	s.Helper()
	path, err := built()
	if err != nil {
		s.Fatal("build standalone:", err)
	}
	var output lines
	cmd := exec.Command(path, append([]string{"--data-dir", s.Folder}, args...)...)
	cmd.Stdout, cmd.Stderr = &output, &output
	endWithThisProcess(cmd)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The kernel takes the end of the thread that started a process for the end of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.end(cmd, ended) })
	s.Eventually("the program is ready", func() bool {
		select {
		case <-ended:
			s.Fatalf("the program ended: %s", output.text())
		default:
		}
		return strings.Contains(output.text(), "ready kubeconfig=")
	})
}

// end ends the program politely, and shows its log when something has failed.
func (s *Site) end(cmd *exec.Cmd, ended <-chan struct{}) {
	_ = cmd.Process.Signal(os.Interrupt) // It may have ended.
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
		s.Error("the program does not end")
	}
	if s.Failed() {
		log, _ := os.ReadFile(filepath.Join(s.Folder, "operator.log"))
		s.Logf("the operator's log ends with\n%s", log[max(0, len(log)-8192):])
	}
}

// lines is what a process has said.
type lines struct {
	mu   sync.Mutex
	said strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}

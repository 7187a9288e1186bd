package e2e_test

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// root is the root of the module, as seen from this package.
const root = "../.."

// programVariable names the built program.
const programVariable = "MOLLYMAWK_STANDALONE_BIN"

// patience bounds every wait. It is generous: machines that run tests are busy.
const patience = 2 * time.Minute

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

// program is a running standalone.
type program struct {
	cmd        *exec.Cmd
	kubeconfig string
	// stderr and err are complete when ended is closed.
	stderr bytes.Buffer
	err    error
	ended  chan struct{}

	mu     sync.Mutex
	stdout bytes.Buffer
	ready  chan string
}

// launch starts the program without waiting for anything. The process ends with the test at the latest.
func launch(t *testing.T, args ...string) *program {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal("build standalone:", err)
	}
	p := &program{cmd: exec.Command(path, args...), ended: make(chan struct{}), ready: make(chan string, 1)}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	endWithThisProcess(p.cmd)
	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that started a process for the end of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.read(stdout)
			p.err = p.cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// run starts the program on a folder and waits until it is ready.
func run(t *testing.T, dataDir string, args ...string) *program {
	t.Helper()
	p := launch(t, append([]string{"--data-dir", dataDir}, args...)...)
	select {
	case p.kubeconfig = <-p.ready:
	case <-p.ended:
		t.Fatalf("the program ended before it was ready: %v\n%s%s", p.err, &p.stderr, p.output())
	case <-time.After(patience):
		t.Fatalf("the program is not ready after %v:\n%s%s", patience, p.output(), logs(dataDir))
	}
	return p
}

func (p *program) read(stdout io.Reader) {
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		p.mu.Lock()
		p.stdout.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		if path, found := strings.CutPrefix(lines.Text(), "ready kubeconfig="); found {
			p.ready <- path
		}
	}
}

// output is what the program has printed so far.
func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// kill ends the process as a crash of the machine would.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // It may have ended.
	<-p.ended
}

// terminate ends the process politely and demands that it ends well.
func (p *program) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("still running %v after SIGTERM", patience)
	}
	if p.err != nil || p.stderr.Len() != 0 {
		t.Errorf("after SIGTERM: %v, standard error %q", p.err, &p.stderr)
	}
	config, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", address.Host); err == nil {
		t.Error("something listens still on", address.Host)
		_ = conn.Close()
	}
}

// logs is the end of each log in a data folder.
func logs(dataDir string) string {
	var all strings.Builder
	_ = filepath.WalkDir(dataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".log" {
			return err
		}
		content, err := os.ReadFile(path)
		all.WriteString("--- " + path + "\n" + string(content[max(0, len(content)-8192):]))
		return err
	})
	return all.String()
}

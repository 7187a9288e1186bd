package perf

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// managerVariable names the built operator.
	managerVariable = "MOLLYMAWK_MANAGER_BIN"
	// pprofVariable is host:port for its profiles.
	pprofVariable = "MOLLYMAWK_PERF_PPROF"
)

// built gives the path of the operator's program, which is built unless the variable names one.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(managerVariable); path != "" {
		return path, nil
	}
	path, err := filepath.Abs(filepath.Join(root, "bin", "manager"))
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, "./cmd/manager")
	build.Dir, build.Stdout, build.Stderr = root, os.Stderr, os.Stderr
	return path, build.Run()
})

// manager is a running operator.
type manager struct {
	testing.TB
	cmd     *exec.Cmd
	began   time.Time
	metrics string
	log     string
	// err is complete when ended is closed.
	err   error
	ended chan struct{}
	once  sync.Once
}

// startManager starts the operator with its defaults and more flags, but without leader election, whose lease would be a write every
// two seconds.
func (w *world) startManager(flags ...string) *manager {
	w.Helper()
	path, err := built()
	if err != nil {
		w.Fatal("build the operator:", err)
	}
	m := &manager{TB: w, metrics: freeAddress(w), log: filepath.Join(w.TempDir(), "manager.log"), ended: make(chan struct{})}
	m.cmd = exec.Command(path, append(flags,
		"--kubeconfig", w.env.Kubeconfig(), "--namespace", w.system, "--image-store", w.imageStore,
		"--metrics-bind-address", m.metrics, "--health-probe-bind-address", "0", "--pprof-bind-address", os.Getenv(pprofVariable),
		"--leader-elect=false", "--allow-loopback-sources")...)
	log, err := os.Create(m.log)
	if err != nil {
		w.Fatal(err)
	}
	defer log.Close()
	m.cmd.Stdout, m.cmd.Stderr = log, log
	endWithThisProcess(m.cmd)
	started := make(chan error)
	m.began = time.Now()
	go func() {
		// The kernel takes the end of the thread that started a process for the end of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err == nil {
			m.err = m.cmd.Wait()
			close(m.ended)
		}
	}()
	if err := <-started; err != nil {
		w.Fatal(err)
	}
	w.Cleanup(m.stop)
	m.wait("answers", func() (bool, string) {
		_, err := read(m.metrics)
		return err == nil, fmt.Sprint(err)
	})
	return m
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// read gives the operator's metrics as they are now.
func (m *manager) read() reading {
	m.Helper()
	r, err := read(m.metrics)
	if err != nil {
		m.Fatalf("metrics of the operator: %v\n%s", err, m.logTail())
	}
	return r
}

// stop ends the operator as SIGTERM does.
func (m *manager) stop() {
	m.once.Do(func() {
		if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			m.Errorf("end the operator: %v\n%s", err, m.logTail())
		}
		select {
		case <-m.ended:
		case <-time.After(patience):
			_ = m.cmd.Process.Kill() // It may have ended just now.
			<-m.ended
		}
		if m.err != nil {
			m.Errorf("the operator ended with %v\n%s", m.err, m.logTail())
		}
	})
}

func (m *manager) logTail() string {
	content, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	const shown = 4096
	return string(content[max(0, len(content)-shown):])
}

// quiet waits until the operator has had nothing to do and written nothing for some time, and gives what it tells then. since is
// when that began. The sums in the status of an instance come a second after what they are about.
func (m *manager) quiet(more func(reading) bool) (last reading, since time.Time) {
	m.Helper()
	const rest = 2500 * time.Millisecond
	m.wait("quiet", func() (bool, string) {
		before := last
		last = m.read()
		if before == nil || last.busy() > 0 || last.writes() != before.writes() || last.reconciles() != before.reconciles() || more != nil && !more(last) {
			since = time.Now()
		}
		return time.Since(since) > rest, fmt.Sprintf("%v writes, %v reconciles, %v busy", last.writes(), last.reconciles(), last.busy())
	})
	return last, since
}

// untilConnected waits until just so many hosts count as connected.
func (m *manager) untilConnected(hosts int) {
	m.Helper()
	m.wait("connected or lost", func() (bool, string) {
		connected := int(m.read().connected())
		return connected == hosts, fmt.Sprintf("%d hosts are connected, not %d", connected, hosts)
	})
}

// wait polls a condition, and shows the end of the log when it does not come true.
func (m *manager) wait(what string, holds func() (bool, string)) {
	m.Helper()
	waitFor(m, what, m.logTail, holds)
}

// patience bounds every wait. It is generous: machines that run benchmarks are busy.
const patience = 10 * time.Minute

func waitFor(t testing.TB, what string, explain func() string, holds func() (bool, string)) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ok, last := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not %s after %v: %s\n%s", what, patience, last, explain())
		}
	}
}

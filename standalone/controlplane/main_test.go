package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// waitLimit bounds every wait of these tests. It is generous: machines that run
// tests are busy.
const waitLimit = 2 * time.Minute

// childVariable holds the data folder of a test process that runs a control
// plane instead of tests.
const childVariable = "CONTROLPLANE_TEST_DATA_DIR"

// faultVariable makes such a process end its etcd when it is ready.
const faultVariable = "CONTROLPLANE_TEST_END_ETCD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		os.Exit(runChild(dir))
	}
	code := m.Run()
	if err := noGoroutines(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// noGoroutines answers an error if goroutines of control planes are left when
// those that only wait for a timer of theirs have had time to end.
func noGoroutines() error {
	ignored := []goleak.Option{
		// One for each log file that was opened in the process's life.
		goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
		// Kubernetes' packages start these once in a process.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/util/wait.Forever"),
	}
	var left error
	err := wait.PollUntilContextTimeout(context.Background(), 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		left = goleak.Find(ignored...)
		return left == nil, nil
	})
	return errors.Join(err, left)
}

func runChild(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server, err := Start(ctx, Options{DataDir: dir})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	if os.Getenv(faultVariable) != "" {
		for _, c := range server.closers {
			if c.part == "etcd" {
				_ = c.close(ctx)
			}
		}
	}
	<-server.Done()
	if err := server.Err(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// child is a process that runs a control plane.
type child struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

// startChild starts a process that runs a control plane on the folder, and ends
// it with the test if the test does not.
func startChild(t *testing.T, dir string, env ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childVariable+"="+dir), env...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, lines: bufio.NewScanner(stdout)}
	cmd.Stderr = &c.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		// A process that has ended by itself cannot be killed, which is fine.
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// waitReady waits until the child says so; what it says instead fails the test.
func (c *child) waitReady(t *testing.T) {
	t.Helper()
	if said := c.read("ready"); said != "ready" {
		t.Fatalf("the process ended or took too long, and said:\n%s", said)
	}
}

// read reads what the process says, to the end or a line, but not for ever.
func (c *child) read(until string) string {
	timer := time.AfterFunc(waitLimit, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	var said []string
	for c.lines.Scan() {
		said = append(said, c.lines.Text())
		if c.lines.Text() == until {
			break
		}
	}
	return strings.Join(said, "\n")
}

// start starts a control plane in this process and stops it with the test.
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	if opts.DataDir == "" {
		opts.DataDir = t.TempDir()
	}
	server, err := Start(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// newClient makes a client that leaves no connections behind.
func newClient(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	clientset, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		t.Fatal(err)
	}
	return clientset
}

// fileClient makes a client with a kubeconfig, as kubectl does.
func fileClient(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, config)
}

// eventually asks until the answer is true. Errors end it but for "not found",
// conflicts and refusals, which pass.
func eventually(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, waitLimit, true, func(ctx context.Context) (bool, error) {
		done, err := condition(ctx)
		last = err
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsForbidden(err) {
			return false, nil
		}
		return done, err
	})
	if err != nil {
		t.Fatalf("%s: %v", what, errors.Join(err, last))
	}
}

package testenv

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

const (
	// startLimit bounds the time until the API server is ready, two seconds on
	// an idle machine.
	startLimit = 3 * time.Minute

	// stopLimit bounds the time between SIGTERM and SIGKILL. An API server that
	// lost its storage may not end by itself.
	stopLimit = time.Minute

	// logTail is how many bytes of the log's end an error shows.
	logTail = 4096

	// readyPrefix starts the line that the program writes when it is ready.
	readyPrefix = "ready kubeconfig="
)

// process is a running program standalone.
type process struct {
	program string
	cmd     *exec.Cmd
	dataDir string
	// Limits of the start and of a polite end.
	startLimit, stopLimit time.Duration
	// stderr is complete when ended is closed.
	stderr bytes.Buffer
	// ready receives the path of the kubeconfig.
	ready chan string
	ended chan struct{}
	// err is how the process ended; it is set before ended is closed.
	err  error
	once sync.Once
}

// startStandalone runs the program's control plane in a folder of its own.
func startStandalone(program string) (*Environment, error) {
	p, err := newProcess()
	if err != nil {
		return nil, err
	}
	if err := p.start(program); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", program, err), os.RemoveAll(p.dataDir))
	}
	kubeconfig, err := p.waitReady()
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the control plane's kubeconfig: %w", err), p.stop())
	}
	return &Environment{config: config, kubeconfig: kubeconfig, stop: p.stop, process: p}, nil
}

func newProcess() (*process, error) {
	dir, err := os.MkdirTemp("", "testenv-")
	if err != nil {
		return nil, fmt.Errorf("making a data folder: %w", err)
	}
	return &process{
		dataDir:    dir,
		startLimit: startLimit,
		stopLimit:  stopLimit,
		ready:      make(chan string, 1),
		ended:      make(chan struct{}),
	}, nil
}

// start starts the process so that it ends with this one; see dieWithParent.
func (p *process) start(program string) error {
	p.program = program
	p.cmd = exec.Command(program, "control-plane", "--data-dir", p.dataDir)
	p.cmd.Stderr = &p.stderr
	dieWithParent(p.cmd)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.readOutput(stdout)
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return <-started
}

// readOutput reads to the end of the output: a full pipe would stop the process.
func (p *process) readOutput(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if path, found := strings.CutPrefix(lines.Text(), readyPrefix); found {
			select {
			case p.ready <- path:
			default:
			}
		}
	}
}

func (p *process) waitReady() (kubeconfig string, err error) {
	timer := time.NewTimer(p.startLimit)
	defer timer.Stop()
	select {
	case kubeconfig := <-p.ready:
		return kubeconfig, nil
	case <-p.ended:
		return "", fmt.Errorf("the control plane ended before it was ready: %s\n%s%s", p.cmd.ProcessState, &p.stderr, p.log())
	case <-timer.C:
		return "", fmt.Errorf("the control plane is not ready after %v\n%s", p.startLimit, p.log())
	}
}

// kill ends the process at once.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing the control plane: %w", err)
	}
	<-p.ended
	return nil
}

// resume starts a killed process anew and waits until it is ready.
func (p *process) resume() error {
	p.stderr.Reset()
	p.ready, p.ended = make(chan string, 1), make(chan struct{})
	if err := p.start(p.program); err != nil {
		return fmt.Errorf("starting %s: %w", p.program, err)
	}
	_, err := p.waitReady()
	return err
}

// log is the end of the control plane's log, empty if there is none.
func (p *process) log() string {
	content, err := os.ReadFile(filepath.Join(p.dataDir, "control-plane.log"))
	if err != nil {
		return ""
	}
	return string(content[max(0, len(content)-logTail):])
}

// stop ends the process, politely at first, and removes its data.
func (p *process) stop() error {
	var err error
	p.once.Do(func() { err = errors.Join(p.end(), os.RemoveAll(p.dataDir)) })
	return err
}

func (p *process) end() error {
	select {
	case <-p.ended:
		return fmt.Errorf("the control plane ended by itself: %s\n%s%s", p.cmd.ProcessState, &p.stderr, p.log())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the control plane: %w", err)
	}
	timer := time.NewTimer(p.stopLimit)
	defer timer.Stop()
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("ending the control plane: %w\n%s", p.err, &p.stderr)
		}
		return nil
	case <-timer.C:
		err := p.cmd.Process.Kill()
		<-p.ended
		return errors.Join(fmt.Errorf("the control plane did not end within %v of SIGTERM and was killed", p.stopLimit), err)
	}
}

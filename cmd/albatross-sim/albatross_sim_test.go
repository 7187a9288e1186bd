package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
)

// asProgram has the test binary be the program.
const asProgram = "ALBATROSS_SIM_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// process starts the program as a process of its own.
func process(t *testing.T, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := &output{}
	command := exec.Command(self, args...)
	command.Env = append(os.Environ(), asProgram+"=1")
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	return command, out
}

// TestProcess survives a kill with its data, and ends properly when asked to.
func TestProcess(t *testing.T) {
	dir := t.TempDir()
	scope := albatross.Scope{{Label: "alice", Policy: albatross.Policy{Unikernels: 2, CPUIDs: []int64{0}, Memory: 64}}}
	image, err := albatrosstest.StandIn("hello", solo5.Image{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	killed, out := process(t, "--dir", dir, "--listen", "127.0.0.1:0", "--quiet")
	config := albatross.Config{Arguments: albatross.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1}}
	_, err = client(t, address(t, out), dir).Create(t.Context(), scope, "web", config, albatross.Image{Reader: bytes.NewReader(image), Size: int64(len(image))})
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait() // it was killed
	again, out := process(t, "--dir", dir, "--listen", "127.0.0.1:0", "--quiet")
	infos, err := client(t, address(t, out), dir).Unikernels(t.Context(), scope)
	if err != nil || len(infos) != 1 {
		t.Errorf("after a kill: %+v, %v", infos, err)
	}
	if err := again.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); err != nil || !strings.Contains(out.String(), "Ending.") {
		t.Errorf("after SIGTERM: %v, %s", err, out)
	}
	refused, out := process(t, "--dir", "/dev/null/folder")
	if err := refused.Wait(); err == nil || !strings.Contains(out.String(), "albatross-sim: folder of the host") {
		t.Errorf("in a folder that cannot be: %v, %s", err, out)
	}
}

// output may be written and read at the same time.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// start runs the program until the test ends or stop is called.
func start(t *testing.T, args ...string) (out *output, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out = &output{}
	command := newCommand()
	command.SetArgs(args)
	command.SetOut(out)
	command.SetErr(out)
	ended := make(chan error, 1)
	go func() { ended <- command.ExecuteContext(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("does not end")
		}
	})
	t.Cleanup(func() { _ = stop() })
	return out, stop
}

// execute runs the program to its own end.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out output
	command := newCommand()
	command.SetArgs(args)
	command.SetOut(&out)
	command.SetErr(&out)
	err := command.ExecuteContext(ctx)
	return out.String(), err
}

// address waits until the program tells where it listens.
func address(t *testing.T, out *output) string {
	t.Helper()
	for range 500 {
		if _, rest, found := strings.Cut(out.String(), "host on "); found {
			addr, _, complete := strings.Cut(rest, "\n")
			if complete {
				return addr
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("does not start: %s", out)
	return ""
}

func client(t *testing.T, addr, dir string) *albatross.Client {
	t.Helper()
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	credential, err := albatross.ParseCredential(read(albatrosstest.CACertFile), read(albatrosstest.CAKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	cas, err := albatross.ParseServerCA(read(albatrosstest.CACertFile))
	if err != nil {
		t.Fatal(err)
	}
	c, err := albatross.New(albatross.Options{Addr: addr, Credential: credential, ServerCAs: cas})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	out, stop := start(t, "--dir", dir, "--listen", "127.0.0.1:0", "--cpus", "3", "--memory", "1000", "--storage", "50", "--bridge", "a,b")
	c := client(t, address(t, out), dir)
	policies, err := c.Policies(t.Context(), nil)
	if err != nil || len(policies) != 1 {
		t.Fatalf("%+v, %v", policies, err)
	}
	p := policies[0].Policy
	if !slices.Equal(p.CPUIDs, []int64{0, 1, 2}) || p.Memory != 1000 || *p.Block != 50 || !slices.Equal(p.Bridges, []string{"a", "b"}) {
		t.Errorf("%+v", p)
	}
	info, err := os.Stat(filepath.Join(dir, albatrosstest.CAKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"--from-file=tls.crt=" + filepath.Join(dir, "cacert.pem"), "policy info"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

func TestSecondStart(t *testing.T) {
	dir := t.TempDir()
	out, stop := start(t, "--dir", dir, "--listen", "127.0.0.1:0", "--quiet")
	addr := address(t, out)
	if _, err := execute(t, "--dir", dir, "--listen", "127.0.0.1:0", "--quiet"); !errors.Is(err, albatrosstest.ErrInUse) {
		t.Errorf("second start: %v", err)
	}
	if _, err := client(t, addr, dir).Unikernels(t.Context(), nil); err != nil {
		t.Errorf("the first host: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	again, _ := start(t, "--dir", dir, "--listen", "127.0.0.1:0", "--quirks")
	if _, err := client(t, address(t, again), dir).Unikernels(t.Context(), nil); err != nil {
		t.Errorf("with the same credential after a restart: %v", err)
	}
}

func TestBadUse(t *testing.T) {
	for _, args := range [][]string{{}, {"--dir", t.TempDir(), "--listen", "nowhere"}, {"image"}, {"--dir", t.TempDir(), "more"}, {"image", "-o", filepath.Join(t.TempDir(), "x"), "--target", "xen"}, {"image", "-o", filepath.Join(t.TempDir(), "x"), "--net", "a-b"}} {
		if _, err := execute(t, args...); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestImage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.hvt")
	out, err := execute(t, "image", "--net", "service", "--block", "storage", "--size", "50000", "--target", "spt", "-o", file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	image, err := solo5.Read(bytes.NewReader(content), int64(len(content)))
	if err != nil || image.Target != solo5.SPT || image.DeviceList() != `net "service", block "storage"` || len(content) != 50000 {
		t.Errorf("%d bytes, %+v, %v", len(content), image, err)
	}
	if !strings.Contains(out, "50000 bytes") {
		t.Error(out)
	}
}

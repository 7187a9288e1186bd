package command

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"mollymawk.dev/operator/standalone/controlplane"
)

// waitLimit bounds every wait of these tests.
const waitLimit = 2 * time.Minute

// execute runs the command line until the context ends.
func execute(ctx context.Context, stdout io.Writer, args ...string) error {
	cmd := New()
	cmd.SilenceUsage = true
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stdout)
	return cmd.ExecuteContext(ctx)
}

func TestControlPlaneSaysWhenItIsReady(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	output, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := execute(ctx, stdout, "--data-dir", dir)
		ended <- err
		stdout.CloseWithError(err)
	}()
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	path, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "ready kubeconfig=")
	if !found || path != filepath.Join(dir, "kubeconfig") {
		t.Errorf("it said %q", line)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Discovery().ServerVersion(); err != nil {
		t.Errorf("it is not ready: %v", err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(waitLimit):
		t.Fatal("it did not end with its context")
	}
}

func TestControlPlaneTakesItsOptions(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"port":             {args: []string{"--data-dir", t.TempDir(), "--port", port}, want: "127.0.0.1:" + port},
		"address":          {args: []string{"--data-dir", t.TempDir(), "--bind-address", "example.com"}, want: `bind address "example.com" is not an IP address`},
		"folder":           {args: []string{"--data-dir", full}, want: "holds files of something else"},
		"empty folder":     {args: []string{"--data-dir", ""}, want: "no data folder given"},
		"unknown argument": {args: []string{"now"}, want: `unknown command "now"`},
		"unknown option":   {args: []string{"--fast"}, want: "unknown flag: --fast"},
	} {
		var output bytes.Buffer
		err := execute(t.Context(), &output, test.args...)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if strings.Contains(output.String(), "ready kubeconfig") {
			t.Errorf("%s: it said %q", name, &output)
		}
	}
}

// TestControlPlaneEndsWhenNobodyListens stands for a caller that has gone away.
func TestControlPlaneEndsWhenNobodyListens(t *testing.T) {
	output, stdout := io.Pipe()
	if err := output.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if err := execute(ctx, stdout, "--data-dir", dir); err == nil {
		t.Error("no error")
	}
	server, err := controlplane.Start(t.Context(), controlplane.Options{DataDir: dir})
	if err != nil {
		t.Fatalf("the folder is not free: %v", err)
	}
	if err := server.Stop(ctx); err != nil {
		t.Error(err)
	}
}

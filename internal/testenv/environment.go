package testenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	kubeconfigVariable = "MOLLYMAWK_TEST_KUBECONFIG"
	assetsVariable     = "KUBEBUILDER_ASSETS"
	standaloneVariable = "MOLLYMAWK_TEST_STANDALONE"

	// modulePath is that of the module whose root folder holds config and
	// standalone.
	modulePath = "mollymawk.dev/operator"

	// crdLimit bounds the time until the API server serves the kinds.
	crdLimit = time.Minute

	// Limits of requests a second that no test should feel.
	testQPS, testBurst = 1000, 2000
)

// Environment is an API server for tests.
type Environment struct {
	config     *rest.Config
	kubeconfig string
	stop       func() error
	// process is that of the program standalone; nil for other servers.
	process *process
}

// Start gives an API server of its own to a test that, for instance, ends it
// half-way. Most tests share one; see Main.
func Start() (*Environment, error) {
	root, err := moduleRoot(".")
	if err != nil {
		return nil, err
	}
	env, err := startServer(root)
	if err != nil {
		return nil, err
	}
	return env.withKinds(root)
}

// StartProgram gives a control plane of the program standalone, whichever server
// the other tests use: to a test that kills it.
func StartProgram() (*Environment, error) {
	root, err := moduleRoot(".")
	if err != nil {
		return nil, err
	}
	env, err := startProgram(root)
	if err != nil {
		return nil, err
	}
	return env.withKinds(root)
}

// withKinds installs the kinds of this repository.
func (e *Environment) withKinds(root string) (*Environment, error) {
	e.config.QPS, e.config.Burst = testQPS, testBurst
	if _, err := envtest.InstallCRDs(rest.CopyConfig(e.config), envtest.CRDInstallOptions{
		Paths:   []string{filepath.Join(root, "config", "crd", "bases")},
		MaxTime: crdLimit,
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("installing CustomResourceDefinitions: %w", err), e.Stop())
	}
	return e, nil
}

// Config is the administrator's access. The caller may change the copy it gets.
func (e *Environment) Config() *rest.Config { return rest.CopyConfig(e.config) }

// Kubeconfig is the path of a kubeconfig with the same access.
func (e *Environment) Kubeconfig() string { return e.kubeconfig }

// Stop ends the API server and removes its data. An existing cluster is left
// alone.
func (e *Environment) Stop() error { return e.stop() }

var errNoProgram = errors.New("only a control plane of the program standalone can be killed")

// Kill ends the control plane as SIGKILL does, with its storage. Its data stay.
func (e *Environment) Kill() error {
	if e.process == nil {
		return errNoProgram
	}
	return e.process.kill()
}

// Resume starts a killed control plane again with its data, on the same port.
func (e *Environment) Resume() error {
	if e.process == nil {
		return errNoProgram
	}
	return e.process.resume()
}

// startServer starts the kind of API server that the environment variables ask
// for.
func startServer(root string) (*Environment, error) {
	if path := os.Getenv(kubeconfigVariable); path != "" {
		return existing(path)
	}
	if os.Getenv(assetsVariable) != "" {
		return startAssets()
	}
	return startProgram(root)
}

func startProgram(root string) (*Environment, error) {
	program := os.Getenv(standaloneVariable)
	if program == "" {
		var err error
		if program, err = buildStandalone(context.Background(), root); err != nil {
			return nil, err
		}
	}
	return startStandalone(program)
}

func existing(kubeconfig string) (*Environment, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfigVariable, err)
	}
	return &Environment{config: config, kubeconfig: kubeconfig, stop: func() error { return nil }}, nil
}

// startAssets runs the programs of KUBEBUILDER_ASSETS the way controller-runtime
// does.
func startAssets() (*Environment, error) {
	server := &envtest.Environment{}
	config, err := server.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the programs of %s: %w", assetsVariable, err), server.Stop())
	}
	dir, err := os.MkdirTemp("", "testenv-")
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	stop := func() error { return errors.Join(server.Stop(), os.RemoveAll(dir)) }
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, server.KubeConfig, 0o600); err != nil {
		return nil, errors.Join(err, stop())
	}
	return &Environment{config: config, kubeconfig: kubeconfig, stop: stop}, nil
}

// moduleRoot is the root folder of this repository's main module: dir, where
// "go test" runs the tests of a package, or a folder above it.
func moduleRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the module's root folder: %w", err)
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("finding the module's root folder: %w", err)
		}
		line, _, _ := strings.Cut(string(content), "\n")
		if strings.TrimSpace(line) == "module "+modulePath {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no folder of the module %s around the working directory", modulePath)
		}
		dir = parent
	}
}

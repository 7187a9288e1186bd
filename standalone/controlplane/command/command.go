// Package command holds the command line of the control plane alone. It stands
// apart from the operator, so that tests of the operator can start an API server
// while the operator itself does not compile.
package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mollymawk.dev/operator/standalone/controlplane"
)

// DefaultDataDir is where data is kept unless --data-dir says otherwise.
const DefaultDataDir = ".standalone"

// New makes the command control-plane, which runs the control plane alone, for
// tests and for operators under development that run as a process of their own.
func New() *cobra.Command {
	var opts controlplane.Options
	var logToStderr bool
	cmd := &cobra.Command{
		Use:   "control-plane",
		Short: "Run only the Kubernetes API server with its storage, until SIGTERM or SIGINT",
		Long: `Run only the Kubernetes API server with its storage, until SIGTERM or SIGINT.

When it is ready, one line is written to the standard output:

  ready kubeconfig=PATH

PATH is the rest of the line. The file gives access as administrator and stays
valid over restarts as long as its port is free.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if logToStderr {
				opts.Log = os.Stderr
			}
			return run(cmd, opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.DataDir, "data-dir", DefaultDataDir, "folder that keeps all data")
	flags.StringVar(&opts.BindAddress, "bind-address", controlplane.DefaultBindAddress, "IP address of the API server")
	flags.IntVar(&opts.Port, "port", 0, "port of the API server; 0 means that of the last start, or any free one")
	flags.BoolVar(&logToStderr, "log-to-stderr", false, "write the log to the standard error instead of control-plane.log in the data folder")
	return cmd
}

func run(cmd *cobra.Command, opts controlplane.Options) error {
	server, err := controlplane.Start(cmd.Context(), opts)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "ready kubeconfig=%s\n", server.Kubeconfig()); err != nil {
		return errors.Join(err, server.Stop(cmd.Context()))
	}
	<-server.Done()
	return server.Err()
}

// Command control-plane is the program standalone without the operator: its
// subcommand control-plane is the same. Integration tests of the operator run
// it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"mollymawk.dev/operator/standalone/controlplane/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	root := &cobra.Command{Use: "standalone", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(command.New())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "standalone:", err)
		os.Exit(1)
	}
}

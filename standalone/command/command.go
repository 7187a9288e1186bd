// Package command holds the command line of the program standalone.
package command

import (
	"github.com/spf13/cobra"

	"mollymawk.dev/operator/internal/migrate"
)

// New makes the program's command with all its subcommands. They run until
// their context ends.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:   "standalone",
		Short: "Mollymawk on one machine, without a Kubernetes cluster",
		// main prints the error; usage would bury it.
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	addFlags(root)
	root.AddCommand(newControlPlane(), migrate.NewCommand("standalone"))
	return root
}

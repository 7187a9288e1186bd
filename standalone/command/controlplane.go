package command

import (
	"github.com/spf13/cobra"

	controlplane "mollymawk.dev/operator/standalone/controlplane/command"
)

// defaultDataDir is the same folder whether the operator runs or not.
const defaultDataDir = controlplane.DefaultDataDir

// newControlPlane makes the subcommand that runs the control plane alone.
func newControlPlane() *cobra.Command { return controlplane.New() }

// The operator, as it runs in a cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	_ "time/tzdata" // spec.update.window names time zones, and a container has no database of them

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"mollymawk.dev/operator/internal/migrate"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/options"
	"mollymawk.dev/operator/internal/redact"
)

// gcPercent has the garbage collector run more often than by default: what the
// operator holds is caches, which change little, and without it every object in
// them counts twice.
const gcPercent = 50

func main() {
	err := run(ctrl.SetupSignalHandler(), os.Args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

// importCommand has manifests written for what is there, and no operator run.
const importCommand = "import"

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == importCommand {
		root := &cobra.Command{Use: "manager", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(migrate.NewCommand(root.Use))
		root.SetArgs(args)
		return root.ExecuteContext(ctx)
	}
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o := options.Default()
	o.AddFlags(flags)
	shared := flag.NewFlagSet("shared", flag.ContinueOnError)
	config.RegisterFlags(shared) // --kubeconfig
	logging := zap.Options{}
	logging.BindFlags(shared)
	flags.AddGoFlagSet(shared)
	flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "Usage of manager (for its other use: manager %s --help):\n%s", importCommand, flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := redact.Log(zap.New(zap.UseFlagOptions(&logging)))
	ctrl.SetLogger(log)
	restConfig, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("no access to a cluster (give --kubeconfig outside of one): %w", err)
	}
	return operator.Run(ctx, restConfig, o, log)
}

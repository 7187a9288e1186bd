package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"mollymawk.dev/operator/albatross/albatrosstest"
)

func newCommand() *cobra.Command {
	var options albatrosstest.Options
	var faithful, quiet bool
	command := &cobra.Command{
		Use:   "albatross-sim --dir FOLDER",
		Short: "A simulated Albatross host",
		Long: `A simulated Albatross host: it speaks the real protocol and keeps its state in a
folder, but its unikernels only pretend to run. What they print and when they
exit is chosen by their arguments: --sim-print=TEXT, --sim-exit=CODE and
--sim-after=DURATION.

At the first start it makes a CA, which signs both its own certificate and the
commands of clients. Keep the folder's key to yourself all the same.`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, _ []string) error {
			if !quiet {
				options.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			}
			if faithful {
				options.Quirks = albatrosstest.AllQuirks
			}
			return serve(c.Context(), options, c.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.Dir, "dir", "", "folder for certificates and state; made if there is none (required)")
	flags.StringVar(&options.Listen, "listen", "127.0.0.1:1025", "address to listen on")
	flags.IntVar(&options.CPUs, "cpus", 2, "number of CPUs")
	flags.Int64Var(&options.Memory, "memory", 24105, "memory in MiB")
	flags.Int64Var(&options.Storage, "storage", 258019, "storage for block devices in MiB")
	flags.StringSliceVar(&options.Bridges, "bridge", []string{"service"}, "network bridge; may be repeated")
	flags.DurationVar(&options.StatsPeriod, "stats-period", 0, "time between statistics (default 10s)")
	flags.DurationVar(&options.Latency, "latency", 0, "time to wait before each command")
	flags.BoolVar(&faithful, "quirks", false, "crash and hang where the original does")
	flags.BoolVar(&quiet, "quiet", false, "do not log commands")
	if err := command.MarkFlagRequired("dir"); err != nil {
		panic(err) // the flag was defined above
	}
	command.AddCommand(newImageCommand())
	return command
}

// serve runs a host until the context ends.
func serve(ctx context.Context, options albatrosstest.Options, out io.Writer) error {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return err
	}
	options.Dir = dir
	host, err := albatrosstest.New(options)
	if err != nil {
		return err
	}
	defer host.Close()
	cert, key := filepath.Join(dir, albatrosstest.CACertFile), filepath.Join(dir, albatrosstest.CAKeyFile)
	fmt.Fprintf(out, `Simulated Albatross host on %s

Its CA, which signs commands and is the CA of its own certificate too:
  certificate  %s
  key          %s
For an AlbatrossInstance, make a Secret in the operator's namespace:
  kubectl create secret generic albatross-sim --from-file=tls.crt=%s \
    --from-file=tls.key=%s --from-file=ca.crt=%s
An image to run:
  albatross-sim image --net service -o hello.hvt

Ctrl-C ends it; its state stays in the folder.
`, host.Addr(), cert, key, cert, key, cert)
	<-ctx.Done()
	fmt.Fprintln(out, "Ending.")
	return nil
}

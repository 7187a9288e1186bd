// Albatross-sim is a simulated Albatross host as a program, for demonstrations
// and for tests that want a host in a process of its own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	command := newCommand()
	command.SetArgs(os.Args[1:])
	if err := command.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "albatross-sim:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

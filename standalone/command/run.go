package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/options"
	"mollymawk.dev/operator/standalone/controlplane"
	"mollymawk.dev/operator/standalone/demo"
	"mollymawk.dev/operator/standalone/install"
)

// systemNamespace is the operator's, as in a cluster.
const systemNamespace = "mollymawk-system"

// everything is the control plane and the operator in one process.
type everything struct {
	controlPlane controlplane.Options
	operator     options.Options
	demo         bool
	out          io.Writer
}

// addFlags has the root command run everything.
func addFlags(cmd *cobra.Command) {
	e := everything{operator: options.Default()}
	e.operator.Namespace = systemNamespace
	// One process on one machine: nobody to compete with, and sources beside it.
	e.operator.LeaderElection = false
	e.operator.AllowLoopbackSources = true
	e.operator.ProvisionNamespaces = true
	e.operator.BootstrapAdmin = adminEmail
	e.operator.MetricsAddress, e.operator.HealthAddress = "0", "0"
	flags := cmd.Flags()
	flags.StringVar(&e.controlPlane.DataDir, "data-dir", defaultDataDir, "folder that keeps all data")
	flags.StringVar(&e.controlPlane.BindAddress, "bind-address", controlplane.DefaultBindAddress, "IP address of the API server")
	flags.IntVar(&e.controlPlane.Port, "port", 0, "port of the API server; 0 means that of the last start, or any free one")
	flags.BoolVar(&e.demo, "demo", false, "add a simulated host and the samples")
	flags.StringVar(&e.operator.BootstrapAdmin, "bootstrap-admin", e.operator.BootstrapAdmin, "e-mail address of the administrator who is made when there is none")
	flags.BoolVar(&e.operator.Registration, "registration", e.operator.Registration, "let anybody register as a user of the HTTP API; an administrator admits them")
	flags.StringVar(&e.operator.MetricsAddress, "metrics-bind-address", e.operator.MetricsAddress, `address of the operator's metrics; "0" for none`)
	addAPIFlags(flags, &e.operator)
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e.out = cmd.OutOrStdout()
		return e.run(cmd.Context())
	}
}

// run works until the context ends or a part fails.
func (e everything) run(ctx context.Context) (err error) {
	fmt.Fprintln(e.out, "Starting the API server ...")
	server, err := controlplane.Start(ctx, e.controlPlane)
	if err != nil {
		return err
	}
	// The operator ends before the API server that it writes to.
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	if ctx.Err() != nil {
		return nil
	}
	e.operator.ImageStore = filepath.Join(e.controlPlane.DataDir, "images")
	if err := errors.Join(e.prepareAdmin(), prepareAPI(e.controlPlane.DataDir, &e.operator)); err != nil {
		return err
	}
	log, closeLog, err := openLog(filepath.Join(e.controlPlane.DataDir, "operator.log"))
	if err != nil {
		return err
	}
	defer closeLog()
	return e.runOn(ctx, server, log)
}

func (e everything) runOn(ctx context.Context, server *controlplane.Server, log logr.Logger) error {
	c, err := newClient(server.RESTConfig())
	if err != nil {
		return err
	}
	err = errors.Join(
		install.CRDs(ctx, c), install.Namespace(ctx, c, systemNamespace), install.TenantRole(ctx, c), install.AdminRole(ctx, c),
	)
	if err != nil {
		return err
	}
	// The parts end together: with the context, or when one of them fails.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		err := operator.Run(ctx, server.RESTConfig(), e.operator, log)
		cancel(err)
		ended <- err
	}()
	go func() {
		<-server.Done()
		cancel(server.Err())
	}()
	err = e.attend(ctx, server, c)
	cancel(nil)
	if err != nil && context.Cause(ctx) != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, <-ended)
}

// attend says what there is to see and waits for the end.
func (e everything) attend(ctx context.Context, server *controlplane.Server, c client.Client) error {
	if e.demo {
		fmt.Fprintln(e.out, "Starting a simulated host and applying the samples ...")
		d, err := demo.Start(ctx, demo.Options{Client: c, DataDir: e.controlPlane.DataDir, Namespace: systemNamespace})
		if err != nil {
			return err
		}
		defer d.Close()
		if err := d.WaitReady(ctx); err != nil {
			return err
		}
		if err := e.show(ctx, server); err != nil {
			return err
		}
		if err := e.showAPI(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.out, "\nready kubeconfig=%s\n", server.Kubeconfig())
	<-ctx.Done()
	return nil
}

func (e everything) show(ctx context.Context, server *controlplane.Server) error {
	for _, resource := range []string{"albatrossinstances", "unikernels"} {
		fmt.Fprintln(e.out)
		if err := demo.PrintTable(ctx, e.out, server.RESTConfig(), resource); err != nil {
			return err
		}
	}
	return demo.Explain(e.out, server.Kubeconfig())
}

// showAPI says how to use the HTTP API, with a token that works.
func (e everything) showAPI(ctx context.Context) error {
	if e.operator.API.Off() || e.operator.API.TLSCertDir != "" || e.operator.BootstrapAdmin == "" {
		return nil
	}
	api := demo.API{URL: "http://" + e.operator.API.Address, Email: e.operator.BootstrapAdmin, PasswordFile: e.operator.BootstrapAdminPasswordFile}
	if err := api.PrepareToken(ctx, e.controlPlane.DataDir); err != nil {
		return err
	}
	if err := api.WaitAdmitted(ctx); err != nil {
		return err
	}
	return api.Explain(e.out)
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme, err := operator.Scheme()
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// openLog keeps the operator's log out of the way of what is printed.
func openLog(path string) (log logr.Logger, closeLog func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return logr.Logger{}, nil, fmt.Errorf("operator's log: %w", err)
	}
	log = zap.New(zap.WriteTo(f))
	ctrl.SetLogger(log)
	return log, func() { _ = f.Close() }, nil
}

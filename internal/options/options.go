// Package options has the settings of the operator and their flags.
package options

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"mollymawk.dev/operator/internal/egress"
)

// Options are the operator's settings.
type Options struct {
	// Namespace is the operator's own: where the Secrets of instances and the
	// leader's lease are.
	Namespace string
	// ImageStore is where images are kept: the path of a folder, or the URL of a
	// bucket, whose parameters may be secrets.
	ImageStore string
	// ImageStoreGrace is how long images are kept that nobody needs.
	ImageStoreGrace time.Duration
	// MaxImageSize in MiB.
	MaxImageSize int64
	// MetricsAddress and HealthAddress are host:port; "0" turns either off.
	MetricsAddress, HealthAddress string
	// PprofAddress is host:port; empty turns profiling off.
	PprofAddress   string
	LeaderElection bool
	// Workers is how many objects of a kind are reconciled at a time.
	Workers int
	// HostCommands is how many mutating commands a host gets at a time.
	HostCommands int
	// ShutdownTimeout is how long the end waits for what is under way.
	ShutdownTimeout time.Duration
	// UnikernelMetrics is how many unikernels have metrics of their own; 0 asks
	// hosts for no statistics.
	UnikernelMetrics int
	// AllowLoopbackSources lets images come from the operator's own machine, and
	// probes go there.
	AllowLoopbackSources bool
	// Registration lets anybody register as a user of the HTTP API.
	Registration bool
	// ProvisionNamespaces has namespaces made for users, with rights in them.
	ProvisionNamespaces bool
	// BootstrapAdmin is the address of the administrator who is made when there is
	// none; empty makes none.
	BootstrapAdmin string
	// BootstrapAdminPasswordFile has the administrator's password; without it a
	// Secret has it.
	BootstrapAdminPasswordFile string
	// AllowEgress are the networks, addresses and names that images may come from
	// and probes may go to although they would be refused.
	AllowEgress []string
}

// Default gives the settings that apply without flags.
func Default() Options {
	return Options{
		Namespace:       ownNamespace(),
		ImageStore:      "images",
		ImageStoreGrace: 24 * time.Hour,
		MaxImageSize:    1024,
		MetricsAddress:  ":8080",
		HealthAddress:   ":8081",
		LeaderElection:  true,
		Workers:         32,
		HostCommands:    4,
		ShutdownTimeout: 30 * time.Second,
	}
}

// AddFlags adds a flag for each setting, with its present value as the default.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace of the operator, with the Secrets of instances and the leader's lease (default: that of its pod)")
	f.StringVar(&o.ImageStore, "image-store", o.ImageStore, "where images are kept: a folder, or the URL of a bucket (s3://, gs://, azblob://)")
	f.DurationVar(&o.ImageStoreGrace, "image-store-grace", o.ImageStoreGrace, "how long images are kept that nobody needs")
	f.Int64Var(&o.MaxImageSize, "max-image-size", o.MaxImageSize, "largest image in MiB")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", o.MetricsAddress, `address of the metrics, host:port; "0" for none`)
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", o.HealthAddress, `address of /healthz and /readyz, host:port; "0" for none`)
	f.StringVar(&o.PprofAddress, "pprof-bind-address", o.PprofAddress, "address of profiles, host:port (default: none)")
	f.BoolVar(&o.LeaderElection, "leader-elect", o.LeaderElection, "let one of several replicas work at a time")
	f.IntVar(&o.Workers, "workers", o.Workers, "objects of a kind that are reconciled at a time")
	f.IntVar(&o.HostCommands, "host-commands", o.HostCommands, "commands that change something that a host gets at a time")
	f.DurationVar(&o.ShutdownTimeout, "shutdown-timeout", o.ShutdownTimeout, "how long the end waits for what is under way")
	f.IntVar(&o.UnikernelMetrics, "unikernel-metrics", o.UnikernelMetrics, "unikernels that have metrics of their own (CPU, memory, network); hosts are asked for them only when this is above 0")
	f.BoolVar(&o.Registration, "registration", o.Registration, "let anybody register as a user of the HTTP API; an administrator admits them")
	f.BoolVar(&o.ProvisionNamespaces, "provision-namespaces", o.ProvisionNamespaces, "make a namespace for each user and give the user rights in it")
	f.StringVar(&o.BootstrapAdmin, "bootstrap-admin", o.BootstrapAdmin, "e-mail address of the administrator who is made when there is none (default: none is made)")
	f.StringVar(&o.BootstrapAdminPasswordFile, "bootstrap-admin-password-file", o.BootstrapAdminPasswordFile, `file with the password of that administrator (default: the key "password" of the Secret mollymawk-bootstrap-admin)`)
	f.BoolVar(&o.AllowLoopbackSources, "allow-loopback-sources", o.AllowLoopbackSources, "let images come from the operator's own machine, and probes go there")
	f.StringSliceVar(&o.AllowEgress, "allow-egress", o.AllowEgress, "network (CIDR), address or host name that images may come from and probes may go to although it is loopback, link-local, multicast or a cloud's metadata; can be given several times")
}

// Validate says what must be changed.
func (o *Options) Validate() error {
	switch {
	case o.Namespace == "":
		return errors.New("--namespace must be given outside of a cluster")
	case o.ImageStore == "":
		return errors.New("--image-store must not be empty")
	case o.ImageStoreGrace < time.Minute:
		return errors.New("--image-store-grace must be at least 1m")
	case o.MaxImageSize < 1:
		return errors.New("--max-image-size must be at least 1 MiB")
	case o.Workers < 1:
		return errors.New("--workers must be at least 1")
	case o.HostCommands < 1:
		return errors.New("--host-commands must be at least 1")
	case o.UnikernelMetrics < 0:
		return errors.New("--unikernel-metrics must not be negative")
	case o.BootstrapAdminPasswordFile != "" && o.BootstrapAdmin == "":
		return errors.New("--bootstrap-admin-password-file goes with --bootstrap-admin")
	case o.ShutdownTimeout < 0:
		return errors.New("--shutdown-timeout must not be negative")
	}
	_, err := o.Egress()
	return err
}

// Egress gives what may be connected to on behalf of tenants.
func (o *Options) Egress() (egress.Policy, error) {
	policy, err := egress.Parse(o.AllowEgress)
	if err != nil {
		return egress.Policy{}, fmt.Errorf("--allow-egress: %w", err)
	}
	policy.AllowLoopback = o.AllowLoopbackSources
	return policy, nil
}

// namespaceFile is where a pod finds the name of its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

func ownNamespace() string {
	if ns := os.Getenv("POD_NAMESPACE"); ns != "" {
		return ns
	}
	text, err := os.ReadFile(namespaceFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Package options has the settings of the operator and their flags.
package options

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"mollymawk.dev/operator/internal/egress"
)

// Options are the operator's settings.
type Options struct {
	// Namespace is the operator's own: where the Secrets of instances and the
	// leader's lease are.
	Namespace string
	// WatchNamespaces are the only ones whose objects are looked after; none means all.
	WatchNamespaces []string
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
	// API are the settings of the HTTP API.
	API API
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

// API are the settings of the HTTP API.
type API struct {
	// Address is host:port; "0" turns it off.
	Address string
	// TLSCertDir has tls.crt and tls.key; without it the API speaks plain HTTP.
	TLSCertDir string
	// TrustedProxies are the networks of proxies that say whom they speak for.
	TrustedProxies []string
	// Rate is how often a token or session may ask in a second, Burst how often at
	// once; a rate of 0 is no bound.
	Rate  float64
	Burst int
	// MaxHeaderSize in KiB and MaxBodySize in MiB are for requests but their files.
	MaxHeaderSize int
	MaxBodySize   int64
	// MaxParts is how many parts a form may have.
	MaxParts int
	// MaxVolumeSize is the most data for a volume, in MiB.
	MaxVolumeSize int64
	// SpoolDir is where data wait that came before it was known what they are for,
	// and SpoolSize how many MiB of one call may.
	SpoolDir  string
	SpoolSize int64
	// StallTimeout is how long a client may send or take nothing in the middle.
	StallTimeout time.Duration
	// BuildServer has the builds that callers name by their job.
	BuildServer string
	// Panel are the settings of the Panel API, which is served beside.
	Panel Panel
}

// Panel are the settings of the Panel API.
type Panel struct {
	// Profile says with which status codes calls are answered: "documented" or
	// "source".
	Profile string
	// NodeCredentials names the Secret of nodes for which there is none of their own.
	NodeCredentials string
	// Name is what the panel calls itself.
	Name string
	// PostRate is how many POSTs there may be of an address in 6 seconds; 0 is no
	// bound.
	PostRate int
}

// Off tells whether there is no HTTP API.
func (a *API) Off() bool { return a.Address == "" || a.Address == "0" }

// Proxies gives the networks of trusted proxies.
func (a *API) Proxies() (all []netip.Prefix, err error) {
	for _, text := range a.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("--trusted-proxies: %q is neither a network nor an address", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

func (a *API) addFlags(f *pflag.FlagSet) {
	f.StringVar(&a.Address, "api-bind-address", a.Address, `address of the HTTP API, host:port; "0" for none`)
	f.StringVar(&a.TLSCertDir, "api-tls-cert-dir", a.TLSCertDir, "folder with tls.crt and tls.key of the HTTP API, read again when they change (default: plain HTTP)")
	f.StringSliceVar(&a.TrustedProxies, "trusted-proxies", a.TrustedProxies, "network (CIDR) or address of a proxy that may say in X-Forwarded-For and X-Forwarded-Proto whom it speaks for; can be given several times")
	f.Float64Var(&a.Rate, "api-rate", a.Rate, "requests of the HTTP API that a token or session may make in a second; 0 for no bound")
	f.IntVar(&a.Burst, "api-burst", a.Burst, "requests of the HTTP API that a token or session may make at once")
	f.IntVar(&a.MaxHeaderSize, "api-max-header-size", a.MaxHeaderSize, "largest headers of a request of the HTTP API in KiB")
	f.Int64Var(&a.MaxBodySize, "api-max-body-size", a.MaxBodySize, "largest request of the HTTP API in MiB, apart from images and data of volumes")
	f.IntVar(&a.MaxParts, "api-max-parts", a.MaxParts, "parts that a form of the HTTP API may have")
	f.Int64Var(&a.MaxVolumeSize, "api-max-volume-size", a.MaxVolumeSize, "most data for a volume in one request of the HTTP API in MiB")
	f.StringVar(&a.SpoolDir, "api-spool-dir", a.SpoolDir, "folder for data of volumes that arrive before it is known what they are for (default: that for temporary files)")
	f.Int64Var(&a.SpoolSize, "api-spool-size", a.SpoolSize, "most of such data of one request in MiB; more must come as the last part")
	f.DurationVar(&a.StallTimeout, "api-stall-timeout", a.StallTimeout, "how long a client of the HTTP API may send or take nothing in the middle of a request")
	f.StringVar(&a.BuildServer, "api-build-server", a.BuildServer, "server with the builds that callers of the HTTP API name by their job")
	a.Panel.addFlags(f)
}

func (a *API) validate() error {
	_, err := a.Proxies()
	switch {
	case err != nil:
		return err
	case a.Rate < 0:
		return errors.New("--api-rate must not be negative")
	case a.Burst < 1:
		return errors.New("--api-burst must be at least 1")
	case a.MaxHeaderSize < 4:
		return errors.New("--api-max-header-size must be at least 4 KiB")
	case a.MaxBodySize < 1:
		return errors.New("--api-max-body-size must be at least 1 MiB")
	case a.MaxParts < 8:
		return errors.New("--api-max-parts must be at least 8")
	case a.MaxVolumeSize < 1:
		return errors.New("--api-max-volume-size must be at least 1 MiB")
	case a.SpoolSize < 1:
		return errors.New("--api-spool-size must be at least 1 MiB")
	case a.StallTimeout < time.Second:
		return errors.New("--api-stall-timeout must be at least 1s")
	}
	return a.Panel.validate()
}

func (p *Panel) addFlags(f *pflag.FlagSet) {
	f.StringVar(&p.Profile, "panel-profile", p.Profile, `status codes of the Panel API: "documented", or "source" for those of its source`)
	f.StringVar(&p.NodeCredentials, "panel-node-credentials", p.NodeCredentials, "Secret of the operator's namespace with the credentials of nodes that are made by the Panel API and have no Secret of their own (default: none)")
	f.StringVar(&p.Name, "panel-name", p.Name, "name that the Panel API answers with")
	f.IntVar(&p.PostRate, "panel-post-rate", p.PostRate, "how many POSTs of the Panel API an address may make in 6 seconds; 0 for no bound")
}

func (p *Panel) validate() error {
	switch {
	case p.Profile != "documented" && p.Profile != "source":
		return errors.New("--panel-profile must be documented or source")
	case p.NodeCredentials != "" && len(validation.IsDNS1123Subdomain(p.NodeCredentials)) > 0:
		return errors.New("--panel-node-credentials must be the name of a Secret")
	case p.Name == "":
		return errors.New("--panel-name must not be empty")
	case p.PostRate < 0:
		return errors.New("--panel-post-rate must not be negative")
	}
	return nil
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
		API: API{
			Address: "0", Rate: 100, Burst: 200, MaxHeaderSize: 32, MaxBodySize: 1, MaxParts: 32, MaxVolumeSize: 1 << 20, SpoolSize: 1024,
			StallTimeout: time.Minute, Panel: Panel{Profile: "documented", Name: "Mollymawk"},
		},
	}
}

// AddFlags adds a flag for each setting, with its present value as the default.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace of the operator, with the Secrets of instances and the leader's lease (default: that of its pod)")
	f.StringSliceVar(&o.WatchNamespaces, "watch-namespaces", o.WatchNamespaces, "the only namespaces whose Unikernels and Volumes are looked after, separated by commas (default: all)")
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
	o.API.addFlags(f)
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
	case slices.Contains(o.WatchNamespaces, ""):
		return errors.New("--watch-namespaces must not have an empty name")
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
	case o.ShutdownTimeout < 0:
		return errors.New("--shutdown-timeout must not be negative")
	}
	if err := errors.Join(o.validateUsers(), o.API.validate()); err != nil {
		return err
	}
	_, err := o.Egress()
	return err
}

// validateUsers says what must be changed of the settings about users.
func (o *Options) validateUsers() error {
	switch {
	case o.BootstrapAdminPasswordFile != "" && o.BootstrapAdmin == "":
		return errors.New("--bootstrap-admin-password-file goes with --bootstrap-admin")
	case len(o.WatchNamespaces) > 0 && (!o.API.Off() || o.BootstrapAdmin != "" || o.ProvisionNamespaces):
		return errors.New("--watch-namespaces does not go with --api-bind-address, --bootstrap-admin and --provision-namespaces: users have namespaces anywhere")
	}
	return nil
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

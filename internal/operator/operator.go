// Package operator puts the parts of the operator together and runs them.
package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/controllers"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/egress"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/liveness"
	"mollymawk.dev/operator/internal/metrics"
	"mollymawk.dev/operator/internal/options"
	"mollymawk.dev/operator/internal/probe"
	"mollymawk.dev/operator/internal/redact"
)

// leaseName is that of the leader's lease.
const leaseName = "mollymawk-operator"

// Scheme knows Kubernetes' own kinds and ours.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// Run works until the context ends, and then finishes what is under way.
func Run(ctx context.Context, cluster *rest.Config, o options.Options, log logr.Logger) error {
	if err := o.Validate(); err != nil {
		return err
	}
	log = redact.Log(log)
	mgr, err := newManager(cluster, o, log)
	if err != nil {
		return err
	}
	monitor := &liveness.Monitor{}
	if err := mgr.AddHealthzCheck("controllers", monitor.Check); err != nil {
		return err
	}
	store, err := images.OpenStore(ctx, o.ImageStore)
	if err != nil {
		return err
	}
	if err := addParts(ctx, mgr, store, monitor, o, log); err != nil {
		return errors.Join(err, store.Close())
	}
	return errors.Join(mgr.Start(ctx), store.Close())
}

func newManager(cluster *rest.Config, o options.Options, log logr.Logger) (ctrl.Manager, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme: scheme,
		Logger: log,
		// One process may run several operators, one after another.
		Controller:                    config.Controller{SkipNameValidation: new(true)},
		Cache:                         cacheOptions(o),
		Metrics:                       metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.HealthAddress,
		PprofBindAddress:              o.PprofAddress,
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &o.ShutdownTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("caches", func(r *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(r.Context()) {
			return errors.New("caches are not filled yet")
		}
		return nil
	})
}

// cacheOptions has Secrets cached from the operator's own namespace only, and
// nothing with the managed fields, which are a fifth of an object and nobody's
// business here.
func cacheOptions(o options.Options) cache.Options {
	cached := cache.Options{
		ByObject:         map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{o.Namespace: {}}}},
		DefaultTransform: cache.TransformStripManagedFields(),
	}
	if len(o.WatchNamespaces) > 0 {
		cached.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range o.WatchNamespaces {
			cached.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	return cached
}

// addParts adds the pool of hosts, the fetcher of images, the collector of those
// that nobody needs, and the reconcilers.
func addParts(ctx context.Context, mgr ctrl.Manager, store *images.Store, monitor *liveness.Monitor, o options.Options, log logr.Logger) error {
	pool, err := newPool(o, mgr.Elected(), log)
	if err != nil {
		return err
	}
	policy, err := o.Egress()
	if err != nil {
		return err
	}
	wakeups := &controllers.Wakeups{}
	fetcher := images.NewFetcher(store, images.Options{MaxSize: o.MaxImageSize << 20, Egress: policy}, wakeups.Wake)
	prober := probe.New(probe.Options{Dial: policy.DialContext, Forbidden: egress.ErrRefused}, wakeups.Wake)
	collector := &images.Collector{
		Store: store, Needed: controllers.NeededImages(mgr.GetCache()),
		Every: images.DefaultCollectEvery, Grace: o.ImageStoreGrace, Log: log.WithName("images"),
	}
	users, parts := newAccounts(mgr, o, log)
	api, err := newAPI(ctx, mgr, o, behind{users, pool, store}, log)
	if err != nil {
		return err
	}
	for _, part := range slices.Concat(parts, api, []manager.Runnable{pool, fetcher, prober, collector}) {
		if err := mgr.Add(part); err != nil {
			return err
		}
	}
	return controllers.Setup(ctx, mgr, controllers.Config{
		Namespace: o.Namespace, Hosts: pool, Images: fetcher, Probes: prober, Wakeups: wakeups, WatchNamespaces: o.WatchNamespaces,
		Workers: o.Workers, Liveness: monitor, ProvisionNamespaces: o.ProvisionNamespaces,
	})
}

// newPool asks hosts for statistics only when metrics of single unikernels are
// wanted, and only when this replica is the leader: a host has one subscriber,
// who may be somebody else.
func newPool(o options.Options, elected <-chan struct{}, log logr.Logger) (*hosts.Pool, error) {
	poolOptions := hosts.Options{Log: log.WithName("hosts"), MaxCommands: o.HostCommands, Elected: elected}
	if o.UnikernelMetrics > 0 {
		unikernels := metrics.NewUnikernels(o.UnikernelMetrics)
		if err := ctrlmetrics.Registry.Register(unikernels); err != nil {
			return nil, fmt.Errorf("metrics of unikernels: %w", err)
		}
		poolOptions.Statistics = unikernels
	}
	return hosts.New(poolOptions), nil
}

// newAccounts gives the accounts, and them and what makes the first administrator
// as parts to run. There are none where namespaces are not read, since whose a
// namespace is stands on it.
func newAccounts(mgr ctrl.Manager, o options.Options, log logr.Logger) (*accounts.Accounts, []manager.Runnable) {
	if len(o.WatchNamespaces) > 0 {
		return nil, nil
	}
	users := accounts.New(accounts.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Cache: mgr.GetCache(), Namespace: o.Namespace, Log: log.WithName("accounts"), Registration: o.Registration,
	})
	if o.BootstrapAdmin == "" {
		return users, []manager.Runnable{users}
	}
	return users, []manager.Runnable{users, &accounts.Bootstrap{Accounts: users, Email: o.BootstrapAdmin, PasswordFile: o.BootstrapAdminPasswordFile}}
}

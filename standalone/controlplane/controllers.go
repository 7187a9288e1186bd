package controlplane

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	namespacecontroller "k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

const (
	// discoveryPeriod is how often the garbage collector looks for new kinds.
	// Until it knows a kind, owner references of its objects have no effect.
	discoveryPeriod = 2 * time.Second

	// graphLimit bounds how long the garbage collector waits, at its start, for
	// its view of all objects.
	graphLimit = 30 * time.Second

	// resync is how often controllers look at objects that did not change, as
	// kube-controller-manager does.
	resync = 12 * time.Hour

	namespaceWorkers  = 4
	garbageWorkers    = 4
	roleWorkers       = 1
	serviceAcctWorker = 1
)

// controllers holds the four controllers that an API server needs to be of use.
type controllers struct {
	runs      []func(context.Context)
	informers informerfactory.InformerFactory
	// started is closed when the informers run.
	started chan struct{}
	wg      sync.WaitGroup
}

func newControllers(ctx context.Context, config *rest.Config) (*controllers, error) {
	config = rest.AddUserAgent(config, "standalone-controllers")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making client: %w", err)
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making metadata client: %w", err)
	}
	typed := informers.NewSharedInformerFactory(client, resync)
	c := &controllers{
		informers: informerfactory.NewInformerFactory(typed, metadatainformer.NewSharedInformerFactory(metadataClient, resync)),
		started:   make(chan struct{}),
	}
	c.addNamespace(ctx, client, metadataClient, typed)
	c.addRoleAggregation(client, typed)
	if err := c.addServiceAccount(ctx, client, typed); err != nil {
		return nil, err
	}
	return c, c.addGarbageCollector(ctx, client, metadataClient)
}

func (c *controllers) add(run func(context.Context)) { c.runs = append(c.runs, run) }

func (c *controllers) addNamespace(ctx context.Context, client kubernetes.Interface, metadataClient metadata.Interface, typed informers.SharedInformerFactory) {
	controller := namespacecontroller.NewNamespaceController(ctx, client, metadataClient,
		client.Discovery().ServerPreferredNamespacedResources,
		typed.Core().V1().Namespaces(), resync, corev1.FinalizerKubernetes)
	c.add(func(ctx context.Context) { controller.Run(ctx, namespaceWorkers) })
}

func (c *controllers) addRoleAggregation(client kubernetes.Interface, typed informers.SharedInformerFactory) {
	controller := clusterroleaggregation.NewClusterRoleAggregation(typed.Rbac().V1().ClusterRoles(), client.RbacV1())
	c.add(func(ctx context.Context) { controller.Run(ctx, roleWorkers) })
}

func (c *controllers) addServiceAccount(ctx context.Context, client kubernetes.Interface, typed informers.SharedInformerFactory) error {
	controller, err := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx),
		typed.Core().V1().ServiceAccounts(), typed.Core().V1().Namespaces(), client,
		serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return fmt.Errorf("making service account controller: %w", err)
	}
	c.add(func(ctx context.Context) { controller.Run(ctx, serviceAcctWorker) })
	return nil
}

func (c *controllers) addGarbageCollector(ctx context.Context, client kubernetes.Interface, metadataClient metadata.Interface) error {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	collector, err := garbagecollector.NewGarbageCollector(ctx, client, metadataClient, mapper,
		garbagecollector.DefaultIgnoredResources(), c.informers, c.started)
	if err != nil {
		return fmt.Errorf("making garbage collector: %w", err)
	}
	c.add(func(ctx context.Context) { collector.Run(ctx, garbageWorkers, graphLimit) })
	// Not the mapper's discovery client: Sync invalidates that one.
	c.add(func(ctx context.Context) { collector.Sync(ctx, client.Discovery(), discoveryPeriod) })
	return nil
}

// start runs the controllers until the context ends.
func (c *controllers) start(ctx context.Context) {
	c.informers.Start(ctx.Done())
	close(c.started)
	for _, run := range c.runs {
		c.wg.Go(func() { run(ctx) })
	}
}

// wait answers when the controllers have ended, at the latest when the context
// does.
func (c *controllers) wait(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.wg.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the controllers to end: %w", context.Cause(ctx))
	}
}

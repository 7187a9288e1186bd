package controllers

import (
	"context"
	"slices"
	"strings"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/liveness"
	"mollymawk.dev/operator/internal/outcome"
)

// Fields that objects are looked up by.
const (
	// byInstance has the instances of a Unikernel or Volume: where it shall be and
	// where it is.
	byInstance = "instance"
	// bySecret has the Secret of an AlbatrossInstance.
	bySecret = "secret"
	// byVolume has the Volumes that a Unikernel refers to.
	byVolume = "volume"
	// byCatalog has the UnikernelImage that a Unikernel refers to.
	byCatalog = "catalog"
	// byNamespace has the namespaces of a User: the one that shall be its and the
	// one that is.
	byNamespace = "namespace"
	// byEmail has the address of a User in lower case.
	byEmail = "email"
)

// Config is what the reconcilers need besides the manager.
type Config struct {
	// Namespace is the operator's own, where the Secrets of instances are.
	Namespace string
	Hosts     *hosts.Pool
	Images    ImageGetter
	Probes    Prober
	Wakeups   *Wakeups
	// WatchNamespaces are the only ones whose objects are looked after; none means all.
	WatchNamespaces []string
	// Workers is how many objects of a kind are reconciled at a time.
	Workers int
	// Liveness watches the queues; nil watches none.
	Liveness *liveness.Monitor
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// ProvisionNamespaces has namespaces made for Users.
	ProvisionNamespaces bool
}

// clock reads the time by a function that a test may have replaced.
func clock(now func() time.Time) time.Time {
	if now != nil {
		return now()
	}
	return time.Now()
}

// runSteps goes on until a step ends the reconcile.
func runSteps(ctx context.Context, steps []func(context.Context) outcome.Outcome) outcome.Outcome {
	for _, step := range steps {
		if end := step(ctx); end.Ended() {
			return end
		}
	}
	return outcome.Done()
}

func (c *Config) options() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: c.Workers,
		NewQueue:                c.Liveness.NewQueue,
		RateLimiter:             NewRetries(),
	}
}

// Setup adds all reconcilers to a manager.
func Setup(ctx context.Context, mgr ctrl.Manager, config Config) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	for _, setup := range []func(ctrl.Manager, Config) error{setupInstance, setupConnections, setupCredentials, setupUnikernel, setupVolume} {
		if err := setup(mgr, config); err != nil {
			return err
		}
	}
	if len(config.WatchNamespaces) > 0 {
		return nil // whose a namespace is stands on it, and namespaces are not read then
	}
	return setupUser(ctx, mgr, config)
}

// index has objects of a kind found by a field.
type index struct {
	of     client.Object
	field  string
	values client.IndexerFunc
}

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, index := range []index{
		{&v1alpha1.Unikernel{}, byInstance, instancesOf},
		{&v1alpha1.Unikernel{}, byVolume, volumesOf},
		{&v1alpha1.Unikernel{}, byCatalog, catalogOf},
		{&v1alpha1.Volume{}, byInstance, instancesOf},
		{&v1alpha1.AlbatrossInstance{}, bySecret, func(o client.Object) []string {
			return []string{o.(*v1alpha1.AlbatrossInstance).Spec.CredentialsSecretRef.Name}
		}},
	} {
		if err := indexer.IndexField(ctx, index.of, index.field, index.values); err != nil {
			return err
		}
	}
	return nil
}

// instancesOf gives where an object shall be and, when that differs, where it is.
func instancesOf(o client.Object) []string {
	switch o := o.(type) {
	case *v1alpha1.Volume:
		return []string{o.Spec.InstanceRef.Name}
	case *v1alpha1.Unikernel:
		if o.Status.Instance == "" || o.Status.Instance == o.Spec.InstanceRef.Name {
			return []string{o.Spec.InstanceRef.Name}
		}
		return []string{o.Spec.InstanceRef.Name, o.Status.Instance}
	}
	return nil
}

func volumesOf(o client.Object) (names []string) {
	for _, device := range o.(*v1alpha1.Unikernel).Spec.BlockDevices {
		if device.VolumeRef != nil {
			names = append(names, device.VolumeRef.Name)
		}
	}
	return names
}

func catalogOf(o client.Object) []string {
	if image := o.(*v1alpha1.Unikernel).Spec.Image; image != nil && image.Catalog != nil {
		return []string{image.Catalog.Name}
	}
	return nil
}

// declarationChanged lets through what users change: spec, annotations, labels
// and deletion, and not what the reconcilers write themselves.
func declarationChanged() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
}

func setupUnikernel(mgr ctrl.Manager, config Config) error {
	r := &UnikernelReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder(unikernelController), Hosts: config.Hosts, Images: config.Images,
		Probes: config.Probes, Namespace: config.Namespace, Now: config.Now,
		WatchNamespaces: config.WatchNamespaces, Liveness: config.Liveness, Comebacks: NewComebacks(),
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named(unikernelController).
		For(&v1alpha1.Unikernel{}, builder.WithPredicates(declarationChanged())).
		Watches(&v1alpha1.AlbatrossInstance{}, handler.EnqueueRequestsFromMapFunc(r.onInstance), builder.WithPredicates(instanceMatters())).
		Watches(&v1alpha1.Volume{}, handler.EnqueueRequestsFromMapFunc(r.onVolume), builder.WithPredicates(readinessChanged())).
		Watches(&v1alpha1.UnikernelImage{}, handler.EnqueueRequestsFromMapFunc(r.onCatalog), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(hostChanges(config.Hosts, r.affected, changePause)).
		WatchesRawSource(config.Wakeups.source(unikernelKind)).
		WithOptions(config.options())
	return watchNamespaces(b, config, r.inNamespace).Complete(r)
}

// instanceMatters lets through the changes of an instance that its unikernels
// look at: its declaration and which policies were refused.
func instanceMatters() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, policyConditionChanged())
}

// onInstance gives the unikernels that are or shall be on an instance.
func (r *UnikernelReconciler) onInstance(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, nil, client.MatchingFields{byInstance: o.GetName()})
}

// onVolume gives the unikernels that refer to a volume.
func (r *UnikernelReconciler) onVolume(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, nil, client.InNamespace(o.GetNamespace()), client.MatchingFields{byVolume: o.GetName()})
}

// onCatalog gives the unikernels that refer to an entry of the catalogue.
func (r *UnikernelReconciler) onCatalog(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, nil, client.MatchingFields{byCatalog: o.GetName()})
}

func (r *UnikernelReconciler) inNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, nil, client.InNamespace(o.GetName()))
}

// affected gives the unikernels that a change of a host concerns.
func (r *UnikernelReconciler) affected(ctx context.Context, c hosts.Change) []ctrl.Request {
	requests := grantedRequests(unikernelKind, c)
	if !c.All && len(c.Names) == 0 {
		return requests
	}
	labels := labelsOf(c.Names)
	concerned := func(uk *v1alpha1.Unikernel) bool {
		return c.All || labels[uk.Name] || waitsForRoom(uk.Status.Conditions) || waitsForDevice(uk, labels)
	}
	return append(requests, r.list(ctx, concerned, client.MatchingFields{byInstance: c.Instance})...)
}

func (r *UnikernelReconciler) list(ctx context.Context, concerned func(*v1alpha1.Unikernel) bool, options ...client.ListOption) []ctrl.Request {
	var all v1alpha1.UnikernelList
	return listRequests(ctx, r.Client, &all, func() []v1alpha1.Unikernel { return all.Items }, concerned, options...)
}

// changePause is how long the news of a look wait. Most are about what we have
// just done ourselves, and in that time our own writes have reached the cache.
const changePause = 200 * time.Millisecond

// labelsOf gives the last parts of full names, by which those are known too that
// have no place on a host yet. That a namesake of another tenant is woken does no
// harm.
func labelsOf(names map[string]bool) map[string]bool {
	labels := make(map[string]bool, len(names))
	for name := range names {
		labels[name[strings.LastIndexByte(name, ':')+1:]] = true
	}
	return labels
}

// waitsForDevice tells whether a unikernel that the host did not take is to have
// one of these block devices.
func waitsForDevice(uk *v1alpha1.Unikernel, labels map[string]bool) bool {
	ready := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != v1alpha1.ReasonHostError {
		return false
	}
	return slices.ContainsFunc(uk.Spec.BlockDevices, func(b v1alpha1.BlockDevice) bool {
		return labels[b.HostDevice] || b.VolumeRef != nil && labels[b.VolumeRef.Name]
	})
}

// waitsForRoom tells whether the end of another thing on the host may let this
// one go on.
func waitsForRoom(conditions []metav1.Condition) bool {
	ready := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return false
	}
	switch ready.Reason {
	case v1alpha1.ReasonPolicyExceeded, v1alpha1.ReasonInUse, v1alpha1.ReasonMoving:
		return true
	}
	return false
}

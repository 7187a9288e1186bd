package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

// Fields that objects are looked up by.
const (
	// byInstance has the instances of a Unikernel or Volume: where it shall be and
	// where it is.
	byInstance = "instance"
	// bySecret has the Secret of an AlbatrossInstance.
	bySecret = "secret"
)

// Config is what the reconcilers need besides the manager.
type Config struct {
	// Namespace is the operator's own, where the Secrets of instances are.
	Namespace string
	Hosts     *hosts.Pool
	Images    ImageGetter
	Wakeups   *Wakeups
	// Workers is how many objects of a kind are reconciled at a time.
	Workers int
}

// Pauses after failures in a row.
const (
	firstRetry   = time.Second
	longestRetry = 5 * time.Minute
)

func (c *Config) options() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: c.Workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](firstRetry, longestRetry),
	}
}

// Setup adds all reconcilers to a manager.
func Setup(ctx context.Context, mgr ctrl.Manager, config Config) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	for _, setup := range []func(ctrl.Manager, Config) error{setupInstance, setupUnikernel} {
		if err := setup(mgr, config); err != nil {
			return err
		}
	}
	return nil
}

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	instancesOf := func(o client.Object) []string {
		uk := o.(*v1alpha1.Unikernel)
		if uk.Status.Instance == "" || uk.Status.Instance == uk.Spec.InstanceRef.Name {
			return []string{uk.Spec.InstanceRef.Name}
		}
		return []string{uk.Spec.InstanceRef.Name, uk.Status.Instance}
	}
	if err := indexer.IndexField(ctx, &v1alpha1.Unikernel{}, byInstance, instancesOf); err != nil {
		return err
	}
	return indexer.IndexField(ctx, &v1alpha1.AlbatrossInstance{}, bySecret, func(o client.Object) []string {
		return []string{o.(*v1alpha1.AlbatrossInstance).Spec.CredentialsSecretRef.Name}
	})
}

// declarationChanged lets through what users change: spec, annotations, labels
// and deletion, and not what the reconcilers write themselves.
func declarationChanged() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
}

func setupUnikernel(mgr ctrl.Manager, config Config) error {
	r := &UnikernelReconciler{
		Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder("unikernel"), Hosts: config.Hosts, Images: config.Images,
		Comebacks: flowcontrol.NewBackOff(firstComeback, longestComeback),
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Unikernel{}, builder.WithPredicates(declarationChanged())).
		Watches(&v1alpha1.AlbatrossInstance{}, handler.EnqueueRequestsFromMapFunc(r.onInstance), builder.WithPredicates(instanceMatters())).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.inNamespace), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(hostChanges(config.Hosts, r.affected)).
		WatchesRawSource(config.Wakeups.source(unikernelKind)).
		WithOptions(config.options()).
		Complete(r)
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

func (r *UnikernelReconciler) inNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, nil, client.InNamespace(o.GetName()))
}

// affected gives the unikernels that a change of a host concerns.
func (r *UnikernelReconciler) affected(ctx context.Context, c hosts.Change) (requests []ctrl.Request) {
	for _, key := range c.Granted {
		if request, ok := requestOf(unikernelKind, key); ok {
			requests = append(requests, request)
		}
	}
	if !c.All && len(c.Names) == 0 {
		return requests
	}
	concerned := func(uk *v1alpha1.Unikernel) bool {
		return c.All || c.Names[uk.Status.HostName] || uk.Status.HostName == "" || waitsForRoom(uk)
	}
	return append(requests, r.list(ctx, concerned, client.MatchingFields{byInstance: c.Instance})...)
}

// waitsForRoom tells whether the end of another unikernel may let this one start.
func waitsForRoom(uk *v1alpha1.Unikernel) bool {
	ready := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && (ready.Reason == v1alpha1.ReasonPolicyExceeded || ready.Reason == v1alpha1.ReasonNameTaken)
}

func (r *UnikernelReconciler) list(ctx context.Context, concerned func(*v1alpha1.Unikernel) bool, options ...client.ListOption) (requests []ctrl.Request) {
	var all v1alpha1.UnikernelList
	// The list is only read, so nothing need be copied out of the cache.
	if err := r.List(ctx, &all, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List unikernels to wake")
		return nil
	}
	for i := range all.Items {
		if concerned == nil || concerned(&all.Items[i]) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
	}
	return requests
}

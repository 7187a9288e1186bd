package controllers

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// AlbatrossInstanceReconciler connects hosts, sets the policies of tenants and
// reports what is on a host.
type AlbatrossInstanceReconciler struct {
	client.Client
	// Live reads past the cache.
	Live     client.Reader
	Recorder events.EventRecorder
	Hosts    *hosts.Pool
	// Namespace is where the Secrets are.
	Namespace string
	// WatchNamespaces are the only ones that are looked after; none means all.
	WatchNamespaces []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	refused refusedPolicies
}

// +kubebuilder:rbac:groups=mollymawk.dev,resources=albatrossinstances,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=albatrossinstances/status,verbs=patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=albatrossinstances/finalizers,verbs=update
// +kubebuilder:rbac:groups="",namespace=system,resources=secrets,verbs=get;list;watch

func setupInstance(mgr ctrl.Manager, config Config) error {
	r := &AlbatrossInstanceReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("albatrossinstance"), Now: config.Now, Hosts: config.Hosts, Namespace: config.Namespace,
		WatchNamespaces: config.WatchNamespaces,
	}
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.AlbatrossInstance{}, builder.WithPredicates(declarationChanged())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.onSecret)).
		Watches(&v1alpha1.Unikernel{}, soon(onUser), builder.WithPredicates(comesOrGoes())).
		Watches(&v1alpha1.Volume{}, soon(onUser), builder.WithPredicates(comesOrGoes())).
		WatchesRawSource(hostChanges(config.Hosts, changedInstance, summaryPause)).
		WithOptions(config.options())
	return watchNamespaces(b, config, r.onNamespace).Complete(r)
}

// summaryPause is how long what happens to single objects may take to show in
// the sums of their instance, so that a thousand of them cost a few writes.
const summaryPause = time.Second

// soon wakes who is concerned after summaryPause, once for all that happens till then.
func soon(concerned handler.MapFunc) handler.EventHandler {
	add := func(ctx context.Context, o client.Object, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) {
		for _, request := range concerned(ctx, o) {
			queue.AddAfter(request, summaryPause)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			add(ctx, e.Object, queue)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			add(ctx, e.ObjectOld, queue)
			add(ctx, e.ObjectNew, queue)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			add(ctx, e.Object, queue)
		},
	}
}

// changedInstance wakes an instance when its host was looked at with news.
func changedInstance(_ context.Context, c hosts.Change) []ctrl.Request {
	if !c.All && len(c.Names) == 0 {
		return nil
	}
	return []ctrl.Request{{NamespacedName: client.ObjectKey{Name: c.Instance}}}
}

func (r *AlbatrossInstanceReconciler) onSecret(ctx context.Context, o client.Object) []ctrl.Request {
	if o.GetNamespace() != r.Namespace {
		return nil
	}
	return r.list(ctx, nil, client.MatchingFields{bySecret: o.GetName()})
}

// onNamespace wakes the instances that choose namespaces by their labels, and those
// that name this one, which may have been declared before it was there.
func (r *AlbatrossInstanceReconciler) onNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, func(instance *v1alpha1.AlbatrossInstance) bool {
		return slices.ContainsFunc(instance.Spec.Tenants, func(t v1alpha1.Tenant) bool {
			return t.NamespaceSelector != nil || t.Namespace == o.GetName()
		})
	})
}

func (r *AlbatrossInstanceReconciler) list(ctx context.Context, concerned func(*v1alpha1.AlbatrossInstance) bool, options ...client.ListOption) []ctrl.Request {
	var all v1alpha1.AlbatrossInstanceList
	return listRequests(ctx, r.Client, &all, func() []v1alpha1.AlbatrossInstance { return all.Items }, concerned, options...)
}

// onUser wakes the instances that an object is or shall be on.
func onUser(_ context.Context, o client.Object) (requests []ctrl.Request) {
	for _, instance := range instancesOf(o) {
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKey{Name: instance}})
	}
	return requests
}

// comesOrGoes lets through what changes who needs an instance.
func comesOrGoes() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return len(e.ObjectOld.GetFinalizers()) != len(e.ObjectNew.GetFinalizers())
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// readinessChanged lets through what changes whether an object is ready.
func readinessChanged() predicate.Predicate {
	ready := func(o client.Object) bool {
		with, ok := o.(interface{ GetConditions() []metav1.Condition })
		return ok && apimeta.IsStatusConditionTrue(with.GetConditions(), v1alpha1.ConditionReady) && o.GetDeletionTimestamp().IsZero()
	}
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return ready(e.ObjectOld) != ready(e.ObjectNew) },
	}
}

// policyConditionChanged lets through an instance whose policies were newly
// applied or refused.
func policyConditionChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(*v1alpha1.AlbatrossInstance)
		after, okAfter := e.ObjectNew.(*v1alpha1.AlbatrossInstance)
		return okBefore && okAfter && !equality.Semantic.DeepEqual(
			apimeta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionPoliciesApplied),
			apimeta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionPoliciesApplied))
	}}
}

// Reconcile looks at one instance and writes its status at most once.
func (r *AlbatrossInstanceReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var instance v1alpha1.AlbatrossInstance
	if err := r.Get(ctx, request.NamespacedName, &instance); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.Hosts.Remove(request.Name)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &instanceScope{AlbatrossInstanceReconciler: r, instance: &instance, before: instance.DeepCopy()}
	end := s.run(ctx)
	if s.gone {
		return end.Result()
	}
	s.conclude()
	if equality.Semantic.DeepEqual(s.before.Status, instance.Status) {
		return end.Result()
	}
	if err := status.Save(ctx, r.Client, r.Live, s.before, &instance); err != nil {
		return outcome.AfterWriting(err).Result()
	}
	for _, summary := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionCredentialsValid} {
		announce(r.Recorder, &instance, s.before.Status.Conditions, instance.Status.Conditions, summary)
	}
	return end.Result()
}

// instanceScope is what one reconcile finds out, from top to bottom.
type instanceScope struct {
	*AlbatrossInstanceReconciler
	instance, before *v1alpha1.AlbatrossInstance

	// Set by loadCredentials; a problem leaves the last good ones in use.
	credentialProblem status.Verdict
	// Set by connect.
	state hosts.State
	host  *hosts.Host
	// Set by findTenants: the declared policies by path, and all admitted paths.
	tenants []admittedTenant
	// Set by applyPolicies: the host's texts by path.
	refusals map[string]string

	verdict status.Verdict
	gone    bool
}

func (s *instanceScope) run(ctx context.Context) outcome.Outcome {
	steps := []func(context.Context) outcome.Outcome{
		s.keep, s.loadCredentials, s.connect, s.findTenants, s.applyPolicies, s.report,
	}
	if !s.instance.DeletionTimestamp.IsZero() {
		// The host stays connected while objects that need it are on their way out.
		steps = []func(context.Context) outcome.Outcome{s.release, s.loadCredentials, s.connect}
	}
	return runSteps(ctx, steps)
}

func (s *instanceScope) now() time.Time { return clock(s.Now) }

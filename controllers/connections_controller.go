package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

// ConnectionsReconciler tells the pool of hosts where they are and how to reach
// them, on every replica: those that are not the leader serve requests about
// hosts too. It writes nothing.
type ConnectionsReconciler struct {
	client.Client
	Hosts *hosts.Pool
	// Namespace is where the Secrets are.
	Namespace string
}

func setupConnections(mgr ctrl.Manager, config Config) error {
	r := &ConnectionsReconciler{Client: mgr.GetClient(), Hosts: config.Hosts, Namespace: config.Namespace}
	options := config.options()
	options.NeedLeaderElection = new(false)
	return ctrl.NewControllerManagedBy(mgr).
		Named("connections").
		For(&v1alpha1.AlbatrossInstance{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.onSecret)).
		WithOptions(options).
		Complete(r)
}

// onSecret gives the instances whose credentials a Secret has.
func (r *ConnectionsReconciler) onSecret(ctx context.Context, o client.Object) []ctrl.Request {
	if o.GetNamespace() != r.Namespace {
		return nil
	}
	var all v1alpha1.AlbatrossInstanceList
	return listRequests[v1alpha1.AlbatrossInstance](ctx, r.Client, &all, func() []v1alpha1.AlbatrossInstance { return all.Items }, nil,
		client.MatchingFields{bySecret: o.GetName()})
}

// Reconcile hands the credentials of an instance to the pool. What is wrong with
// them is said by the leader, in the status of the instance; the last good ones
// stay in use.
func (r *ConnectionsReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var instance v1alpha1.AlbatrossInstance
	if err := r.Get(ctx, request.NamespacedName, &instance); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.Hosts.Remove(request.Name)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	target, problem, err := hostTarget(ctx, r.Client, r.Namespace, &instance)
	if err == nil && problem.IsZero() {
		_ = r.Hosts.Set(instance.Name, target)
	}
	return ctrl.Result{}, err
}

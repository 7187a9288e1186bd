package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/outcome"
)

// CredentialsReconciler keeps the Secret of an instance while the instance
// exists: without it what is on the host could never be deleted.
type CredentialsReconciler struct {
	client.Client
	// Live reads past the cache.
	Live client.Reader
	// Namespace is where the Secrets are.
	Namespace string
}

// +kubebuilder:rbac:groups="",namespace=system,resources=secrets,verbs=patch

func setupCredentials(mgr ctrl.Manager, config Config) error {
	r := &CredentialsReconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Namespace: config.Namespace}
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == r.Namespace })
	return ctrl.NewControllerManagedBy(mgr).
		Named("credentials").
		For(&corev1.Secret{}, builder.WithPredicates(ours)).
		Watches(&v1alpha1.AlbatrossInstance{}, handler.EnqueueRequestsFromMapFunc(r.secretOf), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(config.options()).
		Complete(r)
}

// secretOf gives the Secret of an instance; of a changed one, the old one too.
func (r *CredentialsReconciler) secretOf(_ context.Context, o client.Object) []ctrl.Request {
	instance := o.(*v1alpha1.AlbatrossInstance)
	return []ctrl.Request{{NamespacedName: client.ObjectKey{Namespace: r.Namespace, Name: instance.Spec.CredentialsSecretRef.Name}}}
}

// Reconcile puts our finalizer on a Secret that an instance refers to, and takes
// it away when none does.
func (r *CredentialsReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var secret corev1.Secret
	if err := r.Get(ctx, request.NamespacedName, &secret); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	var users v1alpha1.AlbatrossInstanceList
	if err := r.List(ctx, &users, client.MatchingFields{bySecret: secret.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, err
	}
	needed, kept := len(users.Items) > 0, controllerutil.ContainsFinalizer(&secret, v1alpha1.Finalizer)
	var err error
	switch {
	case needed && !kept && secret.DeletionTimestamp.IsZero():
		err = patchFinalizer(ctx, r.Client, r.Live, &secret, &secret, controllerutil.AddFinalizer)
	case !needed && kept:
		err = patchFinalizer(ctx, r.Client, r.Live, &secret, &secret, controllerutil.RemoveFinalizer)
	}
	return outcome.AfterWriting(err).Result()
}

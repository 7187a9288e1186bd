package controllers

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// UserReconciler sees to the namespace of a User and to the user's rights there.
type UserReconciler struct {
	client.Client
	// Live reads past the cache.
	Live     client.Reader
	Recorder events.EventRecorder
	// Provision has it make namespaces and give rights in them.
	Provision bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// The operator makes, changes and deletes Users for those who use the HTTP API.
// +kubebuilder:rbac:groups=mollymawk.dev,resources=users,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mollymawk.dev,resources=users/status,verbs=patch
// +kubebuilder:rbac:groups="",namespace=system,resources=secrets,verbs=create

func setupUser(ctx context.Context, mgr ctrl.Manager, config Config) error {
	for _, index := range []index{
		{&v1alpha1.User{}, byNamespace, func(o client.Object) []string {
			return []string{o.(*v1alpha1.User).NamespaceOrDefault(), o.(*v1alpha1.User).Status.Namespace}
		}},
		{&v1alpha1.User{}, byEmail, func(o client.Object) []string { return []string{emailOf(o)} }},
	} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, index.of, index.field, index.values); err != nil {
			return err
		}
	}
	r := &UserReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("user"), Provision: config.ProvisionNamespaces,
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.User{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.User{}, handler.EnqueueRequestsFromMapFunc(r.sharingEmail), builder.WithPredicates(emailChanged())).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace), builder.WithPredicates(ownerChanged())).
		WithOptions(config.options()).
		Complete(r)
}

// emailChanged lets through what may give an address to another user.
func emailChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.(*v1alpha1.User).Spec.Email != e.ObjectNew.(*v1alpha1.User).Spec.Email
		},
	}
}

// ownerChanged lets through when a namespace is there or no longer, and when it is
// given to somebody else.
func ownerChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetAnnotations()[v1alpha1.AnnotationUserUID] != e.ObjectNew.GetAnnotations()[v1alpha1.AnnotationUserUID]
		},
	}
}

// emailOf gives a user's address in lower case, in which addresses are compared.
func emailOf(o client.Object) string { return strings.ToLower(string(o.(*v1alpha1.User).Spec.Email)) }

// sharingEmail gives the users with the same address.
func (r *UserReconciler) sharingEmail(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, client.MatchingFields{byEmail: emailOf(o)})
}

// ofNamespace gives the users whose namespace it is or shall be.
func (r *UserReconciler) ofNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, client.MatchingFields{byNamespace: o.GetName()})
}

func (r *UserReconciler) list(ctx context.Context, options ...client.ListOption) []ctrl.Request {
	var all v1alpha1.UserList
	return listRequests(ctx, r.Client, &all, func() []v1alpha1.User { return all.Items }, nil, options...)
}

// Reconcile looks at one User and writes its status at most once.
func (r *UserReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var user v1alpha1.User
	if err := r.Get(ctx, request.NamespacedName, &user); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !user.DeletionTimestamp.IsZero() {
		// What was made for it goes with it, by the garbage collector.
		return ctrl.Result{}, nil
	}
	s := &userScope{UserReconciler: r, user: &user, before: user.DeepCopy()}
	end := runSteps(ctx, []func(context.Context) outcome.Outcome{s.checkEmail, s.leave, s.checkActive, s.findNamespace, s.giveRights, s.settle})
	s.conclude()
	if equality.Semantic.DeepEqual(s.before.Status, user.Status) {
		return end.Result()
	}
	if err := status.Save(ctx, r.Client, r.Live, s.before, &user); err != nil {
		return outcome.AfterWriting(err).Result()
	}
	announce(r.Recorder, &user, s.before.Status.Conditions, user.Status.Conditions, v1alpha1.ConditionReady)
	return end.Result()
}

// userScope is what one reconcile finds out, from top to bottom.
type userScope struct {
	*UserReconciler
	// user is changed as the reconcile goes; before is how it was read.
	user, before *v1alpha1.User
	verdict      status.Verdict
	// namespaceReady is nil when the namespace was not looked at.
	namespaceReady *metav1.Condition
}

func (s *userScope) now() time.Time { return clock(s.Now) }

package controllers

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// Names of what gives a user rights in its namespace.
const (
	bindingName = "mollymawk-user"
	tenantRole  = "mollymawk-tenant"
)

// checkEmail ends the reconcile of a user whose address another has. It keeps its
// tokens, and cannot log in.
func (s *userScope) checkEmail(ctx context.Context) outcome.Outcome {
	var all v1alpha1.UserList
	if err := s.List(ctx, &all, client.MatchingFields{byEmail: emailOf(s.user)}, client.UnsafeDisableDeepCopy); err != nil {
		return outcome.Retry(err)
	}
	for i := range all.Items {
		if other := &all.Items[i]; other.Precedes(s.user) {
			s.verdict = status.Stalled(v1alpha1.ReasonEmailTaken, fmt.Sprintf("User %q has this e-mail address", other.Name))
			return outcome.Done()
		}
	}
	return outcome.Continue()
}

// leave takes away the rights in a namespace that is not to be the user's any more.
func (s *userScope) leave(ctx context.Context) outcome.Outcome {
	had := s.user.Status.Namespace
	if had == "" || had == s.user.NamespaceOrDefault() && s.user.IsActive() {
		return outcome.Continue()
	}
	return s.takeRights(ctx, had)
}

// takeRights deletes the binding in a namespace when it is the user's, or that of a
// deleted namesake whom the API server cannot tell from the user.
func (s *userScope) takeRights(ctx context.Context, namespace string) outcome.Outcome {
	if s.Provision {
		var binding rbacv1.RoleBinding
		err := s.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: bindingName}, &binding)
		if err == nil && slices.Equal(binding.Subjects, s.binding(namespace).Subjects) {
			err = s.Delete(ctx, &binding, client.Preconditions{UID: &binding.UID})
		}
		if client.IgnoreNotFound(err) != nil {
			return s.failed("take away the rights in", namespace, err)
		}
	}
	s.user.Status.Namespace = ""
	return outcome.Continue()
}

// failed goes on trying.
func (s *userScope) failed(to, namespace string, err error) outcome.Outcome {
	s.namespaceProblem(status.Working(v1alpha1.ReasonProgressing, fmt.Sprintf("cannot %s namespace %q: %v", to, namespace, apierrors.ReasonForError(err))))
	return outcome.Retry(err)
}

func (s *userScope) namespaceProblem(v status.Verdict) {
	s.verdict = v
	s.namespaceReady = new(status.Condition(v1alpha1.ConditionNamespaceReady, metav1.ConditionFalse, v.Reason, v.Message))
}

// checkActive ends the reconcile of a user who is not admitted: who only registered
// has no namespace.
func (s *userScope) checkActive(context.Context) outcome.Outcome {
	if s.user.IsActive() {
		return outcome.Continue()
	}
	const message = "spec.active is false"
	s.verdict = status.Ready(v1alpha1.ReasonInactive, message)
	s.namespaceReady = new(status.Condition(v1alpha1.ConditionNamespaceReady, metav1.ConditionFalse, v1alpha1.ReasonInactive, message))
	return outcome.Done()
}

// findNamespace makes the namespace if need be. One that is there is the user's
// only when it says so by the user's UID: a namesake of a deleted user gets nothing
// of what that one left.
func (s *userScope) findNamespace(ctx context.Context) outcome.Outcome {
	name := s.user.NamespaceOrDefault()
	var namespace corev1.Namespace
	err := s.Get(ctx, client.ObjectKey{Name: name}, &namespace)
	switch {
	case apierrors.IsNotFound(err) && !s.Provision:
		s.namespaceProblem(status.Stalled(v1alpha1.ReasonNamespaceMissing, fmt.Sprintf(
			"namespace %q does not exist; create it with the annotation %s: %s", name, v1alpha1.AnnotationUserUID, s.user.UID)))
		return outcome.Done()
	case apierrors.IsNotFound(err):
		return s.makeNamespace(ctx, name)
	case err != nil:
		return outcome.Retry(err)
	case namespace.Annotations[v1alpha1.AnnotationUserUID] != string(s.user.UID):
		s.namespaceProblem(status.Stalled(v1alpha1.ReasonNamespaceTaken, fmt.Sprintf(
			"namespace %q belongs to somebody else; choose another, or give it to this user by its annotation %s: %s", name, v1alpha1.AnnotationUserUID, s.user.UID)))
		return s.takeRights(ctx, name).Or(outcome.Done())
	case !namespace.DeletionTimestamp.IsZero():
		s.namespaceProblem(status.Working(v1alpha1.ReasonProgressing, fmt.Sprintf("namespace %q is being deleted", name)))
		return outcome.Done()
	}
	return outcome.Continue()
}

func (s *userScope) makeNamespace(ctx context.Context, name string) outcome.Outcome {
	err := s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{v1alpha1.LabelUser: s.user.Name}, Annotations: map[string]string{v1alpha1.AnnotationUserUID: string(s.user.UID)},
	}})
	switch {
	case apierrors.IsAlreadyExists(err):
		// Whose it is, is seen when the cache has it.
		s.namespaceProblem(status.Working(v1alpha1.ReasonProgressing, fmt.Sprintf("namespace %q is being looked at", name)))
		return outcome.Again()
	case err != nil:
		return s.failed("make", name, err)
	}
	return outcome.Continue()
}

// giveRights binds the tenant's role in the namespace to the identity as which the
// HTTP API writes for the user.
func (s *userScope) giveRights(ctx context.Context) outcome.Outcome {
	name := s.user.NamespaceOrDefault()
	if s.Provision {
		if err := s.bind(ctx, name); err != nil {
			return s.failed("give rights in", name, err)
		}
	}
	s.user.Status.Namespace = name
	return outcome.Continue()
}

func (s *userScope) bind(ctx context.Context, namespace string) error {
	wanted := s.binding(namespace)
	var present rbacv1.RoleBinding
	err := s.Live.Get(ctx, client.ObjectKeyFromObject(wanted), &present)
	switch {
	case apierrors.IsNotFound(err):
		return s.Create(ctx, wanted)
	case err != nil:
		return err
	case present.RoleRef != wanted.RoleRef:
		// A binding's role cannot be changed.
		if err := s.Delete(ctx, &present, client.Preconditions{UID: &present.UID}); err != nil {
			return err
		}
		return s.Create(ctx, wanted)
	case equality.Semantic.DeepEqual(present.Subjects, wanted.Subjects) && metav1.IsControlledBy(&present, s.user):
		return nil
	}
	present.Subjects, present.OwnerReferences = wanted.Subjects, wanted.OwnerReferences
	return s.Update(ctx, &present)
}

// binding goes with its User.
func (s *userScope) binding(namespace string) *rbacv1.RoleBinding {
	owner := metav1.NewControllerRef(s.user, v1alpha1.GroupVersion.WithKind("User"))
	// To block the owner's deletion would need more rights.
	owner.BlockOwnerDeletion = nil
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name: bindingName, Namespace: namespace, Labels: map[string]string{v1alpha1.LabelUser: s.user.Name}, OwnerReferences: []metav1.OwnerReference{*owner},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: tenantRole},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: accounts.Identity{Name: s.user.Name}.Impersonate()}},
	}
}

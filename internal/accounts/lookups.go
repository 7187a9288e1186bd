package accounts

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// ProfileByEmail gives the account of who logs in with an address.
func (a *Accounts) ProfileByEmail(ctx context.Context, email string) (Profile, error) {
	return a.profileOfFirst(ctx, func(user *v1alpha1.User) bool { return sameEmail(string(user.Spec.Email), email) })
}

// ProfileByDisplayName gives the account of who is called just so: of several the
// one made first.
func (a *Accounts) ProfileByDisplayName(ctx context.Context, name string) (Profile, error) {
	return a.profileOfFirst(ctx, func(user *v1alpha1.User) bool { return displayNameOf(user) == name })
}

// ProfileByExternalID gives the account that another system knows by an id: of
// several the one made first.
func (a *Accounts) ProfileByExternalID(ctx context.Context, id string) (Profile, error) {
	return a.profileOfFirst(ctx, func(user *v1alpha1.User) bool { return user.ExternalIDOrDefault() == id })
}

func (a *Accounts) profileOfFirst(ctx context.Context, wanted func(*v1alpha1.User) bool) (Profile, error) {
	if !a.Ready() {
		return Profile{}, ErrNotReady
	}
	found, ok := a.index.first(wanted)
	if !ok {
		return Profile{}, ErrUnknownAccount
	}
	return a.profile(ctx, found)
}

// ProfileByNamespace gives the account of the user to whom a namespace belongs.
func (a *Accounts) ProfileByNamespace(ctx context.Context, name string) (Profile, error) {
	if !a.Ready() {
		return Profile{}, ErrNotReady
	}
	var namespace corev1.Namespace
	if err := a.options.Client.Get(ctx, client.ObjectKey{Name: name}, &namespace, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return Profile{}, ErrUnknownAccount
		}
		return Profile{}, err
	}
	found, ok := a.index.byUID(types.UID(namespace.Annotations[v1alpha1.AnnotationUserUID]))
	if !ok || found.user.NamespaceOrDefault() != name {
		return Profile{}, ErrUnknownAccount
	}
	return a.profile(ctx, found)
}

// How long the namespace of a new user is waited for, and how often is looked.
const (
	namespaceLimit = 5 * time.Second
	namespacePause = 50 * time.Millisecond
)

// AwaitNamespace gives the account of a user and waits a moment for the namespace
// of one who was made just now. Where none is to be expected it does not wait.
func (a *Accounts) AwaitNamespace(ctx context.Context, name string) (p Profile, err error) {
	waitErr := wait.PollUntilContextTimeout(ctx, namespacePause, namespaceLimit, true, func(ctx context.Context) (bool, error) {
		found, findErr := a.find(name)
		if findErr != nil {
			return false, findErr
		}
		p, err = a.profile(ctx, found)
		return p.Namespace != "" || !expectsNamespace(found.user), err
	})
	if errors.Is(waitErr, context.DeadlineExceeded) && ctx.Err() == nil {
		return p, nil
	}
	return p, waitErr
}

// expectsNamespace tells whether a user may get a namespace without anybody's
// doing something.
func expectsNamespace(user *v1alpha1.User) bool {
	if user.Status.ObservedGeneration != user.Generation {
		return true
	}
	ready := apimeta.FindStatusCondition(user.Status.Conditions, v1alpha1.ConditionReady)
	inactive := ready != nil && ready.Reason == v1alpha1.ReasonInactive
	return !inactive && !apimeta.IsStatusConditionTrue(user.Status.Conditions, v1alpha1.ConditionStalled)
}

package accounts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// fieldManager owns what is written.
const fieldManager = client.FieldOwner("mollymawk-accounts")

// secretType tells these Secrets from others of the operator's namespace.
const secretType corev1.SecretType = v1alpha1.GroupName + "/account"

// writeLimit bounds a change with all its tries.
const writeLimit = 15 * time.Second

// conflictBackoff has those who change an account at the same time come one after
// another.
func conflictBackoff() wait.Backoff {
	return wait.Backoff{Duration: 5 * time.Millisecond, Factor: 1.1, Jitter: 1, Steps: 60}
}

// What an edit answers that found nothing to do.
var (
	errUnchanged = errors.New("nothing to change")
	// errNotDue says besides that the newest state does not matter.
	errNotDue = errors.New("nothing to change yet")
)

// change edits a user's Secret as it is at that moment: when somebody else was
// faster, it is read again and the edit is made again. Nothing that others write is
// lost. An error of edit ends it and is given back, but not before the edit has
// seen the newest state.
func (a *Accounts) change(ctx context.Context, user *v1alpha1.User, edit func(*draft) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	base, newest := a.secretOf(user), false
	var editErr error
	err := wait.ExponentialBackoffWithContext(ctx, conflictBackoff(), func(ctx context.Context) (bool, error) {
		if base == nil {
			var err error
			if base, err = a.readSecret(ctx, user); err != nil {
				return false, err
			}
			newest = true
		}
		d := newDraft(base.Data)
		if editErr = edit(d); editErr != nil {
			base = nil
			return newest || errors.Is(editErr, errNotDue), nil
		}
		err := a.write(ctx, base, d.data)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
			base = nil
			return false, nil
		}
		return err == nil, err
	})
	switch {
	case err != nil:
		return fmt.Errorf("write the account's Secret: %w", err)
	case errors.Is(editErr, errUnchanged), errors.Is(editErr, errNotDue):
		return nil
	}
	return editErr
}

// secretOf gives the Secret as it was seen last, if ever.
func (a *Accounts) secretOf(user *v1alpha1.User) *corev1.Secret {
	found, _ := a.index.byUID(user.UID)
	return found.secret
}

// readSecret reads past the cache. What is not there yet has no resource version.
func (a *Accounts) readSecret(ctx context.Context, user *v1alpha1.User) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := a.options.Live.Get(ctx, client.ObjectKey{Namespace: a.options.Namespace, Name: secretPrefix + string(user.UID)}, secret)
	if apierrors.IsNotFound(err) {
		return a.newSecret(user), nil
	}
	return secret, err
}

// newSecret goes with its User, by the garbage collector.
func (a *Accounts) newSecret(user *v1alpha1.User) *corev1.Secret {
	return secretFor(user, a.options.Namespace)
}

func secretFor(user *v1alpha1.User, namespace string) *corev1.Secret {
	owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "User", Name: user.Name, UID: user.UID}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: secretPrefix + string(user.UID), Namespace: namespace,
			Labels: map[string]string{v1alpha1.LabelUser: user.Name}, OwnerReferences: []metav1.OwnerReference{owner},
		},
		Type: secretType,
	}
}

// write fails with a conflict when the Secret is no longer as base.
func (a *Accounts) write(ctx context.Context, base *corev1.Secret, data map[string][]byte) error {
	if maps.EqualFunc(base.Data, data, func(x, y []byte) bool { return string(x) == string(y) }) {
		return nil
	}
	changed := base.DeepCopy()
	changed.Data = data
	var err error
	if base.ResourceVersion == "" {
		err = a.options.Client.Create(ctx, changed, fieldManager)
	} else {
		err = a.options.Client.Patch(ctx, changed, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}), fieldManager)
	}
	if err == nil {
		a.index.setSecret(changed)
	}
	return err
}

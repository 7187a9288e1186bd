package services

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// What is declared, for administrators: the objects themselves, whoever made them
// and whether they run. Other than the lists of what runs, these are as the cache
// has them, and must not be changed. What is being deleted is left out.

// DeclaredUnikernels gives the unikernels of a namespace, or of all with an empty
// one, in the order in which they were made.
func (s *Services) DeclaredUnikernels(ctx context.Context, id Identity, namespace string) ([]v1alpha1.Unikernel, error) {
	if err := administrates(id); err != nil {
		return nil, err
	}
	var found v1alpha1.UnikernelList
	if err := s.Client.List(ctx, &found, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	return inOrder(found.Items, func(uk *v1alpha1.Unikernel) *metav1.ObjectMeta { return &uk.ObjectMeta }), nil
}

// DeclaredInstance is an instance as it is declared.
type DeclaredInstance struct {
	*v1alpha1.AlbatrossInstance
	// Configured says that the Secret with its credentials is there.
	Configured bool
}

// DeclaredInstances gives all instances in the order in which they were made.
func (s *Services) DeclaredInstances(ctx context.Context, id Identity) ([]DeclaredInstance, error) {
	if err := administrates(id); err != nil {
		return nil, err
	}
	var found v1alpha1.AlbatrossInstanceList
	if err := s.Client.List(ctx, &found, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	items := inOrder(found.Items, func(o *v1alpha1.AlbatrossInstance) *metav1.ObjectMeta { return &o.ObjectMeta })
	all := make([]DeclaredInstance, 0, len(items))
	for i := range items {
		configured, err := s.hasSecret(ctx, s.Client, items[i].Spec.CredentialsSecretRef.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, DeclaredInstance{&items[i], configured})
	}
	return all, nil
}

// hasSecret tells whether the operator's namespace has a Secret.
func (s *Services) hasSecret(ctx context.Context, from client.Reader, name string) (bool, error) {
	var secret corev1.Secret
	err := from.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &secret, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// CatalogImages gives the entries of the image catalogue in the order in which
// they were made.
func (s *Services) CatalogImages(ctx context.Context, id Identity) ([]v1alpha1.UnikernelImage, error) {
	if err := administrates(id); err != nil {
		return nil, err
	}
	var found v1alpha1.UnikernelImageList
	if err := s.Client.List(ctx, &found, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	return inOrder(found.Items, func(o *v1alpha1.UnikernelImage) *metav1.ObjectMeta { return &o.ObjectMeta }), nil
}

// administrates checks that an administrator asks.
func administrates(id Identity) error {
	if err := checkIdentity(id); err != nil {
		return err
	}
	if !id.SuperUser {
		return ErrForbidden
	}
	return nil
}

// inOrder sorts objects by when they were made, and leaves out those that are being
// deleted.
func inOrder[T any](all []T, meta func(*T) *metav1.ObjectMeta) []T {
	all = slices.DeleteFunc(all, func(o T) bool { return !meta(&o).DeletionTimestamp.IsZero() })
	slices.SortFunc(all, func(a, b T) int {
		x, y := meta(&a), meta(&b)
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return all
}

// DeclareInstance adds a host, whether it answers or not, and gives its object.
// Nobody may use it until a policy is set. Its credentials are in the Secret of its
// name and "-tls", or, while there is none, in the fallback if that has a name.
func (s *Services) DeclareInstance(ctx context.Context, id Identity, wanted *v1alpha1.AlbatrossInstance, fallback string) (DeclaredInstance, error) {
	if _, err := administered(id, wanted.Name); err != nil {
		return DeclaredInstance{}, err
	}
	secret := wanted.Name + "-tls"
	// Which one is chosen stays so: the cache may not know yet what was made just now.
	configured, err := s.hasSecret(ctx, s.Live, secret)
	if err == nil && !configured && fallback != "" {
		secret = fallback
		configured, err = s.hasSecret(ctx, s.Live, secret)
	}
	if err != nil {
		return DeclaredInstance{}, err
	}
	c, err := s.writers.as(id)
	if err != nil {
		return DeclaredInstance{}, err
	}
	instance := wanted.DeepCopy()
	instance.Spec.CredentialsSecretRef.Name = secret
	err = apply(ctx, c, declaration{object: instance, version: absentVersion})
	if apierrors.IsConflict(err) {
		return DeclaredInstance{}, &Conflict{Text: "albatross instance " + strconv.Quote(wanted.Name) + " exists already"}
	}
	if err != nil {
		return DeclaredInstance{}, err
	}
	s.untilSeen(ctx, instance)
	return DeclaredInstance{instance, configured}, nil
}

// seenLimit is how long the cache is waited for. Then it is behind for other
// reasons, and callers may see for a while what was before.
const seenLimit = 5 * time.Second

// untilSeen waits until the cache has what was written, so that who asks next is
// not told of what was before.
func (s *Services) untilSeen(ctx context.Context, o client.Object) {
	s.untilCached(ctx, o, func(now client.Object) bool { return now != nil && now.GetGeneration() >= o.GetGeneration() })
}

// untilCached waits until the cache has an object as it is expected; nil when it is
// gone, or another of that name is there.
func (s *Services) untilCached(ctx context.Context, o client.Object, expected func(now client.Object) bool) {
	ctx, cancel := context.WithTimeout(ctx, seenLimit)
	defer cancel()
	changed, stop := s.news.listen(o)
	defer stop()
	for {
		now := empty(o)
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(o), now)
		switch {
		case err == nil && now.GetUID() == o.GetUID():
			if expected(now) {
				return
			}
		case err == nil || apierrors.IsNotFound(err):
			if expected(nil) {
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

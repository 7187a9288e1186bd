package services

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

// Instance is a host as callers see it.
type Instance struct {
	Name, Host string
	Port       int32
	// Online says that the host answers; else Problem says why not.
	Online  bool
	Problem string
}

// InstanceRequest says where a host is, and the PEM of what its commands are
// signed with. The certificate also is what the host's own must be signed by.
type InstanceRequest struct {
	Name, Host       string
	Port             int32
	Certificate, Key string
}

// madeByAPI labels the Secrets that were made for an instance here, and so are
// removed with it.
const madeByAPI = v1alpha1.GroupName + "/made-by-api"

// The Secrets of instances are the operator's own to write: RBAC cannot tell them
// from those of accounts, so administrators have no rights on any.
//
// +kubebuilder:rbac:groups="",namespace=system,resources=secrets,verbs=create;delete

// Instances lists the instances that admit the caller's namespace; for an
// administrator all.
func (s *Services) Instances(ctx context.Context, id Identity) ([]Instance, error) {
	if err := checkIdentity(id); err != nil {
		return nil, err
	}
	var found v1alpha1.AlbatrossInstanceList
	if err := s.Client.List(ctx, &found, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	admitted := map[string]bool{}
	if !id.SuperUser {
		places, err := s.places(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			admitted[p.instance] = true
		}
	}
	var all []Instance
	for i := range found.Items {
		if o := &found.Items[i]; id.SuperUser || admitted[o.Name] {
			all = append(all, s.instanceOf(o))
		}
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (s *Services) instanceOf(o *v1alpha1.AlbatrossInstance) Instance {
	instance := Instance{Name: o.Name, Host: string(o.Spec.Endpoint.Host), Port: o.Spec.Endpoint.PortOrDefault()}
	_, err := s.Hosts.Get(o.Name)
	if instance.Online = err == nil; err != nil {
		instance.Problem = problemOf(hostError(o.Name, err))
	}
	return instance
}

// administered checks that an administrator asks, and the name of an instance.
func administered(id Identity, instance string) (string, error) {
	if err := checkIdentity(id); err != nil {
		return "", err
	}
	if !id.SuperUser {
		return "", ErrForbidden
	}
	return label("instance", instance)
}

// instance reads an instance past the cache.
func (s *Services) instance(ctx context.Context, name string) (*v1alpha1.AlbatrossInstance, error) {
	var found v1alpha1.AlbatrossInstance
	err := s.Live.Get(ctx, client.ObjectKey{Name: name}, &found)
	if apierrors.IsNotFound(err) {
		return nil, &NotFound{whatInstance, name}
	}
	return &found, err
}

// RetryInstance looks at a host at once, also at one that was lost.
func (s *Services) RetryInstance(ctx context.Context, id Identity, name string) error {
	name, err := administered(id, name)
	if err != nil {
		return err
	}
	if _, err := s.instance(ctx, name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	_, err = s.Hosts.Refresh(ctx, name)
	return hostError(name, err)
}

// CreateInstance adds a host that answers. Nobody may use it until a policy is set.
func (s *Services) CreateInstance(ctx context.Context, id Identity, r InstanceRequest) error {
	name, err := administered(id, r.Name)
	if err != nil {
		return err
	}
	if err := s.answers(ctx, name, r); err != nil {
		return err
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	instance := newInstance(name, credentialsName(name), r)
	// First the object, as the caller: so the Secret is written for those only who
	// may have instances, and never for an instance that somebody else made.
	err = apply(ctx, c, declaration{object: instance, version: absentVersion})
	if apierrors.IsConflict(err) {
		return &Conflict{Text: "albatross instance " + strconv.Quote(name) + " exists already"}
	}
	if err != nil {
		return err
	}
	if err := s.writeCredentials(ctx, instance.Spec.CredentialsSecretRef.Name, r, true); err != nil {
		s.undo(ctx, "creation", instance, func(ctx context.Context) error { return remove(ctx, c, instance, instance.UID) })
		return err
	}
	return nil
}

func credentialsName(instance string) string { return instance + "-credentials" }

func newInstance(name, secret string, r InstanceRequest) *v1alpha1.AlbatrossInstance {
	return &v1alpha1.AlbatrossInstance{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: v1alpha1.Host(r.Host), Port: r.Port},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: secret},
		},
	}
}

// answers tries whether the host takes the credentials, before anything is written.
func (s *Services) answers(ctx context.Context, name string, r InstanceRequest) error {
	if r.Host == "" {
		return &Invalid{"host", "must be given"}
	}
	port := r.Port
	if port == 0 {
		port = v1alpha1.DefaultPort
	}
	_, err := s.Hosts.Try(ctx, hosts.Target{
		Addr: net.JoinHostPort(r.Host, strconv.Itoa(int(port))), Certificate: r.Certificate, Key: r.Key, ServerCA: r.Certificate,
	})
	var failure *albatross.Error
	if errors.Is(err, albatross.ErrInvalid) && !errors.As(err, &failure) {
		return &Invalid{"certificate", "the certificate and key cannot be used, or do not belong together"}
	}
	return hostError(name, err)
}

// writeCredentials makes the Secret of an instance or changes it. For a new
// instance only one that was made here may be there: any other of that name is
// somebody's.
func (s *Services) writeCredentials(ctx context.Context, name string, r InstanceRequest, anew bool) error {
	var present corev1.Secret
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &present)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	exists, ours := err == nil, present.Labels[madeByAPI] == "true"
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name},
		Data:       map[string][]byte{corev1.TLSCertKey: []byte(r.Certificate), corev1.TLSPrivateKeyKey: []byte(r.Key), "ca.crt": []byte(r.Certificate)},
	}
	version := present.ResourceVersion
	switch {
	case !exists:
		version = absentVersion
	case anew && !ours:
		return &Conflict{Text: "a Secret " + strconv.Quote(name) + " exists already"}
	}
	if !exists || ours {
		secret.Labels = map[string]string{madeByAPI: "true"}
	}
	return changedMeanwhile(apply(ctx, s.Client, declaration{object: secret, version: version}))
}

// UpdateInstance changes where a host is and its credentials, when it answers
// there.
func (s *Services) UpdateInstance(ctx context.Context, id Identity, r InstanceRequest) error {
	name, err := administered(id, r.Name)
	if err != nil {
		return err
	}
	before, err := s.instance(ctx, name)
	if err != nil {
		return err
	}
	if err := s.answers(ctx, name, r); err != nil {
		return err
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	// What else we declared stays; what others declare is not ours to take.
	changed := newInstance(name, before.Spec.CredentialsSecretRef.Name, r)
	changed.Annotations = panelAnnotations(before)
	ours, err := appliedFields(before)
	if err != nil {
		return err
	}
	if spec, _ := ours["f:spec"].(map[string]any); spec["f:tenants"] != nil {
		changed.Spec.Tenants = before.Spec.Tenants
	}
	// What is refused must be so before anything is written: the credentials are
	// for the new address.
	if err := apply(ctx, client.NewDryRunClient(c), declaration{changed.DeepCopy(), before.ResourceVersion, before}); err != nil {
		return changedMeanwhile(err)
	}
	if err := s.writeCredentials(ctx, before.Spec.CredentialsSecretRef.Name, r, false); err != nil {
		return err
	}
	return changedMeanwhile(apply(ctx, c, declaration{object: changed, before: before}))
}

// DeleteInstance removes a host that nothing is declared on any more, with the
// credentials that were made for it here. What runs there goes on.
func (s *Services) DeleteInstance(ctx context.Context, id Identity, name string) error {
	name, err := administered(id, name)
	if err != nil {
		return err
	}
	instance, err := s.instance(ctx, name)
	if err != nil {
		return err
	}
	if used, err := s.used(ctx, name); used != "" || err != nil {
		return errors.Join(err, inUse(used))
	}
	c, err := s.writers.as(id)
	if err != nil {
		return err
	}
	if err := remove(ctx, c, instance, instance.UID); err != nil {
		return err
	}
	if err := awaitGone(ctx, s, instance); err != nil {
		return err
	}
	s.lists.forget(name)
	return s.dropCredentials(ctx, instance.Spec.CredentialsSecretRef.Name)
}

// DeleteInstanceWithUnikernels also deletes the unikernels that are declared on it,
// and waits a moment for the host to let them go. A volume there, whose data would be
// lost, has it refused before anything is deleted, and so has a unikernel that moves
// elsewhere.
func (s *Services) DeleteInstanceWithUnikernels(ctx context.Context, id Identity, name string) error {
	name, err := administered(id, name)
	if err != nil {
		return err
	}
	if _, err := s.instance(ctx, name); err != nil {
		return err
	}
	if err := s.removeUnikernelsAt(ctx, id, name); err != nil {
		return err
	}
	return s.DeleteInstance(ctx, id, name)
}

func inUse(by string) error {
	if by == "" {
		return nil
	}
	return &Refused{v1alpha1.ReasonInUse, by + " is declared on it"}
}

// removeUnikernelsAt does not wait until the host has destroyed them.
func (s *Services) removeUnikernelsAt(ctx context.Context, id Identity, instance string) error {
	if volume, err := s.volumeAt(ctx, instance); volume != "" || err != nil {
		return errors.Join(err, inUse(volume))
	}
	unikernels, err := s.unikernelsAt(ctx, instance)
	if err != nil {
		return err
	}
	for _, uk := range unikernels {
		if uk.Spec.InstanceRef.Name != instance {
			return inUse(described(uk))
		}
	}
	for _, uk := range unikernels {
		if err := s.RemoveUnikernel(ctx, id, uk); err != nil {
			return err
		}
	}
	return nil
}

// used names something that is declared on an instance and stays. What is being
// deleted is given a moment to go.
func (s *Services) used(ctx context.Context, instance string) (string, error) {
	unikernels, err := s.unikernelsAt(ctx, instance)
	if err != nil {
		return "", err
	}
	for _, uk := range unikernels {
		if !s.goes(ctx, uk) {
			return described(uk), nil
		}
	}
	return s.volumeAt(ctx, instance)
}

func described(uk *v1alpha1.Unikernel) string {
	return "Unikernel " + client.ObjectKeyFromObject(uk).String()
}

// unikernelsAt gives those of the cache, which must not be changed.
func (s *Services) unikernelsAt(ctx context.Context, instance string) (all []*v1alpha1.Unikernel, err error) {
	var unikernels v1alpha1.UnikernelList
	err = s.Client.List(ctx, &unikernels, client.UnsafeDisableDeepCopy)
	for i := range unikernels.Items {
		if uk := &unikernels.Items[i]; isAt(uk, instance) {
			all = append(all, uk)
		}
	}
	return all, err
}

// volumeAt names a volume that is declared on an instance and stays.
func (s *Services) volumeAt(ctx context.Context, instance string) (string, error) {
	var volumes v1alpha1.VolumeList
	if err := s.Client.List(ctx, &volumes, client.UnsafeDisableDeepCopy); err != nil {
		return "", err
	}
	for i := range volumes.Items {
		if v := &volumes.Items[i]; v.Spec.InstanceRef.Name == instance && !s.goes(ctx, v) {
			return "Volume " + client.ObjectKeyFromObject(v).String(), nil
		}
	}
	return "", nil
}

// goes tells whether an object is gone in a moment.
func (s *Services) goes(ctx context.Context, o client.Object) (gone bool) {
	if o.GetDeletionTimestamp().IsZero() {
		return false
	}
	s.untilCached(ctx, o, func(now client.Object) bool {
		gone = now == nil
		return gone
	})
	return gone
}

// dropCredentials removes a Secret that was made here and that no other instance
// uses.
func (s *Services) dropCredentials(ctx context.Context, name string) error {
	var secret corev1.Secret
	if err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	var instances v1alpha1.AlbatrossInstanceList
	if err := s.Live.List(ctx, &instances); err != nil {
		return err
	}
	shared := slices.ContainsFunc(instances.Items, func(o v1alpha1.AlbatrossInstance) bool { return o.Spec.CredentialsSecretRef.Name == name })
	if secret.Labels[madeByAPI] != "true" || shared {
		return nil
	}
	return remove(ctx, s.Client, &secret, secret.UID)
}

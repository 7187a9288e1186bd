package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// Keys of a Secret with credentials.
const (
	secretCertificate = corev1.TLSCertKey
	secretKey         = corev1.TLSPrivateKeyKey
	secretServerCA    = "ca.crt"
)

// expiryWarning is how long before the end of a credential is warned of it.
const expiryWarning = 7 * 24 * time.Hour

// keep puts our finalizer on the instance, so that it stays while objects on its
// host need it to be deleted.
func (s *instanceScope) keep(ctx context.Context) outcome.Outcome {
	if controllerutil.ContainsFinalizer(s.instance, v1alpha1.Finalizer) {
		return outcome.Continue()
	}
	return outcome.AfterWriting(patchFinalizer(ctx, s.Client, s.Live, s.instance, s.before, controllerutil.AddFinalizer))
}

// release lets the instance go once no object needs it.
func (s *instanceScope) release(ctx context.Context) outcome.Outcome {
	if !controllerutil.ContainsFinalizer(s.instance, v1alpha1.Finalizer) {
		s.gone = true
		return outcome.Done()
	}
	users, err := s.users(ctx)
	if err != nil {
		return outcome.Retry(err)
	}
	if len(users) == 0 {
		s.gone = true
		s.Hosts.Remove(s.instance.Name)
		if err := patchFinalizer(ctx, s.Client, s.Live, s.instance, s.before, controllerutil.RemoveFinalizer); err != nil {
			return outcome.AfterWriting(err)
		}
		return outcome.Done()
	}
	s.verdict = status.Working(v1alpha1.ReasonInUse, fmt.Sprintf("waits for what is on the host to be deleted: %s", abbreviated(users)))
	return outcome.Continue()
}

// users names the objects that have something on the host.
func (s *instanceScope) users(ctx context.Context) (names []string, err error) {
	var unikernels v1alpha1.UnikernelList
	if err := s.List(ctx, &unikernels, client.MatchingFields{byInstance: s.instance.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range unikernels.Items {
		if uk := &unikernels.Items[i]; controllerutil.ContainsFinalizer(uk, v1alpha1.Finalizer) {
			names = append(names, "Unikernel "+client.ObjectKeyFromObject(uk).String())
		}
	}
	var volumes v1alpha1.VolumeList
	if err := s.List(ctx, &volumes, client.MatchingFields{byInstance: s.instance.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range volumes.Items {
		if v := &volumes.Items[i]; controllerutil.ContainsFinalizer(v, v1alpha1.Finalizer) {
			names = append(names, "Volume "+client.ObjectKeyFromObject(v).String())
		}
	}
	slices.Sort(names)
	return names, nil
}

// abbreviated names the first few.
func abbreviated(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// loadCredentials hands the content of the Secret to the pool. A problem leaves
// the last good credentials in use.
func (s *instanceScope) loadCredentials(ctx context.Context) outcome.Outcome {
	target, problem, err := hostTarget(ctx, s.Client, s.Namespace, s.instance)
	switch {
	case err != nil:
		return outcome.Retry(err)
	case !problem.IsZero():
		s.credentialProblem = problem
		return outcome.Continue()
	}
	if err := s.Hosts.Set(s.instance.Name, target); err != nil {
		s.credentialProblem = status.Stalled(v1alpha1.ReasonCredentialsInvalid, fmt.Sprintf("Secret %q: %v", s.instance.Spec.CredentialsSecretRef.Name, err))
	}
	return outcome.Continue()
}

// hostTarget gives what the pool needs for the host of an instance, or what is
// missing.
func hostTarget(ctx context.Context, c client.Reader, namespace string, instance *v1alpha1.AlbatrossInstance) (hosts.Target, status.Verdict, error) {
	name := instance.Spec.CredentialsSecretRef.Name
	var secret corev1.Secret
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return hosts.Target{}, status.Stalled(v1alpha1.ReasonCredentialsMissing, fmt.Sprintf("Secret %q does not exist in namespace %q", name, namespace)), nil
	case err != nil:
		return hosts.Target{}, status.Verdict{}, err
	}
	for _, key := range []string{secretCertificate, secretKey, secretServerCA} {
		if len(secret.Data[key]) == 0 {
			return hosts.Target{}, status.Stalled(v1alpha1.ReasonCredentialsMissing, fmt.Sprintf("Secret %q in namespace %q has no key %q", name, namespace, key)), nil
		}
	}
	return hosts.Target{
		Addr:        net.JoinHostPort(string(instance.Spec.Endpoint.Host), strconv.Itoa(int(instance.Spec.Endpoint.PortOrDefault()))),
		Certificate: string(secret.Data[secretCertificate]), Key: string(secret.Data[secretKey]), ServerCA: string(secret.Data[secretServerCA]),
		PollInterval: instance.Spec.PollIntervalOrDefault(),
	}, status.Verdict{}, nil
}

// connect takes what is known about the host. Whoever waits for a host that does
// not answer is the pool.
func (s *instanceScope) connect(context.Context) outcome.Outcome {
	var known bool
	if s.state, known = s.Hosts.State(s.instance.Name); !known {
		return outcome.Done()
	}
	if s.credentialProblem.IsZero() && s.now().After(s.state.NotAfter) {
		s.credentialProblem = status.Stalled(v1alpha1.ReasonCredentialsInvalid, "the credentials expired at "+s.state.NotAfter.UTC().Format(time.RFC3339))
	}
	host, err := s.Hosts.Get(s.instance.Name)
	if err != nil && !errors.Is(err, hosts.ErrNotConnected) {
		return outcome.Retry(err)
	}
	s.host = host
	return outcome.Continue()
}

// admittedTenant is one namespace's place on the host.
type admittedTenant struct {
	namespace string
	tenant
}

// findTenants gives every admitted namespace its path, the outer paths first.
func (s *instanceScope) findTenants(ctx context.Context) outcome.Outcome {
	var namespaces corev1.NamespaceList
	if err := s.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
		return outcome.Retry(err)
	}
	for i := range namespaces.Items {
		ns := &namespaces.Items[i]
		t, admitted, err := tenantOf(s.instance, ns.Name, labels.Set(ns.Labels))
		if err == nil && admitted {
			s.tenants = append(s.tenants, admittedTenant{ns.Name, t})
		}
	}
	slices.SortFunc(s.tenants, func(a, b admittedTenant) int {
		if d := len(a.path) - len(b.path); d != 0 {
			return d
		}
		return strings.Compare(a.path.String(), b.path.String())
	})
	return outcome.Continue()
}

// applyPolicies sends each declared policy that is not in force. That is all that
// is ever sent of policies but those in force.
func (s *instanceScope) applyPolicies(ctx context.Context) outcome.Outcome {
	if s.host == nil {
		return outcome.Continue()
	}
	s.refusals = map[string]string{}
	snapshot, applied := s.host.Snapshot(), false
	for _, t := range s.tenants {
		if t.policy == nil {
			continue
		}
		want := declaredPolicy(t.policy)
		if inForce, ok := snapshot.Policies[t.path.String()]; ok && inForce.Equal(want) {
			continue
		}
		text, err := s.applyPolicy(ctx, snapshot, t.path, want)
		if err != nil {
			return outcome.Retry(err)
		}
		if text != "" {
			s.refusals[t.path.String()] = text
			continue
		}
		// Tenants below this one need it in their chain.
		var refreshErr error
		if snapshot, refreshErr = s.host.Refresh(ctx); refreshErr != nil {
			return outcome.Retry(refreshErr)
		}
		applied = true
	}
	if applied {
		s.state, _ = s.Hosts.State(s.instance.Name)
	}
	return outcome.Continue()
}

// applyPolicy gives the text of a refusal. A policy that could do harm is not
// sent at all: one larger than its parent's, or below a parent that has none,
// which would be locked out.
func (s *instanceScope) applyPolicy(ctx context.Context, snapshot *hosts.Snapshot, path albatross.Path, policy albatross.Policy) (refusal string, err error) {
	key := s.instance.Name + " " + path.String()
	if text, ok := s.refused.lately(key, policy, s.now()); ok {
		return text, nil
	}
	parents, missing := snapshot.Scope(path.Parent())
	if missing != nil {
		return fmt.Sprintf("path %q above it has no policy; have one set first", missing), nil
	}
	if err := policy.Usable(); err != nil {
		return err.Error(), nil
	}
	for _, parent := range parents {
		if err := policy.Within(parent.Policy); err != nil {
			return err.Error(), nil
		}
	}
	err = s.host.Measure("policy", func() error {
		_, err := s.host.Client().Policies(ctx, append(parents, albatross.Level{Label: path[len(path)-1], Policy: policy}))
		return err
	})
	if errors.Is(err, albatross.ErrRefused) && hosts.Classify(err) != hosts.Transient {
		s.refused.remember(key, policy, hosts.Text(err), s.now())
		return hosts.Text(err), nil
	}
	return "", err
}

// refusedPolicies remembers what hosts refused, so that it is not sent at every look.
type refusedPolicies struct {
	mu  sync.Mutex
	all map[string]refusedPolicy
}

type refusedPolicy struct {
	policy albatross.Policy
	text   string
	at     time.Time
}

// lately gives the refusal of just this policy when it is not old.
func (r *refusedPolicies) lately(key string, policy albatross.Policy, now time.Time) (text string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.all[key]
	if !ok || !last.policy.Equal(policy) || now.Sub(last.at) > stalledInterval {
		return "", false
	}
	return last.text, true
}

func (r *refusedPolicies) remember(key string, policy albatross.Policy, text string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]refusedPolicy{}
	}
	r.all[key] = refusedPolicy{policy, text, now}
}

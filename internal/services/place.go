package services

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/tenants"
)

// place is the caller's own part of a host.
type place struct {
	instance string
	tenants.Tenant
}

// name gives the full name of something of the caller's.
func (p place) name(label string) albatross.Name { return albatross.Name{Path: p.Path, Label: label} }

// place finds the caller's part of an instance.
func (s *Services) place(ctx context.Context, id Identity, instance string) (place, error) {
	if err := checkIdentity(id); err != nil {
		return place{}, err
	}
	var found v1alpha1.AlbatrossInstance
	if err := s.Client.Get(ctx, client.ObjectKey{Name: instance}, &found, client.UnsafeDisableDeepCopy); err != nil {
		if apierrors.IsNotFound(err) {
			return place{}, &NotFound{whatInstance, instance}
		}
		return place{}, err
	}
	namespaceLabels, exists, err := s.labelsOf(ctx, id.Namespace)
	switch {
	case err != nil:
		return place{}, err
	case !exists:
		return place{}, &NotAdmitted{instance, id.Namespace}
	}
	tenant, admitted, err := tenants.Of(&found, id.Namespace, namespaceLabels)
	switch {
	case err != nil:
		return place{}, fmt.Errorf("albatross instance %q: %w", instance, err)
	case !admitted:
		return place{}, &NotAdmitted{instance, id.Namespace}
	}
	return place{instance, tenant}, nil
}

// labelsOf gives the labels of a namespace. One that does not exist has no place
// anywhere, though a selector might choose it.
func (s *Services) labelsOf(ctx context.Context, namespace string) (of k8slabels.Set, exists bool, err error) {
	if namespace == "" {
		return nil, false, nil
	}
	var ns corev1.Namespace
	err = s.Client.Get(ctx, client.ObjectKey{Name: namespace}, &ns, client.UnsafeDisableDeepCopy)
	return ns.Labels, err == nil, client.IgnoreNotFound(err)
}

// connected gives the host at a place, or why it cannot be asked.
func (s *Services) connected(p place) (*hosts.Host, error) {
	host, err := s.Hosts.Get(p.instance)
	if err != nil {
		return nil, hostError(p.instance, err)
	}
	return host, nil
}

// freshness is how old a look may be that a direct command goes by. Its policies
// travel with the command and would be set again, so it must not be an old one.
const freshness = time.Second

// site is a place on a connected host, with what is there now.
type site struct {
	place
	host     *hosts.Host
	snapshot *hosts.Snapshot
	// scope is what a direct command carries.
	scope albatross.Scope
}

// site looks at a host for a direct command. A policy that is declared and not in
// force yet must not be set back by it.
func (s *Services) site(ctx context.Context, p place) (*site, error) {
	host, err := s.connected(p)
	if err != nil {
		return nil, err
	}
	snapshot := host.Snapshot()
	if s.Now().Sub(snapshot.At) > freshness || host.Doubtful() {
		if snapshot, err = host.Refresh(ctx); err != nil {
			return nil, hostError(p.instance, err)
		}
	}
	scope, missing := snapshot.Scope(p.Path)
	if missing != nil {
		return nil, &Refused{Reason: v1alpha1.ReasonNoPolicy, Text: fmt.Sprintf("path %q has no policy on the host", missing)}
	}
	if p.Policy != nil && !scope[len(scope)-1].Policy.Equal(tenants.Policy(p.Policy)) {
		return nil, &Unreachable{p.instance, fmt.Sprintf("the policy of path %q is not in force yet", p.Path)}
	}
	return &site{p, host, snapshot, scope}, nil
}

// directly has the host do something that no object asks for, when it has a place
// for a command.
func (s *Services) directly(ctx context.Context, at *site, command, label string, do func(context.Context) error) error {
	key := at.instance + " " + at.name(label).String()
	free, ok := s.direct.take(key)
	if !ok {
		return &Conflict{Text: "somebody is doing something with it at the moment"}
	}
	defer free()
	release, err := s.acquire(ctx, at, key)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Patience)
	defer cancel()
	if err := at.host.Measure(command, func() error { return do(ctx) }); err != nil {
		return hostError(at.instance, err)
	}
	if _, err := at.host.Refresh(ctx); err != nil {
		s.Log.V(1).Info("Look after a direct command failed", "instance", at.instance, "error", err.Error())
	}
	return nil
}

// acquire waits for one of the host's places for commands, which the controllers
// of this replica share.
func (s *Services) acquire(ctx context.Context, at *site, key string) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	granted := make(chan struct{}, 1)
	subscription, end := context.WithCancel(ctx)
	defer end()
	s.Hosts.Subscribe(subscription, func(c hosts.Change) {
		if c.Instance == at.instance && len(c.Granted) > 0 {
			select {
			case granted <- struct{}{}:
			default: // it looks again already
			}
		}
	})
	for {
		if release, ok := at.host.TryAcquire("direct " + key); ok {
			return release, nil
		}
		select {
		case <-granted:
		case <-time.After(time.Second): // in case the call was missed
		case <-ctx.Done():
			return nil, ErrBusy
		}
	}
}

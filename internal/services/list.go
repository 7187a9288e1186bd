package services

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/tenants"
)

// InstanceUnikernels is what runs of a caller on one instance.
type InstanceUnikernels struct {
	Instance string
	// At is when the host was looked at. Of two lists of a namespace with the same
	// instance and time the unikernels are the same.
	At time.Time
	// Unikernels are sorted by name. They are shared and must not be changed.
	Unikernels []albatross.Unikernel
}

// InstanceError says why an instance is missing in a list.
type InstanceError struct{ Instance, Text string }

// Volume is a block device of a caller.
type Volume struct {
	Instance, Name string
	// Size in MiB.
	Size int64
	// Used says that a unikernel runs with it.
	Used bool
}

// Unikernels lists what runs of the caller on all instances that admit its
// namespace, sorted by instance, whoever made it. It is as the hosts were at their
// last look; nobody is waited for.
func (s *Services) Unikernels(ctx context.Context, id Identity) ([]InstanceUnikernels, []InstanceError, error) {
	var all []InstanceUnikernels
	problems, err := s.eachPlace(ctx, id, func(p place, snapshot *hosts.Snapshot) {
		all = append(all, InstanceUnikernels{p.instance, snapshot.At, s.lists.of(p.instance, snapshot).unikernels[p.Path.String()]})
	})
	return all, problems, err
}

// Volumes lists the caller's volumes on all instances, as [Services.Unikernels]
// does unikernels.
func (s *Services) Volumes(ctx context.Context, id Identity) ([]Volume, []InstanceError, error) {
	var all []Volume
	problems, err := s.eachPlace(ctx, id, func(p place, snapshot *hosts.Snapshot) {
		for _, b := range s.lists.of(p.instance, snapshot).blocks[p.Path.String()] {
			all = append(all, Volume{p.instance, b.Name.Label, b.Size, b.Active})
		}
	})
	return all, problems, err
}

// eachPlace visits the caller's places on connected hosts and says what is wrong
// with the others.
func (s *Services) eachPlace(ctx context.Context, id Identity, visit func(place, *hosts.Snapshot)) (problems []InstanceError, err error) {
	if err := checkIdentity(id); err != nil {
		return nil, err
	}
	places, err := s.places(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		host, err := s.connected(p)
		if err != nil {
			problems = append(problems, InstanceError{p.instance, problemOf(err)})
			continue
		}
		visit(p, host.Snapshot())
	}
	return problems, nil
}

// places gives the caller's places on all instances, sorted by instance.
func (s *Services) places(ctx context.Context, id Identity) (places []place, err error) {
	var instances v1alpha1.AlbatrossInstanceList
	if err := s.Client.List(ctx, &instances, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	namespaceLabels, exists, err := s.labelsOf(ctx, id.Namespace)
	if err != nil || !exists {
		return nil, err
	}
	for i := range instances.Items {
		tenant, admitted, err := tenants.Of(&instances.Items[i], id.Namespace, namespaceLabels)
		if err == nil && admitted {
			places = append(places, place{instances.Items[i].Name, tenant})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.instance, b.instance) })
	return places, nil
}

func problemOf(err error) string {
	if unreachable, ok := err.(*Unreachable); ok { //nolint:errorlint // from connected, which wraps nothing
		return unreachable.Problem
	}
	return err.Error()
}

// lists keeps of the last look at each host what is at which path, since many
// lists are asked for between two looks.
type lists struct {
	mu  sync.Mutex
	all map[string]*list
}

type list struct {
	snapshot   *hosts.Snapshot
	unikernels map[string][]albatross.Unikernel
	blocks     map[string][]albatross.Block
}

func (l *lists) of(instance string, snapshot *hosts.Snapshot) *list {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.all[instance]; known != nil && known.snapshot == snapshot {
		return known
	}
	if l.all == nil {
		l.all = map[string]*list{}
	}
	made := &list{
		snapshot:   snapshot,
		unikernels: byPath(snapshot.Unikernels, func(u albatross.Unikernel) albatross.Name { return u.Name }),
		blocks:     byPath(snapshot.Blocks, func(b albatross.Block) albatross.Name { return b.Name }),
	}
	l.all[instance] = made
	return made
}

// forget is for instances that are gone.
func (l *lists) forget(instance string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, instance)
}

// byPath sorts things by the path that they are at, and there by their names.
func byPath[T any](things map[string]T, name func(T) albatross.Name) map[string][]T {
	m := map[string][]T{}
	for _, thing := range things {
		path := name(thing).Path.String()
		m[path] = append(m[path], thing)
	}
	for _, at := range m {
		slices.SortFunc(at, func(a, b T) int { return cmp.Compare(name(a).Label, name(b).Label) })
	}
	return m
}

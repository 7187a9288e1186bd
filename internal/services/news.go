package services

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

// news wakes those who wait for a change of an object.
type news struct {
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool
}

// keyOf is how an object is known here.
func keyOf(o client.Object) string {
	return fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
}

// listen gives a channel that has something after each change of the object.
func (n *news) listen(o client.Object) (changed <-chan struct{}, stop func()) {
	key, c := keyOf(o), make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting == nil {
		n.waiting = map[string]map[chan struct{}]bool{}
	}
	if n.waiting[key] == nil {
		n.waiting[key] = map[chan struct{}]bool{}
	}
	n.waiting[key][c] = true
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if delete(n.waiting[key], c); len(n.waiting[key]) == 0 {
			delete(n.waiting, key)
		}
	}
}

func (n *news) tell(o client.Object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.waiting[keyOf(o)] {
		select {
		case c <- struct{}{}:
		default: // it was woken already
		}
	}
}

// hear has changes of objects told to those who wait, until stop. One may still be
// told after stop, for informers do not wait for their handlers.
func (s *Services) hear(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for _, o := range []client.Object{&v1alpha1.Unikernel{}, &v1alpha1.Volume{}, &v1alpha1.AlbatrossInstance{}} {
		informer, err := s.Cache.GetInformer(ctx, o)
		if err != nil {
			stop()
			return nil, fmt.Errorf("services: %w", err)
		}
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { s.changed(ctx, o, false) },
			UpdateFunc: func(_, o any) { s.changed(ctx, o, false) },
			DeleteFunc: func(o any) { s.changed(ctx, o, true) },
		})
		if err != nil {
			stop()
			return nil, fmt.Errorf("services: %w", err)
		}
		stops = append(stops, func() { _ = informer.RemoveEventHandler(registration) })
	}
	return stop, nil
}

func (s *Services) changed(ctx context.Context, o any, deleted bool) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	object, ok := o.(client.Object)
	if !ok {
		return
	}
	s.news.tell(object)
	if instance, name := whereabouts(object); instance != "" && s.outdated(instance, name, object, deleted) {
		s.looks.again(ctx, instance, func(ctx context.Context) error {
			_, err := s.Hosts.Refresh(ctx, instance)
			return err
		})
	}
}

// whereabouts gives where the status of an object says that it is.
func whereabouts(o client.Object) (instance, hostName string) {
	switch o := o.(type) {
	case *v1alpha1.Unikernel:
		return o.Status.Instance, o.Status.HostName
	case *v1alpha1.Volume:
		return o.Spec.InstanceRef.Name, o.Status.HostName
	}
	return "", ""
}

// outdated tells whether the last look of this replica at a host is older than
// what an object tells of it. The controllers look after each of their commands,
// but on the leader: without this the other replicas would list things as they
// were up to a poll ago.
func (s *Services) outdated(instance, hostName string, o client.Object, deleted bool) bool {
	state, known := s.Hosts.State(instance)
	if !known || !state.Connected || hostName == "" {
		return false
	}
	switch o := o.(type) {
	case *v1alpha1.Unikernel:
		runs, ok := state.Snapshot.Unikernels[hostName]
		gone := deleted || o.Status.StartedAt == nil
		return gone == ok || ok && !sameRun(o, runs)
	case *v1alpha1.Volume:
		_, ok := state.Snapshot.Blocks[hostName]
		return deleted == ok
	}
	return false
}

// sameRun tells whether what runs is what the status tells of.
func sameRun(uk *v1alpha1.Unikernel, runs albatross.Unikernel) bool {
	if uk.Status.Digest != "" && uk.Status.Digest != hex.EncodeToString(runs.Info.Digest) {
		return false
	}
	return !runs.Info.Started.Truncate(time.Second).Before(uk.Status.StartedAt.Time)
}

// looks has hosts looked at again, one at a time each.
type looks struct {
	mu sync.Mutex
	// under has the hosts that are being looked at, and whether they shall be once
	// more.
	under map[string]bool
	ended bool
	work  sync.WaitGroup
}

// lookLimit is how long a look is waited for.
const lookLimit = 30 * time.Second

// again looks at a host soon, unless looks have ended.
func (l *looks) again(ctx context.Context, instance string, look func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if _, busy := l.under[instance]; busy {
		l.under[instance] = true
		return
	}
	if l.under == nil {
		l.under = map[string]bool{}
	}
	l.under[instance] = false
	l.work.Go(func() {
		for more := true; more; more = l.more(instance) {
			ctx, cancel := context.WithTimeout(ctx, lookLimit)
			err := look(ctx)
			cancel()
			if errors.Is(err, hosts.ErrNotConnected) {
				l.forget(instance)
				return
			}
		}
	})
}

// more tells whether to look once more, and forgets the host otherwise.
func (l *looks) more(instance string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.under[instance] && !l.ended {
		l.under[instance] = false
		return true
	}
	delete(l.under, instance)
	return false
}

func (l *looks) forget(instance string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.under, instance)
}

// end begins nothing any more and waits for what is under way.
func (l *looks) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.work.Wait()
}

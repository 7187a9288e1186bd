package controllers

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/internal/outcome"
)

// claimMemory is how long an object may take to vanish after it got our finalizer.
const claimMemory = time.Minute

// claims remembers the objects that got our finalizer lately. An API server that
// is asked to delete an object looks for finalizers first and deletes it then,
// also when it got one in between. Such an object is gone at once, and what was
// made for it would stay on its host.
type claims struct {
	mu       sync.Mutex
	all      map[client.ObjectKey]claim
	sweeping sweeping
}

type claim struct {
	object client.Object
	at     time.Time
	// vanished keeps the claim until all is cleaned up.
	vanished bool
}

// add notes an object that just got our finalizer.
func (c *claims) add(o client.Object, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[client.ObjectKey]claim{}
	}
	c.sweeping.after(claimMemory, c.sweep)
	c.all[client.ObjectKeyFromObject(o)] = claim{object: o.DeepCopyObject().(client.Object), at: now}
}

// forget is for an object whose finalizer we took away, and for one that vanished
// and left nothing.
func (c *claims) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, old := range c.all {
		if old.object.GetUID() == uid {
			delete(c.all, key)
		}
	}
}

// vanished gives an object of that name that got our finalizer and is gone
// without our having taken it away. present is the UID of the one of that name
// now, empty when there is none.
func (c *claims) vanished(key client.ObjectKey, present types.UID, now time.Time) (client.Object, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.all[key]
	if !ok || old.over(now) || old.object.GetUID() == present {
		return nil, false
	}
	old.vanished = true
	c.all[key] = old
	return old.object.DeepCopyObject().(client.Object), true
}

// sweep drops what is over.
func (c *claims) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.all, func(_ client.ObjectKey, old claim) bool { return old.over(now) })
	if len(c.all) > 0 {
		c.sweeping.after(claimMemory, c.sweep)
	}
}

func (c claim) over(now time.Time) bool { return !c.vanished && now.Sub(c.at) > claimMemory }

// cleanUp removes from hosts what belongs to an object that vanished, by the
// steps that do so for one that is being deleted.
func cleanUp(ctx context.Context, p *placement, steps []func(context.Context) outcome.Outcome) (ctrl.Result, error) {
	ctrl.LoggerFrom(ctx).Info("The object is gone though it had our finalizer; what was made for it is removed")
	p.vanished = true
	end := runSteps(ctx, steps)
	if p.gone {
		return end.Result()
	}
	// Nothing wakes what is no more.
	return end.OrWait(waitingInterval).Result()
}

package controllers

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"mollymawk.dev/operator/internal/metrics"
)

// reasonDriftRepaired is the reason of the event about a host that was brought
// back to what is declared.
const reasonDriftRepaired = "DriftRepaired"

// tell counts what a pass has done, once its status is saved.
func (p *placement) tell(recorder events.EventRecorder, changes *changeClock) {
	if p.repair.action != "" {
		metrics.DriftRepaired(p.kind, string(p.repair.action))
		recorder.Eventf(p.object, nil, corev1.EventTypeNormal, reasonDriftRepaired, "Reconcile", "%s", p.repair.message)
	}
	for _, n := range p.notes {
		recorder.Eventf(p.object, nil, n.kind, n.reason, "Reconcile", "%s", n.message)
	}
	if p.unchanged || readyNow(p.read) {
		return
	}
	begun := changes.begun(p.object.GetUID(), p.object.GetGeneration(), time.Now())
	if p.object.GetGeneration() == 1 {
		begun = p.object.GetCreationTimestamp().Time
	}
	if p.verdict.Status == metav1.ConditionTrue {
		metrics.Ready(p.kind, time.Since(begun))
		changes.forget(p.object.GetUID())
	}
}

// changeClock remembers when a change of a declaration was first looked at, for
// the objects that are on their way.
type changeClock struct {
	mu  sync.Mutex
	all map[types.UID]change
}

type change struct {
	generation int64
	seen       time.Time
}

// begun gives when a generation of an object was first looked at, which is now if
// it was not before.
func (c *changeClock) begun(uid types.UID, generation int64, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[types.UID]change{}
	}
	if known, ok := c.all[uid]; ok && known.generation == generation {
		return known.seen
	}
	c.all[uid] = change{generation, now}
	return now
}

// forget is for objects that have arrived or are gone.
func (c *changeClock) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, uid)
}

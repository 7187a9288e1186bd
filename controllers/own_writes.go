package controllers

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// ownWriteMemory is how long a cache may take to see what we wrote. One that is
	// further behind, or whose server was put back to an earlier state, is believed.
	ownWriteMemory = 5 * time.Second
	// ownWritePause is how long to wait for it, each time.
	ownWritePause = 50 * time.Millisecond
)

// ownWrites remembers the versions that our own writes gave to objects, until the
// cache has them. What wakes an object in between finds it as it was before: it
// would be worked out and written once more, and refused.
type ownWrites struct {
	mu       sync.Mutex
	all      map[types.UID]ownWrite
	sweeping sweeping
}

type ownWrite struct {
	version string
	at      time.Time
}

// note is called with an object as a write of ours returned it.
func (w *ownWrites) note(o client.Object, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[types.UID]ownWrite{}
	}
	w.sweeping.after(ownWriteMemory, w.sweep)
	w.all[o.GetUID()] = ownWrite{o.GetResourceVersion(), now}
}

// unseen tells whether an object from the cache is older than our own last write
// of it.
func (w *ownWrites) unseen(o client.Object, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	written, ok := w.all[o.GetUID()]
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), written.version)
	if err == nil && order < 0 && !written.over(now) {
		return true
	}
	delete(w.all, o.GetUID())
	return false
}

// sweep drops what is over: most objects are not looked at again after they were
// written.
func (w *ownWrites) sweep(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.all, func(_ types.UID, old ownWrite) bool { return old.over(now) })
	if len(w.all) > 0 {
		w.sweeping.after(ownWriteMemory, w.sweep)
	}
}

func (w ownWrite) over(now time.Time) bool { return now.Sub(w.at) >= ownWriteMemory }

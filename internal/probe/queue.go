package probe

import (
	"container/heap"
	"context"
	"time"
)

// target is a unikernel that is probed. While it is, it stands in no queue.
type target struct {
	key, tenant string
	spec        Spec
	epoch       string
	record      record

	// due is when it is probed next.
	due time.Time
	// queue is where it stands, at index; nil while it is probed.
	queue *queue
	index int
	// cancel ends the probe that is under way.
	cancel context.CancelFunc
}

// queue has targets in the order in which they are due.
type queue struct{ targets targetHeap }

func (q *queue) push(t *target) {
	t.queue = q
	heap.Push(&q.targets, t)
}

// first gives the one that is due first, or nil.
func (q *queue) first() *target {
	if len(q.targets) == 0 {
		return nil
	}
	return q.targets[0]
}

// remove takes out one that stands in the queue.
func (q *queue) remove(t *target) {
	heap.Remove(&q.targets, t.index)
	t.queue = nil
}

// targetHeap implements heap.Interface.
type targetHeap []*target

func (h targetHeap) Len() int           { return len(h) }
func (h targetHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h targetHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *targetHeap) Push(x any) {
	t := x.(*target) //nolint:forcetypeassert // only targets are pushed
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *targetHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return t
}

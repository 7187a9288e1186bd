package controllers

import (
	"context"
	"strings"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	corev1 "k8s.io/api/core/v1"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

// keyOf is how an object is known to those who wake it: kind, namespace and name.
func keyOf(kind string, o client.Object) string {
	return kind + " " + client.ObjectKeyFromObject(o).String()
}

// requestOf gives the request for a key of the kind.
func requestOf(kind, key string) (ctrl.Request, bool) {
	rest, ok := strings.CutPrefix(key, kind+" ")
	if !ok {
		return ctrl.Request{}, false
	}
	namespace, name, ok := strings.Cut(rest, string(types.Separator))
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}, ok
}

// grantedRequests gives the objects of a kind that have a place for a command now.
func grantedRequests(kind string, c hosts.Change) (requests []ctrl.Request) {
	for _, key := range c.Granted {
		if request, ok := requestOf(kind, key); ok {
			requests = append(requests, request)
		}
	}
	return requests
}

// listRequests gives the listed objects that are concerned; nil means all.
func listRequests[T any, P interface {
	*T
	client.Object
}](ctx context.Context, c client.Client, list client.ObjectList, items func() []T, concerned func(P) bool, options ...client.ListOption) (requests []ctrl.Request) {
	// The list is only read, so nothing need be copied out of the cache.
	if err := c.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List objects to wake")
		return nil
	}
	all := items()
	for i := range all {
		if o := P(&all[i]); concerned == nil || concerned(o) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)})
		}
	}
	return requests
}

// hostChanges wakes what affected gives for a change of a host: after a pause that
// many changes may share, but at once those who got a place for a command, and
// when all of the host may have changed; then behind all others.
func hostChanges(pool HostPool, affected func(context.Context, hosts.Change) []ctrl.Request, pause time.Duration) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
		pool.Subscribe(ctx, func(c hosts.Change) {
			requests, after := affected(ctx, c), pause
			if c.All {
				addBehind(queue, requests)
				return
			}
			if len(c.Granted) > 0 {
				after = 0
			}
			for _, request := range requests {
				queue.AddAfter(request, after)
			}
		})
		return nil
	})
}

// addBehind has requests wait until nothing else is to be done: when a host with
// very many objects is lost or found, what people change does not wait for all
// of these.
func addBehind(queue workqueue.TypedRateLimitingInterface[ctrl.Request], requests []ctrl.Request) {
	if q, ok := queue.(priorityqueue.PriorityQueue[ctrl.Request]); ok {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, requests...)
		return
	}
	for _, request := range requests {
		queue.Add(request)
	}
}

// Wakeups lets those who know objects by key only wake their reconcilers.
type Wakeups struct {
	mu    sync.Mutex
	kinds map[string]func(ctrl.Request)
}

// Wake has the object of a key looked at again, if its reconciler runs.
func (w *Wakeups) Wake(key string) {
	kind, _, _ := strings.Cut(key, " ")
	w.mu.Lock()
	add := w.kinds[kind]
	w.mu.Unlock()
	if request, ok := requestOf(kind, key); ok && add != nil {
		add(request)
	}
}

// source gives the wake-ups of a kind to its controller.
func (w *Wakeups) source(kind string) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.kinds == nil {
			w.kinds = map[string]func(ctrl.Request){}
		}
		w.kinds[kind] = queue.Add
		return nil
	})
}

// announce records one event when the summary of an object changed its status or
// reason: what was written to its status, so after it was saved.
func announce(recorder events.EventRecorder, o runtime.Object, before, after []metav1.Condition, summary string) {
	old, now := apimeta.FindStatusCondition(before, summary), apimeta.FindStatusCondition(after, summary)
	if now == nil || old != nil && old.Status == now.Status && old.Reason == now.Reason {
		return
	}
	kind := corev1.EventTypeNormal
	if apimeta.IsStatusConditionTrue(after, v1alpha1.ConditionStalled) || now.Status == metav1.ConditionUnknown || worrying[now.Reason] {
		kind = corev1.EventTypeWarning
	}
	recorder.Eventf(o, nil, kind, now.Reason, "Reconcile", "%s", now.Message)
}

// worrying are the reasons of warnings beside those of what is stalled or unknown.
var worrying = map[string]bool{
	v1alpha1.ReasonHostError: true, v1alpha1.ReasonImageFetchFailed: true, v1alpha1.ReasonCredentialsExpiring: true,
}

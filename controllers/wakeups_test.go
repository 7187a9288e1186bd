package controllers

import (
	"context"
	"strconv"
	"testing"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/liveness"
)

// changes is a pool that tells its subscriber what a test wants.
type changes struct {
	HostPool
	tell func(hosts.Change)
}

func (c *changes) Subscribe(_ context.Context, f func(hosts.Change)) { c.tell = f }

func named(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Name: name}}
}

// TestAHostWithManyObjects has what somebody changes come before the thousand
// objects of a host that was lost or found.
func TestAHostWithManyObjects(t *testing.T) {
	const many = 1000
	limiter := workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]()
	for what, queue := range map[string]workqueue.TypedRateLimitingInterface[ctrl.Request]{
		"the operator's":         (&liveness.Monitor{}).NewQueue("test", limiter),
		"one without priorities": workqueue.NewTypedRateLimitingQueue(limiter),
	} {
		pool := &changes{}
		affected := func(_ context.Context, c hosts.Change) (all []ctrl.Request) {
			for name := range c.Names {
				all = append(all, named(name))
			}
			for i := 0; c.All && i < many; i++ {
				all = append(all, named(strconv.Itoa(i)))
			}
			return all
		}
		if err := hostChanges(pool, affected, time.Millisecond).Start(t.Context(), queue); err != nil {
			t.Fatal(err)
		}
		pool.tell(hosts.Change{All: true})
		queue.Add(named("changed"))
		pool.tell(hosts.Change{Names: map[string]bool{"drifted": true}})
		at := map[string]int{}
		for i := range many + 2 {
			request, _ := queue.Get()
			if i == 0 {
				time.Sleep(10 * time.Millisecond) // longer than the pause of the news
			}
			at[request.Name] = i
			queue.Done(request)
		}
		queue.ShutDown()
		if len(at) != many+2 {
			t.Errorf("%s: %d objects were looked at", what, len(at))
		}
		first := at["changed"] < many/10 && at["drifted"] < many
		if first != (what == "the operator's") {
			t.Errorf("%s: what was changed is number %d, what drifted %d", what, at["changed"], at["drifted"])
		}
	}
}

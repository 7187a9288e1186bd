package perf

import (
	"fmt"
	"maps"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// watcher knows when objects were declared and when they were Ready, as somebody sees it who watches the API server.
type watcher struct {
	w *world

	mu sync.Mutex
	// declaredAt is just before the request that created a Unikernel.
	declaredAt map[string]time.Time
	// readyAt and present are of the Unikernels that are there.
	readyAt map[string]time.Time
	present map[string]bool
	// instances tells which are Ready.
	instances map[string]bool
}

// watch sees what happens from now on. An API server with too much to do ends watches, which an informer takes up again.
func watch(w *world) *watcher {
	w.Helper()
	s := &watcher{w: w, declaredAt: map[string]time.Time{}, readyAt: map[string]time.Time{}, present: map[string]bool{}, instances: map[string]bool{}}
	all, err := cache.New(w.env.Config(), cache.Options{Scheme: w.Scheme()})
	if err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- all.Start(w.Context()) }()
	w.Cleanup(func() {
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
	s.follow(all, &v1alpha1.Unikernel{}, toolscache.ResourceEventHandlerFuncs{
		AddFunc: s.unikernel, UpdateFunc: func(_, o any) { s.unikernel(o) }, DeleteFunc: s.unikernelGone,
	})
	s.follow(all, &v1alpha1.AlbatrossInstance{}, toolscache.ResourceEventHandlerFuncs{
		AddFunc: s.instance, UpdateFunc: func(_, o any) { s.instance(o) },
	})
	return s
}

func (s *watcher) follow(all cache.Cache, kind client.Object, events toolscache.ResourceEventHandler) {
	s.w.Helper()
	informer, err := all.GetInformer(s.w.Context(), kind)
	if err == nil {
		_, err = informer.AddEventHandler(events)
	}
	if err != nil {
		s.w.Fatal(err)
	}
}

func (s *watcher) unikernel(o any) {
	uk, ok := o.(*v1alpha1.Unikernel)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present[uk.Name] = true
	if _, known := s.readyAt[uk.Name]; !known && isReady(uk.Status.Conditions, uk.Generation) {
		s.readyAt[uk.Name] = time.Now()
	}
}

func (s *watcher) unikernelGone(o any) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	uk, ok := o.(*v1alpha1.Unikernel)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.present, uk.Name)
	delete(s.readyAt, uk.Name)
}

func (s *watcher) instance(o any) {
	instance, ok := o.(*v1alpha1.AlbatrossInstance)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instances[instance.Name] = isReady(instance.Status.Conditions, instance.Generation)
}

func isReady(conditions []metav1.Condition, generation int64) bool {
	ready := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == generation
}

// declared is called just before a Unikernel is created.
func (s *watcher) declared(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.declaredAt[name] = time.Now()
}

// untilConnected waits until all instances are Ready.
func (s *watcher) untilConnected() {
	s.w.Helper()
	s.wait("connected", func() (bool, string) {
		ready := 0
		for _, is := range s.instances {
			if is {
				ready++
			}
		}
		return ready == len(s.w.hosts), fmt.Sprintf("%d instances of %d are ready", ready, len(s.w.hosts))
	})
}

// untilReady waits until these are Ready, and gives how long each took and when the last of them was.
func (s *watcher) untilReady(all []*v1alpha1.Unikernel) (took map[string]time.Duration, last time.Time) {
	s.w.Helper()
	s.wait("ready", func() (bool, string) {
		took, last = map[string]time.Duration{}, time.Time{}
		for _, uk := range all {
			at, ok := s.readyAt[uk.Name]
			if !ok {
				continue
			}
			took[uk.Name] = at.Sub(s.declaredAt[uk.Name])
			if at.After(last) {
				last = at
			}
		}
		return len(took) == len(all), fmt.Sprintf("%d unikernels of %d are ready", len(took), len(all))
	})
	return took, last
}

// untilGone waits until no Unikernel is there but so many.
func (s *watcher) untilGone(left int) {
	s.w.Helper()
	s.wait("gone", func() (bool, string) {
		return len(s.present) <= left, fmt.Sprintf("%d unikernels are there", len(s.present))
	})
}

func (s *watcher) wait(what string, holds func() (bool, string)) {
	s.w.Helper()
	waitFor(s.w, what, s.explain, func() (bool, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return holds()
	})
}

// explain shows the conditions of some that are not Ready.
func (s *watcher) explain() string {
	var list v1alpha1.UnikernelList
	if err := s.w.List(s.w.Context(), &list, client.Limit(5000)); err != nil {
		return err.Error()
	}
	reasons := map[string]int{}
	for _, uk := range list.Items {
		for _, c := range uk.Status.Conditions {
			if c.Type == v1alpha1.ConditionReady && c.Status != metav1.ConditionTrue {
				reasons[c.Reason+": "+c.Message]++
			}
		}
	}
	text := ""
	for reason := range maps.Keys(reasons) {
		text += fmt.Sprintf("%d × %s\n", reasons[reason], reason)
	}
	return text
}

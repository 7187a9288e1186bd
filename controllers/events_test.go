package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/controllers"
	"mollymawk.dev/operator/internal/hosts"
)

// eventLog is a recorder that has every call, also those that would only count up
// the series of an event.
type eventLog []string

// Eventf implements events.EventRecorder.
func (l *eventLog) Eventf(_, _ runtime.Object, kind, reason, _, _ string, _ ...any) {
	*l = append(*l, kind+" "+reason)
}

// TestManyFailuresAreOneEvent has a command fail a hundred times in a row, with a
// new operator in between, and then work.
func TestManyFailuresAreOneEvent(t *testing.T) {
	w := newSilentWorld(t)
	w.stop() // passes are made by hand here
	w.create(w.newInstance(w.instance, w.host))
	if err := w.host.SetPolicy(w.namespace, albatross.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 64, Block: new(int64(100))}); err != nil {
		t.Fatal(err)
	}
	pool := w.pool()
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Unreachable, Command: "block add"})
	v := w.newVolume("failing", 1)
	w.create(v)
	var events eventLog
	pass := func(r *controllers.VolumeReconciler) error {
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(v)})
		return err
	}
	var r *controllers.VolumeReconciler
	for i := range 100 {
		if i%50 == 0 {
			r = &controllers.VolumeReconciler{Client: w, Live: w, Recorder: &events, Hosts: pool}
		}
		if err := pass(r); err == nil {
			t.Fatal("did not fail")
		}
	}
	if got := w.host.Received("block add", ""); got != 100 {
		t.Errorf("%d commands", got)
	}
	if want := []string{"Warning " + v1alpha1.ReasonHostError}; !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
	lift()
	if err := pass(r); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Warning " + v1alpha1.ReasonHostError, "Normal " + v1alpha1.ReasonSucceeded}; !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
}

// pool has the world's host connected.
func (w *world) pool() *hosts.Pool {
	w.Helper()
	pool := hosts.New(hosts.Options{Log: logr.Discard()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Start(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
	credentials := w.host.Credentials()
	err := pool.Set(w.instance, hosts.Target{
		Addr: w.host.Addr(), Certificate: string(credentials.Cert), Key: string(credentials.Key), ServerCA: string(credentials.ServerCA), PollInterval: time.Hour,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.wait("connected", func() (bool, string) {
		_, err := pool.Get(w.instance)
		return err == nil, fmt.Sprint(err)
	})
	return pool
}

package faults

import (
	"errors"
	"strconv"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/internal/testenv"
)

// insist repeats a request until the API server has carried it out, as people and
// their tools do.
func (w *world) insist(what string, request func() error) {
	w.Helper()
	w.wait(what, func() (bool, string) {
		err := request()
		if err == nil {
			return true, ""
		}
		return false, err.Error()
	})
}

// TestAPIServerKilled kills the API server with its storage several times, while
// objects are made and while they are deleted, and starts it again: everything
// comes about, and by each command once.
func TestAPIServerKilled(t *testing.T) {
	t.Parallel()
	server, err := testenv.StartProgram()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := newWorldAt(t, server.Config(), albatrosstest.Options{})
	w.begin()
	w.seen.neverStalled.Store(true)
	// Commands take long enough for the API server to end while some are under way.
	w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: "unikernel create", Delay: 200 * time.Millisecond})
	w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: "block add", Delay: 200 * time.Millisecond})
	w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, Command: "unikernel destroy", Delay: 200 * time.Millisecond})

	const pairs = 8
	var all []client.Object
	for i := range pairs {
		all = append(all, w.newUnikernel("uk-"+strconv.Itoa(i)), w.newVolume("vol-"+strconv.Itoa(i), 1))
	}
	w.whileKilled(server, "unikernel create", 2, func() {
		for _, o := range all {
			w.insist("created", func() error {
				if err := w.Create(t.Context(), o); !apierrors.IsAlreadyExists(err) {
					return err
				}
				return nil
			})
		}
	})
	for _, o := range all {
		w.untilReady(o)
	}
	for _, o := range all {
		if got := w.host.Mutations(w.hostName(o)); got != 1 {
			t.Errorf("%d commands made %s", got, o.GetName())
		}
	}
	w.whileKilled(server, "unikernel destroy", 2, func() {
		for _, o := range all {
			w.insist("deleted", func() error { return client.IgnoreNotFound(w.Delete(t.Context(), o)) })
		}
	})
	for _, o := range all {
		w.untilGone(o)
		if got := w.host.Mutations(w.hostName(o)); got != 2 {
			t.Errorf("%d commands made and removed %s", got, o.GetName())
		}
	}
	w.nothingLeft()
}

// whileKilled does something and kills the API server so many times meanwhile,
// each time when the host has received one more of a command.
func (w *world) whileKilled(server *testenv.Environment, command string, times int, do func()) {
	w.Helper()
	killed := make(chan error, 1)
	go func() {
		var err error
		for range times {
			for seen := w.host.Received(command, ""); w.host.Received(command, "") == seen && w.Context().Err() == nil; {
				time.Sleep(time.Millisecond)
			}
			err = errors.Join(err, server.Kill(), server.Resume())
		}
		killed <- err
	}()
	do()
	select {
	case err := <-killed:
		if err != nil {
			w.Fatal(err)
		}
	case <-time.After(limit):
		w.Fatalf("the host did not receive %s %d times", command, times)
	}
}

package faults

import (
	"errors"
	"slices"
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
	for part := range slices.Chunk(all, pairs) {
		w.whileKilled(server, "unikernel create", func() {
			for _, o := range part {
				w.insist("created", func() error {
					if err := w.Create(t.Context(), o); !apierrors.IsAlreadyExists(err) {
						return err
					}
					return nil
				})
			}
		})
	}
	for _, o := range all {
		w.untilReady(o)
	}
	for _, o := range all {
		if got := w.host.Mutations(w.hostName(o)); got != 1 {
			t.Errorf("%d commands made %s", got, o.GetName())
		}
	}
	for part := range slices.Chunk(all, pairs) {
		w.whileKilled(server, "unikernel destroy", func() {
			for _, o := range part {
				w.insist("deleted", func() error { return client.IgnoreNotFound(w.Delete(t.Context(), o)) })
			}
		})
	}
	for _, o := range all {
		w.untilGone(o)
		if got := w.host.Mutations(w.hostName(o)); got != 2 {
			t.Errorf("%d commands made and removed %s", got, o.GetName())
		}
	}
	w.nothingLeft()
}

// whileKilled does something that leads to a command, kills the API server when
// the host has received one more of these, and starts it again. It kills once: an
// operator that has heard of everything sends all the commands before the server
// is back, and a second time would have nothing to wait for.
func (w *world) whileKilled(server *testenv.Environment, command string, do func()) {
	w.Helper()
	before := w.host.Received(command, "")
	ended := make(chan struct{})
	// A test that fails stops the server: not while that is killed and started.
	w.Cleanup(func() { <-ended })
	killed := make(chan error, 1)
	go func() {
		defer close(ended)
		for w.host.Received(command, "") == before {
			if w.Context().Err() != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		killed <- errors.Join(server.Kill(), server.Resume())
	}()
	do()
	select {
	case err := <-killed:
		if err != nil {
			w.Fatal(err)
		}
	case <-time.After(limit):
		w.Fatalf("the host did not receive %s", command)
	}
}

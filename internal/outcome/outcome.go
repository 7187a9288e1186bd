// Package outcome says how a reconcile ended, so that when to look again is
// decided in one place and a reader of a step sees what it may lead to.
package outcome

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

type kind uint8

const (
	proceed kind = iota
	done
	waiting
	retry
)

// Outcome is how a step, or the whole of a reconcile, ended. The zero value goes
// on with the next step.
type Outcome struct {
	kind  kind
	after time.Duration
	err   error
}

// Continue goes on with the next step.
func Continue() Outcome { return Outcome{} }

// Done ends the reconcile; only a change of the object, of what it depends on or
// of the host brings it back. An object that is stalled is done too.
func Done() Outcome { return Outcome{kind: done} }

// Wait ends the reconcile and comes back after some time, which does not count
// as a failure.
func Wait(after time.Duration) Outcome { return Outcome{kind: waiting, after: after} }

// Again ends the reconcile and comes back at once, when what was found must be
// written before the next step.
func Again() Outcome { return Wait(time.Millisecond) }

// Retry ends the reconcile with a failure that may pass; the pause grows with
// each one in a row.
func Retry(err error) Outcome { return Outcome{kind: retry, err: err} }

// AfterWriting says how to go on after a write to the API server failed. What is
// gone needs nothing, and a conflict only a look at the newer object, which is on
// its way to the cache.
func AfterWriting(err error) Outcome {
	switch {
	case err == nil:
		return Continue()
	case apierrors.IsNotFound(err):
		return Done()
	case apierrors.IsConflict(err):
		return Wait(conflictPause)
	}
	return Retry(err)
}

const conflictPause = 100 * time.Millisecond

// Or gives another outcome where this one goes on.
func (o Outcome) Or(other Outcome) Outcome {
	if o.Ended() {
		return o
	}
	return other
}

// OrWait comes back after some time where this one would not come back by itself.
func (o Outcome) OrWait(after time.Duration) Outcome {
	if o.kind == proceed || o.kind == done {
		return Wait(after)
	}
	return o
}

// AtLatest comes back after some time, unless it does so earlier by itself. How a
// failure is retried stays as it is.
func (o Outcome) AtLatest(after time.Duration) Outcome {
	switch o.kind {
	case done:
		return Wait(after)
	case waiting:
		return Wait(min(o.after, after))
	}
	return o
}

// Ended tells whether no further step should run.
func (o Outcome) Ended() bool { return o.kind != proceed }

// Err is the failure of a [Retry].
func (o Outcome) Err() error { return o.err }

// Result gives what controller-runtime wants to be told.
func (o Outcome) Result() (reconcile.Result, error) {
	switch o.kind {
	case waiting:
		return reconcile.Result{RequeueAfter: o.after}, nil
	case retry:
		return reconcile.Result{}, o.err
	}
	return reconcile.Result{}, nil
}

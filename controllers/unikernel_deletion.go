package controllers

import (
	"context"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

func (s *unikernelScope) checkFinalizer(ctx context.Context) outcome.Outcome {
	return s.placement.checkFinalizer(ctx, s.uk.Spec.DeletionPolicy)
}

// destroyEverywhere ends what runs where it was made, and where it was about to
// move.
func (s *unikernelScope) destroyEverywhere(ctx context.Context) outcome.Outcome {
	s.Probes.Remove(s.key())
	was, recorded := recordedPlace(s.uk.Status.Instance, s.uk.Status.HostName)
	if recorded {
		if end := s.findRecorded(ctx, was); end.Ended() {
			return end
		}
	} else if end := s.placement.resolve(ctx, s.uk.Spec.InstanceRef.Name); end.Ended() {
		return end
	}
	if end := s.connect(ctx); end.Ended() {
		return end
	}
	if end := s.destroyHere(ctx, true); end.Ended() {
		return end
	}
	return s.destroyAtDestination(ctx, was, recorded)
}

// destroyAtDestination ends a move that was under way. What runs there is ours
// when it is what is declared.
func (s *unikernelScope) destroyAtDestination(ctx context.Context, was place, recorded bool) outcome.Outcome {
	there := newUnikernelScope(s.UnikernelReconciler, s.uk)
	if !recorded || there.placement.resolve(ctx, s.uk.Spec.InstanceRef.Name).Ended() || there.at.equal(was) {
		return outcome.Continue()
	}
	if end := there.connect(ctx); end.Ended() {
		s.verdict, s.unchanged = there.verdict, there.unchanged
		return end
	}
	there.observe()
	if there.observed == nil || len(there.desired.differences(there.observed.Info)) > 0 {
		return outcome.Continue()
	}
	end := there.destroyHere(ctx, false)
	s.verdict, s.unchanged = there.verdict, there.unchanged
	return end
}

// destroyHere ends what runs at the place that was connected, and makes sure
// that it is gone. With always the host is told even when nothing seems to run
// that it could bring back by itself.
func (s *unikernelScope) destroyHere(ctx context.Context, always bool) outcome.Outcome {
	deleting := status.Working(v1alpha1.ReasonDeleting, "being destroyed on the host")
	s.observe()
	if s.observed != nil || always && s.uk.Spec.RestartPolicyOrDefault() == v1alpha1.RestartOnFailure {
		end := s.command(ctx, actionDestroy, func(ctx context.Context) error {
			_, err := s.host.Client().Destroy(ctx, s.scope, s.at.name.Label)
			return err
		})
		if end.Ended() {
			return end
		}
	}
	if err := s.refresh(ctx); err != nil {
		return s.end(deleting, outcome.Retry(err))
	}
	if s.observe(); s.observed != nil {
		return s.end(deleting, outcome.Wait(waitingInterval))
	}
	return outcome.Continue()
}

// destroyAt ends what runs at another place. While that is not done, problem
// says what it waits for, if that is known.
func (s *unikernelScope) destroyAt(ctx context.Context, at place) (end outcome.Outcome, problem string) {
	there := newUnikernelScope(s.UnikernelReconciler, s.uk)
	for _, step := range []func() outcome.Outcome{
		func() outcome.Outcome { return there.findRecorded(ctx, at) },
		func() outcome.Outcome { return there.connect(ctx) },
		func() outcome.Outcome { return there.destroyHere(ctx, true) },
	} {
		if end := step(); end.Ended() {
			return end, there.verdict.Message
		}
	}
	return outcome.Continue(), ""
}

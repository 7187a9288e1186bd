package controllers

import (
	"context"
	"errors"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

func (s *volumeScope) checkPaused(context.Context) outcome.Outcome {
	return s.paused(s.volume.Status.Conditions)
}

func (s *volumeScope) resolve(ctx context.Context) outcome.Outcome {
	return s.placement.resolve(ctx, s.volume.Spec.InstanceRef.Name)
}

func (s *volumeScope) connect(context.Context) outcome.Outcome {
	end := s.placement.connect(s.volume.Status.ObservedGeneration)
	if end.Ended() && s.lost() {
		s.provisioned = new(status.Condition(v1alpha1.ConditionProvisioned, metav1.ConditionUnknown, s.verdict.Reason, s.verdict.Message))
	}
	return end
}

// decide compares what is declared with what is on the host.
func (s *volumeScope) decide(context.Context) outcome.Outcome {
	s.observe()
	if s.decision.action == actionRefuse {
		return s.end(status.Stalled(s.decision.reason, s.decision.message), outcome.Done())
	}
	if v, refused := s.unschedulable(); refused && s.decision.action == actionAdd {
		return s.end(v, outcome.Done())
	}
	return outcome.Continue()
}

// observe takes from the snapshot what concerns this object.
func (s *volumeScope) observe() {
	s.observed = nil
	if b, ok := s.snapshot.Blocks[s.at.name.String()]; ok {
		s.observed = &b
	}
	st := &s.volume.Status
	s.decision = planVolume(volumeInput{
		size: v1alpha1.MiB(s.volume.Spec.Size), observed: s.observed, owned: s.owned(), hasSource: s.volume.Spec.Source != nil,
		added:     st.HostName != "" && apimeta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionProvisioned),
		populated: apimeta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionPopulated),
		name:      s.at.name,
	})
}

// act tells the host at most one thing.
func (s *volumeScope) act(ctx context.Context) outcome.Outcome {
	switch s.decision.action {
	case actionAdd:
		return s.add(ctx)
	case actionInspect:
		return s.inspect(ctx)
	case actionPopulate:
		return s.populate(ctx)
	}
	return s.settle(ctx)
}

// add makes the block. One that shall be filled is recorded as made before it is.
func (s *volumeScope) add(ctx context.Context) outcome.Outcome {
	if err := s.snapshot.AllowsBlock(s.at.name, s.policy(), v1alpha1.MiB(s.volume.Spec.Size)); err != nil && s.exceededBefore() {
		return s.end(status.Stalled(v1alpha1.ReasonPolicyExceeded, err.Error()), outcome.Done())
	}
	end := s.command(ctx, actionAdd, func(ctx context.Context) error {
		_, err := s.host.Client().AddBlock(ctx, s.scope, s.at.name.Label, v1alpha1.MiB(s.volume.Spec.Size))
		return err
	})
	if end.Ended() {
		return end
	}
	if readyNow(s.before) {
		s.repair = repair{actionAdd, "was gone from the host and was added again"}
	}
	s.forgetContent()
	if err := s.refresh(ctx); err != nil {
		return s.end(status.Working(s.decision.reason, s.decision.message), outcome.Retry(err))
	}
	if s.observe(); s.observed == nil {
		return s.end(status.Working(v1alpha1.ReasonCreating, "being added on the host"), outcome.Wait(waitingInterval))
	}
	s.recordFacts()
	if s.volume.Spec.Source == nil {
		return s.settle(ctx)
	}
	return s.end(status.Working(v1alpha1.ReasonPopulating, "being filled from its source"), outcome.Again())
}

// inspect reads a block that we may have made before a crash. Zeros are as good
// as new; anything else is data that is not ours to overwrite.
func (s *volumeScope) inspect(ctx context.Context) outcome.Outcome {
	var data dataFinder
	end := s.command(ctx, actionInspect, func(ctx context.Context) error {
		_, err := s.host.Client().DumpBlock(ctx, s.scope, s.at.name.Label, inspectLevel, &data)
		if errors.Is(err, errHoldsData) {
			return nil
		}
		return err
	})
	switch {
	case end.Ended():
		return end
	case data.found:
		return s.end(status.Stalled(v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"%s holds data that this object did not write; choose another name, or remove it", s.at.name)), outcome.Wait(stalledInterval))
	}
	s.recordFacts()
	return s.end(status.Working(v1alpha1.ReasonPopulating, "being filled from its source"), outcome.Again())
}

// inspectLevel has zeros travel in almost nothing.
const inspectLevel = 1

var errHoldsData = errors.New("the volume holds data")

// dataFinder ends a download at the first byte that is not zero.
type dataFinder struct{ found bool }

func (d *dataFinder) Write(p []byte) (int, error) {
	for i, b := range p {
		if b != 0 {
			d.found = true
			return i, errHoldsData
		}
	}
	return len(p), nil
}

// populate writes the content of the source, once.
func (s *volumeScope) populate(ctx context.Context) outcome.Outcome {
	blob, end := s.content(ctx)
	if end.Ended() {
		return end
	}
	if source := s.volume.Spec.Source; !source.Compressed && blob.Size > s.observed.Size<<20 {
		return s.notPopulated(status.Stalled(v1alpha1.ReasonContentTooLarge,
			fmt.Sprintf("the content has %d bytes, the volume %d MiB", blob.Size, s.observed.Size)), outcome.Done())
	}
	end = s.command(ctx, actionPopulate, func(ctx context.Context) error { return s.send(ctx, blob) })
	if end.Ended() {
		return end
	}
	s.volume.Status.PopulatedAt = new(metav1.NewTime(s.now()).Rfc3339Copy())
	s.volume.Status.PopulatedDigest = blob.Digest
	s.populated = new(status.Condition(v1alpha1.ConditionPopulated, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "filled from its source"))
	return s.settle(ctx)
}

// content gets what the volume is to be filled with. A source that may change is
// asked what it has; it is asked once, since a volume is filled once.
func (s *volumeScope) content(ctx context.Context) (images.Blob, outcome.Outcome) {
	source, problem, err := fetchable(ctx, s.Live, s.volume.Namespace, &s.volume.Spec.Source.ContentSource)
	switch {
	case err != nil:
		return images.Blob{}, outcome.Retry(err)
	case !problem.IsZero():
		return images.Blob{}, s.notPopulated(problem, outcome.Wait(waitingInterval))
	}
	resolved, err := s.Images.Resolve(ctx, s.key(), source, s.volume.CreationTimestamp.Time, imagePatience)
	if err == nil {
		source = resolved.Source
		var blob images.Blob
		if blob, err = s.Images.Get(ctx, s.key(), source, imagePatience); err == nil {
			return blob, outcome.Continue()
		}
	}
	verdict, end := imageVerdict(err, s.Images.RetryAfter(source))
	return images.Blob{}, s.notPopulated(verdict, end)
}

func (s *volumeScope) send(ctx context.Context, blob images.Blob) error {
	f, err := blob.Open(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = s.host.Client().SetBlock(ctx, s.scope, s.at.name.Label, albatross.BlockContent{
		Reader: f, Compressed: s.volume.Spec.Source.Compressed, Deflate: s.volume.Spec.Source.Compressed,
	})
	return err
}

func (s *volumeScope) notPopulated(v status.Verdict, end outcome.Outcome) outcome.Outcome {
	s.populated = new(status.Condition(v1alpha1.ConditionPopulated, metav1.ConditionFalse, v.Reason, v.Message))
	return s.end(v, end)
}

func (s *volumeScope) checkFinalizer(ctx context.Context) outcome.Outcome {
	return s.placement.checkFinalizer(ctx, s.volume.Spec.DeletionPolicy)
}

// find goes by where the volume was made.
func (s *volumeScope) find(ctx context.Context) outcome.Outcome {
	if was, ok := recordedPlace(s.volume.Spec.InstanceRef.Name, s.volume.Status.HostName); ok {
		return s.findRecorded(ctx, was)
	}
	return s.resolve(ctx)
}

// remove deletes the block once nobody uses it, and makes sure that it is gone.
func (s *volumeScope) remove(ctx context.Context) outcome.Outcome {
	s.observe()
	if s.observed != nil {
		if s.observed.Active {
			s.recordFacts()
			return s.end(status.Working(v1alpha1.ReasonInUse, fmt.Sprintf("attached to %s; it is removed when that ends", s.volume.Status.AttachedTo)), outcome.Done())
		}
		end := s.command(ctx, actionRemove, func(ctx context.Context) error {
			_, err := s.host.Client().RemoveBlock(ctx, s.scope, s.at.name.Label)
			return err
		})
		if end.Ended() {
			return end
		}
	}
	if err := s.refresh(ctx); err != nil {
		return s.end(status.Working(v1alpha1.ReasonDeleting, "being removed from the host"), outcome.Retry(err))
	}
	if s.observe(); s.observed != nil {
		return s.end(status.Working(v1alpha1.ReasonDeleting, "being removed from the host"), outcome.Wait(waitingInterval))
	}
	return outcome.Continue()
}

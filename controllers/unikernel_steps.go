package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

const (
	// imagePatience is how long a worker waits for a small image before it turns
	// to other objects.
	imagePatience = 2 * time.Second
	// lineInterval is how often one who stands in line for a command asks again,
	// in case the call was missed.
	lineInterval = 20 * time.Second
	// stalledInterval is how often something is looked at again that somebody
	// else may mend without our noticing.
	stalledInterval = 10 * time.Minute
	// waitingInterval is for what another object or the host's administrator may mend.
	waitingInterval = 30 * time.Second
)

func (s *unikernelScope) checkPaused(context.Context) outcome.Outcome {
	return s.paused(s.uk.Status.Conditions)
}

// resolve finds where the unikernel shall be, and whether that is elsewhere than
// it is.
func (s *unikernelScope) resolve(ctx context.Context) outcome.Outcome {
	if end := s.placement.resolve(ctx, s.uk.Spec.InstanceRef.Name); end.Ended() {
		return end
	}
	if was, ok := recordedPlace(s.uk.Status.Instance, s.uk.Status.HostName); ok && s.owned() && !was.equal(s.at) {
		s.leaving = &was
	}
	return outcome.Continue()
}

// connect gets the host, or keeps the last known facts.
func (s *unikernelScope) connect(context.Context) outcome.Outcome {
	end := s.placement.connect(s.uk.Status.ObservedGeneration)
	if end.Ended() && s.lost() {
		// A probe would say nothing new, and wait for its time-out each time.
		s.Probes.Remove(s.key())
		s.running = new(status.Condition(v1alpha1.ConditionRunning, metav1.ConditionUnknown, s.verdict.Reason, s.verdict.Message))
	}
	return end
}

// decide compares what is declared with what runs.
func (s *unikernelScope) decide(ctx context.Context) outcome.Outcome {
	s.observe()
	s.decision = s.plan()
	if s.observed == nil {
		s.Probes.Remove(s.key())
		if s.deployed() && !s.uk.Spec.Suspended {
			s.noteEnded(ctx)
		}
	}
	if s.decision.action == actionRefuse {
		return s.end(status.Stalled(s.decision.reason, s.decision.message), outcome.Done())
	}
	if v, refused := s.unschedulable(); refused && s.decision.action == actionCreate {
		return s.end(v, outcome.Done())
	}
	return outcome.Continue()
}

// checkVolumes waits until the volumes that are to be attached are there and
// filled.
func (s *unikernelScope) checkVolumes(ctx context.Context) outcome.Outcome {
	if !s.decision.action.attachesDevices() {
		return outcome.Continue()
	}
	for _, device := range s.inForce.spec.BlockDevices {
		if device.VolumeRef == nil {
			continue
		}
		problem, err := s.volumeProblem(ctx, device.VolumeRef.Name)
		if err != nil {
			return outcome.Retry(err)
		}
		if problem != "" {
			return s.end(status.Working(v1alpha1.ReasonWaitingForVolume, problem), outcome.Wait(waitingInterval))
		}
	}
	return outcome.Continue()
}

// volumeProblem says why a Volume cannot be attached yet.
func (s *unikernelScope) volumeProblem(ctx context.Context, name string) (string, error) {
	var volume v1alpha1.Volume
	err := s.Get(ctx, client.ObjectKey{Namespace: s.uk.Namespace, Name: name}, &volume)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("Volume %q does not exist", name), nil
	case err != nil:
		return "", err
	case volume.Spec.InstanceRef.Name != s.instance.Name:
		return fmt.Sprintf("Volume %q is on AlbatrossInstance %q", name, volume.Spec.InstanceRef.Name), nil
	case !volume.DeletionTimestamp.IsZero():
		return fmt.Sprintf("Volume %q is being deleted", name), nil
	case !apimeta.IsStatusConditionTrue(volume.Status.Conditions, v1alpha1.ConditionReady):
		return fmt.Sprintf("Volume %q is not ready", name), nil
	}
	return "", nil
}

// observe takes from the snapshot what concerns this object.
func (s *unikernelScope) observe() {
	s.observed = nil
	// Without CPUs of its own it keeps those it had, also when it has to come back.
	running := cpuNumbers(s.uk.Status.CPUIDs)
	if u, ok := s.snapshot.Unikernels[s.at.name.String()]; ok {
		s.observed, running = &u, u.Info.CPUIDs
	}
	s.desired = desiredUnikernel(s.inForce.spec, s.inForce.digest, s.at.name, s.policy(), running)
}

// plan decides what to do; a change that brings back a revision is called so.
func (s *unikernelScope) plan() decision {
	d := planUnikernel(s.planInput())
	if revision := s.inForce.revision; revision != nil && d.action.attachesDevices() && d.reason != v1alpha1.ReasonRestarting {
		d.reason, d.message = v1alpha1.ReasonRollingBack, fmt.Sprintf("revision %d is being brought back", revision.Revision)
	}
	return d
}

func (s *unikernelScope) planInput() planInput {
	return planInput{
		desired: s.desired, observed: s.observed, owned: s.owned() && s.leaving == nil, deployed: s.deployed(), restartAsked: s.restartAsked(),
		force:     s.uk.Annotations[v1alpha1.AnnotationForce] == "true",
		suspended: s.uk.Spec.Suspended, stopped: stoppedOnPurpose(s.uk.Status.Conditions),
		restartPolicy: s.inForce.spec.RestartPolicyOrDefault(),
	}
}

func (s *unikernelScope) restartAsked() bool {
	asked := restartMark(s.uk)
	return asked != "" && asked != s.uk.Status.RestartedAt
}

// deployed tells whether what is declared is what was started last. What was
// stopped on purpose since does not count.
func (s *unikernelScope) deployed() bool {
	history := s.uk.Status.History
	if len(history) == 0 || s.uk.Status.Instance != s.instance.Name || stoppedOnPurpose(s.before.Status.Conditions) {
		return false
	}
	return history[0].Digest == s.desired.digest && history[0].ConfigHash == s.desired.configHash()
}

// prepareImage gets the binary when it is to be sent and checks its devices.
func (s *unikernelScope) prepareImage(ctx context.Context) outcome.Outcome {
	if s.uk.Spec.Image == nil || !s.decision.action.sendsImage() {
		return outcome.Continue()
	}
	source, problem, err := s.imageSource(ctx)
	if err != nil {
		return outcome.Retry(err)
	}
	if !problem.IsZero() {
		return s.imageEnd(problem, outcome.Wait(waitingInterval))
	}
	blob, err := s.Images.Get(ctx, s.key(), source, imagePatience)
	if err == nil {
		var image solo5.Image
		if image, err = blob.Manifest(ctx); err == nil {
			err = fits(image, s.desired.kind.Arguments)
		}
	}
	if err != nil {
		problem, end := imageVerdict(err, s.Images.RetryAfter(source))
		return s.imageEnd(problem, end)
	}
	s.image = &blob
	s.imageReady = new(status.Condition(v1alpha1.ConditionImageReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "fetched and verified"))
	return outcome.Continue()
}

// fits compares the manifest with the declared devices, as the host would, and
// says which are missing or surplus.
func fits(image solo5.Image, a albatross.Arguments) error {
	if image.Target != solo5.HVT && image.Target != solo5.SPT {
		return fmt.Errorf("%w: it is for %s, and hosts run hvt and spt only", images.ErrInvalid, image.Target)
	}
	var networks, blocks []string
	for _, b := range a.Bridges {
		networks = append(networks, b.Name)
	}
	for _, b := range a.Blocks {
		blocks = append(blocks, b.Name)
	}
	problems := append(
		compareDevices("spec.networkInterfaces", image.Names(solo5.Network), networks),
		compareDevices("spec.blockDevices", image.Names(solo5.Block), blocks)...)
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", images.ErrInvalid, strings.Join(problems, "; "))
	}
	return nil
}

func compareDevices(field string, manifest, declared []string) (problems []string) {
	for _, name := range manifest {
		if !slices.Contains(declared, name) {
			problems = append(problems, fmt.Sprintf("the image needs a device %q that %s lacks", name, field))
		}
	}
	for _, name := range declared {
		if !slices.Contains(manifest, name) {
			problems = append(problems, fmt.Sprintf("%s has %q, which the image does not know", field, name))
		}
	}
	return problems
}

// checkLateRefusals asks before what the host would ask too late, when it has
// ended the old unikernel already. For a create the host's own refusal does no
// harm, but one is enough.
func (s *unikernelScope) checkLateRefusals(context.Context) outcome.Outcome {
	if !s.decision.action.endsRunning() && (s.decision.action != actionCreate || !s.exceededBefore()) {
		return outcome.Continue()
	}
	if s.decision.action == actionReconfigure {
		// What runs has just the devices of its image's manifest.
		if err := fits(runningDevices(s.observed.Info), s.desired.kind.Arguments); err != nil {
			return s.end(status.Stalled(v1alpha1.ReasonImageInvalid, err.Error()), outcome.Done())
		}
	}
	if err := s.snapshot.Allows(s.at.name, s.policy(), s.desired.kind.Arguments); err != nil {
		return s.end(status.Stalled(v1alpha1.ReasonPolicyExceeded, err.Error()), outcome.Done())
	}
	return outcome.Continue()
}

func runningDevices(info albatross.Info) solo5.Image {
	image := solo5.Image{Target: solo5.HVT}
	for _, b := range info.Bridges {
		image.Devices = append(image.Devices, solo5.Device{Name: b.Device, Type: solo5.Network})
	}
	for _, b := range info.Blocks {
		image.Devices = append(image.Devices, solo5.Device{Name: b.Device, Type: solo5.Block})
	}
	return image
}

// act tells the host at most one thing and looks at the host again.
func (s *unikernelScope) act(ctx context.Context) outcome.Outcome {
	if s.decision.action == actionNone {
		return s.settleOwned(ctx)
	}
	if pause := s.comebackPause(); pause > 0 {
		return s.end(status.Working(s.decision.reason, s.decision.message), outcome.Wait(pause))
	}
	if end := s.command(ctx, s.decision.action, s.carryOut); end.Ended() {
		return end
	}
	s.recordCommand()
	s.noteRepair()
	if err := s.refresh(ctx); err != nil {
		return s.end(status.Working(s.decision.reason, s.decision.message), outcome.Retry(err))
	}
	s.observe()
	s.decision = s.plan()
	if s.decision.action == actionNone {
		return s.settleOwned(ctx)
	}
	// It ended at once, or somebody else interfered: the next pass goes on.
	if s.observed == nil && !s.uk.Spec.Suspended {
		s.noteEnded(ctx)
	}
	return s.end(status.Working(s.decision.reason, s.decision.message), outcome.Wait(time.Second))
}

// noteRepair remembers a command that a change of the declaration did not ask for.
func (s *unikernelScope) noteRepair() {
	if readyNow(s.before) && s.decision.action != actionRestart && s.decision.action != actionDestroy && !s.restartWasAsked() {
		s.repair = repair{s.decision.action, s.decision.message}
	}
}

// restartWasAsked tells whether the command just sent was asked for by annotation.
func (s *unikernelScope) restartWasAsked() bool {
	return s.uk.Status.RestartedAt != s.before.Status.RestartedAt
}

// settleOwned ends a pass in which nothing is left to do here. What runs as
// declared without our doing is adopted, and a place that it moved from is left.
func (s *unikernelScope) settleOwned(ctx context.Context) outcome.Outcome {
	if s.observed != nil {
		if err := s.own(ctx); err != nil {
			return outcome.AfterWriting(err)
		}
	}
	if s.leaving != nil {
		if end := s.leave(ctx); end.Ended() {
			return end
		}
	}
	s.settle()
	return outcome.Done()
}

// leave destroys the unikernel where it was before a move. Until that is done
// the status keeps the old place.
func (s *unikernelScope) leave(ctx context.Context) outcome.Outcome {
	end, problem := s.destroyAt(ctx, *s.leaving)
	if !end.Ended() {
		s.leaving = nil
		return end
	}
	message := fmt.Sprintf("runs as %s; %s is still to be removed", s.at, *s.leaving)
	if problem != "" {
		message += ": " + problem
	}
	return s.end(status.Working(v1alpha1.ReasonMoving, message), end)
}

// comebackPause paces a unikernel that ends again and again.
func (s *unikernelScope) comebackPause() time.Duration {
	if !s.isComeback() {
		return 0
	}
	id := string(s.uk.UID)
	if !s.Comebacks.IsInBackOffSinceUpdate(id, s.now()) {
		return 0
	}
	return s.Comebacks.Get(id)
}

func (s *unikernelScope) isComeback() bool {
	return s.decision.action == actionCreate && s.decision.reason == v1alpha1.ReasonRestarting && !s.restartAsked()
}

// carryOut tells the host what was decided.
func (s *unikernelScope) carryOut(ctx context.Context) error {
	c, label := s.host.Client(), s.uk.Name
	var err error
	switch s.decision.action {
	case actionCreate, actionReplace:
		return s.send(ctx)
	case actionReconfigure:
		_, err = c.Restart(ctx, s.scope, label, new(s.desired.kind.Arguments))
	case actionRestart:
		_, err = c.Restart(ctx, s.scope, label, nil)
	case actionDestroy:
		_, err = c.Destroy(ctx, s.scope, label)
	}
	return err
}

// send streams the image from the store to the host.
func (s *unikernelScope) send(ctx context.Context) error {
	image, closeImage, err := s.openImage(ctx)
	if err != nil {
		return err
	}
	defer closeImage()
	create := s.host.Client().Create
	if s.decision.action == actionReplace {
		create = s.host.Client().ForceCreate
	}
	_, err = create(ctx, s.scope, s.uk.Name, s.desired.kind, image)
	return err
}

// openImage opens what is to be sent, compressed when the instance asks for it.
// Type bhyve has nothing.
func (s *unikernelScope) openImage(ctx context.Context) (image albatross.Image, closeImage func(), err error) {
	if s.image == nil {
		return albatross.Image{}, func() {}, nil
	}
	size := s.image.Size
	if s.instance.Spec.CompressImages {
		content, err := s.image.Open(ctx)
		if err != nil {
			return albatross.Image{}, nil, err
		}
		defer content.Close()
		if size, err = compressedSize(content); err != nil {
			return albatross.Image{}, nil, err
		}
	}
	content, err := s.image.Open(ctx)
	if err != nil {
		return albatross.Image{}, nil, err
	}
	if !s.instance.Spec.CompressImages {
		return albatross.Image{Reader: content, Size: size}, func() { content.Close() }, nil
	}
	packed := compressed(content)
	return albatross.Image{Reader: packed, Size: size, Compressed: true}, func() {
		packed.Close()
		content.Close()
	}, nil
}

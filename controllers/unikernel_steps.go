package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
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

// end keeps the verdict and gives the outcome, so that a step ends in one line.
func (s *unikernelScope) end(v status.Verdict, o outcome.Outcome) outcome.Outcome {
	s.verdict = v
	return o
}

func (s *unikernelScope) checkPaused(context.Context) outcome.Outcome {
	if s.uk.Annotations[v1alpha1.AnnotationPaused] != "true" {
		return outcome.Continue()
	}
	s.paused()
	return outcome.Done()
}

// checkSupported refuses fields whose feature this version lacks, rather than
// to act as if they were absent.
func (s *unikernelScope) checkSupported(context.Context) outcome.Outcome {
	if field := unsupportedField(s.uk); field != "" {
		return s.end(status.Stalled(v1alpha1.ReasonNotSupported, field+" is not supported by this version of the operator; remove it, or use a newer version"), outcome.Done())
	}
	return outcome.Continue()
}

func unsupportedField(uk *v1alpha1.Unikernel) string {
	spec := &uk.Spec
	switch image := spec.Image; {
	case image == nil:
	case image.OCI != nil:
		return "spec.image.oci"
	case image.Build != nil:
		return "spec.image.build"
	case image.Stored != nil:
		return "spec.image.stored"
	case image.Catalog != nil:
		return "spec.image.catalog"
	}
	switch {
	case spec.Probe != nil:
		return "spec.probe"
	case spec.Update != nil:
		return "spec.update"
	case uk.Annotations[v1alpha1.AnnotationRollback] != "":
		return "the annotation " + v1alpha1.AnnotationRollback
	}
	return ""
}

// resolve finds the instance and the namespace's place on it.
func (s *unikernelScope) resolve(ctx context.Context) outcome.Outcome {
	instance, path, problem, err := resolvePlace(ctx, s.Client, s.uk.Namespace, s.uk.Spec.InstanceRef.Name)
	if err != nil {
		return outcome.Retry(err)
	}
	if !problem.IsZero() {
		s.hostUnavailable(problem)
		return s.end(problem, outcome.Done())
	}
	s.instance, s.path = instance, path
	return outcome.Continue()
}

// resolvePlace finds an instance and a namespace's path on it, or says what is
// wrong with either.
func resolvePlace(ctx context.Context, c client.Client, namespace, instanceName string) (*v1alpha1.AlbatrossInstance, albatross.Path, status.Verdict, error) {
	var instance v1alpha1.AlbatrossInstance
	if err := c.Get(ctx, client.ObjectKey{Name: instanceName}, &instance); err != nil {
		if !apierrors.IsNotFound(err) {
			return nil, nil, status.Verdict{}, err
		}
		return nil, nil, status.Working(v1alpha1.ReasonInstanceNotFound, fmt.Sprintf("AlbatrossInstance %q does not exist", instanceName)), nil
	}
	var ns corev1.Namespace
	if err := c.Get(ctx, client.ObjectKey{Name: namespace}, &ns); err != nil {
		return nil, nil, status.Verdict{}, err
	}
	place, admitted, err := tenantOf(&instance, namespace, ns.Labels)
	switch {
	case err != nil:
		return nil, nil, status.Stalled(v1alpha1.ReasonNamespaceNotAdmitted, fmt.Sprintf("AlbatrossInstance %q: %v", instanceName, err)), nil
	case !admitted:
		return nil, nil, status.Stalled(v1alpha1.ReasonNamespaceNotAdmitted,
			fmt.Sprintf("AlbatrossInstance %q has no tenant that admits namespace %q; have it added to spec.tenants", instanceName, namespace)), nil
	}
	return &instance, place.path, status.Verdict{}, nil
}

// connect gets the host with its last snapshot, or ends at once.
func (s *unikernelScope) connect(context.Context) outcome.Outcome {
	host, problem := connected(s.Hosts, s.instance.Name)
	if host == nil {
		if problem.Reason == v1alpha1.ReasonInstanceNotReady && seenBefore(s.uk.Status.ObservedGeneration) {
			// After a start of the operator, say, what is known is as good as ever.
			s.unchanged = true
			return outcome.Done()
		}
		s.hostUnavailable(problem)
		s.running = new(status.Condition(v1alpha1.ConditionRunning, metav1.ConditionUnknown, problem.Reason, problem.Message))
		return s.end(problem, outcome.Done())
	}
	s.host, s.snapshot = host, host.Snapshot()
	scope, missing := s.snapshot.Scope(s.path)
	if missing != nil {
		problem := policyMissing(s.instance, missing)
		s.hostUnavailable(problem)
		return s.end(problem, outcome.Done())
	}
	s.scope = scope
	s.hostAvailable = new(status.Condition(v1alpha1.ConditionHostAvailable, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "connected"))
	return outcome.Continue()
}

// seenBefore tells whether status says more than "never looked at".
func seenBefore(observedGeneration int64) bool { return observedGeneration > 0 }

// connected gives a host that can be used, or why there is none.
func connected(pool HostPool, instance string) (*hosts.Host, status.Verdict) {
	host, err := pool.Get(instance)
	if err == nil {
		return host, status.Verdict{}
	}
	state, known := pool.State(instance)
	if !known || !state.Known() {
		return nil, status.Lost(v1alpha1.ReasonInstanceNotReady, fmt.Sprintf("AlbatrossInstance %q is not connected yet", instance))
	}
	return nil, status.Lost(v1alpha1.ReasonHostUnreachable, fmt.Sprintf("AlbatrossInstance %q: %s", instance, state.Problem()))
}

// policyMissing says why a path has no policy in force, without which nothing
// may be sent: on Albatross a path without one is unlimited.
func policyMissing(instance *v1alpha1.AlbatrossInstance, path albatross.Path) status.Verdict {
	for _, t := range instance.Status.Tenants {
		if t.Path == path.String() && t.Refused != "" {
			return status.Stalled(v1alpha1.ReasonPolicyRefused, fmt.Sprintf("the host refuses the policy of path %q: %s", path, t.Refused))
		}
	}
	if declaresPolicy(instance, path) {
		return status.Lost(v1alpha1.ReasonInstanceNotReady, fmt.Sprintf("the policy of path %q is not in force yet", path))
	}
	return status.Stalled(v1alpha1.ReasonNoPolicy,
		fmt.Sprintf("path %q has no policy, neither in AlbatrossInstance %q nor on the host, and would be unlimited; have one added to its tenant", path, instance.Name))
}

func declaresPolicy(instance *v1alpha1.AlbatrossInstance, path albatross.Path) bool {
	return slices.ContainsFunc(instance.Spec.Tenants, func(t v1alpha1.Tenant) bool {
		if t.Policy == nil {
			return false
		}
		return t.NamespaceSelector != nil && len(path) == 1 || string(t.Path) == path.String() || t.Path == "" && t.Namespace == path.String()
	})
}

// decide compares what is declared with what runs.
func (s *unikernelScope) decide(context.Context) outcome.Outcome {
	s.observe()
	s.decision = planUnikernel(s.planInput())
	if s.decision.action == actionRefuse {
		return s.end(status.Stalled(s.decision.reason, s.decision.message), outcome.Done())
	}
	return outcome.Continue()
}

// observe takes from the snapshot what concerns this object.
func (s *unikernelScope) observe() {
	name := albatross.Name{Path: s.path, Label: s.uk.Name}
	s.observed = nil
	// Without CPUs of its own it keeps those it had, also when it has to come back.
	running := cpuNumbers(s.uk.Status.CPUIDs)
	if u, ok := s.snapshot.Unikernels[name.String()]; ok {
		s.observed, running = &u, u.Info.CPUIDs
	}
	s.desired = desiredUnikernel(s.uk, s.path, s.policy(), running)
}

// policy is the one in force for the object's path.
func (s *unikernelScope) policy() albatross.Policy { return s.scope[len(s.scope)-1].Policy }

func (s *unikernelScope) planInput() planInput {
	return planInput{
		desired: s.desired, observed: s.observed, owned: s.owned(), deployed: s.deployed(), restartAsked: s.restartAsked(),
		force:     s.uk.Annotations[v1alpha1.AnnotationForce] == "true",
		suspended: s.uk.Spec.Suspended, stopped: stoppedOnPurpose(s.uk.Status.Conditions),
		restartPolicy: s.uk.Spec.RestartPolicyOrDefault(),
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

// own puts our finalizer on the object before anything of it can be on a host,
// and not earlier, so that an object that never got that far goes at once.
func (s *unikernelScope) own(ctx context.Context) error {
	if s.owned() {
		return nil
	}
	return patchFinalizer(ctx, s.Client, s.uk, s.before, controllerutil.AddFinalizer)
}

// patchFinalizer changes metadata and nothing else. object and before, which is
// how it was read, go on with the new resource version.
func patchFinalizer(ctx context.Context, c client.Client, object, before client.Object, change func(client.Object, string) bool) error {
	patch := client.MergeFromWithOptions(object.DeepCopyObject().(client.Object), client.MergeFromWithOptimisticLock{})
	changed := object.DeepCopyObject().(client.Object)
	change(changed, v1alpha1.Finalizer)
	if err := c.Patch(ctx, changed, patch); err != nil {
		return err
	}
	for _, o := range []client.Object{object, before} {
		o.SetFinalizers(changed.GetFinalizers())
		o.SetResourceVersion(changed.GetResourceVersion())
	}
	return nil
}

// prepareImage gets the binary when it is to be sent and checks its devices.
func (s *unikernelScope) prepareImage(ctx context.Context) outcome.Outcome {
	source, needed := s.imageSource()
	if !needed {
		return outcome.Continue()
	}
	blob, err := s.Images.Get(ctx, keyOf(unikernelKind, s.uk), source, imagePatience)
	if err == nil {
		var image solo5.Image
		if image, err = blob.Manifest(); err == nil {
			err = fits(image, s.desired.kind.Arguments)
		}
	}
	if err != nil {
		return s.imageProblem(source, err)
	}
	s.image = &blob
	s.imageReady = new(status.Condition(v1alpha1.ConditionImageReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "fetched and verified"))
	return outcome.Continue()
}

func (s *unikernelScope) imageSource() (source images.Source, needed bool) {
	image := s.uk.Spec.Image
	if image == nil || !s.decision.action.sendsImage() {
		return images.Source{}, false
	}
	return images.Source{URL: image.URL, SHA256: string(image.SHA256)}, true
}

func (s *unikernelScope) imageProblem(source images.Source, err error) outcome.Outcome {
	verdict, end := imageVerdict(err, s.Images.RetryAfter(source))
	s.imageReady = new(status.Condition(v1alpha1.ConditionImageReady, metav1.ConditionFalse, verdict.Reason, verdict.Message))
	return s.end(verdict, end)
}

// imageVerdict says what an error of getting an image means for the object.
func imageVerdict(err error, retryAfter time.Duration) (status.Verdict, outcome.Outcome) {
	if errors.Is(err, images.ErrInProgress) {
		return status.Working(v1alpha1.ReasonFetching, "the image is being fetched"), outcome.Done()
	}
	for kind, reason := range map[error]string{
		images.ErrNotFound: v1alpha1.ReasonImageNotFound, images.ErrForbidden: v1alpha1.ReasonImageForbidden,
		images.ErrDigestMismatch: v1alpha1.ReasonDigestMismatch, images.ErrTooLarge: v1alpha1.ReasonContentTooLarge,
		images.ErrInvalid: v1alpha1.ReasonImageInvalid,
	} {
		if errors.Is(err, kind) {
			return status.Stalled(reason, err.Error()), outcome.Wait(stalledInterval)
		}
	}
	return status.Working(v1alpha1.ReasonImageFetchFailed, err.Error()), outcome.Wait(retryAfter + time.Second)
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
// harm.
func (s *unikernelScope) checkLateRefusals(context.Context) outcome.Outcome {
	if !s.decision.action.endsRunning() {
		return outcome.Continue()
	}
	if s.decision.action == actionReconfigure {
		// What runs has just the devices of its image's manifest.
		if err := fits(runningDevices(s.observed.Info), s.desired.kind.Arguments); err != nil {
			return s.end(status.Stalled(v1alpha1.ReasonImageInvalid, err.Error()), outcome.Done())
		}
	}
	if err := s.snapshot.Allows(s.desired.name, s.policy(), s.desired.kind.Arguments); err != nil {
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
	release, ok := s.host.TryAcquire(keyOf(unikernelKind, s.uk))
	if !ok {
		s.unchanged = true
		return outcome.Wait(lineInterval)
	}
	defer release()
	if err := s.own(ctx); err != nil {
		return outcome.AfterWriting(err)
	}
	if err := s.command(ctx); err != nil && hosts.Classify(err) != hosts.Gone {
		return s.commandFailed(err)
	}
	s.recordCommand()
	return s.lookAgain(ctx)
}

// lookAgain sees what became of a command.
func (s *unikernelScope) lookAgain(ctx context.Context) outcome.Outcome {
	snapshot, err := s.host.Refresh(ctx)
	if err != nil {
		return s.end(status.Working(s.decision.reason, s.decision.message), outcome.Retry(err))
	}
	s.snapshot = snapshot
	s.observe()
	s.decision = planUnikernel(s.planInput())
	if s.decision.action == actionNone {
		return s.settleOwned(ctx)
	}
	// It ended at once, or somebody else interfered: the next pass goes on.
	return s.end(status.Working(s.decision.reason, s.decision.message), outcome.Wait(time.Second))
}

// settleOwned ends a pass in which nothing is left to do. What runs as declared
// without our doing is adopted.
func (s *unikernelScope) settleOwned(ctx context.Context) outcome.Outcome {
	if s.observed != nil {
		if err := s.own(ctx); err != nil {
			return outcome.AfterWriting(err)
		}
	}
	s.settle()
	return outcome.Done()
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

func (s *unikernelScope) command(ctx context.Context) error {
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
	var image albatross.Image
	if s.image != nil {
		f, err := s.image.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		image = albatross.Image{Reader: f, Size: s.image.Size}
	}
	create := s.host.Client().Create
	if s.decision.action == actionReplace {
		create = s.host.Client().ForceCreate
	}
	_, err := create(ctx, s.scope, s.uk.Name, s.desired.kind, image)
	return err
}

// commandFailed says what the host's answer means. What is not known may pass.
func (s *unikernelScope) commandFailed(err error) outcome.Outcome {
	text := hosts.Text(err)
	switch hosts.Classify(err) {
	case hosts.NameTaken:
		return s.end(status.Stalled(v1alpha1.ReasonNameTaken, text), outcome.Wait(stalledInterval))
	case hosts.PolicyExceeded:
		return s.end(status.Stalled(v1alpha1.ReasonPolicyExceeded, text), outcome.Wait(stalledInterval))
	case hosts.Refused:
		return s.end(status.Stalled(v1alpha1.ReasonRefused, text), outcome.Wait(stalledInterval))
	case hosts.Waiting:
		return s.end(status.Working(v1alpha1.ReasonHostError, text), outcome.Wait(waitingInterval))
	}
	return s.end(status.Working(v1alpha1.ReasonHostError, stableText(err)), outcome.Retry(err))
}

// stableText leaves out what differs from one attempt to the next.
func stableText(err error) string {
	for kind, text := range map[error]string{
		albatross.ErrTimeout: "the host did not answer in time", albatross.ErrRejected: "the host closed the connection without an answer",
		albatross.ErrUnreachable: "the connection to the host failed", albatross.ErrUntrusted: "the host's certificate is not trusted",
	} {
		if errors.Is(err, kind) {
			return text
		}
	}
	return hosts.Text(err)
}

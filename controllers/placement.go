package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// place is where something is on hosts: an instance and a full name below the
// path of its credential.
type place struct {
	instance string
	name     albatross.Name
}

func (p place) String() string { return fmt.Sprintf("%s on AlbatrossInstance %q", p.name, p.instance) }

// recordedPlace reads a place from a status; ok is false before there was one.
func recordedPlace(instance, hostName string) (p place, ok bool) {
	if instance == "" || hostName == "" {
		return place{}, false
	}
	name, err := albatross.ParseName(hostName)
	return place{instance, name}, err == nil
}

func (p place) equal(q place) bool { return p.instance == q.instance && p.name.Equal(q.name) }

// placement is what the reconciles of a Unikernel and of a Volume have in
// common: finding the host, owning the object, and saying how it ended.
type placement struct {
	client     client.Client
	namespaces namespaces
	// live reads past the cache.
	live  client.Reader
	hosts HostPool
	// claims are the objects that got our finalizer lately.
	claims *claims
	// writes are the versions that our writes gave to objects lately.
	writes *ownWrites
	// object is changed as the reconcile goes; read is how it was read.
	object, read withConditions
	// kind and resource are its names in keys and for kubectl.
	kind, resource string

	// Set by resolve, or by findRecorded when the object is being deleted.
	instance *v1alpha1.AlbatrossInstance
	at       place
	// Set by connect.
	host     *hosts.Host
	snapshot *hosts.Snapshot
	scope    albatross.Scope

	// What the status will say.
	verdict       status.Verdict
	hostAvailable *metav1.Condition
	// unchanged leaves the status as it is.
	unchanged bool
	// gone says that the object is no more.
	gone bool
	// vanished says that the object was gone before we let it go.
	vanished bool
	// repair is set when the host was not as declared any more.
	repair repair
	// notes are told when the status is saved.
	notes []note
	// again is when to look at the object again at the latest; 0 means never.
	again time.Duration
}

// note is an event besides that of the summary.
type note struct{ kind, reason, message string }

func (p *placement) note(kind, reason, message string) {
	p.notes = append(p.notes, note{kind, reason, message})
}

// lookAgain has the object looked at again after some time at the latest.
func (p *placement) lookAgain(after time.Duration) {
	after = max(after, time.Second)
	if p.again == 0 || after < p.again {
		p.again = after
	}
}

// repair is a command that the declaration did not ask for anew.
type repair struct {
	action  action
	message string
}

// withConditions is an object whose status has conditions.
type withConditions interface {
	client.Object
	GetConditions() []metav1.Condition
}

// readyNow tells whether the present generation of an object is ready.
func readyNow(o withConditions) bool {
	ready := apimeta.FindStatusCondition(o.GetConditions(), v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == o.GetGeneration()
}

// scope is the reconcile of one object that has a place on a host.
type scope interface {
	// run finds out how things are and changes at most one of them.
	run(ctx context.Context) outcome.Outcome
	// conclude puts what was found into the object's status.
	conclude()
	// statusChanged tells whether that differs from how the object was read.
	statusChanged() bool
	// common is what all kinds have.
	common() *placement
}

// reconcileScope runs a reconcile, writes the status at most once, and then tells
// what was done.
func reconcileScope(ctx context.Context, s scope, recorder events.EventRecorder, changes *changeClock) (ctrl.Result, error) {
	end := s.run(ctx)
	p := s.common()
	if p.gone {
		changes.forget(p.read.GetUID())
		return end.Result()
	}
	s.conclude()
	if s.statusChanged() {
		if err := status.Save(ctx, p.client, p.live, p.read, p.object); err != nil {
			return outcome.AfterWriting(err).Result()
		}
		p.writes.note(p.object, time.Now())
		announce(recorder, p.object, p.read.GetConditions(), p.object.GetConditions(), v1alpha1.ConditionReady)
	}
	p.tell(recorder, changes)
	if p.again > 0 {
		end = end.AtLatest(p.again)
	}
	return end.Result()
}

// end keeps the verdict and gives the outcome, so that a step ends in one line.
func (p *placement) end(v status.Verdict, o outcome.Outcome) outcome.Outcome {
	p.verdict = v
	return o
}

func (p *placement) key() string { return keyOf(p.kind, p.object) }

// owned tells whether the object has our finalizer: something of it is on a
// host, or was about to be.
func (p *placement) owned() bool {
	return controllerutil.ContainsFinalizer(p.object, v1alpha1.Finalizer)
}

// own puts our finalizer on the object before anything of it can be on a host,
// and not earlier, so that an object that never got that far goes at once.
func (p *placement) own(ctx context.Context) error {
	if p.owned() {
		return nil
	}
	if err := patchFinalizer(ctx, p.client, p.live, p.object, p.read, controllerutil.AddFinalizer); err != nil {
		return err
	}
	p.claims.add(p.object, time.Now())
	p.writes.note(p.object, time.Now())
	return nil
}

// letGo takes our finalizer away, with which a deleted object goes.
func (p *placement) letGo(ctx context.Context) outcome.Outcome {
	p.gone = true
	if !p.vanished {
		if err := patchFinalizer(ctx, p.client, p.live, p.object, p.read, controllerutil.RemoveFinalizer); err != nil {
			return outcome.AfterWriting(err)
		}
		p.writes.note(p.object, time.Now())
	}
	p.claims.forget(p.object.GetUID())
	return outcome.Done()
}

// checkFinalizer lets a deleted object go that has nothing on a host, or that
// leaves it there.
func (p *placement) checkFinalizer(ctx context.Context, policy v1alpha1.DeletionPolicy) outcome.Outcome {
	if !p.owned() {
		p.gone = true
		return outcome.Done()
	}
	if policy == v1alpha1.DeletionPolicyOrphan {
		return p.letGo(ctx)
	}
	return outcome.Continue()
}

// resolve finds the instance of that name and the namespace's place on it.
func (p *placement) resolve(ctx context.Context, instanceName string) outcome.Outcome {
	instance, path, problem, err := p.resolvePath(ctx, instanceName)
	if err != nil {
		return outcome.Retry(err)
	}
	if !problem.IsZero() {
		p.hostUnavailable(problem)
		return p.end(problem, outcome.Done())
	}
	p.instance, p.at = instance, place{instance.Name, albatross.Name{Path: path, Label: p.object.GetName()}}
	return outcome.Continue()
}

// resolvePath finds an instance and the namespace's path on it, or says what is
// wrong with either.
func (p *placement) resolvePath(ctx context.Context, instanceName string) (*v1alpha1.AlbatrossInstance, albatross.Path, status.Verdict, error) {
	var instance v1alpha1.AlbatrossInstance
	if err := p.client.Get(ctx, client.ObjectKey{Name: instanceName}, &instance); err != nil {
		if !apierrors.IsNotFound(err) {
			return nil, nil, status.Verdict{}, err
		}
		return nil, nil, status.Working(v1alpha1.ReasonInstanceNotFound, fmt.Sprintf("AlbatrossInstance %q does not exist", instanceName)), nil
	}
	namespace := p.object.GetNamespace()
	namespaceLabels, err := p.namespaces.labels(ctx, namespace)
	if err != nil {
		return nil, nil, status.Verdict{}, err
	}
	tenant, admitted, err := tenantOf(&instance, namespace, namespaceLabels)
	switch {
	case err != nil:
		return nil, nil, status.Stalled(v1alpha1.ReasonNamespaceNotAdmitted, fmt.Sprintf("AlbatrossInstance %q: %v", instanceName, err)), nil
	case !admitted:
		return nil, nil, status.Stalled(v1alpha1.ReasonNamespaceNotAdmitted,
			fmt.Sprintf("AlbatrossInstance %q has no tenant that admits namespace %q; have it added to spec.tenants", instanceName, namespace)), nil
	}
	return &instance, tenant.path, status.Verdict{}, nil
}

// findRecorded goes by where the thing was made, which stays true when instances
// and tenants have changed since.
func (p *placement) findRecorded(ctx context.Context, recorded place) outcome.Outcome {
	var instance v1alpha1.AlbatrossInstance
	err := p.client.Get(ctx, client.ObjectKey{Name: recorded.instance}, &instance)
	switch {
	case apierrors.IsNotFound(err):
		return p.end(status.Working(v1alpha1.ReasonInstanceNotFound, fmt.Sprintf(
			"AlbatrossInstance %q, where it is, does not exist; create it again, or %s", recorded.instance, p.freeing())), outcome.Done())
	case err != nil:
		return outcome.Retry(err)
	}
	p.instance, p.at = &instance, recorded
	return outcome.Continue()
}

// freeing names the command that lets an object go without its host.
func (p *placement) freeing() string {
	return fmt.Sprintf(`give it up with: kubectl patch %s %s -n %s --type=merge -p '{"spec":{"deletionPolicy":"Orphan"}}'`,
		p.resource, p.object.GetName(), p.object.GetNamespace())
}

// connect gets the host with its last snapshot, or ends at once.
func (p *placement) connect(observedGeneration int64) outcome.Outcome {
	host, problem := connected(p.hosts, p.instance.Name)
	if host == nil {
		if problem.Reason == v1alpha1.ReasonInstanceNotReady && seenBefore(observedGeneration) {
			// After a start of the operator, say, what is known is as good as ever.
			p.unchanged = true
			return outcome.Done()
		}
		if !p.object.GetDeletionTimestamp().IsZero() {
			problem = status.Lost(problem.Reason, problem.Message+"; it waits for the host; or "+p.freeing())
		}
		p.hostUnavailable(problem)
		return p.end(problem, outcome.Done())
	}
	if host.Doubtful() {
		p.unchanged = true
		return outcome.Wait(doubtInterval)
	}
	p.host, p.snapshot = host, host.Snapshot()
	scope, missing := p.snapshot.Scope(p.at.name.Path)
	if missing != nil {
		problem := policyMissing(p.instance, missing)
		p.hostUnavailable(problem)
		return p.end(problem, outcome.Done())
	}
	p.scope = scope
	p.hostAvailable = new(status.Condition(v1alpha1.ConditionHostAvailable, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "connected"))
	return outcome.Continue()
}

// doubtInterval is how long the look after an unanswered command is waited for.
const doubtInterval = time.Second

// lost tells whether the host was found not to answer.
func (p *placement) lost() bool { return p.host == nil && p.verdict.Status == metav1.ConditionUnknown }

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

// policy is the one in force for the object's path.
func (p *placement) policy() albatross.Policy { return p.scope[len(p.scope)-1].Policy }

// unschedulable ends a reconcile that would put something new on an instance
// that takes nothing new.
func (p *placement) unschedulable() (status.Verdict, bool) {
	if p.owned() || !p.instance.Spec.Unschedulable {
		return status.Verdict{}, false
	}
	return status.Working(v1alpha1.ReasonUnschedulable, fmt.Sprintf("AlbatrossInstance %q takes nothing new (spec.unschedulable)", p.instance.Name)), true
}

func (p *placement) hostUnavailable(v status.Verdict) {
	p.hostAvailable = new(status.Condition(v1alpha1.ConditionHostAvailable, metav1.ConditionFalse, v.Reason, v.Message))
}

// paused ends the reconcile of an object that is to be left alone.
func (p *placement) paused(conditions []metav1.Condition) outcome.Outcome {
	if p.object.GetAnnotations()[v1alpha1.AnnotationPaused] != "true" {
		return outcome.Continue()
	}
	return p.end(pausedVerdict(conditions), outcome.Done())
}

// command has f tell the host something, when there is a free place for it. name
// is what metrics call it.
func (p *placement) command(ctx context.Context, name action, f func(context.Context) error) outcome.Outcome {
	release, ok := p.host.TryAcquire(p.key())
	if !ok {
		p.unchanged = true
		return outcome.Wait(lineInterval)
	}
	defer release()
	ownedBefore := p.owned()
	if end := p.claim(ctx); end.Ended() {
		return end
	}
	err := p.host.Measure(string(name), func() error { return f(ctx) })
	switch class := hosts.Classify(err); {
	case err == nil || class == hosts.Gone:
		return outcome.Continue()
	case class == hosts.NameTaken && !ownedBefore:
		// Somebody was faster: what is there is not ours and must never be taken for it.
		if disownErr := p.disown(ctx); disownErr != nil {
			return outcome.AfterWriting(disownErr)
		}
	}
	return p.commandFailed(err)
}

// disown takes back the finalizer that was put on the object for a command that
// turned out to be about somebody else's.
func (p *placement) disown(ctx context.Context) error {
	always := func(error) bool { return ctx.Err() == nil }
	return retry.OnError(retry.DefaultBackoff, always, func() error {
		live := status.Empty(p.object)
		if err := p.live.Get(ctx, client.ObjectKeyFromObject(p.object), live); err != nil {
			return client.IgnoreNotFound(err)
		}
		if err := patchFinalizer(ctx, p.client, p.live, live, p.read, controllerutil.RemoveFinalizer); err != nil {
			return err
		}
		p.claims.forget(p.object.GetUID())
		p.object.SetFinalizers(p.read.GetFinalizers())
		p.object.SetResourceVersion(p.read.GetResourceVersion())
		return nil
	})
}

// claim makes sure that the object is ours and still as the cache had it. To put
// the finalizer on it shows both, since that fails when it is another to us.
func (p *placement) claim(ctx context.Context) outcome.Outcome {
	if p.vanished {
		return outcome.Continue()
	}
	if !p.owned() {
		return outcome.AfterWriting(p.own(ctx))
	}
	current, err := p.isCurrent(ctx)
	if err == nil && current {
		return outcome.Continue()
	}
	p.unchanged = true
	return outcome.AfterWriting(err).Or(outcome.Again())
}

// exceededBefore tells whether there was no room by the policy. Then the host is
// asked again only when its snapshot has some: every change of the host wakes
// those who wait for it.
func (p *placement) exceededBefore() bool {
	ready := apimeta.FindStatusCondition(p.read.GetConditions(), v1alpha1.ConditionReady)
	return ready != nil && ready.Reason == v1alpha1.ReasonPolicyExceeded
}

// isCurrent tells whether the object is still as the cache had it. The cache may
// lag behind our own last write, by which a restart was done or a volume filled:
// acting on what it has could do so twice.
func (p *placement) isCurrent(ctx context.Context) (bool, error) {
	live := status.Empty(p.object)
	if err := p.live.Get(ctx, client.ObjectKeyFromObject(p.object), live); err != nil {
		return false, err
	}
	return sameToUs(live, p.read)
}

// commandFailed says what the host's answer means. What is not known may pass.
func (p *placement) commandFailed(err error) outcome.Outcome {
	text := hosts.Text(err)
	switch hosts.Classify(err) {
	case hosts.NameTaken:
		return p.end(status.Stalled(v1alpha1.ReasonNameTaken, text), outcome.Wait(stalledInterval))
	case hosts.PolicyExceeded:
		return p.end(status.Stalled(v1alpha1.ReasonPolicyExceeded, text), outcome.Wait(stalledInterval))
	case hosts.Refused:
		return p.end(status.Stalled(v1alpha1.ReasonRefused, text), outcome.Wait(stalledInterval))
	case hosts.Waiting:
		return p.end(status.Working(v1alpha1.ReasonHostError, text), outcome.Retry(err))
	}
	return p.end(status.Working(v1alpha1.ReasonHostError, hosts.Problem(err)), outcome.Retry(err))
}

// refresh looks at the host again after a command.
func (p *placement) refresh(ctx context.Context) error {
	snapshot, err := p.host.Refresh(ctx)
	if err != nil {
		return err
	}
	p.snapshot = snapshot
	return nil
}

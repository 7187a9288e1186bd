package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// HostPool is where the reconcilers get hosts from.
type HostPool interface {
	// Get gives the host of an instance at once, or an error that wraps
	// hosts.ErrNotConnected.
	Get(instance string) (*hosts.Host, error)
	// State tells about the host; known is false when it was never set.
	State(instance string) (state hosts.State, known bool)
	// Subscribe has f called about every change until the context ends.
	Subscribe(ctx context.Context, f func(hosts.Change))
}

// ImageGetter is where the reconcilers get images from.
type ImageGetter interface {
	// Get gives content at hand, or images.ErrInProgress; then key is woken.
	Get(ctx context.Context, key string, source images.Source, patience time.Duration) (images.Blob, error)
	// RetryAfter is when a failed source may be asked again, at the earliest.
	RetryAfter(source images.Source) time.Duration
}

// unikernelKind is the kind's name in the keys of those who wait for something.
const unikernelKind = "Unikernel"

// unikernelResource is what kubectl calls it.
const unikernelResource = "unikernel"

// UnikernelReconciler makes what runs on a host match a Unikernel.
type UnikernelReconciler struct {
	client.Client
	Recorder events.EventRecorder
	Hosts    HostPool
	Images   ImageGetter
	// Comebacks paces how often a unikernel that keeps ending is brought back.
	Comebacks *flowcontrol.Backoff
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Pauses between attempts to bring back what keeps ending.
const (
	firstComeback   = 10 * time.Second
	longestComeback = 5 * time.Minute
)

// +kubebuilder:rbac:groups=mollymawk.dev,resources=unikernels,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=unikernels/status,verbs=patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=unikernels/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile looks at one Unikernel, tells its host at most one thing, and writes
// the status at most once.
func (r *UnikernelReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var uk v1alpha1.Unikernel
	if err := r.Get(ctx, request.NamespacedName, &uk); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &unikernelScope{UnikernelReconciler: r, uk: &uk, before: uk.DeepCopy()}
	end := s.run(ctx)
	if s.gone {
		return end.Result()
	}
	s.conclude()
	if equality.Semantic.DeepEqual(s.before.Status, uk.Status) {
		return end.Result()
	}
	if err := status.Patch(ctx, r.Client, s.before, &uk); err != nil {
		return outcome.AfterWriting(err).Result()
	}
	s.announce()
	return end.Result()
}

// unikernelScope is what one reconcile finds out, from top to bottom.
type unikernelScope struct {
	*UnikernelReconciler
	// uk is changed as the reconcile goes; before is how it was read.
	uk, before *v1alpha1.Unikernel

	// Set by resolve.
	instance *v1alpha1.AlbatrossInstance
	path     albatross.Path
	// Set by connect.
	host     *hosts.Host
	snapshot *hosts.Snapshot
	scope    albatross.Scope
	// Set by decide, and again by observe after a command.
	desired  desired
	observed *albatross.Unikernel
	decision decision
	// Set by prepareImage.
	image *images.Blob

	// What the status will say.
	verdict       status.Verdict
	hostAvailable *metav1.Condition
	imageReady    *metav1.Condition
	running       *metav1.Condition
	// unchanged leaves the conditions as they are.
	unchanged bool
	// gone says that the object is no more.
	gone bool
}

// run goes through the steps until one ends the reconcile.
func (s *unikernelScope) run(ctx context.Context) outcome.Outcome {
	steps := []func(context.Context) outcome.Outcome{
		s.checkPaused, s.checkSupported, s.resolve, s.connect, s.decide, s.prepareImage, s.checkLateRefusals, s.act,
	}
	if !s.uk.DeletionTimestamp.IsZero() {
		steps = []func(context.Context) outcome.Outcome{s.checkPaused, s.checkFinalizer, s.findForDeletion, s.connect, s.destroy}
	}
	for _, step := range steps {
		if end := step(ctx); end.Ended() {
			return end
		}
	}
	return outcome.Done()
}

func (s *unikernelScope) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *unikernelScope) owned() bool {
	return controllerutil.ContainsFinalizer(s.uk, v1alpha1.Finalizer)
}

// announce tells about a transition once its status is saved.
func (s *unikernelScope) announce() {
	announce(s.Recorder, s.uk, s.before.Status.Conditions, s.uk.Status.Conditions, v1alpha1.ConditionReady)
}

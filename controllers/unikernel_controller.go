package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/liveness"
	"mollymawk.dev/operator/internal/outcome"
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
	// Resolve says what a source that may change delivers, or images.ErrInProgress;
	// then key is woken. An answer is no older than notBefore.
	Resolve(ctx context.Context, key string, source images.Source, notBefore time.Time, patience time.Duration) (images.Resolved, error)
	// Get gives content at hand, or images.ErrInProgress; then key is woken.
	Get(ctx context.Context, key string, source images.Source, patience time.Duration) (images.Blob, error)
	// RetryAfter is when a failed source may be asked again, at the earliest.
	RetryAfter(source images.Source) time.Duration
}

const (
	// unikernelKind is the kind's name in the keys of those who wait for something.
	unikernelKind = "Unikernel"
	// unikernelController is what the controller is called.
	unikernelController = "unikernel"
)

// UnikernelReconciler makes what runs on a host match a Unikernel.
type UnikernelReconciler struct {
	client.Client
	// Live reads past the cache.
	Live     client.Reader
	Recorder events.EventRecorder
	Hosts    HostPool
	Images   ImageGetter
	Probes   Prober
	// Namespace is the operator's, where the Secrets of the catalogue's entries and of
	// earlier revisions are.
	Namespace string
	// WatchNamespaces are the only ones that are looked after; none means all.
	WatchNamespaces []string
	// Liveness is told that uploads go on; nil if nobody asks.
	Liveness *liveness.Monitor
	// Comebacks paces how often a unikernel that keeps ending is brought back.
	Comebacks *flowcontrol.Backoff
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	changes changeClock
	claims  claims
	writes  ownWrites
	updates updateClock
}

// +kubebuilder:rbac:groups=mollymawk.dev,resources=unikernels,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=unikernels/status,verbs=patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=unikernels/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile looks at one Unikernel, tells its host at most one thing, and writes
// the status at most once.
func (r *UnikernelReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var uk v1alpha1.Unikernel
	err := r.Get(ctx, request.NamespacedName, &uk)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if old, ok := r.claims.vanished(request.NamespacedName, uk.UID, time.Now()); ok {
		s := newUnikernelScope(r, old.(*v1alpha1.Unikernel))
		return cleanUp(ctx, &s.placement, s.deletionSteps())
	}
	if apierrors.IsNotFound(err) {
		r.Probes.Remove(keyOf(unikernelKind, &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: request.Namespace, Name: request.Name}}))
		return ctrl.Result{}, nil
	}
	if r.writes.unseen(&uk, time.Now()) {
		return outcome.Wait(ownWritePause).Result()
	}
	s := newUnikernelScope(r, &uk)
	return reconcileScope(ctx, s, r.Recorder, &r.changes)
}

// unikernelScope is what one reconcile finds out, from top to bottom.
type unikernelScope struct {
	*UnikernelReconciler
	placement
	// uk is changed as the reconcile goes; before is how it was read.
	uk, before *v1alpha1.Unikernel

	// Set by resolve: where it was made, when that is not where it shall be.
	leaving *place
	// Set by chooseRevision.
	inForce inForce
	// Set by decide, and again after a command.
	desired  desired
	observed *albatross.Unikernel
	decision decision
	// Set by prepareImage.
	image *images.Blob

	// What the status will say, besides what placement has.
	imageReady, running, healthy, updateAvailable *metav1.Condition
	// compared says that the source has told which image it has.
	compared bool
}

func newUnikernelScope(r *UnikernelReconciler, uk *v1alpha1.Unikernel) *unikernelScope {
	before := uk.DeepCopy()
	return &unikernelScope{
		UnikernelReconciler: r, uk: uk, before: before, inForce: declaredInForce(uk),
		placement: placement{namespaces: namespaces{r.Client, r.WatchNamespaces}, client: r.Client, live: r.Live, hosts: r.Hosts, claims: &r.claims, writes: &r.writes, object: uk, read: before, kind: unikernelKind, resource: "unikernel"},
	}
}

// common implements scope.
func (s *unikernelScope) common() *placement { return &s.placement }

// statusChanged implements scope.
func (s *unikernelScope) statusChanged() bool {
	return !equality.Semantic.DeepEqual(s.before.Status, s.uk.Status)
}

// run goes through the steps until one ends the reconcile.
func (s *unikernelScope) run(ctx context.Context) outcome.Outcome {
	steps := []func(context.Context) outcome.Outcome{
		s.checkPaused, s.resolve, s.connect, s.resolveImage, s.chooseRevision, s.decide, s.checkProgress,
		s.checkVolumes, s.prepareImage, s.checkLateRefusals, s.act,
	}
	if !s.uk.DeletionTimestamp.IsZero() {
		steps = s.deletionSteps()
	}
	return runSteps(ctx, steps)
}

func (s *unikernelScope) deletionSteps() []func(context.Context) outcome.Outcome {
	return []func(context.Context) outcome.Outcome{s.checkPaused, s.checkFinalizer, s.destroyEverywhere, s.forget, s.letGo}
}

func (s *unikernelScope) now() time.Time { return clock(s.Now) }

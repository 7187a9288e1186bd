package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/liveness"
	"mollymawk.dev/operator/internal/outcome"
)

const (
	// volumeKind is the kind's name in the keys of those who wait for something.
	volumeKind = "Volume"
	// volumeController is what the controller is called.
	volumeController = "volume"
)

// VolumeReconciler makes a block device on a host match a Volume.
type VolumeReconciler struct {
	client.Client
	// Live reads past the cache.
	Live     client.Reader
	Recorder events.EventRecorder
	Hosts    HostPool
	Images   ImageGetter
	// WatchNamespaces are the only ones that are looked after; none means all.
	WatchNamespaces []string
	// Liveness is told that uploads go on; nil if nobody asks.
	Liveness *liveness.Monitor
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	changes changeClock
	claims  claims
	writes  ownWrites
}

// +kubebuilder:rbac:groups=mollymawk.dev,resources=volumes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=volumes/status,verbs=patch
// +kubebuilder:rbac:groups=mollymawk.dev,resources=volumes/finalizers,verbs=update

func setupVolume(mgr ctrl.Manager, config Config) error {
	r := &VolumeReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder(volumeController), Now: config.Now, Hosts: config.Hosts, Images: config.Images,
		WatchNamespaces: config.WatchNamespaces, Liveness: config.Liveness,
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named(volumeController).
		For(&v1alpha1.Volume{}, builder.WithPredicates(declarationChanged())).
		Watches(&v1alpha1.AlbatrossInstance{}, handler.EnqueueRequestsFromMapFunc(r.onInstance), builder.WithPredicates(instanceMatters())).
		WatchesRawSource(hostChanges(config.Hosts, r.affected, changePause)).
		WatchesRawSource(config.Wakeups.source(volumeKind)).
		WithOptions(config.options())
	return watchNamespaces(b, config, r.inNamespace).Complete(r)
}

func (r *VolumeReconciler) onInstance(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, nil, client.MatchingFields{byInstance: o.GetName()})
}

func (r *VolumeReconciler) inNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	return r.list(ctx, nil, client.InNamespace(o.GetName()))
}

// affected gives the volumes that a change of a host concerns.
func (r *VolumeReconciler) affected(ctx context.Context, c hosts.Change) []ctrl.Request {
	requests := grantedRequests(volumeKind, c)
	if !c.All && len(c.Names) == 0 {
		return requests
	}
	labels := labelsOf(c.Names)
	concerned := func(v *v1alpha1.Volume) bool {
		return c.All || labels[v.Name] || waitsForRoom(v.Status.Conditions)
	}
	return append(requests, r.list(ctx, concerned, client.MatchingFields{byInstance: c.Instance})...)
}

func (r *VolumeReconciler) list(ctx context.Context, concerned func(*v1alpha1.Volume) bool, options ...client.ListOption) []ctrl.Request {
	var all v1alpha1.VolumeList
	return listRequests(ctx, r.Client, &all, func() []v1alpha1.Volume { return all.Items }, concerned, options...)
}

// Reconcile looks at one Volume, tells its host at most one thing, and writes the
// status at most once.
func (r *VolumeReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var volume v1alpha1.Volume
	err := r.Get(ctx, request.NamespacedName, &volume)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if old, ok := r.claims.vanished(request.NamespacedName, volume.UID, time.Now()); ok {
		s := newVolumeScope(r, old.(*v1alpha1.Volume))
		return cleanUp(ctx, &s.placement, s.deletionSteps())
	}
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil
	}
	if r.writes.unseen(&volume, time.Now()) {
		return outcome.Wait(ownWritePause).Result()
	}
	s := newVolumeScope(r, &volume)
	return reconcileScope(ctx, s, r.Recorder, &r.changes)
}

// volumeScope is what one reconcile finds out, from top to bottom.
type volumeScope struct {
	*VolumeReconciler
	placement
	// volume is changed as the reconcile goes; before is how it was read.
	volume, before *v1alpha1.Volume

	// Set by decide, and again after a command.
	observed *albatross.Block
	decision decision

	// What the status will say, besides what placement has.
	provisioned, populated *metav1.Condition
}

func newVolumeScope(r *VolumeReconciler, volume *v1alpha1.Volume) *volumeScope {
	before := volume.DeepCopy()
	return &volumeScope{
		VolumeReconciler: r, volume: volume, before: before,
		placement: placement{namespaces: namespaces{r.Client, r.WatchNamespaces}, client: r.Client, live: r.Live, hosts: r.Hosts, claims: &r.claims, writes: &r.writes, object: volume, read: before, kind: volumeKind, resource: "volume"},
	}
}

// common implements scope.
func (s *volumeScope) common() *placement { return &s.placement }

// statusChanged implements scope.
func (s *volumeScope) statusChanged() bool {
	return !equality.Semantic.DeepEqual(s.before.Status, s.volume.Status)
}

// run goes through the steps until one ends the reconcile.
func (s *volumeScope) run(ctx context.Context) outcome.Outcome {
	steps := []func(context.Context) outcome.Outcome{
		s.checkPaused, s.resolve, s.connect, s.decide, s.act,
	}
	if !s.volume.DeletionTimestamp.IsZero() {
		steps = s.deletionSteps()
	}
	return runSteps(ctx, steps)
}

func (s *volumeScope) deletionSteps() []func(context.Context) outcome.Outcome {
	return []func(context.Context) outcome.Outcome{s.checkPaused, s.checkFinalizer, s.find, s.connect, s.remove, s.letGo}
}

func (s *volumeScope) now() time.Time { return clock(s.Now) }

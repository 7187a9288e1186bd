package services

import (
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

// conditioned is an object whose status has conditions.
type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
}

// empty gives a new object of the same kind and name.
func empty[T client.Object](o T) T {
	fresh := reflect.New(reflect.TypeOf(o).Elem()).Interface().(T)
	fresh.SetNamespace(o.GetNamespace())
	fresh.SetName(o.GetName())
	return fresh
}

// awaited is what is waited for: a verdict, or that there is none yet.
type awaited[T client.Object] func(o T) (done bool, err error)

// errGone is the verdict on an object that vanished.
var errGone = &Conflict{Text: "it was deleted meanwhile"}

// await waits until decide has something to say about the object, in a version
// that is at least that of the write. A caller who went away is waited for too,
// so that what was refused can be taken back.
func await[T client.Object](ctx context.Context, s *Services, o T, decide awaited[T]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Patience)
	defer cancel()
	changed, stop := s.news.listen(o)
	defer stop()
	last, woken := "it was not looked at yet", false
	for {
		now := empty(o)
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(o), now)
		switch {
		case err == nil && now.GetUID() == o.GetUID():
			if done, err := decide(now); done || err != nil {
				return err
			}
			last = describe(now)
		case err == nil || apierrors.IsNotFound(err):
			// The cache may not know it yet, or an earlier one of that name.
			if gone, err := s.goneOnce(ctx, o, woken); gone || err != nil {
				return orGone(err)
			}
		default:
			return err
		}
		select {
		case <-changed:
			woken = true
		case <-ctx.Done():
			return &Timeout{last}
		}
	}
}

func orGone(err error) error {
	if err != nil {
		return err
	}
	return errGone
}

// goneOnce asks past the cache, once there was reason to.
func (s *Services) goneOnce(ctx context.Context, o client.Object, reason bool) (bool, error) {
	if !reason {
		return false, nil
	}
	return s.gone(ctx, o)
}

// describe says how far an object has come.
func describe(o client.Object) string {
	if with, ok := o.(conditioned); ok {
		if ready := apimeta.FindStatusCondition(with.GetConditions(), v1alpha1.ConditionReady); ready != nil {
			return ready.Message
		}
	}
	return "it was not looked at yet"
}

// awaitGone waits until an object that was deleted is gone.
func awaitGone[T conditioned](ctx context.Context, s *Services, o T) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Patience)
	defer cancel()
	changed, stop := s.news.listen(o)
	defer stop()
	for {
		now := empty(o)
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(o), now)
		if apierrors.IsNotFound(err) || err == nil && now.GetUID() != o.GetUID() {
			// The cache may not know it yet.
			if gone, err := s.gone(ctx, o); gone || err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &Timeout{describe(now)}
		}
	}
}

func (s *Services) gone(ctx context.Context, o client.Object) (bool, error) {
	now := empty(o)
	err := s.Live.Get(ctx, client.ObjectKeyFromObject(o), now)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return err == nil && now.GetUID() != o.GetUID(), err
}

// verdict reads what the controllers say about a generation of an object.
func verdict(o conditioned, instance string, generation int64) (done bool, err error) {
	ready := apimeta.FindStatusCondition(o.GetConditions(), v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration < generation || !o.GetDeletionTimestamp().IsZero() {
		return false, nil
	}
	if ready.Status == metav1.ConditionTrue {
		return true, nil
	}
	if apimeta.IsStatusConditionTrue(o.GetConditions(), v1alpha1.ConditionStalled) {
		return true, &Refused{ready.Reason, ready.Message}
	}
	switch ready.Reason {
	case v1alpha1.ReasonHostUnreachable:
		return true, &Unreachable{instance, ready.Message}
	case v1alpha1.ReasonUnschedulable:
		return true, &Refused{ready.Reason, ready.Message}
	case v1alpha1.ReasonInstanceNotFound:
		return true, &NotFound{whatInstance, instance}
	case v1alpha1.ReasonHostError:
		// The controllers go on trying; a caller is told at once.
		if hosts.IsRefusal(ready.Message) {
			return true, &Refused{ready.Reason, ready.Message}
		}
		return true, &Unreachable{instance, ready.Message}
	}
	return false, nil
}

// Texts of hosts that callers know, where the controllers ask before the host
// would.
const (
	textUnikernelExists = "Unikernel with same name is already running"
	textVolumeExists    = "block device with same name already exists"
	textNotFound        = "destroy: not found"
	textRemoveNotFound  = "remove block: not found"
	textRemoveInUse     = "remove block: is in use"
)

// remove deletes just this object as the caller; that it is gone already is fine.
func remove(ctx context.Context, c client.Client, o client.Object, uid types.UID) error {
	err := c.Delete(ctx, o, client.Preconditions{UID: &uid})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if apierrors.IsConflict(err) {
		return &Conflict{Text: fmt.Sprintf("%s was replaced by another of that name meanwhile", o.GetName())}
	}
	return writeError(err)
}

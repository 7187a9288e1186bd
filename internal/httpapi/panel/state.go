package panel

import (
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

// The states of an instance. They are about its installation: one that was ready
// stays so when it restarts.
const (
	installing = "INSTALLING"
	ready      = "READY"
	failed     = "FAILED"
	unknown    = "UNKNOWN"
)

// wasDeployed tells whether a unikernel has run.
func wasDeployed(uk *v1alpha1.Unikernel) bool { return len(uk.Status.History) > 0 }

// stateOf reads the state of an instance from the conditions.
func stateOf(uk *v1alpha1.Unikernel) string {
	condition := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady)
	runs := apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionRunning)
	stalled := apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionStalled)
	switch {
	case condition == nil:
		return installing
	case condition.Status == metav1.ConditionTrue:
		return ready
	case condition.Status == metav1.ConditionUnknown && wasDeployed(uk):
		return unknown
	case stalled && condition.Reason == v1alpha1.ReasonExited:
		return ready // it has run, and ended as it may
	case stalled && runs && condition.Reason != v1alpha1.ReasonProgressDeadlineExceeded:
		return ready // what is wrong is a change of it
	case stalled:
		return failed
	case runs || wasDeployed(uk):
		return ready
	}
	return installing
}

// The states of a node.
const (
	unconfigured = "Unconfigured"
	online       = "Online"
	offline      = "Offline"
	neverAsked   = "Unknown"
)

// nodeStatus tells whether a host has credentials and answers.
func nodeStatus(o services.DeclaredInstance) string {
	connected := apimeta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionConnected)
	switch {
	case !o.Configured:
		return unconfigured
	case connected == nil:
		return neverAsked
	case connected.Status == metav1.ConditionTrue:
		return online
	case connected.Status == metav1.ConditionFalse:
		return offline
	}
	return neverAsked
}

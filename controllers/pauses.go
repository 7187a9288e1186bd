package controllers

import (
	"time"

	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Pauses after failures in a row, and between attempts to bring back what keeps
// ending. The longest lets a thing that fails for good cost 12 commands an hour.
const (
	firstRetry      = time.Second
	longestRetry    = 5 * time.Minute
	firstComeback   = 10 * time.Second
	longestComeback = 5 * time.Minute
)

// NewRetries gives the pauses of an object after failures in a row.
func NewRetries() workqueue.TypedRateLimiter[ctrl.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](firstRetry, longestRetry)
}

// NewComebacks paces how often a unikernel that keeps ending is brought back.
func NewComebacks() *flowcontrol.Backoff {
	return flowcontrol.NewBackOff(firstComeback, longestComeback)
}

package httpapi

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// KindOf says what sort of failure it was, for callers: without anything that only
// the log should have.
func KindOf(err error) string {
	reason := apierrors.ReasonForError(err)
	switch {
	case reason != "":
		return "the object store: " + string(reason)
	case errors.Is(err, context.Canceled):
		return "an end of the call"
	case errors.Is(err, context.DeadlineExceeded):
		return "a time-out"
	}
	return "an internal error"
}

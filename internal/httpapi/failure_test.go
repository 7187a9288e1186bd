package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mollymawk.dev/operator/internal/httpapi"
)

func TestKindOf(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	for want, err := range map[string]error{
		"the object store: NotFound":  fmt.Errorf("read: %w", apierrors.NewNotFound(secrets, "token-of-alice")),
		"the object store: Forbidden": apierrors.NewForbidden(secrets, "token-of-alice", errors.New("who knows")),
		"an end of the call":          fmt.Errorf("look: %w", context.Canceled),
		"a time-out":                  fmt.Errorf("look: %w", context.DeadlineExceeded),
		"an internal error":           errors.New("password of alice"),
	} {
		if got := httpapi.KindOf(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

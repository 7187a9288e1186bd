package outcome_test

import (
	"errors"
	"testing"
	"time"

	"mollymawk.dev/operator/internal/outcome"
)

func TestResults(t *testing.T) {
	failure := errors.New("refused")
	for _, tt := range []struct {
		what  string
		o     outcome.Outcome
		ended bool
		after time.Duration
		err   error
	}{
		{"continue", outcome.Continue(), false, 0, nil},
		{"zero", outcome.Outcome{}, false, 0, nil},
		{"done", outcome.Done(), true, 0, nil},
		{"wait", outcome.Wait(time.Minute), true, time.Minute, nil},
		{"retry", outcome.Retry(failure), true, 0, failure},
	} {
		result, err := tt.o.Result()
		if tt.o.Ended() != tt.ended || result.RequeueAfter != tt.after || !errors.Is(err, tt.err) || !errors.Is(tt.o.Err(), tt.err) {
			t.Errorf("%s: ended %v, %v, %v", tt.what, tt.o.Ended(), result, err)
		}
	}
}

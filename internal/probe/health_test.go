package probe

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// epochStart is when what the tests probe started.
var epochStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// told is what a sequence of probes leads to, each told by "+" when it succeeds
// and by the text of its failure otherwise: the states of which somebody was
// woken, as health and message.
func told(spec Spec, first time.Duration, results []string) (states []string, last State) {
	spec.setDefaults()
	r := newRecord(epochStart)
	now := epochStart.Add(first)
	for _, result := range results {
		if result == "+" {
			result = ""
		}
		if r.note(&spec, result, now) {
			states = append(states, strings.TrimSpace(r.state.Health.String()+" "+r.state.Message))
		}
		now = now.Add(spec.Period)
	}
	return states, r.state
}

func TestHealth(t *testing.T) {
	thresholds := func(success, failure int) Spec {
		return Spec{Period: 10 * time.Second, SuccessThreshold: success, FailureThreshold: failure}
	}
	for _, c := range []struct {
		what    string
		spec    Spec
		results string
		want    []string
	}{
		{"nothing yet", thresholds(1, 3), "", nil},
		{"the first success decides", thresholds(1, 3), "+ + +", []string{"Healthy"}},
		{"three successes in a row decide", thresholds(3, 3), "+ + a + + + +", []string{"Healthy"}},
		{"two are not enough", thresholds(3, 3), "+ + a + + a", nil},
		{"the defaults are one and one", Spec{Period: time.Second}, "a +", []string{"Unhealthy a", "Healthy"}},
		{"three failures in a row decide", thresholds(1, 3), "a b a a", []string{"Unhealthy a"}},
		{"failures that a success parts do not", thresholds(1, 3), "+ a a + a a +", []string{"Healthy"}},
		{"down and up again", thresholds(2, 2), "+ + a a a + a + + +", []string{"Healthy", "Unhealthy a", "Healthy"}},
		{"another failure is told when it lasts", thresholds(1, 2), "a a b b b", []string{"Unhealthy a", "Unhealthy b"}},
		{"failures that take turns are told once", thresholds(1, 2), "a a b a b a b a", []string{"Unhealthy a"}},
		{"a success in between begins the count anew", thresholds(2, 2), "a a b + b a a", []string{"Unhealthy a"}},
		{"a short success does not change the message", thresholds(2, 1), "a + a +", []string{"Unhealthy a"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, _ := told(c.spec, c.spec.Period, strings.Fields(c.results))
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.results, got, c.want)
			}
		})
	}
}

func TestStateWhileUnknown(t *testing.T) {
	spec := Spec{Period: time.Minute, FailureThreshold: 3}
	if _, got := told(spec, time.Minute, []string{"a", "b"}); got != (State{Message: "b", Since: epochStart}) {
		t.Errorf("%+v", got)
	}
}

func TestSinceIsOfTheHealth(t *testing.T) {
	spec := Spec{Period: time.Minute, FailureThreshold: 2}
	_, got := told(spec, time.Minute, []string{"+", "+", "a", "a", "a", "b", "b"})
	if want := (State{Unhealthy, "b", epochStart.Add(4 * time.Minute)}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestStarting has a unikernel that takes its time: it is asked again soon, and
// its failures do not count until a period is over.
func TestStarting(t *testing.T) {
	spec := Spec{Period: 10 * time.Second, FailureThreshold: 1}
	spec.setDefaults()
	r, now := newRecord(epochStart), epochStart
	var pauses []time.Duration
	for now.Before(epochStart.Add(spec.Period)) {
		if r.note(&spec, "a", now) {
			t.Fatalf("a failure %s after the start has made it %+v", now.Sub(epochStart), r.state)
		}
		pause := r.pause(&spec, now)
		pauses, now = append(pauses, pause), now.Add(pause)
	}
	want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
	if !slices.Equal(pauses, want) {
		t.Errorf("the pauses are %v, want %v", pauses, want)
	}
	if !r.note(&spec, "a", now) || r.state.Health != Unhealthy {
		t.Errorf("a failure after the first period has made it %+v", r.state)
	}
	if pause := r.pause(&spec, now); pause < 9*time.Second || pause > 11*time.Second {
		t.Errorf("the pause is %s", pause)
	}
}

func TestPauseAfterTheFirstSuccess(t *testing.T) {
	spec := Spec{Period: time.Hour, SuccessThreshold: 2, FailureThreshold: 1}
	r := newRecord(epochStart)
	if r.note(&spec, "", epochStart) {
		t.Error("one success was enough")
	}
	if pause := r.pause(&spec, epochStart); pause < 54*time.Minute {
		t.Errorf("the second success may come after %s", pause)
	}
}

func TestJitter(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		d := jitter(10 * time.Second)
		least, most = min(least, d), max(most, d)
	}
	if least < 9*time.Second || most > 11*time.Second || most-least < time.Second {
		t.Errorf("from %s to %s", least, most)
	}
}

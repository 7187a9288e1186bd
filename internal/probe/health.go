package probe

import (
	"math/rand/v2"
	"time"
)

// Health is what the probes of a unikernel have shown.
type Health int

// The kinds of health.
const (
	// Unknown is the health of what has started anew and was not yet probed often enough.
	Unknown Health = iota
	// Healthy says that as many probes in a row have succeeded as it takes.
	Healthy
	// Unhealthy says that as many probes in a row have failed as it takes.
	Unhealthy
)

// String gives the name of a health.
func (h Health) String() string {
	switch h {
	case Healthy:
		return "Healthy"
	case Unhealthy:
		return "Unhealthy"
	}
	return "Unknown"
}

// State is what is known of a unikernel.
type State struct {
	Health Health
	// Message says what fails, and is empty for what is healthy. It has no times,
	// counts or addresses in it and nothing of what a server said, so that it stays
	// the same while the same thing fails.
	Message string
	// Since is when the health became what it is.
	Since time.Time
}

// firstRetry is the pause after the first probe of something that has started
// anew, when it failed. It doubles.
const firstRetry = 500 * time.Millisecond

// record counts the probes of one unikernel.
type record struct {
	state State
	// successes and failures are those in a row that count.
	successes, failures int
	// failure is what failed last, and repeated how often that came in a row.
	failure  string
	repeated int
	// retry is the pause after the next failure while it starts.
	retry time.Duration
}

func newRecord(now time.Time) record {
	return record{state: State{Since: now}, retry: firstRetry}
}

// note takes the result of a probe, of which problem is empty when it succeeded,
// and tells whether the state has become another that somebody should hear of.
func (r *record) note(spec *Spec, problem string, now time.Time) (changed bool) {
	if problem == "" {
		r.failures, r.failure, r.repeated = 0, "", 0
		r.successes++
		return r.successes >= spec.SuccessThreshold && r.become(Healthy, "", now)
	}
	r.successes = 0
	if problem != r.failure {
		r.failure, r.repeated = problem, 0
	}
	r.repeated++
	if r.state.Health == Unknown {
		r.state.Message = problem
	}
	if !r.starting(spec, now) {
		r.failures++
	}
	switch {
	case r.failures < spec.FailureThreshold:
		return false
	case r.become(Unhealthy, problem, now):
		return true
	}
	// What fails now in one way and now in another is not worth telling each time.
	if r.state.Message == problem || r.repeated < spec.FailureThreshold {
		return false
	}
	r.state.Message = problem
	return true
}

func (r *record) become(health Health, message string, now time.Time) bool {
	if r.state.Health == health {
		return false
	}
	r.state = State{Health: health, Message: message, Since: now}
	return true
}

// starting says that a unikernel may not be up yet: within one period after it
// started anew failures do not count, and it is asked again soon.
func (r *record) starting(spec *Spec, now time.Time) bool {
	return r.state.Health == Unknown && now.Before(r.state.Since.Add(spec.Period))
}

// pause is the time from the beginning of the last probe to that of the next.
func (r *record) pause(spec *Spec, now time.Time) time.Duration {
	if r.successes > 0 || !r.starting(spec, now) {
		return jitter(spec.Period)
	}
	pause := min(r.retry, spec.Period)
	r.retry = min(2*r.retry, spec.Period)
	return pause
}

// jitter spreads probes so that what was begun at the same time is not asked at
// the same time for ever: d, up to a tenth more or less.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d)) //nolint:gosec // no secret
}

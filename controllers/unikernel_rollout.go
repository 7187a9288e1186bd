package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/probe"
	"mollymawk.dev/operator/internal/status"
)

// Prober asks running unikernels whether they work.
type Prober interface {
	// Set has one probed; another spec or epoch starts anew.
	Set(key string, spec probe.Spec, epoch string)
	Remove(key string)
	State(key string) probe.State
}

// chooseRevision finds what shall run. A rollback is lifted when what is declared
// is not what failed any more.
func (s *unikernelScope) chooseRevision(context.Context) outcome.Outcome {
	if rollback := s.uk.Status.Rollback; rollback != nil && rollback.Declaration != declarationHash(s.uk) {
		s.uk.Status.Rollback = nil
	}
	chosen, err := findInForce(s.uk)
	if err != nil {
		return s.end(status.Stalled(v1alpha1.ReasonRevisionNotFound, err.Error()), outcome.Done())
	}
	s.inForce = chosen
	return outcome.Continue()
}

// checkProgress brings the last good revision back when what was deployed did not
// become healthy in time. That is saved before anything is done about it, so that
// an operator that is started anew in between goes on with it.
func (s *unikernelScope) checkProgress(ctx context.Context) outcome.Outcome {
	if !s.onTrial() {
		return outcome.Continue()
	}
	state := s.Probes.State(s.key())
	left := s.trialLeft(state)
	if left > 0 {
		s.lookAgain(left)
		return outcome.Continue()
	}
	good := lastGood(s.uk.Status.History)
	if state.Health == probe.Healthy || good == nil {
		return outcome.Continue()
	}
	s.uk.Status.Rollback = &v1alpha1.RollbackStatus{
		Revision: good.Revision, Failed: s.uk.Status.History[0].Revision, Declaration: declarationHash(s.uk),
		Message: limited(s.failure(state) + s.lastLines(ctx)),
	}
	return s.end(status.Working(v1alpha1.ReasonRollingBack, fmt.Sprintf("revision %d is brought back: %s", good.Revision, s.uk.Status.Rollback.Message)), outcome.Again())
}

// onTrial tells whether what is declared was deployed, has a probe to be judged
// by, and was never ready.
func (s *unikernelScope) onTrial() bool {
	return s.uk.Spec.Probe != nil && !s.uk.Spec.Suspended && s.inForce.revision == nil && s.leaving == nil &&
		s.deployed() && !s.uk.Status.History[0].Healthy
}

// trialLeft is how much time there is until the probe must have succeeded. An
// operator that has not asked for as long (it has just started, or the host was
// away) gives it the time anew.
func (s *unikernelScope) trialLeft(state probe.State) time.Duration {
	deadline := s.uk.Spec.Update.ProgressDeadlineOrDefault()
	left := deadline - s.now().Sub(s.uk.Status.History[0].DeployedAt.Time)
	if state.Health == probe.Unknown && !state.Since.IsZero() {
		left = max(left, deadline-s.now().Sub(state.Since))
	}
	return left
}

// failure says why what was deployed is not healthy.
func (s *unikernelScope) failure(state probe.State) string {
	switch {
	case s.observed == nil:
		return "the unikernel has ended"
	case state.Message != "":
		return "the probe fails: " + state.Message
	}
	return "the probe did not succeed in time"
}

// judge says how it is with a unikernel that runs as it shall.
func (s *unikernelScope) judge() {
	running := "running as declared"
	if s.inForce.revision != nil {
		running = fmt.Sprintf("running as revision %d", s.inForce.revision.Revision)
	}
	s.running = new(status.Condition(v1alpha1.ConditionRunning, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, running))
	if s.uk.Spec.Image != nil {
		s.imageReady = new(status.Condition(v1alpha1.ConditionImageReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "fetched and verified"))
	}
	healthy := s.probe()
	switch rollback := s.uk.Status.Rollback; {
	case rollback != nil && s.inForce.revision != nil && s.uk.Annotations[v1alpha1.AnnotationRollback] == "":
		s.verdict = status.Stalled(v1alpha1.ReasonRolledBack, fmt.Sprintf(
			"revision %d runs, because revision %d did not become healthy: %s; change what is declared", rollback.Revision, rollback.Failed, rollback.Message))
	case !healthy:
		s.verdict = s.unhealthy()
	case s.inForce.revision != nil:
		s.verdict = status.Ready(v1alpha1.ReasonRolledBack, fmt.Sprintf("%s, as the annotation %s asks", running, v1alpha1.AnnotationRollback))
	default:
		s.verdict = status.Ready(v1alpha1.ReasonSucceeded, running)
		if len(s.uk.Status.History) > 0 {
			s.uk.Status.History[0].Healthy = true
		}
	}
}

// unhealthy is the verdict about one that runs and whose probe does not succeed.
func (s *unikernelScope) unhealthy() status.Verdict {
	if s.onTrial() && s.trialLeft(s.Probes.State(s.key())) <= 0 {
		return status.Stalled(v1alpha1.ReasonProgressDeadlineExceeded, fmt.Sprintf(
			"did not become healthy within %s, and there is no good revision to bring back: %s", s.uk.Spec.Update.ProgressDeadlineOrDefault(), s.healthy.Message))
	}
	return status.Working(s.healthy.Reason, s.healthy.Message)
}

// probe has the unikernel probed, keeps what is known of its health, and tells
// whether it counts as healthy. What was healthy stays so until the probe says
// otherwise, also for an operator that has only just begun to ask.
func (s *unikernelScope) probe() bool {
	if s.uk.Spec.Probe == nil {
		s.Probes.Remove(s.key())
		return true
	}
	s.Probes.Set(s.key(), probe.FromAPI(s.uk.Spec.Probe), s.uk.Status.StartedAt.UTC().Format(time.RFC3339)+" "+s.desired.digest+" "+s.desired.configHash())
	state := s.Probes.State(s.key())
	switch {
	case state.Health == probe.Healthy, state.Health == probe.Unknown && s.wasHealthy():
		s.healthy = new(status.Condition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "the probe succeeds"))
		return true
	case state.Health == probe.Unhealthy:
		s.healthy = new(status.Condition(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonUnhealthy, "the probe fails: "+state.Message))
		return false
	}
	s.healthy = new(status.Condition(v1alpha1.ConditionHealthy, metav1.ConditionUnknown, v1alpha1.ReasonProbing, "waits for its probe to succeed"))
	return false
}

// wasHealthy tells whether this very run of the unikernel was healthy.
func (s *unikernelScope) wasHealthy() bool {
	before := &s.before.Status
	if history := s.uk.Status.History; len(history) == 0 || !history[0].Healthy {
		return false
	}
	return apimeta.IsStatusConditionTrue(before.Conditions, v1alpha1.ConditionHealthy) && before.StartedAt.Equal(s.uk.Status.StartedAt) &&
		before.Digest == s.uk.Status.Digest
}

// rolledBackCondition shows that something else runs than spec declares, whoever
// asked for it.
func (s *unikernelScope) rolledBackCondition() *metav1.Condition {
	revision := s.inForce.revision
	if revision == nil {
		return nil
	}
	why := "as the annotation " + v1alpha1.AnnotationRollback + " asks"
	if rollback := s.uk.Status.Rollback; rollback != nil && s.uk.Annotations[v1alpha1.AnnotationRollback] == "" {
		why = fmt.Sprintf("because revision %d did not become healthy", rollback.Failed)
	}
	return new(status.Condition(v1alpha1.ConditionRolledBack, metav1.ConditionTrue, v1alpha1.ReasonRolledBack,
		fmt.Sprintf("revision %d is in force instead of what spec declares, %s", revision.Revision, why)))
}

// noteEnded tells, once, that a unikernel is gone which ran or should just have
// started, with the last lines of its console: hosts do not tell exit codes.
func (s *unikernelScope) noteEnded(ctx context.Context) {
	running := apimeta.FindStatusCondition(s.before.Status.Conditions, v1alpha1.ConditionRunning)
	if running != nil && running.Status == metav1.ConditionFalse {
		return
	}
	message := limited("has ended" + s.lastLines(ctx))
	s.running = new(status.Condition(v1alpha1.ConditionRunning, metav1.ConditionFalse, v1alpha1.ReasonExited, message))
	s.note(corev1.EventTypeWarning, v1alpha1.ReasonExited, message)
}

const (
	// consoleLines is how many lines of a console are told.
	consoleLines = 10
	// consolePatience is how long is waited for them.
	consolePatience = time.Second
	// maxTold bounds what is told of a console, in bytes.
	maxTold = 800
)

// lastLines gives the end of the console, to be put behind a sentence.
func (s *unikernelScope) lastLines(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, consolePatience)
	defer cancel()
	var lines []string
	for line, err := range s.host.Client().Console(ctx, s.scope, s.uk.Name, albatross.ConsoleOptions{Count: consoleLines}) {
		if err != nil {
			break
		}
		if text := printable(line.Line); text != "" {
			lines = append(lines, text)
		}
		if len(lines) == consoleLines {
			break
		}
	}
	if len(lines) == 0 {
		return ""
	}
	text := strings.Join(lines, " | ")
	if len(text) > maxTold {
		text = "..." + text[len(text)-maxTold:]
	}
	return "; its console ends in: " + text
}

// printable leaves out what could confuse a terminal.
func printable(line string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, line))
}

// limited cuts a text to what status has room for.
func limited(text string) string {
	const most = 1000
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/outcome"
	"mollymawk.dev/operator/internal/status"
)

// +kubebuilder:rbac:groups=mollymawk.dev,resources=unikernelimages,verbs=get;list;watch

// declaredImage is where a unikernel's image comes from, by its spec and the
// catalogue.
type declaredImage struct {
	content *v1alpha1.ContentSource
	// namespace has the Secrets that content names.
	namespace string
	// text is what status calls it.
	text string
	// arguments are those of the catalogue's entry.
	arguments []string
}

// answerAge is how old an answer of a source may be for an object that was not
// looked at before, so that many that come at once make one question.
const answerAge = time.Minute

// resolveImage finds out what the declared source stands for, and takes up a
// newer image when that is due. What was found stays in status until then, so
// that a tag that moves changes nothing by itself.
func (s *unikernelScope) resolveImage(ctx context.Context) outcome.Outcome {
	st := &s.uk.Status
	image := s.uk.Spec.Image
	if image == nil || image.URL != "" || image.Stored != nil {
		st.Image, st.AvailableImage = nil, nil
		return outcome.Continue()
	}
	declared, problem, err := s.declaredImage(ctx)
	switch {
	case err != nil:
		return outcome.Retry(err)
	case !s.pinned(declared):
		if !problem.IsZero() {
			return s.imageEnd(problem, outcome.Wait(waitingInterval))
		}
		return s.pin(ctx, declared)
	case !problem.IsZero():
		s.updateUnknown(problem)
		return outcome.Continue()
	}
	if err := s.checkForUpdate(ctx, declared); err != nil {
		return outcome.Retry(err)
	}
	return s.takeUp()
}

// declaredImage reads the catalogue when spec refers to it. A problem says that
// the entry does not exist; then only text is set, to the beginning of what it
// would be.
func (s *unikernelScope) declaredImage(ctx context.Context) (*declaredImage, status.Verdict, error) {
	image := s.uk.Spec.Image
	if image.Catalog == nil {
		return &declaredImage{content: &image.ContentSource, namespace: s.uk.Namespace, text: sourceText(&image.ContentSource)}, status.Verdict{}, nil
	}
	text := "catalog " + image.Catalog.Name
	var entry v1alpha1.UnikernelImage
	err := s.Get(ctx, client.ObjectKey{Name: image.Catalog.Name}, &entry)
	switch {
	case apierrors.IsNotFound(err):
		return &declaredImage{text: text}, status.Working(v1alpha1.ReasonCatalogEntryNotFound, fmt.Sprintf("UnikernelImage %q does not exist", image.Catalog.Name)), nil
	case err != nil:
		return nil, status.Verdict{}, err
	}
	content := &entry.Spec.Image.ContentSource
	return &declaredImage{
		content: content, namespace: s.Namespace, text: fmt.Sprintf("%s (%s)", text, sourceText(content)), arguments: entry.Spec.Arguments,
	}, status.Verdict{}, nil
}

// pinned tells whether status has an answer of the declared source. For the
// catalogue that is one of the same entry, which may have changed since; but what
// never ran needs no update to be forgotten.
func (s *unikernelScope) pinned(declared *declaredImage) bool {
	image := s.uk.Status.Image
	if image == nil || beforeParenthesis(image.Source) != beforeParenthesis(declared.text) {
		return false
	}
	return image.Source == declared.text || declared.content == nil || slices.ContainsFunc(s.uk.Status.History, func(r v1alpha1.Revision) bool { return r.Digest == image.Digest })
}

func beforeParenthesis(text string) string {
	before, _, _ := strings.Cut(text, " (")
	return before
}

// pin asks the source for the first time.
func (s *unikernelScope) pin(ctx context.Context, declared *declaredImage) outcome.Outcome {
	answer, problem, end, err := s.ask(ctx, declared, s.now().Add(-answerAge), imagePatience)
	switch {
	case err != nil:
		return outcome.Retry(err)
	case answer == nil:
		return s.imageEnd(problem, end)
	}
	s.uk.Status.Image, s.uk.Status.AvailableImage, s.compared = answer, nil, true
	s.updates.done(s.uk.UID, s.now())
	s.askAgain(declared)
	return outcome.Continue()
}

// askAgain has the source asked again when the next interval begins, if it may
// have something else by then. It gives when the present one began.
func (s *unikernelScope) askAgain(declared *declaredImage) (slot time.Time, may bool) {
	if !mayChange(declared.content) {
		return time.Time{}, false
	}
	slot, next := updateSlot(declared.text, s.uk.Spec.Update.IntervalOrDefault(), s.now())
	s.lookAgain(next.Sub(s.now()))
	return slot, true
}

// ask has a source tell which image it has. Without an answer, a problem says
// why, and end when to ask again.
func (s *unikernelScope) ask(ctx context.Context, declared *declaredImage, notBefore time.Time, patience time.Duration) (answer *v1alpha1.ResolvedImage, problem status.Verdict, end outcome.Outcome, err error) {
	source, problem, err := fetchable(ctx, s.Live, declared.namespace, declared.content)
	if err != nil || !problem.IsZero() {
		return nil, problem, outcome.Wait(waitingInterval), err
	}
	resolved, err := s.Images.Resolve(ctx, s.key(), source, notBefore, patience)
	switch {
	case errors.Is(err, images.ErrInProgress):
		return nil, status.Working(v1alpha1.ReasonResolving, "the source is being asked which image it has"), outcome.Done(), nil
	case err != nil:
		problem, end = imageVerdict(err, s.Images.RetryAfter(source))
		return nil, problem, end, nil
	}
	return &v1alpha1.ResolvedImage{
		Source: declared.text, Digest: resolved.Source.SHA256, Version: resolved.Version, Arguments: s.defaultArguments(declared),
		FoundAt: new(metav1.NewTime(resolved.FoundAt).Rfc3339Copy()),
	}, status.Verdict{}, outcome.Continue(), nil
}

// defaultArguments are those of the catalogue's entry when spec has none.
func (s *unikernelScope) defaultArguments(declared *declaredImage) []string {
	if len(s.uk.Spec.Arguments) > 0 {
		return nil
	}
	return declared.arguments
}

// checkForUpdate compares what the source delivers with what is in use, once in
// an interval, and at once when the catalogue's entry has changed.
func (s *unikernelScope) checkForUpdate(ctx context.Context, declared *declaredImage) error {
	st := &s.uk.Status
	arguments := s.defaultArguments(declared)
	known := func(image *v1alpha1.ResolvedImage) bool {
		return image != nil && image.Source == declared.text && slices.Equal(image.Arguments, arguments)
	}
	notBefore, due := s.now().Add(-answerAge), !known(st.Image) && !known(st.AvailableImage)
	if unknown := s.updateUnknownBefore(); unknown != nil && unknown.Reason == v1alpha1.ReasonCatalogEntryNotFound {
		due = true // it is there again
	}
	if slot, may := s.askAgain(declared); may && s.updates.due(s.uk.UID, slot, s.now()) {
		notBefore, due = slot, true
	}
	if !due {
		return nil
	}
	answer, problem, _, err := s.ask(ctx, declared, notBefore, 0)
	switch {
	case err != nil:
		return err
	case problem.Reason == v1alpha1.ReasonResolving:
		return nil // who asked is woken
	case answer == nil:
		s.updateUnknown(problem)
		s.lookAgain(stalledInterval)
		return nil
	}
	s.updates.done(s.uk.UID, s.now())
	s.compare(answer)
	return nil
}

// compare keeps an answer that differs from what is in use.
func (s *unikernelScope) compare(answer *v1alpha1.ResolvedImage) {
	st := &s.uk.Status
	s.compared = true
	switch {
	case sameImage(answer, st.Image):
		st.AvailableImage = nil
		answer.FoundAt = st.Image.FoundAt
		st.Image = answer // the entry may have another text for the same image
	case sameImage(answer, st.AvailableImage):
		answer.FoundAt = st.AvailableImage.FoundAt
		st.AvailableImage = answer
	default:
		st.AvailableImage = answer
		s.note(corev1.EventTypeNormal, v1alpha1.ReasonUpdateAvailable, updateMessage(answer))
	}
}

func sameImage(a, b *v1alpha1.ResolvedImage) bool {
	return b != nil && a.Digest == b.Digest && slices.Equal(a.Arguments, b.Arguments)
}

// takeUp makes an available image the one in use when its time has come. That is
// saved before anything is done about it, so that a crash in between does not
// have the old image brought back.
func (s *unikernelScope) takeUp() outcome.Outcome {
	st := &s.uk.Status
	if st.AvailableImage == nil {
		return outcome.Continue()
	}
	if !updateAsked(s.uk) {
		if s.uk.Spec.Update.PolicyOrDefault() != v1alpha1.UpdateAutomatic {
			return outcome.Continue()
		}
		open, next := windowOpen(s.uk.Spec.Update.Window, s.now())
		if !open {
			s.lookAgain(next.Sub(s.now()))
			return outcome.Continue()
		}
	}
	st.Image, st.AvailableImage, s.compared = st.AvailableImage, nil, true
	return s.end(status.Working(v1alpha1.ReasonReplacing, "a newer image is taken up: "+st.Image.Version), outcome.Again())
}

// minUpdateDigits is how many digits of a digest the annotation must have.
const minUpdateDigits = 12

// updateAsked tells whether the annotation asks for the available image.
func updateAsked(uk *v1alpha1.Unikernel) bool {
	asked := uk.Annotations[v1alpha1.AnnotationUpdateTo]
	return len(asked) >= minUpdateDigits && strings.HasPrefix(uk.Status.AvailableImage.Digest, asked)
}

func updateMessage(image *v1alpha1.ResolvedImage) string {
	return fmt.Sprintf("the source has %s; take it up with the annotation %s=%s", image.Version, v1alpha1.AnnotationUpdateTo, image.Digest[:min(minUpdateDigits, len(image.Digest))])
}

// updateUnknown says why the source could not be asked.
func (s *unikernelScope) updateUnknown(problem status.Verdict) {
	s.updateAvailable = new(status.Condition(v1alpha1.ConditionUpdateAvailable, metav1.ConditionUnknown, problem.Reason, problem.Message))
}

// updateUnknownBefore gives the condition when the source could not be asked last
// time.
func (s *unikernelScope) updateUnknownBefore() *metav1.Condition {
	condition := apimeta.FindStatusCondition(s.before.Status.Conditions, v1alpha1.ConditionUpdateAvailable)
	if condition == nil || condition.Status != metav1.ConditionUnknown {
		return nil
	}
	return condition
}

// updateCondition sums up what is known of newer images; nil when there can be none.
func (s *unikernelScope) updateCondition() *metav1.Condition {
	st := &s.uk.Status
	switch {
	case st.Image == nil:
		return nil
	case s.updateAvailable != nil:
		return s.updateAvailable
	case !s.compared && s.updateUnknownBefore() != nil:
		return s.updateUnknownBefore()
	case st.AvailableImage != nil:
		return new(status.Condition(v1alpha1.ConditionUpdateAvailable, metav1.ConditionTrue, v1alpha1.ReasonUpdateAvailable, updateMessage(st.AvailableImage)))
	}
	return new(status.Condition(v1alpha1.ConditionUpdateAvailable, metav1.ConditionFalse, v1alpha1.ReasonSucceeded, "the newest image is in use"))
}

// imageSource says where the image that is to run comes from, and whether it is
// needed now.
func (s *unikernelScope) imageSource(ctx context.Context) (source images.Source, problem status.Verdict, err error) {
	stored := images.Source{Namespace: s.uk.Namespace, Stored: true, SHA256: s.desired.digest}
	image := s.uk.Spec.Image
	if s.inForce.revision != nil {
		return stored, status.Verdict{}, nil
	}
	if image.URL != "" || image.Stored != nil {
		return fetchable(ctx, s.Live, s.uk.Namespace, &image.ContentSource)
	}
	declared, problem, err := s.declaredImage(ctx)
	if err != nil {
		return images.Source{}, status.Verdict{}, err
	}
	if !problem.IsZero() || declared.text != s.uk.Status.Image.Source {
		// The entry says something else now; what was found before was fetched then.
		return stored, status.Verdict{}, nil
	}
	source, problem, err = fetchable(ctx, s.Live, declared.namespace, declared.content)
	source.Namespace = s.uk.Namespace
	return exactly(source, s.uk.Status.Image), problem, err
}

// exactly gives a source that delivers what was found, whatever it has by now.
func exactly(source images.Source, found *v1alpha1.ResolvedImage) images.Source {
	source.SHA256 = found.Digest
	switch {
	case source.OCI.Reference != "":
		reference, _, _ := strings.Cut(source.OCI.Reference, "@")
		_, digest, _ := strings.Cut(found.Version, "@")
		source.OCI.Reference = reference + "@" + digest
	case source.Build.Job != "":
		source.Build.UUID = found.Version
	}
	return source
}

// imageEnd ends a pass because there is no image.
func (s *unikernelScope) imageEnd(problem status.Verdict, end outcome.Outcome) outcome.Outcome {
	s.imageReady = new(status.Condition(v1alpha1.ConditionImageReady, metav1.ConditionFalse, problem.Reason, problem.Message))
	return s.end(problem, end)
}

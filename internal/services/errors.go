package services

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/hosts"
)

// Errors without more to say.
var (
	// ErrForbidden is for callers who may not do what they ask for.
	ErrForbidden = errors.New("you may not do this")
	// ErrBusy is for callers beyond a limit of what is done at the same time.
	ErrBusy = errors.New("too much is going on at the moment; try again later")
	// ErrTooSlow ends the console of a viewer who does not keep up.
	ErrTooSlow = errors.New("the viewer is too slow for the console")
)

// NotFound says that something does not exist, as far as the caller may see.
type NotFound struct{ What, Name string }

// Error implements error.
func (e *NotFound) Error() string { return fmt.Sprintf("%s %q does not exist", e.What, e.Name) }

// What a [NotFound] can be about.
const (
	whatInstance  = "albatross instance"
	whatUnikernel = "unikernel"
	whatVolume    = "volume"
)

// Refused says that a host, or the controllers on its behalf, will not do it.
type Refused struct {
	// Reason is that of the condition, if the controllers refused.
	Reason string
	// Text is the host's own if it spoke.
	Text string
}

// Error implements error.
func (e *Refused) Error() string { return e.Text }

// Unreachable says that a host cannot be asked.
type Unreachable struct{ Instance, Problem string }

// Error implements error.
func (e *Unreachable) Error() string {
	return fmt.Sprintf("albatross instance %q: %s", e.Instance, e.Problem)
}

// Conflict says that something else is in the way: another who declares the
// fields, or something of the same name.
type Conflict struct {
	// Owners are the field managers of the fields, such as argocd-controller.
	Owners []string
	Fields []string
	// Text is given where nobody owns a field.
	Text string
}

// Error implements error.
func (e *Conflict) Error() string {
	if len(e.Owners) == 0 {
		return e.Text
	}
	return fmt.Sprintf("%s is declared by %s; change it there", strings.Join(e.Fields, ", "), strings.Join(e.Owners, ", "))
}

// NotAdmitted says that an instance has no tenant for the caller's namespace.
type NotAdmitted struct{ Instance, Namespace string }

// Error implements error.
func (e *NotAdmitted) Error() string {
	return fmt.Sprintf("albatross instance %q does not admit namespace %q", e.Instance, e.Namespace)
}

// Invalid says what is wrong with a request.
type Invalid struct{ Field, Message string }

// Error implements error.
func (e *Invalid) Error() string { return e.Field + ": " + e.Message }

// Timeout says what did not happen in time.
type Timeout struct {
	// Doing is what was waited for, with the last that is known about it.
	Doing string
}

// Error implements error.
func (e *Timeout) Error() string { return "not done in time: " + e.Doing }

// quoted finds the names of field managers in the message of a conflict.
var quoted = regexp.MustCompile(`"([^"]+)"`)

// writeError gives the error of a write to the API server in our terms.
func writeError(err error) error {
	var status apierrors.APIStatus
	if err == nil || !errors.As(err, &status) {
		return err
	}
	var details metav1.StatusDetails
	if d := status.Status().Details; d != nil {
		details = *d
	}
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	case apierrors.IsInvalid(err) && len(details.Causes) > 0:
		return &Invalid{Field: details.Causes[0].Field, Message: details.Causes[0].Message}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &Invalid{Field: "spec", Message: status.Status().Message}
	case apierrors.IsConflict(err):
		return ownerConflict(details.Causes, err)
	}
	return err
}

// ownerConflict says who owns the fields; other conflicts stay as they are.
func ownerConflict(causes []metav1.StatusCause, err error) error {
	conflict := &Conflict{}
	for _, cause := range causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		conflict.Fields = append(conflict.Fields, strings.TrimPrefix(cause.Field, "."))
		for _, match := range quoted.FindAllStringSubmatch(cause.Message, -1) {
			conflict.Owners = append(conflict.Owners, match[1])
		}
	}
	if len(conflict.Owners) == 0 {
		return err
	}
	slices.Sort(conflict.Owners)
	conflict.Owners = slices.Compact(conflict.Owners)
	return conflict
}

// hostError gives the error of a command to a host in our terms.
func hostError(instance string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, albatross.ErrRefused):
		return &Refused{Text: hosts.Text(err)}
	case errors.Is(err, albatross.ErrInvalid):
		return &Invalid{Field: "data", Message: invalidText(err)}
	case errors.Is(err, albatross.ErrLocal):
		return err
	case errors.Is(err, hosts.ErrNotConnected):
		return &Unreachable{instance, strings.TrimPrefix(err.Error(), hosts.ErrNotConnected.Error()+": ")}
	}
	return &Unreachable{instance, hosts.Problem(err)}
}

func invalidText(err error) string {
	var failure *albatross.Error
	if errors.As(err, &failure) && failure.Err != nil {
		return failure.Err.Error()
	}
	return err.Error()
}

package images

import "errors"

// What can be wrong with an image, to be told apart with errors.Is. Any other
// error may pass by itself.
var (
	// ErrInProgress says that it is being fetched; the asker will be told.
	ErrInProgress = errors.New("being fetched")
	// ErrNotFound says that the source says for certain that it has no such thing.
	ErrNotFound = errors.New("not found")
	// ErrForbidden says that the source refuses us, or must not be asked.
	ErrForbidden = errors.New("forbidden")
	// ErrDigestMismatch says that the source gave something else.
	ErrDigestMismatch = errors.New("digest mismatch")
	// ErrTooLarge says that it is above the operator's limit.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid says that it is no unikernel that a host could run.
	ErrInvalid = errors.New("invalid image")
)

// Permanent tells whether trying again is of no use until somebody changes
// something.
func Permanent(err error) bool {
	for _, kind := range []error{ErrNotFound, ErrForbidden, ErrDigestMismatch, ErrTooLarge, ErrInvalid} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

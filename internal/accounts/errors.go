package accounts

import (
	"errors"
	"fmt"
	"time"
)

// What may be wrong with a credential.
var (
	// ErrNotReady is about this replica, which has not read the accounts yet.
	ErrNotReady = errors.New("the accounts are not read yet")
	// ErrNoCredential says that the call has neither a token nor a session.
	ErrNoCredential   = errors.New("no credential")
	ErrUnknownToken   = errors.New("unknown token")
	ErrExpiredToken   = errors.New("the token has expired")
	ErrUnknownSession = errors.New("unknown session")
	ErrExpiredSession = errors.New("the session has expired")
	// ErrInactive says that an administrator has not admitted the user, or does
	// no longer.
	ErrInactive = errors.New("the account is not active")
	// ErrCSRFMissing says that a session has no such CSRF token.
	ErrCSRFMissing = errors.New("missing CSRF token")
	// ErrCSRFMismatch says that the CSRF token is too old.
	ErrCSRFMismatch = errors.New("the CSRF token has expired")
)

// What may be wrong with an account or with what is asked of it.
var (
	ErrUnknownAccount = errors.New("unknown account")
	ErrWrongPassword  = errors.New("wrong password")
	ErrWeakPassword   = fmt.Errorf("a password must have at least %d characters", minPassword)
	ErrLongPassword   = fmt.Errorf("a password must have at most %d bytes", maxPassword)
	ErrInvalidEmail   = errors.New("not an e-mail address")
	ErrInvalidName    = errors.New("not the name of a user: 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit")
	ErrInvalidText    = errors.New("a name is too long or not plain text")
	ErrInvalidExpiry  = errors.New("no such time of expiry")
	ErrEmailTaken     = errors.New("a user with this e-mail address exists")
	// ErrNameTaken and the others may be joined with ErrEmailTaken.
	ErrNameTaken          = errors.New("a user with this name exists")
	ErrDisplayNameTaken   = errors.New("a user who is called so exists")
	ErrExternalIDTaken    = errors.New("a user with this external id exists")
	ErrRegistrationClosed = errors.New("registration is closed")
	// ErrTooManyWaiting says that an administrator must admit or delete some first.
	ErrTooManyWaiting = errors.New("too many users wait for an administrator")
	ErrTooManyTokens  = fmt.Errorf("a user has at most %d tokens", maxTokens)
	ErrLastActive     = errors.New("the last active user")
	ErrLastAdmin      = errors.New("the last active administrator")
)

// ErrThrottled says that there were too many tries for an account or from an
// address.
type ErrThrottled struct {
	// RetryAfter is when the next try has a chance.
	RetryAfter time.Duration
}

func (e ErrThrottled) Error() string {
	return fmt.Sprintf("too many tries; again in %s", e.RetryAfter.Round(time.Second))
}

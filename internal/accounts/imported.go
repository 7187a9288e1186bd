package accounts

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mollymawk.dev/operator/api/v1alpha1"
)

// Imported is what an account brings along from another server.
type Imported struct {
	Tokens []Token
	// PasswordHash is one of [HashPassword]; without it nobody can log in.
	PasswordHash string
	UpdatedAt    time.Time
}

// Refused is a token that is not taken over. It does not show its value.
type Refused struct {
	Token int
	Err   error
}

// Why a token is not taken over, besides the errors of making one.
var (
	errNoTokenValue = errors.New("its value is no UUID in lower case")
	errTokenTwice   = errors.New("an earlier one has the same value")
)

// Secret gives the Secret of a User that exists, since it is named by the UID, and
// the tokens by their index that are not in it.
func (i Imported) Secret(user *v1alpha1.User, namespace string, now time.Time) (*corev1.Secret, []Refused, error) {
	secret := secretFor(user, namespace)
	d, now := newDraft(nil), now.UTC().Truncate(time.Microsecond)
	var refused []Refused
	for n, token := range i.Tokens {
		if err := checkImported(d, token, now); err != nil {
			refused = append(refused, Refused{n, err})
			continue
		}
		if err := d.addImported(token, now); err != nil {
			return nil, nil, err
		}
	}
	if i.PasswordHash != "" {
		d.setPassword(i.PasswordHash)
	}
	if !i.UpdatedAt.IsZero() {
		d.touch(i.UpdatedAt)
	}
	secret.Data = d.data
	return secret, refused, nil
}

func checkImported(d *draft, token Token, now time.Time) error {
	seconds, err := checkToken(token.Name, token.ExpiresIn)
	_, twice := d.tokens[digestOf(token.Value).id()]
	switch {
	case err != nil:
		return err
	case !isTokenValue(token.Value):
		return errNoTokenValue
	case twice:
		return errTokenTwice
	case expired(token.CreatedAt, seconds, now):
		return ErrExpiredToken
	case len(d.tokens) >= maxTokens:
		return ErrTooManyTokens
	}
	return nil
}

func (d *draft) addImported(token Token, now time.Time) error {
	made := storedToken{Value: token.Value, Name: token.Name, CreatedAt: token.CreatedAt.UTC(), ExpiresIn: int64(token.ExpiresIn / time.Second)}
	if err := d.putToken(made); err != nil {
		return err
	}
	if token.UsageCount <= 0 {
		return nil
	}
	used := storedUsage{Count: token.UsageCount, LastAccess: token.LastAccess.UTC(), WrittenAt: now}
	return d.putUsage(digestOf(token.Value).id(), used)
}

// HashPassword gives a hash of a password with the default costs.
func HashPassword(ctx context.Context, password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	return newHasher(defaultCosts, 1).hash(ctx, password)
}

// CheckUser tells whether name and address of a User could be those of an account.
func CheckUser(user *v1alpha1.User) error {
	name, err := checkName(user.Name)
	switch {
	case err != nil:
		return err
	case name != user.Name:
		return ErrInvalidName
	}
	return checkEmail(string(user.Spec.Email))
}

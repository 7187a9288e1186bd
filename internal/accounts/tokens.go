package accounts

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// sorted gives the list in an order.
func sorted[T any](list []T, order func(T, T) int) []T {
	slices.SortFunc(list, order)
	return list
}

// newestFirst orders by time, and by id where the times are equal.
func newestFirst(a, b time.Time, idA, idB string) int {
	return cmp.Or(b.Compare(a), cmp.Compare(idA, idB))
}

// Tokens gives a user's tokens, also those that have expired, the newest first.
func (a *Accounts) Tokens(_ context.Context, name string) ([]Token, error) {
	found, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return a.tokensOf(found), nil
}

func (a *Accounts) tokensOf(found account) (all []Token) {
	for id, t := range found.record.tokens {
		all = append(all, t.shown(a.usageOf(found.user, found.record, id)))
	}
	return sorted(all, func(t, u Token) int { return newestFirst(t.CreatedAt, u.CreatedAt, t.Value, u.Value) })
}

// shown puts a token together with how it was used. One that was not used yet was
// accessed when it was made.
func (t storedToken) shown(u storedUsage) Token {
	shown := Token{
		Value: t.Value, Name: t.Name, CreatedAt: t.CreatedAt, ExpiresIn: time.Duration(t.ExpiresIn) * time.Second,
		LastAccess: t.CreatedAt, UsageCount: u.Count,
	}
	if u.LastAccess.After(shown.LastAccess) {
		shown.LastAccess = u.LastAccess
	}
	return shown
}

// CreateToken makes a token that expires some whole seconds from now. One that is
// over at once is made too, as the documents have it.
func (a *Accounts) CreateToken(ctx context.Context, user, name string, expiry time.Duration) (Token, error) {
	found, err := a.find(user)
	if err != nil {
		return Token{}, err
	}
	seconds, err := checkToken(name, expiry)
	if err != nil {
		return Token{}, err
	}
	value, err := uuid.NewRandom()
	if err != nil {
		return Token{}, fmt.Errorf("a new token: %w", err)
	}
	token := storedToken{Value: value.String(), Name: name, CreatedAt: a.now(), ExpiresIn: seconds}
	err = a.change(ctx, found.user, func(d *draft) error {
		if len(d.tokens) >= maxTokens {
			return ErrTooManyTokens
		}
		d.touch(token.CreatedAt)
		return d.putToken(token)
	})
	if err != nil {
		return Token{}, err
	}
	return token.shown(storedUsage{}), nil
}

func checkToken(name string, expiry time.Duration) (seconds int64, err error) {
	seconds = int64(expiry / time.Second)
	return seconds, cmp.Or(checkText(name, maxTokenName), checkExpiry(seconds))
}

// UpdateToken gives a token of the user another name and expiry, which still
// counts from when it was made.
func (a *Accounts) UpdateToken(ctx context.Context, user, value, name string, expiry time.Duration) (Token, error) {
	found, err := a.find(user)
	if err != nil {
		return Token{}, err
	}
	seconds, err := checkToken(name, expiry)
	if err != nil {
		return Token{}, err
	}
	var changed storedToken
	var used storedUsage
	id := digestOf(value).id()
	err = a.change(ctx, found.user, func(d *draft) error {
		token, known := d.tokens[id]
		if !known {
			return ErrUnknownToken
		}
		token.Name, token.ExpiresIn = name, seconds
		changed, used = token, a.usageOf(found.user, d.record, id)
		d.touch(a.now())
		return d.putToken(token)
	})
	if err != nil {
		return Token{}, err
	}
	return changed.shown(used), nil
}

// DeleteToken revokes a token of the user. It fails with ErrUnknownToken when the
// user has none of that value.
func (a *Accounts) DeleteToken(ctx context.Context, user, value string) error {
	found, err := a.find(user)
	if err != nil {
		return err
	}
	id := digestOf(value).id()
	return a.change(ctx, found.user, func(d *draft) error {
		if _, known := d.tokens[id]; !known {
			return ErrUnknownToken
		}
		d.removeToken(id)
		d.touch(a.now())
		return nil
	})
}

package accounts

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"mollymawk.dev/operator/api/v1alpha1"
)

// sessionLifetime counts from the login.
const sessionLifetime = 7 * 24 * time.Hour

// newSession gives a session with the value of its cookie.
func newSession(userAgent string, now time.Time) (storedSession, Session, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return storedSession{}, Session{}, fmt.Errorf("a new session: %w", err)
	}
	value := base64.StdEncoding.EncodeToString([]byte(id.String()))
	d := digestOf(value)
	stored := storedSession{
		SHA256: hex.EncodeToString(d[:]), CSRFKey: random(keySize), CreatedAt: now, ExpiresIn: int64(sessionLifetime / time.Second),
		UserAgent: plain(userAgent, maxUserAgent),
	}
	shown := stored.shown(d.id(), storedUsage{})
	shown.Value = value
	return stored, shown, nil
}

// shown puts a session together with how it was used.
func (s storedSession) shown(id string, u storedUsage) Session {
	shown := Session{
		ID: id, CreatedAt: s.CreatedAt, ExpiresIn: time.Duration(s.ExpiresIn) * time.Second,
		LastAccess: s.CreatedAt, UserAgent: cmp.Or(u.UserAgent, s.UserAgent),
	}
	if u.LastAccess.After(shown.LastAccess) {
		shown.LastAccess = u.LastAccess
	}
	return shown
}

// sessionsOf leaves out those that are over.
func (a *Accounts) sessionsOf(found account) (all []Session) {
	for id, s := range found.record.sessions {
		if !expired(s.CreatedAt, s.ExpiresIn, a.now()) {
			all = append(all, s.shown(id, a.usageOf(found.user, found.record, id)))
		}
	}
	return sorted(all, func(s, t Session) int { return newestFirst(s.CreatedAt, t.CreatedAt, s.ID, t.ID) })
}

// Login begins a session. It fails with ErrUnknownAccount, ErrInactive or
// ErrWrongPassword after the same time and, when there were too many tries, with
// ErrThrottled, whether there is such an account or not.
func (a *Accounts) Login(ctx context.Context, email, password, remoteAddr, userAgent string) (Profile, Session, error) {
	if !a.Ready() {
		return Profile{}, Session{}, ErrNotReady
	}
	if err := cmp.Or(checkEmail(email), checkPassword(password)); err != nil {
		return Profile{}, Session{}, err
	}
	found, outdated, err := a.checkLogin(ctx, email, password, remoteAddr)
	if err != nil {
		return Profile{}, Session{}, err
	}
	rehashed := ""
	if outdated {
		if rehashed, err = a.hasher.hash(ctx, password); err != nil {
			return Profile{}, Session{}, err
		}
	}
	before := found.record.password
	session, err := a.begin(ctx, found.user, userAgent, func(d *draft) {
		// A password that was changed meanwhile stays.
		if outdated && d.password == before {
			d.setPassword(rehashed)
		}
	})
	if err != nil {
		return Profile{}, Session{}, err
	}
	profile, err := a.Profile(ctx, found.user.Name)
	return profile, session, err
}

// checkLogin does the same work whoever the address belongs to.
func (a *Accounts) checkLogin(ctx context.Context, email, password, remoteAddr string) (found account, outdated bool, err error) {
	key := strings.ToLower(email)
	if err := a.throttle.try(key, remoteAddr, a.now()); err != nil {
		return account{}, false, err
	}
	found, known := a.index.byEmail(email)
	ok, outdated, err := a.hasher.verify(ctx, found.record.password, password)
	switch {
	case err != nil:
		return account{}, false, err
	case !known:
		return account{}, false, ErrUnknownAccount
	case !found.user.IsActive():
		return account{}, false, ErrInactive
	case !ok:
		return account{}, false, ErrWrongPassword
	}
	a.throttle.succeeded(key)
	return found, outdated, nil
}

// begin stores a new session, together with another change.
func (a *Accounts) begin(ctx context.Context, user *v1alpha1.User, userAgent string, also func(*draft)) (Session, error) {
	stored, session, err := newSession(userAgent, a.now())
	if err != nil {
		return Session{}, err
	}
	err = a.change(ctx, user, func(d *draft) error {
		also(d)
		return d.addSession(stored, stored.CreatedAt)
	})
	if err != nil {
		return Session{}, err
	}
	return session, nil
}

// Logout ends the session of the caller; of one with a token it ends nothing.
func (a *Accounts) Logout(ctx context.Context, id Identity) error {
	return a.endSessions(ctx, id.Name, func(session string) bool { return session == id.SessionID })
}

// LogoutOthers ends all sessions of the caller but this one.
func (a *Accounts) LogoutOthers(ctx context.Context, id Identity) error {
	return a.endSessions(ctx, id.Name, func(session string) bool { return session != id.SessionID })
}

// EndSession ends a session of a user, which is named by its ID or by the value of
// its cookie. One that is not there is no error.
func (a *Accounts) EndSession(ctx context.Context, name, session string) error {
	byValue := digestOf(session).id()
	return a.endSessions(ctx, name, func(id string) bool { return id == session || id == byValue })
}

func (a *Accounts) endSessions(ctx context.Context, name string, ends func(id string) bool) error {
	found, err := a.find(name)
	if err != nil {
		return err
	}
	return a.change(ctx, found.user, func(d *draft) error {
		ended := false
		for id := range d.sessions {
			if ends(id) {
				d.removeSession(id)
				ended = true
			}
		}
		if !ended {
			return errUnchanged
		}
		d.touch(a.now())
		return nil
	})
}

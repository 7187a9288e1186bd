package mollymawk_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/internal/accounts"
)

// people stands in for the accounts. It follows their contract, in memory.
type people struct {
	mu     sync.Mutex
	now    time.Time
	users  map[string]*person
	closed bool
	csrf   map[string]time.Time
	// failure is what every call that writes fails with, if it is set.
	failure error
	// throttled is how long logins are refused, if it is set.
	throttled time.Duration
}

type person struct {
	accounts.Profile
	password string
	// sessions are by the value of their cookie.
	sessions map[string]accounts.Session
}

func newPeople() *people {
	return &people{now: time.Date(2025, 12, 9, 5, 12, 11, 0, time.UTC), users: map[string]*person{}, csrf: map[string]time.Time{}}
}

// add makes a user with a token and a session.
func (p *people) add(name string, active, superUser bool) (token, session string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user := &person{password: "password123", sessions: map[string]accounts.Session{}}
	user.Name, user.Email, user.UID = name, name+"@example.com", types.UID(uuid.NewString())
	user.Namespace, user.Active, user.SuperUser = name, active, superUser
	user.CreatedAt, user.UpdatedAt = p.now, p.now
	token = uuid.NewString()
	user.Tokens = []accounts.Token{{Value: token, Name: "ci", CreatedAt: p.now, LastAccess: p.now, ExpiresIn: 24 * time.Hour}}
	p.users[name] = user
	return token, p.session(user, "curl").Value
}

func (p *people) session(user *person, userAgent string) accounts.Session {
	s := accounts.Session{
		ID: uuid.NewString(), Value: base64.StdEncoding.EncodeToString([]byte(uuid.NewString())),
		CreatedAt: p.now, LastAccess: p.now, ExpiresIn: 7 * 24 * time.Hour, UserAgent: userAgent,
	}
	user.sessions[s.Value] = s
	return s
}

// profile is a copy that has what the user may see.
func (u *person) profile() accounts.Profile {
	shown := u.Profile
	shown.Tokens = slices.Clone(u.Tokens)
	for _, s := range u.sessions {
		s.Value = ""
		shown.Sessions = append(shown.Sessions, s)
	}
	return shown
}

func (p *people) Login(_ context.Context, email, password, _, userAgent string) (accounts.Profile, accounts.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.throttled > 0 {
		return accounts.Profile{}, accounts.Session{}, accounts.ErrThrottled{RetryAfter: p.throttled}
	}
	for _, user := range p.users {
		switch {
		case !strings.EqualFold(user.Email, email):
			continue
		case !user.Active:
			return accounts.Profile{}, accounts.Session{}, accounts.ErrInactive
		case user.password != password:
			return accounts.Profile{}, accounts.Session{}, accounts.ErrWrongPassword
		case p.failure != nil:
			return accounts.Profile{}, accounts.Session{}, p.failure
		}
		s := p.session(user, userAgent)
		return user.profile(), s, nil
	}
	return accounts.Profile{}, accounts.Session{}, accounts.ErrUnknownAccount
}

func (p *people) Register(_ context.Context, name, email, password, _, userAgent string) (accounts.Profile, accounts.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return accounts.Profile{}, accounts.Session{}, accounts.ErrRegistrationClosed
	}
	var taken []error
	for _, user := range p.users {
		if user.Name == name {
			taken = append(taken, accounts.ErrNameTaken)
		}
		if strings.EqualFold(user.Email, email) {
			taken = append(taken, accounts.ErrEmailTaken)
		}
	}
	if err := cmp.Or(errors.Join(taken...), p.failure); err != nil {
		return accounts.Profile{}, accounts.Session{}, err
	}
	user := &person{password: password, sessions: map[string]accounts.Session{}}
	user.Name, user.Email, user.UID, user.CreatedAt, user.UpdatedAt = name, email, types.UID(uuid.NewString()), p.now, p.now
	p.users[name] = user
	s := p.session(user, userAgent)
	return user.profile(), s, nil
}

func (p *people) Authenticate(_ context.Context, c accounts.Credential) (accounts.Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, user := range p.users {
		id := accounts.Identity{Name: user.Name, UID: user.UID, Email: user.Email, Namespace: user.Namespace, SuperUser: user.SuperUser}
		if c.Bearer != "" {
			for i, t := range user.Tokens {
				switch {
				case t.Value != c.Bearer:
					continue
				case p.now.Sub(t.CreatedAt) >= t.ExpiresIn:
					return accounts.Identity{}, accounts.ErrExpiredToken
				case !user.Active:
					return accounts.Identity{}, accounts.ErrInactive
				}
				user.Tokens[i].UsageCount++
				id.Via, id.TokenName = accounts.ViaBearer, t.Name
				return id, nil
			}
			continue
		}
		s, known := user.sessions[c.Session]
		switch {
		case !known:
			continue
		case p.now.Sub(s.CreatedAt) >= s.ExpiresIn:
			return accounts.Identity{}, accounts.ErrExpiredSession
		case !user.Active:
			return accounts.Identity{}, accounts.ErrInactive
		}
		id.Via, id.SessionID = accounts.ViaSession, s.ID
		return id, nil
	}
	if c.Bearer != "" {
		return accounts.Identity{}, accounts.ErrUnknownToken
	}
	return accounts.Identity{}, accounts.ErrUnknownSession
}

func (p *people) NewCSRF(_ context.Context, id accounts.Identity) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := uuid.NewString()
	p.csrf[id.SessionID+token] = p.now.Add(time.Hour)
	return token, nil
}

func (p *people) CheckCSRF(_ context.Context, id accounts.Identity, token string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, known := p.csrf[id.SessionID+token]
	switch {
	case !known:
		return accounts.ErrCSRFMissing
	case !p.now.Before(until):
		return accounts.ErrCSRFMismatch
	}
	return nil
}

// do changes a user that must exist.
func (p *people) do(name string, change func(*person) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, known := p.users[name]
	if !known {
		return accounts.ErrUnknownAccount
	}
	if p.failure != nil {
		return p.failure
	}
	return change(user)
}

func (p *people) Profile(_ context.Context, name string) (accounts.Profile, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, known := p.users[name]
	if !known {
		return accounts.Profile{}, accounts.ErrUnknownAccount
	}
	return user.profile(), nil
}

func (p *people) ChangePassword(_ context.Context, id accounts.Identity, current, password, _ string) error {
	return p.do(id.Name, func(u *person) error {
		if u.password != current {
			return accounts.ErrWrongPassword
		}
		u.password = password
		return nil
	})
}

func (p *people) Logout(_ context.Context, id accounts.Identity) error {
	return p.endWhere(id.Name, func(s accounts.Session) bool { return s.ID == id.SessionID })
}

func (p *people) LogoutOthers(_ context.Context, id accounts.Identity) error {
	return p.endWhere(id.Name, func(s accounts.Session) bool { return s.ID != id.SessionID })
}

func (p *people) EndSession(_ context.Context, name, session string) error {
	return p.endWhere(name, func(s accounts.Session) bool { return s.ID == session || s.Value == session })
}

func (p *people) endWhere(name string, ends func(accounts.Session) bool) error {
	return p.do(name, func(u *person) error {
		for value, s := range u.sessions {
			if ends(s) {
				delete(u.sessions, value)
			}
		}
		return nil
	})
}

func (p *people) Tokens(_ context.Context, user string) ([]accounts.Token, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.users[user].Tokens), nil
}

func (p *people) CreateToken(_ context.Context, user, name string, expiry time.Duration) (accounts.Token, error) {
	token := accounts.Token{Value: uuid.NewString(), Name: name, CreatedAt: p.now, LastAccess: p.now, ExpiresIn: expiry}
	if len(name) > 255 {
		return accounts.Token{}, accounts.ErrInvalidText
	}
	if expiry > 1e6*time.Hour {
		return accounts.Token{}, accounts.ErrInvalidExpiry
	}
	return token, p.do(user, func(u *person) error {
		u.Tokens = append([]accounts.Token{token}, u.Tokens...)
		return nil
	})
}

func (p *people) UpdateToken(_ context.Context, user, value, name string, expiry time.Duration) (token accounts.Token, err error) {
	return token, p.do(user, func(u *person) error {
		i := slices.IndexFunc(u.Tokens, func(t accounts.Token) bool { return t.Value == value })
		if i < 0 {
			return accounts.ErrUnknownToken
		}
		u.Tokens[i].Name, u.Tokens[i].ExpiresIn = name, expiry
		token = u.Tokens[i]
		return nil
	})
}

func (p *people) DeleteToken(_ context.Context, user, value string) error {
	return p.do(user, func(u *person) error {
		i := slices.IndexFunc(u.Tokens, func(t accounts.Token) bool { return t.Value == value })
		if i < 0 {
			return accounts.ErrUnknownToken
		}
		u.Tokens = slices.Delete(u.Tokens, i, i+1)
		return nil
	})
}

func (p *people) Users(context.Context) (all []accounts.Profile, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, user := range p.users {
		all = append(all, user.profile())
	}
	slices.SortFunc(all, func(a, b accounts.Profile) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (p *people) SetActive(_ context.Context, name string, active bool) error {
	return p.do(name, func(u *person) error {
		if !active && p.others(u, func(o *person) bool { return o.Active }) == 0 {
			return accounts.ErrLastActive
		}
		u.Active = active
		return nil
	})
}

func (p *people) SetSuperUser(_ context.Context, name string, superUser bool) error {
	return p.do(name, func(u *person) error {
		if !superUser && p.others(u, func(o *person) bool { return o.SuperUser }) == 0 {
			return accounts.ErrLastAdmin
		}
		u.SuperUser = superUser
		return nil
	})
}

func (p *people) others(than *person, are func(*person) bool) (n int) {
	for _, u := range p.users {
		if u != than && are(u) {
			n++
		}
	}
	return n
}

func (p *people) DeleteUser(_ context.Context, name string) error {
	return p.do(name, func(u *person) error {
		if u.SuperUser && p.others(u, func(o *person) bool { return o.SuperUser }) == 0 {
			return accounts.ErrLastAdmin
		}
		delete(p.users, name)
		return nil
	})
}

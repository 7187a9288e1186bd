package accounts

import (
	"crypto/subtle"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// secretPrefix is followed by the UID of the User.
const secretPrefix = "mollymawk-account-" //nolint:gosec // a name

// account is what is known of one user. User or Secret may be missing while the
// other was seen already. What it points to is never changed.
type account struct {
	user   *v1alpha1.User
	secret *corev1.Secret
	record record
}

// index finds accounts by what a call brings. It is fed by watches, and by our
// own writes as soon as they are made.
type index struct {
	mu       sync.RWMutex
	accounts map[types.UID]account
	names    map[string]types.UID
	// credentials has whose the tokens and sessions are.
	tokens, sessions map[digest]types.UID
}

func newIndex() *index {
	return &index{accounts: map[types.UID]account{}, names: map[string]types.UID{}, tokens: map[digest]types.UID{}, sessions: map[digest]types.UID{}}
}

// newer tells whether an object is to take the place of what was seen before.
func newer(object, before client.Object) bool {
	order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), before.GetResourceVersion())
	return err != nil || order > 0
}

func (x *index) setUser(user *v1alpha1.User) {
	x.mu.Lock()
	defer x.mu.Unlock()
	known := x.accounts[user.UID]
	if known.user != nil && !newer(user, known.user) {
		return
	}
	if namesake, found := x.names[user.Name]; found && namesake != user.UID {
		if !newer(user, x.accounts[namesake].user) {
			return
		}
		x.forgetUser(namesake)
	}
	known.user = user
	x.accounts[user.UID] = known
	x.names[user.Name] = user.UID
}

func (x *index) removeUser(uid types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forgetUser(uid)
}

func (x *index) forgetUser(uid types.UID) {
	known := x.accounts[uid]
	if known.user == nil {
		return
	}
	if x.names[known.user.Name] == uid {
		delete(x.names, known.user.Name)
	}
	known.user = nil
	x.keep(uid, known)
}

// keep puts an account back of which something is left.
func (x *index) keep(uid types.UID, a account) {
	if a.user == nil && a.secret == nil {
		delete(x.accounts, uid)
		return
	}
	x.accounts[uid] = a
}

// userOf gives the UID that the name of a Secret has; ok is false for Secrets
// that are not of an account.
func userOf(secretName string) (uid types.UID, ok bool) {
	text, ok := strings.CutPrefix(secretName, secretPrefix)
	return types.UID(text), ok && text != ""
}

// setSecret gives how many entries of the Secret are not readable.
func (x *index) setSecret(secret *corev1.Secret) (unreadable int) {
	uid, ok := userOf(secret.Name)
	if !ok {
		return 0
	}
	parsed := parseRecord(secret.Data)
	x.mu.Lock()
	defer x.mu.Unlock()
	known := x.accounts[uid]
	if known.secret != nil && !newer(secret, known.secret) {
		return 0
	}
	x.dropCredentials(uid, known.record)
	known.secret, known.record = secret, parsed
	x.accounts[uid] = known
	for _, t := range parsed.tokens {
		x.tokens[digestOf(t.Value)] = uid
	}
	for _, s := range parsed.sessions {
		if d, err := s.digest(); err == nil {
			x.sessions[d] = uid
		}
	}
	return parsed.unreadable
}

func (x *index) removeSecret(secret *corev1.Secret) {
	uid, ok := userOf(secret.Name)
	if !ok {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	known := x.accounts[uid]
	x.dropCredentials(uid, known.record)
	known.secret, known.record = nil, record{}
	x.keep(uid, known)
}

func (x *index) dropCredentials(uid types.UID, r record) {
	for _, t := range r.tokens {
		if d := digestOf(t.Value); x.tokens[d] == uid {
			delete(x.tokens, d)
		}
	}
	for _, s := range r.sessions {
		if d, err := s.digest(); err == nil && x.sessions[d] == uid {
			delete(x.sessions, d)
		}
	}
}

// byToken finds the user and the token of that value. The map finds it by a
// digest, from whose place nothing of the value can be guessed; the value itself
// is compared in constant time.
func (x *index) byToken(value string) (account, string, bool) {
	d := digestOf(value)
	x.mu.RLock()
	defer x.mu.RUnlock()
	a := x.accounts[x.tokens[d]]
	token, found := a.record.tokens[d.id()]
	same := subtle.ConstantTimeCompare([]byte(token.Value), []byte(value)) == 1
	return a, d.id(), found && same && a.user != nil
}

// bySession does the same for the value of a session's cookie.
func (x *index) bySession(value string) (account, string, bool) {
	d := digestOf(value)
	x.mu.RLock()
	defer x.mu.RUnlock()
	a := x.accounts[x.sessions[d]]
	session, found := a.record.sessions[d.id()]
	kept, err := session.digest()
	same := subtle.ConstantTimeCompare(kept[:], d[:]) == 1
	return a, d.id(), found && err == nil && same && a.user != nil
}

func (x *index) byName(name string) (account, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	a := x.accounts[x.names[name]]
	return a, a.user != nil
}

func (x *index) byUID(uid types.UID) (account, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	a := x.accounts[uid]
	return a, a.user != nil
}

// byEmail finds who has an address: of several users the first.
func (x *index) byEmail(email string) (found account, ok bool) {
	return x.first(func(user *v1alpha1.User) bool { return sameEmail(string(user.Spec.Email), email) })
}

// first finds the first of all users who are as wanted.
func (x *index) first(wanted func(*v1alpha1.User) bool) (found account, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, a := range x.accounts {
		if a.user != nil && wanted(a.user) && (!ok || a.user.Precedes(found.user)) {
			found, ok = a, true
		}
	}
	return found, ok
}

// all gives every user.
func (x *index) all() (accounts []account) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, a := range x.accounts {
		if a.user != nil {
			accounts = append(accounts, a)
		}
	}
	return accounts
}

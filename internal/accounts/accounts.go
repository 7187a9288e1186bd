package accounts

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// Options are what accounts need.
type Options struct {
	// Client reads Users and namespaces from the cache.
	Client client.Client
	// Live reads past the cache.
	Live client.Reader
	// Cache tells what changes.
	Cache cache.Informers
	// Namespace is the operator's, where the Secrets are.
	Namespace string
	Log       logr.Logger
	// Registration lets anybody register.
	Registration bool
	// Argon2id are the costs of new hashes; zero means the default.
	Argon2id Argon2id
	// Throttle says how many logins may fail.
	Throttle Throttle
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Accounts knows the users. It works after [Accounts.Start] has read them.
type Accounts struct {
	options  Options
	index    *index
	hasher   *hasher
	throttle *throttle
	usage    *usage
	ready    atomic.Bool
}

// hashesAtATime is how many passwords are checked at a time: a bound of the
// memory that logins need.
const hashesAtATime = 4

// New gives accounts that know nobody before they are started.
func New(options Options) *Accounts {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Argon2id == (Argon2id{}) {
		options.Argon2id = defaultCosts
	}
	return &Accounts{
		options: options, index: newIndex(), hasher: newHasher(options.Argon2id, hashesAtATime),
		throttle: newThrottle(options.Throttle), usage: newUsage(),
	}
}

// now has whole microseconds in UTC, as a stored time has.
func (a *Accounts) now() time.Time { return a.options.Now().UTC().Truncate(time.Microsecond) }

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica
// answers calls.
func (a *Accounts) NeedLeaderElection() bool { return false }

// Ready tells whether the accounts were read.
func (a *Accounts) Ready() bool { return a.ready.Load() }

// closeLimit bounds the last write of what was counted.
const closeLimit = 10 * time.Second

// Start reads all accounts, follows their changes, and writes how tokens are used,
// until the context ends; then it writes the rest.
func (a *Accounts) Start(ctx context.Context) error {
	for _, watched := range []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&corev1.Secret{}, a.secretEvents()},
		{&v1alpha1.User{}, a.userEvents()},
	} {
		informer, err := a.options.Cache.GetInformer(ctx, watched.object)
		if err != nil {
			return fmt.Errorf("accounts: watch: %w", err)
		}
		registration, err := informer.AddEventHandler(watched.handler)
		if err != nil {
			return fmt.Errorf("accounts: watch: %w", err)
		}
		defer func() { _ = informer.RemoveEventHandler(registration) }()
		if !toolscache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			return nil
		}
	}
	// Namespaces are read from the cache, which is to be filled before the first call.
	if _, err := a.options.Cache.GetInformer(ctx, &corev1.Namespace{}); err != nil {
		return fmt.Errorf("accounts: watch: %w", err)
	}
	a.ready.Store(true)
	a.count(ctx)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	return a.Flush(last)
}

func (a *Accounts) secretEvents() toolscache.ResourceEventHandler {
	set := func(o any) {
		secret, ok := o.(*corev1.Secret)
		if !ok || secret.Namespace != a.options.Namespace {
			return
		}
		if unreadable := a.index.setSecret(secret); unreadable > 0 {
			a.options.Log.Info("entries of an account's Secret are not readable and left out", "secret", secret.Name, "entries", unreadable)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, o any) { set(o) },
		DeleteFunc: func(o any) {
			if secret, ok := deleted(o).(*corev1.Secret); ok && secret.Namespace == a.options.Namespace {
				a.index.removeSecret(secret)
			}
		},
	}
}

func (a *Accounts) userEvents() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { a.index.setUser(o.(*v1alpha1.User)) },
		UpdateFunc: func(before, o any) {
			// A deletion and a creation that were seen together are one update.
			if before.(*v1alpha1.User).UID != o.(*v1alpha1.User).UID {
				a.index.removeUser(before.(*v1alpha1.User).UID)
			}
			a.index.setUser(o.(*v1alpha1.User))
		},
		DeleteFunc: func(o any) {
			if user, ok := deleted(o).(*v1alpha1.User); ok {
				a.index.removeUser(user.UID)
			}
		},
	}
}

// deleted gives the object of a deletion, of which a watch may have missed the
// last state.
func deleted(o any) any {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		return unknown.Obj
	}
	return o
}

// Via is how a call was authenticated.
type Via string

// The ways to authenticate.
const (
	ViaBearer  Via = "Bearer"
	ViaSession Via = "Session"
)

// Identity is who makes a call.
type Identity struct {
	// Name and UID are those of the User object.
	Name  string
	UID   types.UID
	Email string
	// Namespace has the user's unikernels and volumes. It is empty while there is
	// none that belongs to the user.
	Namespace string
	SuperUser bool
	Via       Via
	// TokenName is that of the token when Via is ViaBearer.
	TokenName string
	// SessionID is that of the session when Via is ViaSession.
	SessionID string
}

// impersonated is followed by the name of a User.
const impersonated = "mollymawk:"

// Impersonate gives the Kubernetes user as whom the user's objects are written.
func (i Identity) Impersonate() string { return impersonated + i.Name }

// Credential is what a call brings. With a Bearer the session is not looked at.
type Credential struct {
	Bearer  string
	Session string
	// UserAgent is noted with the session.
	UserAgent string
}

// maxCredential is longer than all that are ours.
const maxCredential = 128

// Authenticate tells who makes a call and counts it. It asks nobody.
func (a *Accounts) Authenticate(ctx context.Context, c Credential) (Identity, error) {
	if !a.Ready() {
		return Identity{}, ErrNotReady
	}
	switch {
	case c.Bearer != "":
		return a.authenticateToken(ctx, c.Bearer)
	case c.Session != "":
		return a.authenticateSession(ctx, c.Session, plain(c.UserAgent, maxUserAgent))
	}
	return Identity{}, ErrNoCredential
}

func (a *Accounts) authenticateToken(ctx context.Context, value string) (Identity, error) {
	if len(value) > maxCredential {
		return Identity{}, ErrUnknownToken
	}
	found, id, ok := a.index.byToken(value)
	if !ok {
		return Identity{}, ErrUnknownToken
	}
	token, now := found.record.tokens[id], a.now()
	if expired(token.CreatedAt, token.ExpiresIn, now) {
		return Identity{}, ErrExpiredToken
	}
	identity, err := a.identify(ctx, found.user)
	if err != nil {
		return Identity{}, err
	}
	identity.Via, identity.TokenName = ViaBearer, token.Name
	a.usage.add(usageKey{found.user.UID, id}, "", now)
	return identity, nil
}

func (a *Accounts) authenticateSession(ctx context.Context, value, userAgent string) (Identity, error) {
	if len(value) > maxCredential {
		return Identity{}, ErrUnknownSession
	}
	found, id, ok := a.index.bySession(value)
	if !ok {
		return Identity{}, ErrUnknownSession
	}
	session, now := found.record.sessions[id], a.now()
	if expired(session.CreatedAt, session.ExpiresIn, now) {
		return Identity{}, ErrExpiredSession
	}
	identity, err := a.identify(ctx, found.user)
	if err != nil {
		return Identity{}, err
	}
	identity.Via, identity.SessionID = ViaSession, id
	a.usage.add(usageKey{found.user.UID, id}, userAgent, now)
	return identity, nil
}

// identify gives the identity of an active user.
func (a *Accounts) identify(ctx context.Context, user *v1alpha1.User) (Identity, error) {
	if !user.IsActive() {
		return Identity{}, ErrInactive
	}
	namespace, err := a.namespaceOf(ctx, user)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Name: user.Name, UID: user.UID, Email: string(user.Spec.Email), Namespace: namespace, SuperUser: user.Spec.SuperUser}, nil
}

// namespaceOf gives the user's namespace if it belongs to the user and to no
// earlier one of the same name.
func (a *Accounts) namespaceOf(ctx context.Context, user *v1alpha1.User) (string, error) {
	var namespace corev1.Namespace
	err := a.options.Client.Get(ctx, client.ObjectKey{Name: user.NamespaceOrDefault()}, &namespace)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("the user's namespace: %w", err)
	}
	if err != nil || namespace.Annotations[v1alpha1.AnnotationUserUID] != string(user.UID) {
		return "", nil
	}
	return namespace.Name, nil
}

// Token is a bearer token as its owner sees it.
type Token struct {
	Value, Name string
	CreatedAt   time.Time
	// ExpiresIn counts from CreatedAt.
	ExpiresIn  time.Duration
	LastAccess time.Time
	UsageCount int64
}

// Session is a login.
type Session struct {
	// ID names the session, and is of no use to who has not logged in.
	ID string
	// Value is that of the cookie. It is known at login only.
	Value      string
	CreatedAt  time.Time
	ExpiresIn  time.Duration
	LastAccess time.Time
	UserAgent  string
}

// Profile is what a user or an administrator sees of an account: everything that
// is not secret, and the user's tokens. UpdatedAt is the last change by the user.
type Profile struct {
	Name, Email, DisplayName string
	UID                      types.UID
	// ExternalID is the id by which another system knows the user: of its own, or
	// else the UID.
	ExternalID string
	// Namespace is as in [Identity].
	Namespace            string
	Active, SuperUser    bool
	CreatedAt, UpdatedAt time.Time
	// Tokens and Sessions are the newest first.
	Tokens   []Token
	Sessions []Session
}

// Profile gives the account of a user.
func (a *Accounts) Profile(ctx context.Context, name string) (Profile, error) {
	found, err := a.find(name)
	if err != nil {
		return Profile{}, err
	}
	return a.profile(ctx, found)
}

// ProfileByUID gives the account of a user by the UID of its User.
func (a *Accounts) ProfileByUID(ctx context.Context, uid types.UID) (Profile, error) {
	if !a.Ready() {
		return Profile{}, ErrNotReady
	}
	found, ok := a.index.byUID(uid)
	if !ok {
		return Profile{}, ErrUnknownAccount
	}
	return a.profile(ctx, found)
}

// Users gives all accounts, by name.
func (a *Accounts) Users(ctx context.Context) ([]Profile, error) {
	if !a.Ready() {
		return nil, ErrNotReady
	}
	var all []Profile
	for _, found := range a.index.all() {
		p, err := a.profile(ctx, found)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return sorted(all, func(p, q Profile) int { return cmp.Compare(p.Name, q.Name) }), nil
}

// find gives the account of that name.
func (a *Accounts) find(name string) (account, error) {
	if !a.Ready() {
		return account{}, ErrNotReady
	}
	found, ok := a.index.byName(name)
	if !ok {
		return account{}, ErrUnknownAccount
	}
	return found, nil
}

func (a *Accounts) profile(ctx context.Context, found account) (Profile, error) {
	user, r := found.user, found.record
	namespace, err := a.namespaceOf(ctx, user)
	if err != nil {
		return Profile{}, err
	}
	p := Profile{
		Name: user.Name, UID: user.UID, Email: string(user.Spec.Email), DisplayName: displayNameOf(user), ExternalID: user.ExternalIDOrDefault(),
		Namespace: namespace, Active: user.IsActive(), SuperUser: user.Spec.SuperUser,
		CreatedAt: user.CreationTimestamp.UTC(), UpdatedAt: r.updated, Tokens: a.tokensOf(found), Sessions: a.sessionsOf(found),
	}
	if p.UpdatedAt.Before(p.CreatedAt) {
		p.UpdatedAt = p.CreatedAt
	}
	return p, nil
}

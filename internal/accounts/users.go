package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// NewUser describes a user to be made.
type NewUser struct {
	// Name is taken in lower case. Without one it is made of ExternalID.
	Name, Email, Password string
	// DisplayName may be empty.
	DisplayName string
	// ExternalID is the id by which another system knows the user, and by which it
	// knows nobody else; it may be empty.
	ExternalID        string
	Active, SuperUser bool
	// Distinct demands that nobody else is called DisplayName.
	Distinct bool
	// ShortPassword takes one that users may not choose for themselves. Nobody logs in
	// with it before it was changed.
	ShortPassword bool
}

// Lengths that the CustomResourceDefinition takes.
const (
	maxDisplayName = 128
	maxExternalID  = 128
)

func (n *NewUser) check() error {
	if n.Name == "" && n.ExternalID != "" {
		n.Name = nameOfExternalID(n.ExternalID)
	}
	name, err := checkName(n.Name)
	n.Name = name
	passwordErr := checkPassword(n.Password)
	if n.ShortPassword && n.Password != "" && errors.Is(passwordErr, ErrWeakPassword) {
		passwordErr = nil
	}
	return cmp.Or(err, checkText(n.DisplayName, maxDisplayName), checkText(n.ExternalID, maxExternalID), checkEmail(n.Email), passwordErr)
}

// clash says what of a new user another one has already.
func (n *NewUser) clash(other *v1alpha1.User) (taken []error) {
	if other.Name == n.Name {
		taken = append(taken, ErrNameTaken)
	}
	if sameEmail(string(other.Spec.Email), n.Email) {
		taken = append(taken, ErrEmailTaken)
	}
	if n.ExternalID != "" && other.ExternalIDOrDefault() == n.ExternalID {
		taken = append(taken, ErrExternalIDTaken)
	}
	if n.Distinct && displayNameOf(other) == n.DisplayName {
		taken = append(taken, ErrDisplayNameTaken)
	}
	return taken
}

func displayNameOf(user *v1alpha1.User) string { return cmp.Or(user.Spec.DisplayName, user.Name) }

// Register makes a user who is not active until an administrator says so, and a
// session that is of no use before that. It works when registration is open.
func (a *Accounts) Register(ctx context.Context, name, email, password, remoteAddr, userAgent string) (Profile, Session, error) {
	switch {
	case !a.Ready():
		return Profile{}, Session{}, ErrNotReady
	case !a.options.Registration:
		return Profile{}, Session{}, ErrRegistrationClosed
	}
	wanted := NewUser{Name: name, Email: email, Password: password}
	if err := wanted.check(); err != nil {
		return Profile{}, Session{}, err
	}
	if err := a.throttle.try("", remoteAddr, a.now()); err != nil {
		return Profile{}, Session{}, err
	}
	if a.waiting() >= maxWaiting {
		return Profile{}, Session{}, ErrTooManyWaiting
	}
	user, err := a.create(ctx, wanted)
	if err != nil {
		return Profile{}, Session{}, err
	}
	session, err := a.begin(ctx, user, userAgent, func(*draft) {})
	if err != nil {
		return Profile{}, Session{}, err
	}
	profile, err := a.Profile(ctx, user.Name)
	return profile, session, err
}

// maxWaiting bounds how many users there may be who are not active, so that
// registration does not fill the API server.
const maxWaiting = 1000

func (a *Accounts) waiting() (count int) {
	for _, found := range a.index.all() {
		if !found.user.IsActive() {
			count++
		}
	}
	return count
}

// CreateUser makes a user. It is for administrators.
func (a *Accounts) CreateUser(ctx context.Context, wanted NewUser) (Profile, error) {
	if !a.Ready() {
		return Profile{}, ErrNotReady
	}
	if err := wanted.check(); err != nil {
		return Profile{}, err
	}
	user, err := a.create(ctx, wanted)
	if err != nil {
		return Profile{}, err
	}
	return a.Profile(ctx, user.Name)
}

func (a *Accounts) create(ctx context.Context, wanted NewUser) (*v1alpha1.User, error) {
	var taken []error
	for _, other := range a.index.all() {
		taken = append(taken, wanted.clash(other.user)...)
	}
	if err := errors.Join(taken...); err != nil {
		return nil, err
	}
	hash, err := a.hasher.hash(ctx, wanted.Password)
	if err != nil {
		return nil, err
	}
	user := &v1alpha1.User{
		ObjectMeta: metav1.ObjectMeta{Name: wanted.Name},
		Spec: v1alpha1.UserSpec{
			Email: v1alpha1.Email(wanted.Email), DisplayName: wanted.DisplayName, Namespace: namespaceFor(wanted.Name), ExternalID: wanted.ExternalID,
			SuperUser: wanted.SuperUser, Active: &wanted.Active,
		},
	}
	err = a.options.Client.Create(ctx, user, fieldManager)
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil, ErrNameTaken
	case err != nil:
		return nil, fmt.Errorf("make the User: %w", err)
	}
	if err := a.complete(ctx, wanted, user, hash); err != nil {
		return nil, errors.Join(err, a.undo(ctx, user))
	}
	a.index.setUser(user)
	return user, nil
}

// complete gives a new user its password, unless somebody was faster to take what
// nobody else may have. Times of creation do not tell who that is. What there was at the moment
// at which the user was made does: of those who are made at the same time, only the
// first finds nobody.
func (a *Accounts) complete(ctx context.Context, wanted NewUser, user *v1alpha1.User, hash string) error {
	var all v1alpha1.UserList
	then := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: user.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}}
	if err := a.options.Live.List(ctx, &all, then); err != nil {
		return fmt.Errorf("read the Users: %w", err)
	}
	for i := range all.Items {
		if other := &all.Items[i]; other.UID != user.UID {
			if err := errors.Join(wanted.clash(other)...); err != nil {
				return err
			}
		}
	}
	return a.change(ctx, user, func(d *draft) error {
		d.setPassword(hash)
		d.touch(a.now())
		return nil
	})
}

// undo removes a user that could not be made as a whole.
func (a *Accounts) undo(ctx context.Context, user *v1alpha1.User) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeLimit)
	defer cancel()
	return a.remove(ctx, user)
}

// remove deletes this user and no namesake.
func (a *Accounts) remove(ctx context.Context, user *v1alpha1.User) error {
	err := a.options.Client.Delete(ctx, user, client.Preconditions{UID: &user.UID})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete the User: %w", err)
	}
	a.index.removeUser(user.UID)
	return nil
}

// ChangePassword sets the caller's own password, which must be known. Tries count
// as logins do.
func (a *Accounts) ChangePassword(ctx context.Context, id Identity, current, password, remoteAddr string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	if len(current) > maxPassword {
		return ErrWrongPassword
	}
	found, err := a.find(id.Name)
	if err != nil {
		return err
	}
	key := "user " + id.Name
	if err := a.throttle.try(key, remoteAddr, a.now()); err != nil {
		return err
	}
	ok, _, err := a.hasher.verify(ctx, found.record.password, current)
	switch {
	case err != nil:
		return err
	case !ok:
		return ErrWrongPassword
	}
	a.throttle.succeeded(key)
	return a.setPassword(ctx, found.user, password, false)
}

// SetPassword sets a user's password. Sessions and tokens stay as they are.
func (a *Accounts) SetPassword(ctx context.Context, name, password string) error {
	found, err := a.find(name)
	if err != nil {
		return err
	}
	return a.setPassword(ctx, found.user, password, false)
}

// setPassword may end all sessions and revoke all tokens in the same write.
func (a *Accounts) setPassword(ctx context.Context, user *v1alpha1.User, password string, revoke bool) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return a.change(ctx, user, func(d *draft) error {
		if revoke {
			for id := range d.tokens {
				d.removeToken(id)
			}
			for id := range d.sessions {
				d.removeSession(id)
			}
		}
		d.setPassword(hash)
		d.touch(a.now())
		return nil
	})
}

// SetActive admits a user or keeps it out. The last active user, and the last
// active administrator, cannot be kept out.
func (a *Accounts) SetActive(ctx context.Context, name string, active bool) error {
	return a.updateUser(ctx, name, func(user *v1alpha1.User) { user.Spec.Active = &active })
}

// SetSuperUser makes a user an administrator or no longer one, but for the last.
func (a *Accounts) SetSuperUser(ctx context.Context, name string, superUser bool) error {
	return a.updateUser(ctx, name, func(user *v1alpha1.User) { user.Spec.SuperUser = superUser })
}

// DeleteUser deletes a user with its password, tokens and sessions, but for the
// last active administrator. The namespace stays, with all that is in it.
func (a *Accounts) DeleteUser(ctx context.Context, name string) error {
	if _, err := a.find(name); err != nil {
		return err
	}
	user, others, err := a.readUsers(ctx, name)
	if err != nil {
		return err
	}
	if isAdmin(user) && !anyOf(others, isAdmin) {
		return ErrLastAdmin
	}
	return a.remove(ctx, user)
}

func isAdmin(u *v1alpha1.User) bool { return u.IsActive() && u.Spec.SuperUser }

func anyOf(users []*v1alpha1.User, is func(*v1alpha1.User) bool) bool {
	for _, u := range users {
		if is(u) {
			return true
		}
	}
	return false
}

// readUsers reads a user and all others past the cache.
func (a *Accounts) readUsers(ctx context.Context, name string) (user *v1alpha1.User, others []*v1alpha1.User, err error) {
	var all v1alpha1.UserList
	if err := a.options.Live.List(ctx, &all); err != nil {
		return nil, nil, fmt.Errorf("read the Users: %w", err)
	}
	for i := range all.Items {
		if all.Items[i].Name == name {
			user = &all.Items[i]
			continue
		}
		others = append(others, &all.Items[i])
	}
	if user == nil {
		return nil, nil, ErrUnknownAccount
	}
	return user, others, nil
}

// updateUser changes a User as it is at that moment.
func (a *Accounts) updateUser(ctx context.Context, name string, edit func(*v1alpha1.User)) error {
	if _, err := a.find(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	return retry.RetryOnConflict(conflictBackoff(), func() error {
		user, others, err := a.readUsers(ctx, name)
		if err != nil {
			return err
		}
		changed := user.DeepCopy()
		edit(changed)
		switch {
		case user.IsActive() && !changed.IsActive() && !anyOf(others, (*v1alpha1.User).IsActive):
			return ErrLastActive
		case isAdmin(user) && !isAdmin(changed) && !anyOf(others, isAdmin):
			return ErrLastAdmin
		}
		if err := a.options.Client.Patch(ctx, changed, client.MergeFromWithOptions(user, client.MergeFromWithOptimisticLock{}), fieldManager); err != nil {
			return err
		}
		a.index.setUser(changed)
		return nil
	})
}

package accounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// BootstrapSecret is the Secret of the operator's namespace with the first
// administrator's password, under the key "password", when no file has it.
const BootstrapSecret = "mollymawk-bootstrap-admin" //nolint:gosec // a name

// Bootstrap makes the first administrator, so that nobody becomes one by being the
// first to register.
type Bootstrap struct {
	Accounts *Accounts
	// Email is the administrator's address.
	Email string
	// PasswordFile has the password in its first line. Without one it is in the
	// Secret [BootstrapSecret].
	PasswordFile string
}

// bootstrapPause is how long is waited for a password that is not there, or for an
// API server that does not answer.
const bootstrapPause = 10 * time.Second

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (b *Bootstrap) NeedLeaderElection() bool { return true }

// Start sees to it that there is an administrator, and tries until there is.
func (b *Bootstrap) Start(ctx context.Context) error {
	log := b.Accounts.options.Log
	for told := ""; ; {
		err := b.ensure(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if text := err.Error(); text != told && !errors.Is(err, ErrNotReady) {
			log.Error(err, "there is no administrator yet; it is tried again", "email", b.Email)
			told = text
		}
		pause := bootstrapPause
		if errors.Is(err, ErrNotReady) {
			pause = readyPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// readyPause is between two looks whether the accounts were read.
const readyPause = 50 * time.Millisecond

func (b *Bootstrap) ensure(ctx context.Context) error {
	if !b.Accounts.Ready() {
		return ErrNotReady
	}
	if b.Accounts.hasAdmin() {
		return nil
	}
	password, err := b.password(ctx)
	if err != nil {
		return err
	}
	return b.Accounts.EnsureAdmin(ctx, b.Email, password)
}

// password reads the first line of the file, or the Secret.
func (b *Bootstrap) password(ctx context.Context) (string, error) {
	if b.PasswordFile != "" {
		file, err := os.Open(b.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("the administrator's password: %w", err)
		}
		defer file.Close()
		content, err := io.ReadAll(io.LimitReader(file, maxPassword+2))
		if err != nil {
			return "", fmt.Errorf("the administrator's password: %w", err)
		}
		return firstLine(content), nil
	}
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: b.Accounts.options.Namespace, Name: BootstrapSecret}
	if err := b.Accounts.options.Live.Get(ctx, key, &secret); err != nil {
		return "", fmt.Errorf("the administrator's password: %w", err)
	}
	return firstLine(secret.Data["password"]), nil
}

func firstLine(content []byte) string {
	line, _, _ := strings.Cut(string(content), "\n")
	return strings.TrimSuffix(line, "\r")
}

func (a *Accounts) hasAdmin() bool {
	for _, found := range a.index.all() {
		if isAdmin(found.user) {
			return true
		}
	}
	return false
}

// EnsureAdmin makes an administrator with that address and password if there is no
// active one. Where a user has the address already, who may be anybody, it gets the
// password, and loses all sessions and tokens, before it gets the rights.
func (a *Accounts) EnsureAdmin(ctx context.Context, email, password string) error {
	if !a.Ready() {
		return ErrNotReady
	}
	if a.hasAdmin() {
		return nil
	}
	name := adminName(email)
	_, err := a.CreateUser(ctx, NewUser{Name: name, Email: email, Password: password, Active: true, SuperUser: true})
	if errors.Is(err, ErrNameTaken) && !errors.Is(err, ErrEmailTaken) {
		// Somebody else has the name.
		name = strings.TrimRight(name[:min(len(name), maxName-6)], "-") + "-admin"
		_, err = a.CreateUser(ctx, NewUser{Name: name, Email: email, Password: password, Active: true, SuperUser: true})
	}
	if !errors.Is(err, ErrEmailTaken) {
		return err
	}
	return a.promote(ctx, email, password)
}

// promote makes an administrator of the user who has an address.
func (a *Accounts) promote(ctx context.Context, email, password string) error {
	var found account
	err := wait.PollUntilContextTimeout(ctx, readyPause, bootstrapPause, true, func(context.Context) (ok bool, err error) {
		found, ok = a.index.byEmail(email)
		return ok, nil
	})
	if err != nil {
		return fmt.Errorf("the user with the administrator's address: %w", err)
	}
	if err := a.setPassword(ctx, found.user, password, true); err != nil {
		return err
	}
	return a.updateUser(ctx, found.user.Name, func(user *v1alpha1.User) {
		user.Spec.Active, user.Spec.SuperUser = new(true), true
	})
}

// adminName makes the name of a User out of an address.
func adminName(email string) string {
	local, _, _ := strings.Cut(strings.ToLower(email), "@")
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, local)
	name = strings.Trim(name[:min(len(name), maxName)], "-")
	if name == "" {
		return "admin"
	}
	return name
}

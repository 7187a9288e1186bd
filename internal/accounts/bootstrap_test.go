package accounts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (w *world) passwordFile(content string) string {
	w.Helper()
	file := filepath.Join(w.TempDir(), "password")
	w.must(os.WriteFile(file, []byte(content), 0o600))
	return file
}

// bootstrap runs until there is an administrator.
func (w *world) bootstrap(b *Bootstrap) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), limit)
	defer cancel()
	w.must(b.Start(ctx))
	if ctx.Err() != nil {
		w.Fatal("no administrator was made")
	}
}

func TestBootstrap(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	file := w.passwordFile(password + "\r\nmore\n")
	w.bootstrap(&Bootstrap{Accounts: a.Accounts, Email: w.email("root"), PasswordFile: file})
	profile, _, err := a.Login(t.Context(), w.email("root"), password, address, browser)
	if err != nil || profile.Name != "root" || !profile.SuperUser || !profile.Active {
		t.Fatalf("%+v, %v", profile, err)
	}
	// Once there is one, neither a file nor another address make any difference.
	w.until("known", b.hasAdmin)
	w.bootstrap(&Bootstrap{Accounts: b.Accounts, Email: w.email("other"), PasswordFile: "/does/not/exist"})
	w.must(b.EnsureAdmin(t.Context(), w.email("root"), "another password"))
	if _, _, err := a.Login(t.Context(), w.email("root"), password, address, browser); err != nil {
		t.Errorf("the password was changed: %v", err)
	}
	if all, err := a.Users(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestBootstrapFromSecret(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	w.must(w.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: BootstrapSecret, Namespace: w.system}, Data: map[string][]byte{"password": []byte(password)},
	}))
	w.bootstrap(&Bootstrap{Accounts: a.Accounts, Email: w.email("root")})
	if _, _, err := a.Login(t.Context(), w.email("root"), password, address, browser); err != nil {
		t.Error(err)
	}
}

// TestBootstrapTakesNobodysPassword has somebody register with the administrator's
// address before there is one.
func TestBootstrapTakesNobodysPassword(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{Registration: true})
	_, session, err := a.Register(t.Context(), w.prefix+"-mallory", w.email("root"), "mallory's own", address, browser)
	w.must(err)
	token := w.token(w.prefix+"-mallory", "mine", time.Hour, a)
	w.bootstrap(&Bootstrap{Accounts: a.Accounts, Email: w.email("root"), PasswordFile: w.passwordFile(password)})
	if profile, _, err := a.Login(t.Context(), w.email("root"), password, address, browser); err != nil || !profile.SuperUser {
		t.Errorf("%+v, %v", profile, err)
	}
	if _, _, err := a.Login(t.Context(), w.email("root"), "mallory's own", address, browser); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("the old password: %v", err)
	}
	for _, credential := range []Credential{cookie(session), bearer(token)} {
		if _, err := a.Authenticate(t.Context(), credential); !errors.Is(err, ErrUnknownSession) && !errors.Is(err, ErrUnknownToken) {
			t.Errorf("an old credential: %v", err)
		}
	}
}

// TestBootstrapWithATakenName has somebody else be called as the administrator would.
func TestBootstrapWithATakenName(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	name := w.user("root", a)
	email := name + "@example.org"
	w.must(a.EnsureAdmin(t.Context(), email, password))
	profile, _, err := a.Login(t.Context(), email, password, address, browser)
	if err != nil || profile.Name != name+"-admin" || !profile.SuperUser {
		t.Errorf("%+v, %v", profile, err)
	}
}

// TestBootstrapWaits has the password come later, and says once what is missing
// without saying what is secret.
func TestBootstrapWaits(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	told := make(chan string, 100)
	a.options.Log = funcr.New(func(_, args string) { told <- args }, funcr.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	b := &Bootstrap{Accounts: a.Accounts, Email: w.email("root"), PasswordFile: w.passwordFile("short\n")}
	go func() { ended <- b.Start(ctx) }()
	text := <-told
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if strings.Contains(text, "short") || !strings.Contains(text, "at least 8") {
		t.Error(text)
	}
	if !b.NeedLeaderElection() || a.NeedLeaderElection() {
		t.Error("accounts are for every replica, the first administrator is made once")
	}
}

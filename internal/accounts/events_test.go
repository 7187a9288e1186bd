package accounts

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
)

// heard collects what is logged.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) log() logr.Logger {
	return funcr.New(func(prefix, args string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lines = append(h.lines, prefix+" "+args)
	}, funcr.Options{Verbosity: 10})
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}

// TestEventsOfSecrets has a watch bring all that it may.
func TestEventsOfSecrets(t *testing.T) {
	h := &heard{}
	a := New(Options{Argon2id: cheap, Log: h.log(), Namespace: "system"})
	events, token := a.secretEvents(), newTestToken("ci")
	a.index.setUser(newTestUser("alice", "1", 1))
	secret := newTestSecret(t, "1", 5, token)

	secret.Namespace = "elsewhere"
	events.OnAdd(secret, true)
	if finds(a.index, token) {
		t.Error("a Secret of another namespace counts")
	}
	secret.Namespace = "system"
	events.OnAdd(secret, true)
	if !finds(a.index, token) || h.String() != "" {
		t.Errorf("added: %s", h)
	}
	elsewhere := secret.DeepCopy()
	elsewhere.Namespace = "elsewhere"
	events.OnDelete(elsewhere)
	if !finds(a.index, token) {
		t.Error("a deletion in another namespace counts")
	}
	broken := secret.DeepCopy()
	broken.ResourceVersion = "6"
	broken.Data[tokenPrefix+"0"] = []byte("s3cr3t")
	events.OnUpdate(secret, broken)
	if said := h.String(); !finds(a.index, token) || !strings.Contains(said, secret.Name) || strings.Contains(said, "s3cr3t") || strings.Contains(said, token.Value) {
		t.Errorf("a broken entry: %s", said)
	}
	events.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "system/" + secret.Name, Obj: secret})
	if finds(a.index, token) {
		t.Error("a deletion that was missed does not count")
	}
	// What is no Secret is left alone.
	events.OnAdd("something", false)
	events.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "x"})
}

func TestEventsOfUsers(t *testing.T) {
	a := New(Options{Argon2id: cheap, Log: logr.Discard()})
	events := a.userEvents()
	first, second := newTestUser("alice", "1", 1), newTestUser("alice", "2", 3)
	uid := func() string { found, _ := a.index.byName("alice"); return string(found.user.UID) }
	events.OnAdd(first, true)
	if uid() != "1" {
		t.Error("not added")
	}
	// Deleted and made anew between two looks.
	events.OnUpdate(first, second)
	if _, known := a.index.byUID("1"); known || uid() != "2" {
		t.Error("the first is known still")
	}
	events.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "alice", Obj: second})
	if _, known := a.index.byName("alice"); known {
		t.Error("a deletion that was missed does not count")
	}
	events.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "alice"})
}

// TestNothingSecretIsLogged has a replica say all it can while everything goes
// wrong that may.
func TestNothingSecretIsLogged(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{Registration: true})
	h := &heard{}
	a.options.Log = h.log()
	alice := w.user("alice", a)
	token := w.token(alice, "ci", time.Hour, a)
	_, session, err := a.Login(t.Context(), w.email("alice"), password, address, browser)
	w.must(err)
	var errs []string
	note := func(err error) {
		if err != nil {
			errs = append(errs, err.Error())
		}
	}
	_, _, err = a.Login(t.Context(), w.email("alice"), password+password, address, browser)
	note(err)
	_, _, err = a.Register(t.Context(), alice, w.email("alice"), password, address, browser)
	note(err)
	_, err = a.UpdateToken(t.Context(), alice, token.Value, strings.Repeat("x", 300), time.Hour)
	note(err)
	note(a.DeleteToken(t.Context(), alice, session.Value))
	hash := string(w.secret(alice).Data[passwordKey])
	w.must(w.Delete(t.Context(), w.secret(alice)))
	w.until("gone", func() bool { _, err := a.Authenticate(t.Context(), bearer(token)); return err != nil })
	_, err = a.Authenticate(t.Context(), bearer(token))
	note(err)
	_, err = a.Authenticate(t.Context(), cookie(session))
	note(err)
	a.stop()
	said := h.String() + strings.Join(errs, "\n")
	for name, secret := range map[string]string{"password": password, "token": token.Value, "cookie": session.Value, "hash": hash} {
		if strings.Contains(said, secret) {
			t.Errorf("the %s is told: %s", name, said)
		}
	}
	if len(errs) != 6 {
		t.Errorf("%d errors: %v", len(errs), errs)
	}
}

// TestSecretThatIsGone has somebody delete a user's Secret: the user has no password,
// and gets a new one.
func TestSecretThatIsGone(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	w.must(w.Delete(t.Context(), w.secret(alice)))
	w.until("without a password", func() bool { found, _ := a.index.byName(alice); return found.secret == nil })
	if _, _, err := a.Login(t.Context(), w.email("alice"), password, address, browser); err == nil {
		t.Error("logged in without a password")
	}
	w.must(a.SetPassword(t.Context(), alice, "new password"))
	if _, _, err := a.Login(t.Context(), w.email("alice"), "new password", address, browser); err != nil {
		t.Error(err)
	}
	if secret := w.secret(alice); len(secret.OwnerReferences) != 1 {
		t.Errorf("%+v", secret.ObjectMeta)
	}
}

// TestBrokenEntryByKubectl leaves all else of the user as it was.
func TestBrokenEntryByKubectl(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	token := w.token(alice, "ci", time.Hour, a)
	secret := w.secret(alice)
	secret.Data[tokenPrefix+"broken"], secret.Data["note"] = []byte("{"), []byte("ours")
	w.must(w.Update(t.Context(), secret))
	if _, _, err := a.Login(t.Context(), w.email("alice"), password, address, browser); err != nil {
		t.Error(err)
	}
	if _, err := a.Authenticate(t.Context(), bearer(token)); err != nil {
		t.Error(err)
	}
	after := w.secret(alice)
	if string(after.Data[tokenPrefix+"broken"]) != "{" || string(after.Data["note"]) != "ours" {
		t.Error("what is not ours was changed")
	}
}

// TestNewestStateDecides has a replica act on a token that it has not heard of yet.
func TestNewestStateDecides(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	alice := w.user("alice", a, b)
	// The second replica hears nothing any more.
	found, _ := b.index.byName(alice)
	deaf := New(b.options)
	deaf.index.setUser(found.user)
	deaf.index.setSecret(found.secret)
	deaf.ready.Store(true)
	for range 3 {
		token := w.token(alice, "ci", time.Hour, a)
		if _, err := deaf.UpdateToken(t.Context(), alice, token.Value, "renamed", time.Hour); err != nil {
			t.Errorf("update: %v", err)
		}
		more := w.token(alice, "more", time.Hour, a)
		w.must(deaf.DeleteToken(t.Context(), alice, more.Value))
		if r := parseRecord(w.secret(alice).Data); r.tokens[digestOf(token.Value).id()].Name != "renamed" || r.tokens[digestOf(more.Value).id()].Value != "" {
			t.Errorf("%+v", r.tokens)
		}
	}
	_, session, err := a.Login(t.Context(), w.email("alice"), password, address, browser)
	w.must(err)
	w.must(deaf.EndSession(t.Context(), alice, session.ID))
	if r := parseRecord(w.secret(alice).Data); len(r.sessions) != 0 {
		t.Errorf("%d sessions", len(r.sessions))
	}
}

// TestRegistrationsAreBounded has so many wait for an administrator that no more can.
func TestRegistrationsAreBounded(t *testing.T) {
	a := New(Options{Argon2id: cheap, Registration: true, Log: logr.Discard(), Throttle: Throttle{AddressBurst: 2, AddressInterval: time.Hour}})
	a.ready.Store(true)
	for i := range maxWaiting {
		user := newTestUser(fmt.Sprint("user", i), types.UID(fmt.Sprint(i)), i+1)
		user.Spec.Active = new(false)
		a.index.setUser(user)
	}
	for i, want := range []string{ErrTooManyWaiting.Error(), ErrTooManyWaiting.Error(), "too many tries"} {
		_, _, err := a.Register(t.Context(), fmt.Sprint("new", i), "new@example.org", password, address, browser)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("try %d: %v", i, err)
		}
	}
}

// TestNewUser refuses what the CustomResourceDefinition would.
func TestNewUser(t *testing.T) {
	good := NewUser{Name: "Alice", Email: "alice@example.org", Password: password, DisplayName: "Alice"}
	for name, c := range map[string]struct {
		change func(*NewUser)
		want   error
	}{
		"good":                 {func(*NewUser) {}, nil},
		"name":                 {func(n *NewUser) { n.Name = "a_b" }, ErrInvalidName},
		"no name":              {func(n *NewUser) { n.Name = "" }, ErrInvalidName},
		"address":              {func(n *NewUser) { n.Email = "Alice <alice@example.org>" }, ErrInvalidEmail},
		"long address":         {func(n *NewUser) { n.Email = strings.Repeat("a", 250) + "@b.org" }, ErrInvalidEmail},
		"password":             {func(n *NewUser) { n.Password = "1234567" }, ErrWeakPassword},
		"long password":        {func(n *NewUser) { n.Password = strings.Repeat("x", maxPassword+1) }, ErrLongPassword},
		"long display name":    {func(n *NewUser) { n.DisplayName = strings.Repeat("x", maxDisplayName+1) }, ErrInvalidText},
		"display name of bell": {func(n *NewUser) { n.DisplayName = "a\ab" }, ErrInvalidText},
	} {
		wanted := good
		c.change(&wanted)
		if err := wanted.check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && wanted.Name != "alice" {
			t.Errorf("%s: the name is %q", name, wanted.Name)
		}
	}
}

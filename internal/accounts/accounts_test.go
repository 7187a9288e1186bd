package accounts

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

func TestNotReady(t *testing.T) {
	a := New(Options{Argon2id: cheap})
	for name, call := range map[string]func() error{
		"authenticate": func() error { _, err := a.Authenticate(t.Context(), Credential{Bearer: "x"}); return err },
		"login":        func() error { _, _, err := a.Login(t.Context(), "a@b", password, address, browser); return err },
		"register":     func() error { _, _, err := a.Register(t.Context(), "a", "a@b", password, address, browser); return err },
		"profile":      func() error { _, err := a.Profile(t.Context(), "a"); return err },
		"profile 2":    func() error { _, err := a.ProfileByUID(t.Context(), "a"); return err },
		"users":        func() error { _, err := a.Users(t.Context()); return err },
		"create":       func() error { _, err := a.CreateUser(t.Context(), NewUser{}); return err },
		"token":        func() error { _, err := a.CreateToken(t.Context(), "a", "ci", time.Hour); return err },
		"admin":        func() error { return a.EnsureAdmin(t.Context(), "a@b", password) },
		"delete":       func() error { return a.DeleteUser(t.Context(), "a") },
	} {
		if err := call(); !errors.Is(err, ErrNotReady) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLogin goes through the errors in the order in which they are found.
func TestLogin(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	alice := w.user("alice", a, b)
	sleeping := w.user("sleeping", a, b)
	w.must(a.SetActive(t.Context(), sleeping, false))
	for _, c := range []struct {
		name, email, password string
		want                  error
	}{
		{"no address", "alice", password, ErrInvalidEmail},
		{"short password", w.email("alice"), "short", ErrWeakPassword},
		{"long password", w.email("alice"), strings.Repeat("x", maxPassword+1), ErrLongPassword},
		{"unknown", w.email("nobody"), password, ErrUnknownAccount},
		{"inactive", w.email("sleeping"), password, ErrInactive},
		{"inactive with a wrong password", w.email("sleeping"), "wrong password", ErrInactive},
		{"wrong", w.email("alice"), "wrong password", ErrWrongPassword},
		{"right", strings.ToUpper(w.email("alice")), password, nil},
	} {
		profile, session, err := a.Login(t.Context(), c.email, c.password, address, browser)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want != nil && (profile.Name != "" || session.Value != "") {
			t.Errorf("%s: something is told: %+v", c.name, profile)
		}
		if c.want == nil {
			w.checkSession(alice, profile, session, a, b)
		}
	}
}

func (w *world) checkSession(name string, profile Profile, session Session, replicas ...*replica) {
	w.Helper()
	id, err := base64.StdEncoding.DecodeString(session.Value)
	if err != nil || uuid.Validate(string(id)) != nil || session.ExpiresIn != 7*24*time.Hour || session.UserAgent != browser {
		w.Errorf("%+v, %v", session, err)
	}
	if profile.Name != name || !profile.Active || len(profile.Sessions) != 1 || profile.Sessions[0].Value != "" || profile.Sessions[0].ID != session.ID {
		w.Errorf("%+v", profile)
	}
	for key, content := range w.secret(name).Data {
		if strings.Contains(key+string(content), session.Value) {
			w.Errorf("%s has the value of a cookie", key)
		}
	}
	for _, r := range replicas {
		w.until("known", func() bool { _, err := r.Authenticate(w.Context(), cookie(session)); return err == nil })
		got, err := r.Authenticate(w.Context(), cookie(session))
		if err != nil || got.Name != name || got.Via != ViaSession || got.SessionID != session.ID || got.TokenName != "" || got.Impersonate() != "mollymawk:"+name {
			w.Errorf("%+v, %v", got, err)
		}
	}
}

// TestLoginIsThrottled for an account that exists and for one that does not.
func TestLoginIsThrottled(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{Throttle: Throttle{AccountBurst: 3, AccountInterval: time.Minute}})
	name := w.user("alice", a)
	var texts [2][]string
	for i, email := range []string{w.email("alice"), w.email("nobody")} {
		for range 5 {
			_, _, err := a.Login(t.Context(), email, "wrong password", address, browser)
			var throttled ErrThrottled
			if errors.As(err, &throttled) && (throttled.RetryAfter <= 0 || throttled.RetryAfter > time.Minute) {
				t.Errorf("again in %s", throttled.RetryAfter)
			}
			texts[i] = append(texts[i], fmt.Sprint(errors.As(err, &throttled)))
		}
	}
	if want := "[false false false true true]"; fmt.Sprint(texts[0]) != want || fmt.Sprint(texts[1]) != want {
		t.Errorf("throttled: %v", texts)
	}
	if _, _, err := a.Login(t.Context(), w.email("alice"), password, address, browser); !errors.As(err, new(ErrThrottled)) {
		t.Errorf("the right password at the wrong time: %v", err)
	}
	w.clock.advance(2 * time.Minute)
	if _, _, err := a.Login(t.Context(), w.email("alice"), password, address, browser); err != nil {
		t.Errorf("later: %v", err)
	}
	id := Identity{Name: name, Email: w.email("alice")}
	for i := range 4 {
		err := a.ChangePassword(t.Context(), id, "wrong password", "new password", address)
		if throttled := errors.As(err, new(ErrThrottled)); throttled != (i == 3) {
			t.Errorf("change %d of the password: %v", i, err)
		}
	}
}

func TestRehash(t *testing.T) {
	w := newWorld(t)
	old := w.start(Options{})
	name := w.user("alice", old)
	before := string(w.secret(name).Data[passwordKey])
	dearer := w.start(Options{Argon2id: Argon2id{Memory: 128, Time: 1, Threads: 1}})
	if _, _, err := dearer.Login(t.Context(), w.email("alice"), "wrong password", address, browser); !errors.Is(err, ErrWrongPassword) {
		t.Error(err)
	}
	if string(w.secret(name).Data[passwordKey]) != before {
		t.Error("a wrong password was hashed anew")
	}
	if _, _, err := dearer.Login(t.Context(), w.email("alice"), password, address, browser); err != nil {
		t.Fatal(err)
	}
	if after := string(w.secret(name).Data[passwordKey]); !strings.Contains(after, "$m=128,t=1,p=1$") {
		t.Errorf("made with other costs than wanted: %s", after)
	}
	if _, _, err := dearer.Login(t.Context(), w.email("alice"), password, address, browser); err != nil {
		t.Error(err)
	}
}

// TestTokens goes through the life of a token, each change by another replica.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	alice, bob := w.user("alice", a, b), w.user("bob", a, b)
	token := w.token(alice, "Gitlab CI", 400000*time.Second, a, b)
	if uuid.Validate(token.Value) != nil || token.Name != "Gitlab CI" || token.ExpiresIn != 400000*time.Second || token.UsageCount != 0 || !token.LastAccess.Equal(token.CreatedAt) {
		t.Errorf("%+v", token)
	}
	for _, r := range []*replica{a, b} {
		id, err := r.Authenticate(t.Context(), Credential{Bearer: token.Value, Session: "not looked at"})
		if err != nil || id.Name != alice || id.Via != ViaBearer || id.TokenName != "Gitlab CI" || id.SuperUser || id.SessionID != "" {
			t.Errorf("%+v, %v", id, err)
		}
	}
	for name, c := range map[string]struct {
		credential Credential
		want       error
	}{
		"none":               {Credential{}, ErrNoCredential},
		"unknown":            {Credential{Bearer: uuid.NewString()}, ErrUnknownToken},
		"upper case":         {Credential{Bearer: strings.ToUpper(token.Value)}, ErrUnknownToken},
		"space":              {Credential{Bearer: " " + token.Value}, ErrUnknownToken},
		"its digest":         {Credential{Bearer: digestOf(token.Value).id()}, ErrUnknownToken},
		"as a session":       {Credential{Session: token.Value}, ErrUnknownSession},
		"long":               {Credential{Bearer: strings.Repeat("x", 1<<20)}, ErrUnknownToken},
		"long session":       {Credential{Session: strings.Repeat("x", 1<<20)}, ErrUnknownSession},
		"no way to the next": {Credential{Bearer: "x", Session: token.Value}, ErrUnknownToken},
	} {
		if _, err := a.Authenticate(t.Context(), c.credential); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// Only its owner can change it.
	if _, err := a.UpdateToken(t.Context(), bob, token.Value, "mine", time.Hour); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("another user: %v", err)
	}
	if err := a.DeleteToken(t.Context(), bob, token.Value); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("another user: %v", err)
	}
	updated, err := b.UpdateToken(t.Context(), alice, token.Value, "renamed", 800000*time.Second)
	if err != nil || updated.Name != "renamed" || updated.ExpiresIn != 800000*time.Second || !updated.CreatedAt.Equal(token.CreatedAt) || updated.Value != token.Value || updated.UsageCount != 1 {
		t.Errorf("%+v, %v", updated, err)
	}
	w.until("renamed", func() bool {
		id, err := a.Authenticate(t.Context(), bearer(token))
		return err == nil && id.TokenName == "renamed"
	})

	// Expiry counts from when it was made, and an update can take it back.
	w.clock.advance(800000*time.Second - time.Minute)
	if _, err := a.Authenticate(t.Context(), bearer(token)); err != nil {
		t.Error(err)
	}
	w.clock.advance(2 * time.Minute)
	for _, r := range []*replica{a, b} {
		if _, err := r.Authenticate(t.Context(), bearer(token)); !errors.Is(err, ErrExpiredToken) {
			t.Errorf("expired: %v", err)
		}
	}
	if all, err := a.Tokens(t.Context(), alice); err != nil || len(all) != 1 || all[0].Value != token.Value {
		t.Errorf("an expired token is not shown: %+v, %v", all, err)
	}
	if _, err := a.UpdateToken(t.Context(), alice, token.Value, "longer", 900000*time.Second); err != nil {
		t.Error(err)
	}
	w.until("valid again", func() bool { _, err := b.Authenticate(t.Context(), bearer(token)); return err == nil })

	// Revoked here, refused there.
	w.must(a.DeleteToken(t.Context(), alice, token.Value))
	if _, err := a.Authenticate(t.Context(), bearer(token)); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("revoked by this replica: %v", err)
	}
	w.until("revoked", func() bool {
		_, err := b.Authenticate(t.Context(), bearer(token))
		return errors.Is(err, ErrUnknownToken)
	})
	if err := b.DeleteToken(t.Context(), alice, token.Value); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("revoked twice: %v", err)
	}
}

func TestBoundsOfTokens(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	for name, c := range map[string]struct {
		name   string
		expiry time.Duration
		want   error
	}{
		"long name":         {strings.Repeat("x", maxTokenName+1), time.Hour, ErrInvalidText},
		"control character": {"a\nb", time.Hour, ErrInvalidText},
		"no UTF-8":          {"\xff", time.Hour, ErrInvalidText},
		"for ever":          {"ci", maxExpiry + time.Second, ErrInvalidExpiry},
	} {
		if _, err := a.CreateToken(t.Context(), alice, c.name, c.expiry); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, expiry := range []time.Duration{0, -time.Hour} {
		token, err := a.CreateToken(t.Context(), alice, "", expiry)
		w.must(err)
		if _, err := a.Authenticate(t.Context(), bearer(token)); !errors.Is(err, ErrExpiredToken) {
			t.Errorf("made with %s: %v", expiry, err)
		}
	}
	for range maxTokens - 2 {
		w.token(alice, "ci", time.Hour, a)
	}
	if _, err := a.CreateToken(t.Context(), alice, "ci", time.Hour); !errors.Is(err, ErrTooManyTokens) {
		t.Errorf("one more: %v", err)
	}
	if _, err := a.CreateToken(t.Context(), "nobody", "ci", time.Hour); !errors.Is(err, ErrUnknownAccount) {
		t.Errorf("nobody's: %v", err)
	}
}

func TestSessions(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	alice := w.user("alice", a, b)
	var sessions []Session
	var ids []Identity
	for range 4 {
		_, session, err := a.Login(t.Context(), w.email("alice"), password, address, browser)
		w.must(err)
		id, err := a.Authenticate(t.Context(), cookie(session))
		w.must(err)
		sessions, ids = append(sessions, session), append(ids, id)
		w.clock.advance(time.Second)
	}
	alive := func(r *replica) (count int) {
		for _, s := range sessions {
			if _, err := r.Authenticate(t.Context(), cookie(s)); err == nil {
				count++
			} else if !errors.Is(err, ErrUnknownSession) {
				t.Error(err)
			}
		}
		return count
	}
	w.until("all known", func() bool { return alive(b) == 4 })
	w.must(b.Logout(t.Context(), ids[0]))
	w.must(b.Logout(t.Context(), ids[0]))
	w.must(b.Logout(t.Context(), Identity{Name: alice, Via: ViaBearer}))
	w.must(b.EndSession(t.Context(), alice, sessions[1].ID))
	w.until("two left", func() bool { return alive(a) == 2 })
	w.must(a.EndSession(t.Context(), alice, sessions[2].Value))
	w.must(a.EndSession(t.Context(), alice, "unknown"))
	_, more, err := a.Login(t.Context(), w.email("alice"), password, address, "curl/8")
	w.must(err)
	sessions = append(sessions, more)
	w.must(b.LogoutOthers(t.Context(), ids[3]))
	w.until("one left", func() bool { return alive(a) == 1 })
	profile, err := a.Profile(t.Context(), alice)
	if err != nil || len(profile.Sessions) != 1 || profile.Sessions[0].ID != sessions[3].ID || !profile.Sessions[0].LastAccess.After(sessions[3].CreatedAt) {
		t.Errorf("%+v, %v", profile.Sessions, err)
	}
	w.clock.advance(sessionLifetime)
	if _, err := a.Authenticate(t.Context(), cookie(sessions[3])); !errors.Is(err, ErrExpiredSession) {
		t.Errorf("after seven days: %v", err)
	}
	if profile, err := a.Profile(t.Context(), alice); err != nil || len(profile.Sessions) != 0 {
		t.Errorf("a session that is over is shown: %+v, %v", profile.Sessions, err)
	}
}

// TestCSRFAcrossReplicas has one replica make a token and the other take it.
func TestCSRFAcrossReplicas(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(Options{}), w.start(Options{})
	alice := w.user("alice", a, b)
	token := w.token(alice, "ci", time.Hour, a, b)
	withToken, err := a.Authenticate(t.Context(), bearer(token))
	w.must(err)
	var ids []Identity
	for range 2 {
		_, session, err := a.Login(t.Context(), w.email("alice"), password, address, browser)
		w.must(err)
		w.until("known", func() bool { _, err := b.Authenticate(t.Context(), cookie(session)); return err == nil })
		id, err := a.Authenticate(t.Context(), cookie(session))
		w.must(err)
		ids = append(ids, id)
	}
	version := w.secret(alice).ResourceVersion
	csrf, err := a.NewCSRF(t.Context(), ids[0])
	w.must(err)
	if w.secret(alice).ResourceVersion != version {
		t.Error("a page wrote something")
	}
	if err := b.CheckCSRF(t.Context(), ids[0], csrf); err != nil {
		t.Error(err)
	}
	if err := b.CheckCSRF(t.Context(), ids[1], csrf); !errors.Is(err, ErrCSRFMissing) {
		t.Errorf("of another session: %v", err)
	}
	if err := b.CheckCSRF(t.Context(), withToken, ""); err != nil {
		t.Errorf("with a bearer token: %v", err)
	}
	if _, err := b.NewCSRF(t.Context(), withToken); !errors.Is(err, ErrUnknownSession) {
		t.Errorf("for a bearer token: %v", err)
	}
	if err := b.CheckCSRF(t.Context(), ids[0], ""); !errors.Is(err, ErrCSRFMissing) {
		t.Errorf("none: %v", err)
	}
	w.clock.advance(csrfLifetime)
	if err := b.CheckCSRF(t.Context(), ids[0], csrf); !errors.Is(err, ErrCSRFMismatch) {
		t.Errorf("after an hour: %v", err)
	}
	w.must(a.Logout(t.Context(), ids[0]))
	if err := a.CheckCSRF(t.Context(), ids[0], csrf); !errors.Is(err, ErrUnknownSession) {
		t.Errorf("after the logout: %v", err)
	}
}

// TestChangesByKubectl has an administrator do everything past the replicas.
func TestChangesByKubectl(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	token, other := w.token(alice, "ci", time.Hour, a), w.token(alice, "other", time.Hour, a)
	refused := func(want error) func() bool {
		return func() bool { _, err := a.Authenticate(t.Context(), bearer(token)); return errors.Is(err, want) }
	}
	user := &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Name: alice}}
	patch := func(o client.Object, text string) {
		t.Helper()
		w.must(w.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(text))))
	}
	patch(user, `{"spec":{"active":false}}`)
	w.until("refused", refused(ErrInactive))
	patch(user, `{"spec":{"active":true,"superUser":true}}`)
	w.until("an administrator", func() bool { id, err := a.Authenticate(t.Context(), bearer(token)); return err == nil && id.SuperUser })
	patch(w.secret(alice), fmt.Sprintf(`{"data":{%q:null}}`, tokenPrefix+digestOf(token.Value).id()))
	w.until("revoked", refused(ErrUnknownToken))
	if _, err := a.Authenticate(t.Context(), bearer(other)); err != nil {
		t.Errorf("the other token: %v", err)
	}
	w.must(w.Delete(t.Context(), user))
	w.until("gone", func() bool {
		_, err := a.Authenticate(t.Context(), bearer(other))
		return errors.Is(err, ErrUnknownToken)
	})
	if _, err := a.Profile(t.Context(), alice); !errors.Is(err, ErrUnknownAccount) {
		t.Errorf("profile: %v", err)
	}
}

// TestNamespaceIsTheUsersOwn has an identity have no namespace but that with the
// UID of its User.
func TestNamespaceIsTheUsersOwn(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	token := w.token(alice, "ci", time.Hour, a)
	namespaceIs := func(want string) func() bool {
		return func() bool {
			id, err := a.Authenticate(t.Context(), bearer(token))
			return err == nil && id.Namespace == want
		}
	}
	w.until("without a namespace", namespaceIs(""))
	profile, err := a.Profile(t.Context(), alice)
	w.must(err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: alice, Annotations: map[string]string{v1alpha1.AnnotationUserUID: "somebody-else"}}}
	w.must(w.Create(t.Context(), namespace))
	w.until("in the cache", func() bool {
		return a.options.Client.Get(t.Context(), client.ObjectKeyFromObject(namespace), &corev1.Namespace{}) == nil
	})
	if !namespaceIs("")() {
		t.Error("somebody else's namespace is alice's")
	}
	namespace.Annotations[v1alpha1.AnnotationUserUID] = string(profile.UID)
	w.must(w.Update(t.Context(), namespace))
	w.until("the user's own", namespaceIs(alice))

	// A namesake gets neither the namespace nor anything else.
	w.must(a.DeleteUser(t.Context(), alice))
	again := w.user("alice", a)
	profile, err = a.Profile(t.Context(), again)
	if err != nil || profile.Namespace != "" || len(profile.Tokens) != 0 || len(profile.Sessions) != 0 {
		t.Errorf("a namesake has %+v, %v", profile, err)
	}
	if _, err := a.Authenticate(t.Context(), bearer(token)); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("the old token: %v", err)
	}
	w.must(w.Delete(context.WithoutCancel(t.Context()), namespace))
}

// TestAtTheSameTime has two replicas make users of the same name and address.
func TestAtTheSameTime(t *testing.T) {
	w := newWorld(t)
	replicas := []*replica{w.start(Options{}), w.start(Options{})}
	for _, c := range []struct {
		name     string
		of       func(i int) NewUser
		refusals []error
	}{
		{"names", func(i int) NewUser { return NewUser{Name: w.prefix + "-same", Email: w.email(fmt.Sprint("n", i))} }, []error{ErrNameTaken}},
		{"addresses", func(i int) NewUser { return NewUser{Name: fmt.Sprint(w.prefix, "-e", i), Email: w.email("same")} }, []error{ErrEmailTaken}},
	} {
		var group sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			group.Go(func() {
				wanted := c.of(i)
				wanted.Password = password
				_, errs[i] = replicas[i%2].CreateUser(t.Context(), wanted)
			})
		}
		group.Wait()
		made := 0
		for _, err := range errs {
			switch {
			case err == nil:
				made++
			case !errors.Is(err, c.refusals[0]):
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if made != 1 {
			t.Errorf("%s: %d were made: %v", c.name, made, errs)
		}
	}
	var users v1alpha1.UserList
	w.must(w.List(t.Context(), &users))
	if len(users.Items) != 2 {
		t.Errorf("%d users are left", len(users.Items))
	}
}

func TestRegistration(t *testing.T) {
	w := newWorld(t)
	closed, open := w.start(Options{}), w.start(Options{Registration: true})
	name := w.prefix + "-new"
	if _, _, err := closed.Register(t.Context(), name, w.email("new"), password, address, browser); !errors.Is(err, ErrRegistrationClosed) {
		t.Errorf("closed: %v", err)
	}
	profile, session, err := open.Register(t.Context(), strings.ToUpper(name), w.email("new"), password, address, browser)
	if err != nil || profile.Name != name || profile.Active || profile.SuperUser {
		t.Fatalf("%+v, %v", profile, err)
	}
	if _, err := open.Authenticate(t.Context(), cookie(session)); !errors.Is(err, ErrInactive) {
		t.Errorf("before an administrator has admitted the user: %v", err)
	}
	for _, c := range []struct {
		name, email, password string
		want                  []error
	}{
		{name, w.email("other"), password, []error{ErrNameTaken}},
		{w.prefix + "-other", strings.ToUpper(w.email("new")), password, []error{ErrEmailTaken}},
		{name, w.email("new"), password, []error{ErrNameTaken, ErrEmailTaken}},
		{"../x", w.email("other"), password, []error{ErrInvalidName}},
		{w.prefix + "-other", "x", password, []error{ErrInvalidEmail}},
		{w.prefix + "-other", w.email("other"), "short", []error{ErrWeakPassword}},
	} {
		_, _, err := open.Register(t.Context(), c.name, c.email, c.password, address, browser)
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%+v: %v", c, err)
			}
		}
	}
	w.must(open.SetActive(t.Context(), name, true))
	if _, err := open.Authenticate(t.Context(), cookie(session)); err != nil {
		t.Errorf("admitted: %v", err)
	}
	dotted, _, err := open.Register(t.Context(), w.prefix+".dotted", w.email("dotted"), password, address, browser)
	if err != nil || dotted.Name != w.prefix+".dotted" {
		t.Errorf("%+v, %v", dotted, err)
	}
}

func TestPasswords(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	_, session, err := a.Login(t.Context(), w.email("alice"), password, address, browser)
	w.must(err)
	id, err := a.Authenticate(t.Context(), cookie(session))
	w.must(err)
	for current, want := range map[string]error{"wrong password": ErrWrongPassword, strings.Repeat("x", maxPassword+1): ErrWrongPassword} {
		if err := a.ChangePassword(t.Context(), id, current, "new password", address); !errors.Is(err, want) {
			t.Errorf("%.20q: %v", current, err)
		}
	}
	if err := a.ChangePassword(t.Context(), id, password, "short", address); !errors.Is(err, ErrWeakPassword) {
		t.Error(err)
	}
	w.must(a.ChangePassword(t.Context(), id, password, "new password", address))
	if _, _, err := a.Login(t.Context(), w.email("alice"), password, address, browser); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("the old one: %v", err)
	}
	if _, _, err := a.Login(t.Context(), w.email("alice"), "new password", address, browser); err != nil {
		t.Errorf("the new one: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), cookie(session)); err != nil {
		t.Errorf("the session: %v", err)
	}
	w.must(a.SetPassword(t.Context(), alice, "by an administrator"))
	if _, _, err := a.Login(t.Context(), w.email("alice"), "by an administrator", address, browser); err != nil {
		t.Error(err)
	}
}

// TestTheLast keeps one active user and one active administrator.
func TestTheLast(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	first, second := w.user("first", a), w.user("second", a)
	w.must(a.SetSuperUser(t.Context(), first, true))
	for name, call := range map[string]func() error{
		"demote":     func() error { return a.SetSuperUser(t.Context(), first, false) },
		"deactivate": func() error { return a.SetActive(t.Context(), first, false) },
		"delete":     func() error { return a.DeleteUser(t.Context(), first) },
	} {
		if err := call(); !errors.Is(err, ErrLastAdmin) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.must(a.SetActive(t.Context(), second, false))
	if err := a.SetActive(t.Context(), first, false); !errors.Is(err, ErrLastActive) {
		t.Errorf("the last active user: %v", err)
	}
	// An administrator who is not active is none to rely on.
	w.must(a.SetSuperUser(t.Context(), second, true))
	if err := a.SetSuperUser(t.Context(), first, false); !errors.Is(err, ErrLastAdmin) {
		t.Error(err)
	}
	w.must(a.SetActive(t.Context(), second, true))
	w.must(a.SetSuperUser(t.Context(), first, false))
	w.must(a.DeleteUser(t.Context(), first))
	all, err := a.Users(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != second || !all[0].SuperUser {
		t.Errorf("%+v, %v", all, err)
	}
	if err := a.SetActive(t.Context(), first, true); !errors.Is(err, ErrUnknownAccount) {
		t.Error(err)
	}
	profile, err := a.ProfileByUID(t.Context(), all[0].UID)
	if err != nil || profile.Name != second || profile.DisplayName != second || profile.CreatedAt.IsZero() || profile.UpdatedAt.Before(profile.CreatedAt) {
		t.Errorf("%+v, %v", profile, err)
	}
	if _, err := a.ProfileByUID(t.Context(), "nobody"); !errors.Is(err, ErrUnknownAccount) {
		t.Error(err)
	}
}

// TestSecretsBelongToTheirUser has the garbage collector know what goes with what.
func TestSecretsBelongToTheirUser(t *testing.T) {
	w := newWorld(t)
	a := w.start(Options{})
	alice := w.user("alice", a)
	secret := w.secret(alice)
	profile, err := a.Profile(t.Context(), alice)
	w.must(err)
	if len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != profile.UID || secret.OwnerReferences[0].Kind != "User" || secret.Type != secretType {
		t.Errorf("%+v", secret.ObjectMeta)
	}
	if secret.Name != secretPrefix+string(profile.UID) || secret.Namespace != w.system || secret.Labels[v1alpha1.LabelUser] != alice {
		t.Errorf("%+v", secret.ObjectMeta)
	}
	if strings.Contains(fmt.Sprint(secret.Data), password) {
		t.Error("the password is in clear")
	}
}

// TestNothingIsLeftRunning has a replica end with everything it began.
func TestNothingIsLeftRunning(t *testing.T) {
	w := newWorld(t)
	w.user("alice", w.start(Options{}))
	before := goleak.IgnoreCurrent()
	a := w.start(Options{})
	_, _, err := a.Login(t.Context(), w.email("alice"), password, address, browser)
	w.must(err)
	a.stop()
	connections := []goleak.Option{
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"), goleak.IgnoreAnyFunction("net/http.(*http2clientConnReadLoop).run"),
	}
	if err := goleak.Find(append(connections, before)...); err != nil {
		t.Error(err)
	}
}

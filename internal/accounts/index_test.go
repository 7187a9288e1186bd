package accounts

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func finds(x *index, token storedToken) bool { _, _, ok := x.byToken(token.Value); return ok }

// TestIndexInAnyOrder has a User and its Secret come and go one before the other.
func TestIndexInAnyOrder(t *testing.T) {
	token := newTestToken("ci")
	for name, steps := range map[string][]func(*index){
		"user first":   {func(x *index) { x.setUser(newTestUser("alice", "1", 1)) }, func(x *index) { x.setSecret(newTestSecret(t, "1", 2, token)) }},
		"secret first": {func(x *index) { x.setSecret(newTestSecret(t, "1", 2, token)) }, func(x *index) { x.setUser(newTestUser("alice", "1", 1)) }},
	} {
		x := newIndex()
		for i, step := range steps {
			if finds(x, token) {
				t.Errorf("%s: found after %d steps", name, i)
			}
			step(x)
		}
		if !finds(x, token) {
			t.Errorf("%s: not found", name)
		}
		x.removeUser("1")
		if _, known := x.byName("alice"); known || finds(x, token) {
			t.Errorf("%s: found without its user", name)
		}
		x.removeSecret(newTestSecret(t, "1", 2))
		if len(x.accounts)+len(x.names)+len(x.tokens)+len(x.sessions) != 0 {
			t.Errorf("%s: something is left: %+v", name, x)
		}
	}
}

// TestIndexKeepsTheNewest has a watch bring what our own write has made old.
func TestIndexKeepsTheNewest(t *testing.T) {
	x, first, second := newIndex(), newTestToken("first"), newTestToken("second")
	x.setUser(newTestUser("alice", "1", 5))
	x.setSecret(newTestSecret(t, "1", 10, first))
	x.setSecret(newTestSecret(t, "1", 12, second))
	x.setSecret(newTestSecret(t, "1", 11, first, second))
	if finds(x, first) || !finds(x, second) {
		t.Error("an old state took the place of a newer one")
	}
	// Versions are numbers, not texts.
	x.setSecret(newTestSecret(t, "1", 100, first))
	if !finds(x, first) || finds(x, second) {
		t.Error("a newer state was not taken")
	}
	admin := newTestUser("alice", "1", 4)
	admin.Spec.SuperUser = true
	x.setUser(admin)
	if found, _ := x.byName("alice"); found.user.Spec.SuperUser {
		t.Error("an old User took the place of a newer one")
	}
}

// TestNamesakeInheritsNothing has a User be deleted and made anew, also when the
// deletion was not seen.
func TestNamesakeInheritsNothing(t *testing.T) {
	for _, seen := range []bool{true, false} {
		x, token := newIndex(), newTestToken("ci")
		x.setUser(newTestUser("alice", "1", 1))
		x.setSecret(newTestSecret(t, "1", 2, token))
		if seen {
			x.removeUser("1")
		}
		x.setUser(newTestUser("alice", "2", 3))
		found, ok := x.byName("alice")
		if !ok || found.user.UID != "2" || found.secret != nil || len(found.record.tokens) != 0 || finds(x, token) {
			t.Errorf("deletion seen %v: %+v", seen, found)
		}
		// News of the old one change nothing.
		x.setUser(newTestUser("alice", "1", 2))
		x.removeUser("1")
		if found, ok := x.byName("alice"); !ok || found.user.UID != "2" || finds(x, token) {
			t.Errorf("deletion seen %v: the old one is back: %+v", seen, found)
		}
	}
}

func TestByEmailTheFirst(t *testing.T) {
	x := newIndex()
	for i, made := range []int64{30, 10, 20} {
		user := newTestUser(fmt.Sprint("user", made), types.UID(fmt.Sprint(i)), i+1)
		user.Spec.Email, user.CreationTimestamp = "Shared@Example.org", metav1.Unix(made, 0)
		x.setUser(user)
	}
	for _, want := range []string{"user10", "user20", "user30"} {
		found, ok := x.byEmail("shared@example.ORG")
		if !ok || found.user.Name != want {
			t.Fatalf("%s has the address, want %s", found.user.Name, want)
		}
		x.removeUser(found.user.UID)
	}
	if _, ok := x.byEmail("shared@example.org"); ok {
		t.Error("nobody has the address")
	}
}

// TestSecretsOfOthers has Secrets without an account's name be left alone.
func TestSecretsOfOthers(t *testing.T) {
	x := newIndex()
	for _, name := range []string{"rack1-credentials", secretPrefix, "x" + secretPrefix + "1", BootstrapSecret} {
		secret := newTestSecret(t, "1", 1, newTestToken("ci"))
		secret.Name = name
		x.setSecret(secret)
		x.removeSecret(secret)
	}
	if len(x.accounts) != 0 || len(x.tokens) != 0 {
		t.Errorf("%+v", x.accounts)
	}
}

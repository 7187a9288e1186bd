package accounts

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/api/v1alpha1"
)

func importedUser(uid types.UID) *v1alpha1.User {
	return &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Name: "alice", UID: uid}, Spec: v1alpha1.UserSpec{Email: "alice@example.org"}}
}

// importedToken lives for an hour.
func importedToken() Token {
	return Token{Value: uuid.NewString(), Name: "CI", CreatedAt: when, ExpiresIn: time.Hour, LastAccess: when.Add(time.Minute), UsageCount: 7}
}

// TestImported has the Secret read as any other.
func TestImported(t *testing.T) {
	used, unused := importedToken(), importedToken()
	unused.UsageCount = 0
	account := Imported{Tokens: []Token{used, unused}, PasswordHash: goodHash, UpdatedAt: when}
	secret, refused, err := account.Secret(importedUser("1"), "system", when)
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	if secret.Namespace != "system" || secret.Type != secretType || secret.OwnerReferences[0].UID != "1" || secret.Labels[v1alpha1.LabelUser] != "alice" {
		t.Errorf("%v", secret.ObjectMeta)
	}
	if uid, ok := userOf(secret.Name); !ok || uid != "1" {
		t.Errorf("the Secret is called %s", secret.Name)
	}
	r := parseRecord(secret.Data)
	if r.unreadable > 0 || r.password != goodHash || !r.updated.Equal(when.Truncate(time.Second)) || len(r.tokens) != 2 || len(r.usage) != 1 || len(r.sessions) != 0 {
		t.Errorf("%+v", r)
	}
	for _, token := range account.Tokens {
		id := digestOf(token.Value).id()
		shown := r.tokens[id].shown(r.usage[id])
		if token.UsageCount == 0 {
			token.LastAccess = token.CreatedAt
		}
		if shown != token {
			t.Errorf("%+v became %+v", token, shown)
		}
	}
}

// TestImportedRefuses leaves out what would not be readable or could not be used.
func TestImportedRefuses(t *testing.T) {
	good := importedToken()
	for name, test := range map[string]struct {
		change func(*Token)
		want   error
	}{
		"no UUID":       {func(t *Token) { t.Value = "secret" }, errNoTokenValue},
		"upper case":    {func(t *Token) { t.Value = strings.ToUpper(t.Value) }, errNoTokenValue},
		"the same":      {func(t *Token) { t.Value = good.Value }, errTokenTwice},
		"over":          {func(t *Token) { t.ExpiresIn = time.Minute }, ErrExpiredToken},
		"a long name":   {func(t *Token) { t.Name = strings.Repeat("x", maxTokenName+1) }, ErrInvalidText},
		"for too long":  {func(t *Token) { t.ExpiresIn = 2 * maxExpiry }, ErrInvalidExpiry},
		"not plain":     {func(t *Token) { t.Name = "a\nb" }, ErrInvalidText},
		"without times": {func(t *Token) { t.CreatedAt = time.Time{} }, ErrExpiredToken},
	} {
		bad := importedToken()
		test.change(&bad)
		secret, refused, err := Imported{Tokens: []Token{good, bad}}.Secret(importedUser("1"), "system", when.Add(10*time.Minute))
		if err != nil || len(refused) != 1 || refused[0].Token != 1 || !errors.Is(refused[0].Err, test.want) {
			t.Errorf("%s: %v, %v", name, refused, err)
			continue
		}
		if bad.Value != good.Value && strings.Contains(refused[0].Err.Error(), bad.Value) {
			t.Errorf("%s: the error has the token", name)
		}
		if r := parseRecord(secret.Data); len(r.tokens) != 1 || r.unreadable > 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestImportedTokensAreBounded(t *testing.T) {
	var account Imported
	for range maxTokens + 3 {
		account.Tokens = append(account.Tokens, importedToken())
	}
	secret, refused, err := account.Secret(importedUser("1"), "system", when)
	if err != nil || len(refused) != 3 || !errors.Is(refused[0].Err, ErrTooManyTokens) || len(parseRecord(secret.Data).tokens) != maxTokens {
		t.Errorf("%d refused, %v", len(refused), err)
	}
}

func TestHashPassword(t *testing.T) {
	hash, err := HashPassword(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if ok, outdated, err := newHasher(defaultCosts, 1).verify(t.Context(), hash, password); !ok || outdated || err != nil {
		t.Errorf("%v, %v, %v", ok, outdated, err)
	}
	if _, err := HashPassword(t.Context(), "short"); !errors.Is(err, ErrWeakPassword) {
		t.Errorf("a short one: %v", err)
	}
}

func TestCheckUser(t *testing.T) {
	for name, want := range map[string]error{"alice": nil, "bob.smith": nil, "Alice": ErrInvalidName, "ends-": ErrInvalidName, "": ErrInvalidName} {
		user := importedUser("1")
		user.Name = name
		if err := CheckUser(user); !errors.Is(err, want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	user := importedUser("1")
	user.Spec.Email = "alice"
	if err := CheckUser(user); !errors.Is(err, ErrInvalidEmail) {
		t.Error(err)
	}
}

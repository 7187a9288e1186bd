package accounts

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestHash(t *testing.T) {
	h := newHasher(cheap, 1)
	stored, err := h.hash(t.Context(), password)
	if err != nil || !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=1,p=1$") || strings.Contains(stored, password) {
		t.Fatalf("%q, %v", stored, err)
	}
	again, err := h.hash(t.Context(), password)
	if err != nil || again == stored {
		t.Errorf("the same password twice: %q, %v", again, err)
	}
	dearer := newHasher(Argon2id{Memory: 128, Time: 1, Threads: 1}, 1)
	for _, c := range []struct {
		name             string
		with             *hasher
		stored, password string
		ok, outdated     bool
	}{
		{"right", h, stored, password, true, false},
		{"wrong", h, stored, password + "x", false, false},
		{"empty", h, stored, "", false, false},
		{"made with other costs", dearer, stored, password, true, true},
		{"wrong, made with other costs", dearer, stored, "other password", false, true},
		{"no hash", h, "", password, false, false},
		{"not readable", h, "secret", password, false, false},
	} {
		ok, outdated, err := c.with.verify(t.Context(), c.stored, c.password)
		if err != nil || ok != c.ok || outdated != c.outdated {
			t.Errorf("%s: ok %v, outdated %v, %v", c.name, ok, outdated, err)
		}
	}
}

// TestNobodyCostsAsMuch has the password of nobody wait for a place to compute as
// anybody's: the work is the same.
func TestNobodyCostsAsMuch(t *testing.T) {
	h := newHasher(cheap, 1)
	h.slots <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, stored := range []string{"", "secret", h.nobody.String()} {
		if _, _, err := h.verify(ctx, stored, password); !errors.Is(err, context.Canceled) {
			t.Errorf("%q: %v", stored, err)
		}
	}
	if h.nobody.costs != h.costs || len(h.nobody.salt) != saltSize || len(h.nobody.key) != keySize {
		t.Errorf("nobody costs %+v", h.nobody.costs)
	}
}

func TestDefaultCosts(t *testing.T) {
	a := New(Options{})
	if a.hasher.costs != (Argon2id{Memory: 19456, Time: 2, Threads: 1}) || !a.hasher.costs.valid() {
		t.Errorf("%+v", a.hasher.costs)
	}
}

const goodHash = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U"

func TestParseHash(t *testing.T) {
	if h, err := parseHash(goodHash); err != nil || h.costs != cheap || string(h.salt) != "saltsaltsaltsalt" {
		t.Fatalf("%+v, %v", h, err)
	}
	for name, bad := range map[string]string{
		"empty":            "",
		"other function":   strings.Replace(goodHash, "argon2id", "argon2i", 1),
		"other version":    strings.Replace(goodHash, "v=19", "v=16", 1),
		"no memory":        strings.Replace(goodHash, "m=64", "m=0", 1),
		"too much memory":  strings.Replace(goodHash, "m=64", "m=4194304", 1),
		"too much time":    strings.Replace(goodHash, "t=1", "t=65", 1),
		"no time":          strings.Replace(goodHash, "t=1", "t=0", 1),
		"no threads":       strings.Replace(goodHash, "p=1", "p=0", 1),
		"too many threads": strings.Replace(goodHash, "p=1", "p=255", 1),
		"beyond a number":  strings.Replace(goodHash, "p=1", "p=256", 1),
		"other order":      strings.Replace(goodHash, "m=64,t=1", "t=1,m=64", 1),
		"leading zero":     strings.Replace(goodHash, "m=64", "m=064", 1),
		"sign":             strings.Replace(goodHash, "t=1", "t=+1", 1),
		"short salt":       strings.Replace(goodHash, "c2FsdHNhbHRzYWx0c2FsdA", "c2FsdA", 1),
		"short key":        goodHash[:len(goodHash)-30],
		"padding":          goodHash + "=",
		"more":             goodHash + "$",
		"line break":       goodHash + "\n",
		"long":             goodHash + strings.Repeat("A", 512),
	} {
		if _, err := parseHash(bad); !errors.Is(err, errBadHash) || strings.Contains(err.Error(), "$") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(goodHash)
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAA$AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHash(text)
		if err != nil {
			return
		}
		if h.String() != text || !h.costs.valid() {
			t.Errorf("%q was read as %q", text, h)
		}
	})
}

func TestCheckPassword(t *testing.T) {
	for given, want := range map[string]error{
		"": ErrWeakPassword, "1234567": ErrWeakPassword, "12345678": nil, "grüße!": nil, strings.Repeat("x", maxPassword): nil, strings.Repeat("x", maxPassword+1): ErrLongPassword,
	} {
		if got := checkPassword(given); !errors.Is(got, want) {
			t.Errorf("%d bytes: %v", len(given), got)
		}
	}
}

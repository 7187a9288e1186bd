package accounts

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCSRF(t *testing.T) {
	key, other := random(keySize), random(keySize)
	token := signCSRF(key, when.Add(csrfLifetime))
	longer := signCSRF(other, when.Add(csrfLifetime))
	for name, c := range map[string]struct {
		token string
		after time.Duration
		want  error
	}{
		"right":              {token, 0, nil},
		"used again":         {token, 59 * time.Minute, nil},
		"too late":           {token, csrfLifetime, ErrCSRFMismatch},
		"of another session": {longer, 0, ErrCSRFMissing},
		"empty":              {"", 0, ErrCSRFMissing},
		"cut":                {token[:len(token)-1], 0, ErrCSRFMissing},
		"more":               {token + "A", 0, ErrCSRFMissing},
		"no base64":          {strings.Repeat("!", len(token)), 0, ErrCSRFMissing},
		"time changed":       {"AAAAAP____8" + token[11:], 0, ErrCSRFMissing},
		"negative time":      {"__________8" + token[11:], 0, ErrCSRFMissing},
	} {
		if err := checkCSRF(key, c.token, when.Add(c.after)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckCSRF(f *testing.F) {
	key := []byte("0123456789abcdef0123456789abcdef")
	good := signCSRF(key, when.Add(csrfLifetime))
	f.Add(good)
	f.Add(signCSRF(key, time.Time{}))
	f.Fuzz(func(t *testing.T, token string) {
		if checkCSRF(key, token, when) == nil && token != good {
			t.Errorf("%q is accepted", token)
		}
	})
}

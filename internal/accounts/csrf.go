package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// csrfLifetime is how long a page can be used.
const csrfLifetime = time.Hour

// csrfTimeSize is the part of a CSRF token that says until when it may be used.
const csrfTimeSize = 8

var base64URL = base64.RawURLEncoding.Strict()

// signCSRF gives the token that goes until a time, for a session with that key.
func signCSRF(key []byte, until time.Time) string {
	token := binary.BigEndian.AppendUint64(nil, uint64(max(until.Unix(), 0)))
	mac := hmac.New(sha256.New, key)
	mac.Write(token)
	return base64URL.EncodeToString(mac.Sum(token))
}

// checkCSRF tells what is wrong with a token.
func checkCSRF(key []byte, token string, now time.Time) error {
	if len(token) != base64URL.EncodedLen(csrfTimeSize+sha256.Size) {
		return ErrCSRFMissing
	}
	content, err := base64URL.DecodeString(token)
	if err != nil {
		return ErrCSRFMissing
	}
	until := time.Unix(int64(binary.BigEndian.Uint64(content)), 0) //nolint:gosec // what we did not sign is refused
	if !hmac.Equal([]byte(token), []byte(signCSRF(key, until))) {
		return ErrCSRFMissing
	}
	if !now.Before(until) {
		return ErrCSRFMismatch
	}
	return nil
}

// NewCSRF gives a token that the next writes of a session must bring. Nothing is
// stored for it, so that pages may be opened as often as one likes. A caller with
// a bearer token needs none.
func (a *Accounts) NewCSRF(_ context.Context, id Identity) (string, error) {
	session, err := a.sessionOf(id)
	if err != nil {
		return "", err
	}
	return signCSRF(session.CSRFKey, a.now().Add(csrfLifetime)), nil
}

// CheckCSRF demands a token of [Accounts.NewCSRF] from a session, and nothing from
// a caller with a bearer token.
func (a *Accounts) CheckCSRF(_ context.Context, id Identity, token string) error {
	if id.Via == ViaBearer {
		return nil
	}
	session, err := a.sessionOf(id)
	if err != nil {
		return err
	}
	return checkCSRF(session.CSRFKey, token, a.now())
}

func (a *Accounts) sessionOf(id Identity) (storedSession, error) {
	found, ok := a.index.byUID(id.UID)
	session, known := found.record.sessions[id.SessionID]
	if !ok || !known {
		return storedSession{}, ErrUnknownSession
	}
	return session, nil
}

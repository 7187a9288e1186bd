package accounts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Bounds of what a user may have, which keep its Secret far below what an API
// server takes.
const (
	maxTokens    = 64
	maxSessions  = 32
	maxTokenName = 255
	maxUserAgent = 512
	// maxEntry is how long one entry of the Secret may be.
	maxEntry = 8 << 10
	// maxExpiry is a hundred years.
	maxExpiry = 100 * 365 * 24 * time.Hour
)

// Keys of the Secret. Each token and session has entries of its own, so that a
// person who removes one does not touch the others.
const (
	passwordKey   = "password"
	updatedKey    = "updated"
	tokenPrefix   = "token."
	sessionPrefix = "session."
	usagePrefix   = "usage."
)

// digest is the SHA-256 of the value of a token or session.
type digest [sha256.Size]byte

func digestOf(value string) digest { return sha256.Sum256([]byte(value)) }

// id is what a token or session is called, which does not give it away.
func (d digest) id() string { return hex.EncodeToString(d[:16]) }

// storedToken is a token as it is kept. Its value is too, since users are shown
// the values of their own tokens.
type storedToken struct {
	Value     string    `json:"value"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresIn is in seconds from CreatedAt.
	ExpiresIn int64 `json:"expires_in"`
}

// storedSession is a session as it is kept: without the value of its cookie.
type storedSession struct {
	SHA256    string    `json:"sha256"`
	CSRFKey   []byte    `json:"csrf_key"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresIn int64     `json:"expires_in"`
	UserAgent string    `json:"user_agent"`
}

// storedUsage is how a token or session was used. It is apart from these, so that
// counting does not meet with changes.
type storedUsage struct {
	Count      int64     `json:"count"`
	LastAccess time.Time `json:"last_access"`
	// WrittenAt is when this entry was written, by whichever replica.
	WrittenAt time.Time `json:"written_at"`
	UserAgent string    `json:"user_agent,omitempty"`
}

// expired tells whether something is over that lives so many seconds.
func expired(created time.Time, expiresIn int64, now time.Time) bool {
	return int64(now.Sub(created)/time.Second) >= expiresIn
}

// record is what a Secret says.
type record struct {
	password string
	// updated is when password, tokens or sessions were changed.
	updated  time.Time
	tokens   map[string]storedToken
	sessions map[string]storedSession
	usage    map[string]storedUsage
	// unreadable counts entries that were left out.
	unreadable int
}

var errUnreadable = errors.New("not a readable entry")

// parseRecord reads a Secret. What it cannot read it leaves out: one broken
// entry must not lock a user out.
func parseRecord(data map[string][]byte) record {
	r := record{tokens: map[string]storedToken{}, sessions: map[string]storedSession{}, usage: map[string]storedUsage{}}
	for key, content := range data {
		var err error
		kind, id, _ := strings.Cut(key, ".")
		switch kind + "." {
		case tokenPrefix:
			err = parseInto(r.tokens, id, content, parseToken)
		case sessionPrefix:
			err = parseInto(r.sessions, id, content, parseSession)
		case usagePrefix:
			err = parseInto(r.usage, id, content, parseUsage)
		}
		switch key {
		case passwordKey:
			r.password = string(content)
		case updatedKey:
			r.updated, err = time.Parse(time.RFC3339, string(content))
		}
		if err != nil {
			r.unreadable++
		}
	}
	return r
}

func parseInto[T any](into map[string]T, id string, content []byte, parse func(string, []byte) (T, error)) error {
	entry, err := parse(id, content)
	if err == nil {
		into[id] = entry
	}
	return err
}

// decode reads JSON of bounded length.
func decode(content []byte, into any) error {
	if len(content) > maxEntry || json.Unmarshal(content, into) != nil {
		return errUnreadable
	}
	return nil
}

func parseToken(id string, content []byte) (storedToken, error) {
	var t storedToken
	if err := decode(content, &t); err != nil {
		return storedToken{}, err
	}
	if !isTokenValue(t.Value) || digestOf(t.Value).id() != id || checkText(t.Name, maxTokenName) != nil || checkExpiry(t.ExpiresIn) != nil {
		return storedToken{}, errUnreadable
	}
	return t, nil
}

// isTokenValue tells whether text is a UUID as tokens have it.
func isTokenValue(text string) bool {
	parsed, err := uuid.Parse(text)
	return err == nil && parsed.String() == text
}

func parseSession(id string, content []byte) (storedSession, error) {
	var s storedSession
	if err := decode(content, &s); err != nil {
		return storedSession{}, err
	}
	d, err := s.digest()
	if err != nil || d.id() != id || len(s.CSRFKey) != keySize || checkExpiry(s.ExpiresIn) != nil || checkText(s.UserAgent, maxUserAgent) != nil {
		return storedSession{}, errUnreadable
	}
	return s, nil
}

func (s storedSession) digest() (digest, error) {
	var d digest
	content, err := hex.DecodeString(s.SHA256)
	if err != nil || len(content) != len(d) {
		return d, errUnreadable
	}
	copy(d[:], content)
	return d, nil
}

func parseUsage(_ string, content []byte) (storedUsage, error) {
	var u storedUsage
	if err := decode(content, &u); err != nil {
		return storedUsage{}, err
	}
	if u.Count < 0 || checkText(u.UserAgent, maxUserAgent) != nil {
		return storedUsage{}, errUnreadable
	}
	return u, nil
}

func checkExpiry(seconds int64) error {
	if longest := int64(maxExpiry / time.Second); seconds > longest || seconds < -longest {
		return ErrInvalidExpiry
	}
	return nil
}

// checkText demands plain text of bounded length.
func checkText(text string, longest int) error {
	if len(text) > longest || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return ErrInvalidText
	}
	return nil
}

// plain makes plain text of bounded length of what a client sent.
func plain(text string, longest int) string {
	if len(text) > longest {
		text = text[:longest]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// draft is the content of a Secret while it is changed. Entries that are not
// touched stay as they are, also those that are not readable here.
type draft struct {
	record
	data map[string][]byte
}

func newDraft(data map[string][]byte) *draft {
	d := &draft{record: parseRecord(data), data: make(map[string][]byte, len(data))}
	for key, content := range data {
		d.data[key] = content
	}
	return d
}

func (d *draft) put(key string, entry any) error {
	content, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("an entry of the account: %w", err)
	}
	d.data[key] = content
	return nil
}

func (d *draft) putToken(t storedToken) error {
	id := digestOf(t.Value).id()
	d.tokens[id] = t
	return d.put(tokenPrefix+id, t)
}

func (d *draft) putUsage(id string, u storedUsage) error {
	d.usage[id] = u
	return d.put(usagePrefix+id, u)
}

func (d *draft) removeToken(id string) {
	delete(d.tokens, id)
	delete(d.data, tokenPrefix+id)
	d.removeUsage(id)
}

func (d *draft) removeSession(id string) {
	delete(d.sessions, id)
	delete(d.data, sessionPrefix+id)
	d.removeUsage(id)
}

func (d *draft) removeUsage(id string) {
	delete(d.usage, id)
	delete(d.data, usagePrefix+id)
}

// addSession makes room first: sessions that are over go, and then the oldest.
func (d *draft) addSession(s storedSession, now time.Time) error {
	added, err := s.digest()
	if err != nil {
		return err
	}
	for id, old := range d.sessions {
		if expired(old.CreatedAt, old.ExpiresIn, now) {
			d.removeSession(id)
		}
	}
	for len(d.sessions) >= maxSessions {
		d.removeSession(d.oldestSession())
	}
	d.sessions[added.id()] = s
	return d.put(sessionPrefix+added.id(), s)
}

func (d *draft) oldestSession() (oldest string) {
	for id, s := range d.sessions {
		if oldest == "" || s.CreatedAt.Before(d.sessions[oldest].CreatedAt) {
			oldest = id
		}
	}
	return oldest
}

func (d *draft) setPassword(hash string) {
	d.password = hash
	d.data[passwordKey] = []byte(hash)
}

// touch notes that the user changed something.
func (d *draft) touch(now time.Time) {
	d.data[updatedKey] = []byte(now.UTC().Format(time.RFC3339))
}

package accounts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

var when = time.Date(2025, 12, 5, 4, 14, 38, 123456000, time.UTC)

func encoded(t testing.TB, value any) []byte {
	t.Helper()
	content, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// fullData is a Secret with one entry of each kind.
func fullData(t testing.TB) (data map[string][]byte, token storedToken, session storedSession) {
	t.Helper()
	token = storedToken{Value: "6bc27967-30cd-4090-af8f-3997c47c25e1", Name: "fobud", CreatedAt: when, ExpiresIn: 2419200}
	session, shown, err := newSession(browser, when)
	if err != nil {
		t.Fatal(err)
	}
	d := newDraft(map[string][]byte{"somebody-else": []byte("stays")})
	d.setPassword(goodHash)
	d.touch(when)
	for _, err := range []error{
		d.putToken(token), d.addSession(session, when), d.putUsage(shown.ID, storedUsage{LastAccess: when, WrittenAt: when, UserAgent: "curl/8"}),
		d.putUsage(digestOf(token.Value).id(), storedUsage{Count: 13, LastAccess: when, WrittenAt: when}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return d.data, token, session
}

func TestRecord(t *testing.T) {
	data, token, session := fullData(t)
	r := parseRecord(data)
	id := digestOf(token.Value).id()
	d, err := session.digest()
	if err != nil {
		t.Fatal(err)
	}
	if r.password != goodHash || !r.updated.Equal(when.Truncate(time.Second)) || r.tokens[id] != token || r.usage[id].Count != 13 || r.unreadable != 0 {
		t.Errorf("%+v", r)
	}
	if kept := r.sessions[d.id()]; kept.UserAgent != browser || !bytes.Equal(kept.CSRFKey, session.CSRFKey) || kept.ExpiresIn != 604800 {
		t.Errorf("%+v", kept)
	}
	for key, content := range data {
		if strings.Contains(string(content), password) {
			t.Errorf("%s has the password", key)
		}
	}
}

// TestUnreadableEntries has each broken entry be left out, and all others read.
func TestUnreadableEntries(t *testing.T) {
	_, token, session := fullData(t)
	tokenID := tokenPrefix + digestOf(token.Value).id()
	d, _ := session.digest()
	sessionID := sessionPrefix + d.id()
	tokenWith := func(change func(*storedToken)) []byte { changed := token; change(&changed); return encoded(t, changed) }
	sessionWith := func(change func(*storedSession)) []byte {
		changed := session
		change(&changed)
		return encoded(t, changed)
	}
	for name, c := range map[string]struct {
		key     string
		content []byte
	}{
		"no JSON":              {tokenID, []byte("secret")},
		"empty":                {tokenID, nil},
		"long":                 {tokenID, append(encoded(t, token), bytes.Repeat([]byte(" "), maxEntry)...)},
		"other value":          {tokenID, tokenWith(func(s *storedToken) { s.Value = "3cb6bc72-a52d-4f4f-969c-c85465875774" })},
		"value is no UUID":     {tokenPrefix + digestOf("secret").id(), tokenWith(func(s *storedToken) { s.Value = "secret" })},
		"upper case UUID":      {tokenPrefix + digestOf(strings.ToUpper(token.Value)).id(), tokenWith(func(s *storedToken) { s.Value = strings.ToUpper(s.Value) })},
		"other key":            {tokenPrefix + "0", encoded(t, token)},
		"expires never":        {tokenID, tokenWith(func(s *storedToken) { s.ExpiresIn = 1 << 62 })},
		"expired forever":      {tokenID, tokenWith(func(s *storedToken) { s.ExpiresIn = -1 << 62 })},
		"long name":            {tokenID, tokenWith(func(s *storedToken) { s.Name = strings.Repeat("n", maxTokenName+1) })},
		"control character":    {tokenID, tokenWith(func(s *storedToken) { s.Name = "a\x00b" })},
		"no time":              {tokenID, bytes.Replace(encoded(t, token), []byte("2025-12-05"), []byte("2025-13-05"), 1)},
		"session of another":   {sessionPrefix + "0", encoded(t, session)},
		"session without key":  {sessionID, sessionWith(func(s *storedSession) { s.CSRFKey = nil })},
		"session's digest":     {sessionID, sessionWith(func(s *storedSession) { s.SHA256 = "0f" })},
		"no digest":            {sessionID, sessionWith(func(s *storedSession) { s.SHA256 = "secret" })},
		"session without end":  {sessionID, sessionWith(func(s *storedSession) { s.ExpiresIn = 1 << 62 })},
		"user agent":           {sessionID, sessionWith(func(s *storedSession) { s.UserAgent = strings.Repeat("n", maxUserAgent+1) })},
		"negative count":       {usagePrefix + "0", []byte(`{"count":-1}`)},
		"count is no number":   {usagePrefix + "0", []byte(`{"count":"13"}`)},
		"count of a user name": {usagePrefix + "0", []byte(`{"user_agent":"\u0007"}`)},
		"time of change":       {updatedKey, []byte("yesterday")},
	} {
		data, _, _ := fullData(t)
		before := parseRecord(data)
		data[c.key] = c.content
		r := parseRecord(data)
		if r.unreadable != 1 {
			t.Errorf("%s: %d entries are not readable", name, r.unreadable)
		}
		if r.password != before.password || len(r.tokens)+len(r.sessions)+len(r.usage) < 3 {
			t.Errorf("%s: too much is left out: %+v", name, r)
		}
		// A change of something else leaves it where it is.
		draft := newDraft(data)
		draft.setPassword("other")
		if !bytes.Equal(draft.data[c.key], c.content) || string(draft.data["somebody-else"]) != "stays" {
			t.Errorf("%s: was changed", name)
		}
	}
}

func TestDraftDoesNotChangeWhatItWasMadeOf(t *testing.T) {
	data, token, _ := fullData(t)
	before := maps.Clone(data)
	d := newDraft(data)
	d.removeToken(digestOf(token.Value).id())
	d.setPassword("other")
	if !maps.EqualFunc(data, before, bytes.Equal) {
		t.Error("changed")
	}
	if r := parseRecord(d.data); len(r.tokens) != 0 || len(r.usage) != 1 || r.password != "other" {
		t.Errorf("%+v", r)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	d := newDraft(nil)
	var newest string
	for i := range maxSessions + 5 {
		stored, shown, err := newSession(browser, when.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		newest = shown.ID
		if err := d.addSession(stored, when.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	r := parseRecord(d.data)
	if len(r.sessions) != maxSessions || r.sessions[newest].SHA256 == "" {
		t.Fatalf("%d sessions", len(r.sessions))
	}
	for _, s := range r.sessions {
		if s.CreatedAt.Before(when.Add(5 * time.Second)) {
			t.Error("the oldest are not those that went")
		}
	}
	stored, _, err := newSession(browser, when)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.addSession(stored, when.Add(sessionLifetime+time.Hour)); err != nil || len(d.sessions) != 1 {
		t.Errorf("%d sessions that are over are kept: %v", len(d.sessions)-1, err)
	}
}

// TestSecretStaysSmall fills a Secret with the longest of everything.
func TestSecretStaysSmall(t *testing.T) {
	d := newDraft(nil)
	d.setPassword(goodHash)
	for range maxTokens {
		token := newTestToken(strings.Repeat("\u2028", maxTokenName/3))
		if err := errors.Join(d.putToken(token), d.putUsage(digestOf(token.Value).id(), storedUsage{Count: 1 << 62, LastAccess: when, WrittenAt: when})); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxSessions {
		stored, shown, err := newSession(strings.Repeat("\u2028", maxUserAgent/3), when.Add(time.Duration(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.addSession(stored, when), d.putUsage(shown.ID, storedUsage{UserAgent: stored.UserAgent})); err != nil {
			t.Fatal(err)
		}
	}
	size := 0
	for key, content := range d.data {
		size += len(key) + len(content)
	}
	if r := parseRecord(d.data); r.unreadable != 0 || len(r.tokens) != maxTokens || len(r.sessions) != maxSessions {
		t.Errorf("%d tokens, %d sessions, %d not readable", len(r.tokens), len(r.sessions), r.unreadable)
	}
	if size > 256<<10 {
		t.Errorf("%d bytes", size)
	}
}

func TestExpired(t *testing.T) {
	for _, c := range []struct {
		expiresIn int64
		after     time.Duration
		want      bool
	}{
		{60, 0, false}, {60, 59*time.Second + 999*time.Millisecond, false}, {60, 60 * time.Second, true}, {0, 0, true}, {-1, 0, true},
		// A clock of another replica.
		{60, -time.Second, false}, {0, -2 * time.Second, false},
	} {
		if got := expired(when, c.expiresIn, when.Add(c.after)); got != c.want {
			t.Errorf("%d s, after %s: %v", c.expiresIn, c.after, got)
		}
	}
}

func TestPlain(t *testing.T) {
	for given, want := range map[string]string{
		browser: browser, "a\nb\x00": "ab", "\xff\xfe": "", strings.Repeat("ü", maxUserAgent): strings.Repeat("ü", maxUserAgent/2),
	} {
		got := plain(given, maxUserAgent)
		if got != want || checkText(got, maxUserAgent) != nil {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	data, _, _ := fullData(f)
	for key, content := range data {
		f.Add(key, content)
	}
	f.Add("token.", []byte(`{"created_at":"9999-12-31T23:59:59Z","expires_in":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, key string, content []byte) {
		r := parseRecord(map[string][]byte{key: content})
		for id, token := range r.tokens {
			if digestOf(token.Value).id() != id || key != tokenPrefix+id {
				t.Errorf("%q has the token %q", key, id)
			}
			_ = token.shown(storedUsage{})
		}
		for id, session := range r.sessions {
			if d, err := session.digest(); err != nil || d.id() != id {
				t.Errorf("%q has the session %q", key, id)
			}
		}
		for _, used := range r.usage {
			if used.Count < 0 {
				t.Errorf("count %d", used.Count)
			}
		}
		// What was read is read again as the same.
		d := newDraft(map[string][]byte{key: content})
		for _, token := range d.tokens {
			if err := d.putToken(token); err != nil {
				t.Error(err)
			}
		}
		if again := parseRecord(d.data); fmt.Sprint(again.tokens) != fmt.Sprint(r.tokens) {
			t.Errorf("%v became %v", r.tokens, again.tokens)
		}
	})
}

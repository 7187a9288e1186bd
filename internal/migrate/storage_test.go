package migrate_test

import (
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/internal/migrate"
)

// whole is a document with everything that Mollymawk writes.
const whole = `{"version":10,"users":[{"name":"Alice","email":"Alice <alice@example.org>","email_verified":null,"password":"c2VjcmV0","uuid":"u",` +
	`"tokens":[{"token_type":"Bearer","value":"3cb6bc72-a52d-4f4f-969c-c85465875774","expires_in":86400,"created_at":"2026-01-20 10:00:00-00:00",` +
	`"last_access":"2026-01-21T10:00:00Z","name":"CI","usage_count":3}],"cookies":[{"name":"molly_session","value":"c2Vzc2lvbg=="}],` +
	`"created_at":"2026-01-01 00:00:00-00:00","updated_at":"2026-01-20 10:00:00-00:00","email_verification_uuid":null,"active":true,"super_user":true,` +
	`"unikernel_updates":[{"name":"web","job":"static-website","uuid":"x","config":{"typ":"solo5"},"timestamp":"2026-01-20 10:00:00-00:00"}],"scaling_policies":[]}],` +
	`"configuration":[{"name":"Rack1","certificate":"C","private_key":"K","server_ip":"192.0.2.7","server_port":1025,"updated_at":"2026-01-20 10:00:00-00:00"}],"email":null}`

func TestParseStorage(t *testing.T) {
	for name, content := range map[string]string{
		"the document":        whole,
		"with space around":   "\n " + whole + "\n",
		"version 9":           strings.Replace(whole, `"version":10`, `"version":9`, 1),
		"on its block device": "header\x00\x01{" + strings.Repeat("\x00", 500) + whole + strings.Repeat("\x00", 500) + `{"version":3}`,
	} {
		s, err := migrate.ParseStorage([]byte(content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		user, instance := s.Users[0], s.Instances[0]
		created := time.Date(2026, 1, 20, 10, 0, 0, 0, time.UTC)
		if user.Name != "alice" || !user.Active || !user.SuperUser || user.Updates[0].Job != "static-website" || !user.UpdatedAt.Equal(created) {
			t.Errorf("%s: %+v", name, user)
		}
		if token := user.Tokens[0]; token.ExpiresIn != 86400 || token.UsageCount != 3 || !token.CreatedAt.Equal(created) || !token.LastAccess.Equal(created.Add(24*time.Hour)) {
			t.Errorf("%s: %+v", name, token)
		}
		if instance.Name != "rack1" || instance.ServerIP != "192.0.2.7" || instance.ServerPort != 1025 || instance.PrivateKey != "K" {
			t.Errorf("%s: %+v", name, instance)
		}
	}
}

func TestParseStorageRefuses(t *testing.T) {
	for want, content := range map[string]string{
		"there is no JSON document":          "hello",
		"the JSON document is damaged":       whole[:len(whole)/2],
		"the document has version 8":         strings.Replace(whole, `"version":10`, `"version":8`, 1),
		"the document has version 11":        strings.Replace(whole, `"version":10`, `"version":11`, 1),
		"the JSON document has no version":   `{"users":[]}`,
		"a time is not as in":                strings.Replace(whole, "2026-01-20 10:00:00-00:00", "yesterday", 1),
		"is not as Mollymawk writes it":      strings.Replace(whole, `"super_user":true`, `"super_user":"yes"`, 1),
		`users[0] "no label"`:                strings.Replace(whole, `"Alice"`, `"no label"`, 1),
		`configuration[0] "no_label": inval`: strings.Replace(whole, `"Rack1"`, `"no_label"`, 1),
		"not as Mollymawk writes it: json":   strings.Replace(whole, `"private_key":"K"`, `"private_key":7`, 1),
	} {
		_, err := migrate.ParseStorage([]byte(content))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
			continue
		}
		for _, secret := range []string{"3cb6bc72", "c2VjcmV0", "c2Vzc2lvbg"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error has a secret: %v", want, err)
			}
		}
	}
}

// FuzzParseStorage has whatever can be read converted too.
func FuzzParseStorage(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"version":9,"users":[{"name":"a","email":"A <a@b>"},{"name":"a-","email":"c@d"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := migrate.ParseStorage(content)
		if err != nil {
			return
		}
		for _, d := range converted(s.Users) {
			want := 0
			if d.Applicable() {
				want = 1
			}
			if written := text(t, d); len(objectsIn(t, written)) != want {
				t.Fatalf("there should be %d objects in\n%s", want, written)
			}
		}
	})
}

package images

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestPullCredentials(t *testing.T) {
	auth := func(user string) string {
		return fmt.Sprintf(`{"auth":%q}`, base64.StdEncoding.EncodeToString([]byte(user+":word:"+user)))
	}
	config := `{"auths":{
		"registry.example.org": ` + auth("whole") + `,
		"registry.example.org/team": ` + auth("team") + `,
		"https://registry.example.org/team/hello": ` + auth("hello") + `,
		"registry.example.org:5000": ` + auth("port") + `,
		"*.example.org": ` + auth("wildcard") + `,
		"https://index.docker.io/v1/": ` + auth("docker") + `,
		"https://v2.example.net/v2/": ` + auth("v2") + `,
		"identity.example.net": {"identitytoken":"identity"},
		"token.example.net": {"registrytoken":"token"},
		"plain.example.net": {"username":"plain","password":"word"},
		"http://10.0.0.1:5000/": ` + auth("address") + `
	}, "HttpHeaders": {"x":"y"}}`
	user := func(name string) Credentials { return Credentials{Username: name, Password: "word:" + name} }
	for reference, want := range map[string]Credentials{
		"registry.example.org/hello:1":               user("whole"),
		"registry.example.org/teams/hello:1":         user("whole"),
		"registry.example.org/team:1":                user("team"),
		"registry.example.org/team/other:1":          user("team"),
		"registry.example.org/team/hello:1":          user("hello"),
		"registry.example.org/team/hello/sub:1":      user("hello"),
		"registry.example.org/team/hello2:1":         user("team"),
		"registry.example.org:5000/team/hello:1":     user("port"),
		"other.example.org/team/hello:1":             user("wildcard"),
		"docker.io/library/hello:1":                  user("docker"),
		"v2.example.net/hello:1":                     user("v2"),
		"identity.example.net/hello:1":               {IdentityToken: "identity"},
		"token.example.net/hello:1":                  {RegistryToken: "token"},
		"plain.example.net/hello:1":                  {Username: "plain", Password: "word"},
		"10.0.0.1:5000/hello@sha256:" + digestOf(""): user("address"),
	} {
		for range 5 { // maps have no order
			if got, err := PullCredentials([]byte(config), reference); err != nil || got != want {
				t.Errorf("%s: %+v, %v; want %+v", reference, got, err, want)
			}
		}
	}
	for _, reference := range []string{"a.b.example.org/hello:1", "example.org/hello:1", "example.net/hello:1", "registry.example.org.evil.net/hello:1", "other.example.org:5000/x:1"} {
		if got, err := PullCredentials([]byte(config), reference); !errors.Is(err, ErrForbidden) || got != (Credentials{}) ||
			err.Error() != "forbidden: the pull secret has nothing for "+Registry(reference) {
			t.Errorf("%s: %+v, %v", reference, got, err)
		}
	}
}

func TestPullSecretsThatAreNone(t *testing.T) {
	for _, content := range []string{
		"", "canary", `{"auths":["canary"]}`, `{"auths":{"h.example.org":"canary"}}`, `{"auths":{"h.example.org":{"auth":"canary!"}}}`,
		`{"auths":{"h.example.org":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(canary)) + `"}}}`, `{"auths":{"h.example.org":{"username":["canary"]}}}`,
	} {
		if got, err := PullCredentials([]byte(content), "h.example.org/hello:1"); !errors.Is(err, ErrInvalid) || got != (Credentials{}) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %+v, %v", content, got, err)
		}
	}
	for _, content := range []string{`{}`, `{"auths":{}}`, `{"auths":{"[canary":{}}}`} {
		if _, err := PullCredentials([]byte(content), "h.example.org/hello:1"); !errors.Is(err, ErrForbidden) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

func TestRegistryOfAReference(t *testing.T) {
	for reference, want := range map[string]string{
		"registry.example.org/hello:1": "registry.example.org", "registry.example.org:5000/a/b@sha256:" + digestOf(""): "registry.example.org:5000",
		"localhost/hello:1": "localhost", "a b": "", "": "",
	} {
		if got := Registry(reference); got != want {
			t.Errorf("%q: %q, want %q", reference, got, want)
		}
	}
}

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// API is the HTTP API of the demonstration.
type API struct {
	// URL is where it answers, Email and PasswordFile are its administrator's.
	URL, Email, PasswordFile string
	// TokenFile has a token of the administrator.
	TokenFile string
}

// tokenName and tokenLife are of the token that the demonstration makes.
const (
	tokenName = "demo"
	tokenLife = 365 * 24 * time.Hour
	maxReply  = 1 << 20
)

// PrepareToken sees to it that the file has a token that works: one of an earlier
// start, or a new one, made as anybody with the password could.
func (a *API) PrepareToken(ctx context.Context, dataDir string) error {
	a.TokenFile = filepath.Join(dataDir, "api-token")
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	c := &caller{url: a.URL, client: &http.Client{Jar: jar, Timeout: closeLimit}}
	if kept, err := os.ReadFile(a.TokenFile); err == nil {
		c.bearer = strings.TrimSpace(string(kept))
		if c.call(ctx, http.MethodGet, "/api/account", nil, nil) == nil {
			return nil
		}
		c.bearer = ""
	}
	password, err := os.ReadFile(a.PasswordFile)
	if err != nil {
		return err
	}
	// The account is made while the operator starts.
	login := map[string]any{"email": a.Email, "password": strings.TrimSpace(string(password))}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 4*readyPoll, readyLimit, true, func(ctx context.Context) (bool, error) {
		last = c.call(ctx, http.MethodPost, "/api/login", login, nil)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the HTTP API lets the administrator not in: %w", errors.Join(err, last))
	}
	return c.makeToken(ctx, a.TokenFile)
}

// WaitAdmitted waits until the user may have something on the host.
func (a *API) WaitAdmitted(ctx context.Context) error {
	token, err := os.ReadFile(a.TokenFile)
	if err != nil {
		return err
	}
	c := &caller{url: a.URL, bearer: strings.TrimSpace(string(token)), client: &http.Client{Timeout: closeLimit}}
	err = wait.PollUntilContextTimeout(ctx, readyPoll, readyLimit, true, func(ctx context.Context) (bool, error) {
		var policies []json.RawMessage
		err := c.call(ctx, http.MethodGet, "/api/policies", nil, &policies)
		return err == nil && len(policies) > 0, nil
	})
	if err != nil {
		return fmt.Errorf("the user of the HTTP API is not admitted to the host: %w", err)
	}
	return nil
}

// caller calls the API.
type caller struct {
	url, bearer string
	client      *http.Client
}

func (c *caller) makeToken(ctx context.Context, file string) error {
	var csrf struct {
		Token string `json:"molly_csrf"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/account/csrf", nil, &csrf); err != nil {
		return err
	}
	var token struct {
		Value string `json:"value"`
	}
	wanted := map[string]any{"token_name": tokenName, "token_expiry": int64(tokenLife / time.Second), "molly_csrf": csrf.Token}
	if err := c.call(ctx, http.MethodPost, "/api/tokens/create", wanted, &token); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(token.Value+"\n"), 0o600)
}

// call sends a document and reads the data of the reply.
func (c *caller) call(ctx context.Context, method, path string, document, data any) error {
	var body io.Reader
	if document != nil {
		encoded, err := json.Marshal(document)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return err
	}
	if c.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var envelope struct {
		Success bool
		Data    json.RawMessage
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxReply)).Decode(&envelope); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !envelope.Success {
		return fmt.Errorf("%s: %s", path, envelope.Data)
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(envelope.Data, data)
}

// Explain says where the API is and how to use it.
func (a *API) Explain(w io.Writer) error {
	_, err := fmt.Fprintf(w, `
The HTTP API is at %[1]s (its description: %[1]s/openapi.yaml). A token is in %[2]s:

  curl -H "Authorization: Bearer $(cat %[2]s)" %[1]s/api/unikernels

Its administrator is %[3]s with the password in %[4]s. To get another token:

  curl -c cookies -d "{\"email\": \"%[3]s\", \"password\": \"$(cat %[4]s)\"}" %[1]s/api/login
  csrf=$(curl -s -b cookies %[1]s/api/account/csrf | sed 's/.*"molly_csrf":"//; s/".*//')
  curl -b cookies -H "X-MOLLY-CSRF: $csrf" -d '{"token_name": "ci", "token_expiry": 2419200}' %[1]s/api/tokens/create
`, a.URL, a.TokenFile, a.Email, a.PasswordFile)
	return err
}

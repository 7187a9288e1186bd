package mollymawk

import (
	"time"

	"mollymawk.dev/operator/internal/accounts"
)

// userView is a user as the API shows it. All documented members are there, in
// their order; secrets are hidden.
type userView struct {
	Name              string        `json:"name"`
	Email             string        `json:"email"`
	EmailVerified     *string       `json:"email_verified"`
	Password          string        `json:"password"`
	UUID              string        `json:"uuid"`
	Tokens            []tokenView   `json:"tokens"`
	Cookies           []sessionView `json:"cookies"`
	CreatedAt         string        `json:"created_at"`
	UpdatedAt         string        `json:"updated_at"`
	EmailVerification *string       `json:"email_verification_uuid"`
	Active            bool          `json:"active"`
	SuperUser         bool          `json:"super_user"`
	UnikernelUpdates  []struct{}    `json:"unikernel_updates"`
	ScalingPolicies   []struct{}    `json:"scaling_policies"`
}

type tokenView struct {
	TokenType  string `json:"token_type"`
	Value      string `json:"value"`
	ExpiresIn  int64  `json:"expires_in"`
	CreatedAt  string `json:"created_at"`
	LastAccess string `json:"last_access"`
	Name       string `json:"name"`
	UsageCount int64  `json:"usage_count"`
}

// sessionView has a session's identifier, with which it can be ended but not
// used, in the place of its value.
type sessionView struct {
	Name       string `json:"name"`
	CreatedAt  string `json:"created_at"`
	Value      string `json:"value"`
	ExpiresIn  int64  `json:"expires_in"`
	UUID       string `json:"uuid"`
	LastAccess string `json:"last_access"`
	UserAgent  string `json:"user_agent"`
}

// showUser shows a user to that user. An administrator sees others without
// their tokens and sessions.
func showUser(p accounts.Profile) userView {
	view := userView{
		Name: p.Name, Email: p.Email, Password: hidden, UUID: string(p.UID), Tokens: showTokens(p.Tokens), Cookies: []sessionView{},
		CreatedAt: stamp(p.CreatedAt), UpdatedAt: stamp(p.UpdatedAt), Active: p.Active, SuperUser: p.SuperUser,
		UnikernelUpdates: []struct{}{}, ScalingPolicies: []struct{}{},
	}
	for _, s := range p.Sessions {
		view.Cookies = append(view.Cookies, showSession(s, p))
	}
	return view
}

func showSession(s accounts.Session, p accounts.Profile) sessionView {
	return sessionView{
		Name: "molly_session", CreatedAt: stamp(s.CreatedAt), Value: s.ID, ExpiresIn: int64(s.ExpiresIn / time.Second), UUID: string(p.UID),
		LastAccess: stamp(s.LastAccess), UserAgent: s.UserAgent,
	}
}

func showTokens(all []accounts.Token) []tokenView {
	views := make([]tokenView, 0, len(all))
	for _, t := range all {
		views = append(views, showToken(t))
	}
	return views
}

func showToken(t accounts.Token) tokenView {
	return tokenView{
		TokenType: "Bearer", Value: t.Value, ExpiresIn: int64(t.ExpiresIn / time.Second), CreatedAt: stamp(t.CreatedAt),
		LastAccess: stamp(t.LastAccess), Name: t.Name, UsageCount: t.UsageCount,
	}
}

package httpapi

import (
	"net/http"
	"strings"
	"time"
)

// SessionCookie is the name of the cookie that has the value of a session.
const SessionCookie = "molly_session"

// Bearer gives the token of the header Authorization. Like the cookie's it is
// given as it came: whether it is good is for the accounts to say.
func Bearer(r *http.Request) (token string, found bool) {
	token, found = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return "", false
	}
	return token, true
}

// Session gives the value of the session's cookie.
func Session(r *http.Request) string {
	cookie, err := r.Cookie(SessionCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// SetSession hands the session to a browser. Scripts cannot read the cookie, and
// other sites cannot have it sent along with a write.
func SetSession(w http.ResponseWriter, r *http.Request, value string, lifetime time.Duration) {
	http.SetCookie(w, sessionCookie(r, value, int(lifetime/time.Second)))
}

// ClearSession takes it back.
func ClearSession(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, sessionCookie(r, "", -1))
}

func sessionCookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // secure where the client speaks TLS; plain HTTP is for one's own machine
		Name: SessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: OriginOf(r.Context()).Secure,
	}
}

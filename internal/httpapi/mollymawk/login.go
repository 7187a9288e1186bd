package mollymawk

import (
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"time"

	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/httpapi"
)

const (
	minPassword = 8
	minName     = 4
)

const (
	textFields   = "All fields must be filled."
	textEmail    = "Invalid email address."
	textPassword = "Password must be at least 8 characters long."
	textFormCSRF = "CSRF token mismatch error. Please referesh and try again."
)

// login answers with the user's profile, and hands out a session.
func (c *call) login() reply {
	email, _ := c.document.text("email")
	password, _ := c.document.text("password")
	if email == "" || password == "" {
		return bad(textFields)
	}
	address, valid := mailbox(email)
	switch {
	case !valid:
		return bad(textEmail)
	case len(password) < minPassword:
		return bad(textPassword)
	}
	profile, session, err := c.options().Gate.Login(c.ctx(), address, password, httpapi.OriginOf(c.ctx()).Client, c.r.UserAgent())
	if err != nil {
		return c.notSignedIn(err)
	}
	return c.signedIn(profile, session)
}

// mailbox gives the address of a mailbox that may have a display name.
func mailbox(text string) (address string, valid bool) {
	parsed, err := mail.ParseAddress(text)
	if err != nil {
		return "", false
	}
	return parsed.Address, true
}

// signedIn hands the session to the browser and shows the profile.
func (c *call) signedIn(profile accounts.Profile, session accounts.Session) reply {
	record := httpapi.RecordOf(c.ctx())
	record.User = profile.Name
	httpapi.SetSession(c.w, c.r, session.Value, session.ExpiresIn)
	c.w.Header().Set("Location", "/dashboard")
	return ok(showUser(profile))
}

func (c *call) notSignedIn(err error) reply {
	var throttled accounts.ErrThrottled
	switch {
	case errors.As(err, &throttled):
		seconds := int((throttled.RetryAfter + time.Second - 1) / time.Second)
		return reply{
			status: http.StatusTooManyRequests, data: fmt.Sprintf("Too many attempts. Try again in %d seconds.", seconds), retryAfter: throttled.RetryAfter,
		}
	case errors.Is(err, accounts.ErrUnknownAccount):
		return bad("This account does not exist.")
	case errors.Is(err, accounts.ErrInactive):
		return bad("This account is not active")
	case errors.Is(err, accounts.ErrWrongPassword):
		return bad("Invalid email or password.")
	case errors.Is(err, accounts.ErrInvalidEmail):
		return bad(textEmail)
	case errors.Is(err, accounts.ErrWeakPassword):
		return bad(textPassword)
	case errors.Is(err, accounts.ErrLongPassword):
		return bad("Password is too long.")
	case errors.Is(err, accounts.ErrInvalidName):
		return bad("invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)")
	case errors.Is(err, accounts.ErrNameTaken) && errors.Is(err, accounts.ErrEmailTaken):
		return bad("A user with this name or email already exist.")
	case errors.Is(err, accounts.ErrNameTaken):
		return bad("A user with this name already exist.")
	case errors.Is(err, accounts.ErrEmailTaken):
		return bad("A user with this email already exist.")
	case errors.Is(err, accounts.ErrRegistrationClosed):
		return refuse(http.StatusForbidden, "Registration is closed. Ask an administrator for an account.")
	case errors.Is(err, accounts.ErrTooManyWaiting):
		return refuse(http.StatusForbidden, "Too many accounts wait for an administrator.")
	}
	return c.storageError(err)
}

// register makes an account, which an administrator has to activate. What tells
// a form of this site from a forged one is a cookie that the form repeats.
func (c *call) register() reply {
	fields := map[string]string{}
	for _, name := range []string{"name", "email", "password", "form_csrf"} {
		value, given := c.document.text(name)
		if !given {
			return bad("Register: Unexpected fields. Got " + echo(c.document))
		}
		fields[name] = value
	}
	address, valid := mailbox(fields["email"])
	switch {
	case fields["name"] == "" || fields["email"] == "" || fields["password"] == "":
		return bad(textFields)
	case len(fields["name"]) < minName:
		return bad("Name must be at least 3 characters long.")
	case !valid:
		return bad(textEmail)
	case len(fields["password"]) < minPassword:
		return bad(textPassword)
	case fields["form_csrf"] == "":
		return bad(textFormCSRF)
	}
	name, err := label(fields["name"])
	if err != nil {
		return bad(err.Error())
	}
	if cookie, err := c.r.Cookie(csrfField); err != nil || cookie.Value != fields["form_csrf"] {
		return bad(textFormCSRF)
	}
	profile, session, err := c.options().Gate.Register(c.ctx(), name, address, fields["password"], httpapi.OriginOf(c.ctx()).Client, c.r.UserAgent())
	if err != nil {
		return c.notSignedIn(err)
	}
	return c.signedIn(profile, session)
}

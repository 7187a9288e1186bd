package mollymawk

import (
	"errors"

	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/httpapi"
)

func (c *call) account() reply {
	profile, err := c.options().Account.Profile(c.ctx(), c.id.Name)
	if err != nil {
		return c.storageError(err)
	}
	return ok(showUser(profile))
}

// csrf gives the token that writes with a cookie need, to programs that have no
// page to find it in.
func (c *call) csrf() reply {
	if c.id.Via == accounts.ViaBearer {
		return ok(map[string]string{csrfField: ""})
	}
	token, err := c.options().Gate.NewCSRF(c.ctx(), c.id)
	if err != nil {
		return c.storageError(err)
	}
	c.w.Header().Set(csrfHeader, token)
	return ok(map[string]string{csrfField: token})
}

func (c *call) logout() reply {
	if err := c.options().Account.Logout(c.ctx(), c.id); err != nil {
		return c.storageError(err)
	}
	httpapi.ClearSession(c.w, c.r)
	return ok("Logout successful")
}

func (c *call) closeSessions() reply {
	if err := c.options().Account.LogoutOthers(c.ctx(), c.id); err != nil {
		return c.storageError(err)
	}
	return ok("Closed all sessions successfully")
}

func (c *call) closeSession() reply {
	session, given := c.document.text("session_value")
	if !given {
		return bad("Close session: Unexpected fields. Got " + echo(c.document))
	}
	if err := c.options().Account.EndSession(c.ctx(), c.id.Name, session); err != nil {
		return c.storageError(err)
	}
	return ok("Session closed successfully")
}

func (c *call) changePassword() reply {
	current, given := c.document.text("current_password")
	next, nextGiven := c.document.text("new_password")
	confirmed, confirmedGiven := c.document.text("confirm_password")
	if !given || !nextGiven || !confirmedGiven {
		return bad("Update password: Unexpected fields. Got " + echo(c.document))
	}
	if next != confirmed {
		return bad("New password and confirm password do not match")
	}
	if len(next) < minPassword {
		return bad("New password must be atleast 8 characters.")
	}
	err := c.options().Account.ChangePassword(c.ctx(), c.id, current, next, httpapi.OriginOf(c.ctx()).Client)
	switch {
	case err == nil:
		return ok("Updated password successfully")
	case errors.Is(err, accounts.ErrWrongPassword):
		return bad("The current password entered is wrong.")
	}
	return c.notSignedIn(err)
}

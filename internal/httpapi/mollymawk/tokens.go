package mollymawk

import (
	"errors"
	"math"
	"net/http"
	"time"

	"mollymawk.dev/operator/internal/accounts"
)

// seconds gives a duration; what is longer than a duration can be is the longest.
func seconds(n int64) time.Duration {
	const longest = math.MaxInt64 / int64(time.Second)
	return time.Duration(max(-longest, min(longest, n))) * time.Second
}

func (c *call) createToken() reply {
	name, named := c.document.text("token_name")
	expiry, limited := c.document.integer("token_expiry")
	if !named || !limited {
		return bad("Create token: Unexpected fields. Got " + echo(c.document))
	}
	token, err := c.options().Tokens.CreateToken(c.ctx(), c.id.Name, name, seconds(expiry))
	if err != nil {
		return c.tokenFailed("Create token: ", err)
	}
	return ok(showToken(token))
}

func (c *call) updateToken() reply {
	value, given := c.document.text("token_value")
	name, named := c.document.text("token_name")
	expiry, limited := c.document.integer("token_expiry")
	if !given || !named || !limited {
		return bad("Update token: Unexpected fields. Got " + echo(c.document))
	}
	token, err := c.options().Tokens.UpdateToken(c.ctx(), c.id.Name, value, name, seconds(expiry))
	if errors.Is(err, accounts.ErrUnknownToken) {
		return refuse(http.StatusNotFound, "Token not found")
	}
	if err != nil {
		return c.tokenFailed("Update token: ", err)
	}
	return ok(showToken(token))
}

// deleteToken is content when there is no such token: it was to be gone.
func (c *call) deleteToken() reply {
	value, given := c.document.text("token_value")
	if !given {
		return bad("Delete token: Unexpected fields. Got " + echo(c.document))
	}
	err := c.options().Tokens.DeleteToken(c.ctx(), c.id.Name, value)
	if err != nil && !errors.Is(err, accounts.ErrUnknownToken) {
		return c.storageError(err)
	}
	return ok("Token deleted succesfully").titled("OK") //nolint:misspell // the document's text
}

func (c *call) listTokens() reply {
	tokens, err := c.options().Tokens.Tokens(c.ctx(), c.id.Name)
	if err != nil {
		return c.storageError(err)
	}
	return ok(showTokens(tokens))
}

func (c *call) tokenFailed(prefix string, err error) reply {
	for _, refusal := range []error{accounts.ErrInvalidText, accounts.ErrInvalidExpiry, accounts.ErrTooManyTokens} {
		if errors.Is(err, refusal) {
			return bad(prefix + refusal.Error())
		}
	}
	return c.storageError(err)
}

package panel

import (
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"mollymawk.dev/operator/internal/accounts"
)

// newUserView is a user who was made just now.
type newUserView struct {
	UserID   string `json:"userId"`
	Username string `json:"username"`
	Email    string `json:"email"`
	Admin    bool   `json:"admin"`
}

// userView is a user. What is secret of it is nowhere.
type userView struct {
	UserID   string   `json:"userId"`
	Username string   `json:"username"`
	Email    string   `json:"email"`
	AccessTo []string `json:"accessTo"`
	Admin    bool     `json:"admin"`
}

func showUser(p accounts.Profile) userView {
	return userView{UserID: p.ExternalID, Username: p.DisplayName, Email: p.Email, AccessTo: []string{}, Admin: p.SuperUser}
}

func (c *call) listUsers() reply {
	all, err := c.options().Users.Users(c.ctx())
	if err != nil {
		return c.failed(err)
	}
	slices.SortStableFunc(all, func(p, q accounts.Profile) int { return p.CreatedAt.Compare(q.CreatedAt) })
	views := make([]userView, 0, len(all))
	for _, p := range all {
		views = append(views, showUser(p))
	}
	return ok(views)
}

// unknownUserText is said of who is not there.
const unknownUserText = "User not found"

func (c *call) getUser() reply {
	if !c.body.has("type", "value") {
		return bad("Type and value are required")
	}
	kind, _ := c.body.text("type")
	value, _ := c.body.text("value")
	var profile accounts.Profile
	var err error
	switch kind {
	case "email":
		profile, err = c.options().Users.ProfileByEmail(c.ctx(), value)
	case "username":
		profile, err = c.options().Users.ProfileByDisplayName(c.ctx(), value)
	default:
		return bad(`Invalid search type. Use "email" or "username".`)
	}
	switch {
	case errors.Is(err, accounts.ErrUnknownAccount):
		return c.refusedWhen(userUnknown, unknownUserText)
	case err != nil:
		return c.failed(err)
	}
	return c.when(userFound, showUser(profile))
}

// createUser makes a user who may log in at once, with the password that the caller
// chose if it is long enough. Only a plain true makes an administrator.
func (c *call) createUser() reply {
	const missing = "Username, email, and password are required"
	if !c.body.has("username", "email", "password") {
		return bad(missing)
	}
	username, named := c.body.text("username")
	email, reached := c.body.text("email")
	password, secured := c.body["password"].(string)
	if !named || !reached || !secured {
		return bad(missing)
	}
	wanted := accounts.NewUser{
		DisplayName: username, Email: email, Password: password, ExternalID: uuid.NewString(), Active: true, Distinct: true, ShortPassword: true,
	}
	if c.body.has("userId") {
		id, plain := c.body.text("userId")
		if !plain {
			return bad("Invalid userId")
		}
		wanted.ExternalID = id
	}
	wanted.SuperUser, _ = c.body["admin"].(bool)
	profile, err := c.options().Users.CreateUser(c.ctx(), wanted)
	if err != nil {
		return c.userRefused(err)
	}
	c.about(profile.Name)
	return reply{status: http.StatusCreated, body: newUserView{profile.ExternalID, profile.DisplayName, profile.Email, profile.SuperUser}}
}

// userRefused says why a user cannot be made.
func (c *call) userRefused(err error) reply {
	for _, taken := range []error{accounts.ErrNameTaken, accounts.ErrEmailTaken, accounts.ErrDisplayNameTaken, accounts.ErrExternalIDTaken} {
		if errors.Is(err, taken) {
			return refuse(http.StatusConflict, "User already exists")
		}
	}
	switch {
	case errors.Is(err, accounts.ErrInvalidEmail):
		return detailed("Invalid email", err.Error())
	case errors.Is(err, accounts.ErrLongPassword), errors.Is(err, accounts.ErrWeakPassword):
		return detailed("Invalid password", err.Error())
	case errors.Is(err, accounts.ErrInvalidText):
		return detailed("Invalid username or userId", err.Error())
	}
	return c.failed(err)
}

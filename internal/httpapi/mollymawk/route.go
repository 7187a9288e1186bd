package mollymawk

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/httpapi"
)

// access says who may call.
type access int

const (
	public access = iota
	users
	admins
)

// route is a call of the API.
type route struct {
	method string
	// paths has the documented one first, then other spellings.
	paths  []string
	access access
	// form is true for calls with multipart bodies, which the handler reads.
	// Each other POST has a JSON object as its body.
	form bool
	// placed is true for calls about things in the caller's namespace, which must
	// be there.
	placed bool
	handle func(*call) reply
	// anonymous is what who shows no credential is told.
	anonymous string
	// notObject is what is said about a body that is not an object.
	notObject string
}

const (
	anonymousText   = "No molly-session in cookie header. User not found"
	noTokenText     = "Auth token not found" //nolint:gosec // a text, not a token
	notAllowedText  = "You don't have the necessary permissions to access this service."
	noNamespaceText = "You have no namespace yet. It is made when an administrator has it made."
	deactivatedText = "User account is deactivated"
	csrfField       = "molly_csrf"
	// maxShownToken is longer than a token.
	maxShownToken = 128
	csrfHeader    = "X-MOLLY-CSRF"
)

// call is a request on its way.
type call struct {
	face *Face
	w    http.ResponseWriter
	r    *http.Request
	// id is who asks, except on public routes.
	id accounts.Identity
	// document is the body of a JSON call.
	document *object
}

func (c *call) ctx() context.Context { return c.r.Context() }

func (c *call) options() *Options { return &c.face.options }

// answer goes through what all calls have in common: who asks, how often, may
// they, the body, and whether a browser was tricked into the call.
func (rt route) answer(c *call) reply {
	if rt.access != public {
		if refusal, refused := c.authenticate(rt); refused {
			return refusal
		}
	}
	if rt.method != http.MethodPost || rt.form {
		return rt.handle(c)
	}
	if refusal, refused := c.readDocument(rt.notObject); refused {
		return refusal
	}
	if rt.access != public {
		token, given := c.document.text(csrfField)
		if refusal, refused := c.checkCSRF(token, given); refused {
			return refusal
		}
	}
	return rt.handle(c)
}

// authenticate finds out who asks. A bearer token counts alone: a bad one is not
// made good by a cookie.
func (c *call) authenticate(rt route) (refusal reply, refused bool) {
	credential := accounts.Credential{UserAgent: c.r.UserAgent()}
	token, isBearer := httpapi.Bearer(c.r)
	if isBearer {
		credential.Bearer = token
	} else {
		credential.Session = httpapi.Session(c.r)
	}
	if credential.Bearer == "" && credential.Session == "" {
		if isBearer || rt.anonymous == "" {
			return bad(anonymousText), true
		}
		return bad(rt.anonymous), true
	}
	id, err := c.options().Gate.Authenticate(c.ctx(), credential)
	if err != nil {
		return c.notAuthenticated(err, token), true
	}
	c.id = id
	record := httpapi.RecordOf(c.ctx())
	record.User, record.Via = id.Name, string(id.Via)
	if after, fine := c.options().Limiter.Allow(string(id.UID) + "/" + id.TokenName + "/" + id.SessionID); !fine {
		return reply{status: http.StatusTooManyRequests, data: "Too many requests.", retryAfter: after}, true
	}
	if rt.access == admins && !id.SuperUser {
		return bad(notAllowedText), true
	}
	if rt.placed && id.Namespace == "" {
		return refuse(http.StatusForbidden, noNamespaceText), true
	}
	return reply{}, false
}

// notAuthenticated has the texts for credentials that do not count.
func (c *call) notAuthenticated(err error, token string) reply {
	switch {
	case errors.Is(err, accounts.ErrUnknownToken), errors.Is(err, accounts.ErrExpiredToken):
		return bad("Token value is not valid " + token[:min(len(token), maxShownToken)])
	case errors.Is(err, accounts.ErrUnknownSession):
		return bad("Failed to find user with cookie")
	case errors.Is(err, accounts.ErrExpiredSession):
		return bad("Session value doesn't match user session")
	case errors.Is(err, accounts.ErrInactive):
		return bad(deactivatedText)
	}
	return c.storageError(err)
}

// checkCSRF demands, of who has a cookie, the token that the server gave out.
// Programs with a bearer token need none: no browser sends that by itself.
func (c *call) checkCSRF(token string, given bool) (refusal reply, refused bool) {
	if c.id.Via == accounts.ViaBearer {
		return reply{}, false
	}
	if header := c.r.Header.Get(csrfHeader); header != "" {
		token, given = header, true
	}
	if !given {
		return bad("Couldn't find CSRF token"), true
	}
	switch err := c.options().Gate.CheckCSRF(c.ctx(), c.id, token); {
	case err == nil:
		return reply{}, false
	case errors.Is(err, accounts.ErrCSRFMissing):
		return bad("Missing CSRF token. Please refresh and try again.").titled("Missing CSRF Token"), true
	case errors.Is(err, accounts.ErrCSRFMismatch):
		return bad("Invalid CSRF token error. Please refresh and try again.").titled("CSRF Token Mismatch"), true
	default:
		return c.storageError(err), true
	}
}

// readDocument reads a JSON body. Its Content-Type does not matter.
func (c *call) readDocument(notObject string) (refusal reply, refused bool) {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.options().Limits.Document))
	if err != nil {
		return c.unreadable(err), true
	}
	value, err := parse(body)
	if err != nil {
		return bad(err.Error()), true
	}
	o, isObject := value.(*object)
	if !isObject {
		if notObject == "" {
			notObject = "not a dictionary"
		}
		return bad(notObject), true
	}
	c.document = o
	return reply{}, false
}

// unreadable is for bodies that are too long or do not come to their end.
func (c *call) unreadable(err error) reply {
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) || errors.Is(err, errTooLong) {
		return refuse(http.StatusRequestEntityTooLarge, "The request is too large.")
	}
	return bad("The request ended before its end.")
}

// about says in the log what a call is about.
func (c *call) about(object string) { httpapi.RecordOf(c.ctx()).Object = object }

// storageError is for what went wrong with the objects behind the API. Details
// are in the log, under the identifier of the request.
func (c *call) storageError(err error) reply {
	if errors.Is(err, accounts.ErrNotReady) {
		return reply{status: http.StatusServiceUnavailable, data: "The server is starting.", retryAfter: time.Second}
	}
	return refuse(http.StatusInternalServerError, "Storage error with "+c.details(err))
}

// details logs an error and gives what the caller may know of it.
func (c *call) details(err error) string {
	request := httpapi.OriginOf(c.ctx()).Request
	c.options().Log.Error(err, "A call failed", "request", request, "path", c.r.URL.Path)
	return httpapi.KindOf(err) + " (request " + request + ")"
}

// broken is for a handler that panicked: the program's fault, not the caller's.
func (c *call) broken(failure any) reply {
	request := httpapi.OriginOf(c.ctx()).Request
	c.options().Log.Error(nil, "A call broke", "request", request, "path", c.r.URL.Path, "panic", failure, "stack", string(debug.Stack()))
	return refuse(http.StatusInternalServerError, "Internal error (request "+request+")")
}

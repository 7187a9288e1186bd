package panel

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/httpapi"
)

// route is a call of the API.
type route struct {
	method string
	// paths are in lower case; {id} is the last part.
	paths  []string
	handle func(*call) reply
	// reads is true for calls that change nothing whatever their method.
	reads bool
	// failure is what is said when it fails for reasons of ours.
	failure string
}

const (
	get   = http.MethodGet
	post  = http.MethodPost
	del   = http.MethodDelete
	idEnd = "/{id}"
)

// table has all calls.
func table() []route {
	return []route{
		{method: get, paths: []string{"/api/name"}, handle: (*call).name, failure: "Failed to retrieve name"},
		{method: get, paths: []string{"/api/users"}, handle: (*call).listUsers, failure: "Failed to retrieve users"},
		{method: post, paths: []string{"/api/getuser"}, reads: true, handle: (*call).getUser, failure: "Failed to retrieve user"},
		{method: post, paths: []string{"/api/users/create", "/api/auth/create-user"}, handle: (*call).createUser, failure: "Failed to create user"},

		{method: get, paths: []string{"/api/instances"}, handle: (*call).listInstances, failure: "Failed to retrieve instances"},
		{method: post, paths: []string{"/api/getinstance"}, reads: true, handle: (*call).getInstance, failure: "Failed to retrieve instance"},
		{method: post, paths: []string{"/api/getuserinstance"}, reads: true, handle: (*call).getUserInstance, failure: "Failed to retrieve user instances"},
		{method: post, paths: []string{"/api/instances/deploy"}, handle: (*call).deploy, failure: "Failed to create container"},
		{method: del, paths: []string{"/api/instance/delete"}, handle: (*call).deleteInstance, failure: "Failed to delete instance"},
		{
			method: post, paths: []string{"/api/instances/suspend", "/api/instances/suspend" + idEnd}, handle: (*call).suspend,
			failure: "An error occurred while suspending the instance",
		},
		{
			method: post, paths: []string{"/api/instances/unsuspend", "/api/instances/unsuspend" + idEnd}, handle: (*call).unsuspend,
			failure: "An error occurred while unsuspending the instance",
		},

		{method: get, paths: []string{"/api/images"}, handle: (*call).listImages, failure: "Failed to retrieve images"},
		{method: get, paths: []string{"/api/nodes"}, handle: (*call).listNodes, failure: "Failed to retrieve nodes"},
		{method: post, paths: []string{"/api/nodes/create"}, handle: (*call).createNode, failure: "Failed to create node"},
		{method: del, paths: []string{"/api/nodes/delete"}, handle: (*call).deleteNode, failure: "Failed to delete node"},
	}
}

// find gives the calls of a path, in upper or lower case and with or without a
// slash at its end, and the id that its last part is.
func (f *Face) find(path string) (methods map[string]route, id string, known bool) {
	path = strings.TrimSuffix(path, "/")
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, path)
	if methods, known = f.routes[lower]; known && !strings.HasSuffix(lower, idEnd) {
		return methods, "", true
	}
	for pattern, methods := range f.routes {
		before, isPattern := strings.CutSuffix(pattern, idEnd)
		if isPattern && strings.HasPrefix(lower, before+"/") && len(lower) == len(path) {
			return methods, path[len(before)+1:], true
		}
	}
	return nil, "", false
}

// allowed are the methods of a path, as a header says them.
func allowed(methods map[string]route) string {
	all := slices.Sorted(maps.Keys(methods))
	if _, gets := methods[get]; gets {
		all = append(all, http.MethodHead)
	}
	return strings.Join(all, ", ")
}

// keyHeader brings a token.
const keyHeader = "X-Api-Key"

const (
	notFoundText = "Not found"
	noKeyText    = "API key is required"
	badKeyText   = "API Key Invalid"
	tooManyText  = "Too many requests, please try again later"
	tooLargeText = "The request is too large"
)

// call is a request on its way.
type call struct {
	face  *Face
	w     http.ResponseWriter
	r     *http.Request
	route route
	// admin is who asks.
	admin accounts.Identity
	// id is that of the path.
	id   string
	body document
}

func (c *call) ctx() context.Context { return c.r.Context() }

func (c *call) options() *Options { return &c.face.options }

// answer goes through what all calls have in common: how often, who asks, and the
// body.
func (rt route) answer(c *call) reply {
	c.route = rt
	if rt.reads {
		httpapi.RecordOf(c.ctx()).Changes = false
	}
	if rt.method == post {
		if refusal, refused := c.face.window.check(c.w.Header(), httpapi.OriginOf(c.ctx()).Client); refused {
			return refusal
		}
	}
	if refusal, refused := c.authenticate(); refused {
		return refusal
	}
	if rt.method != get {
		if refusal, refused := c.readBody(); refused {
			return refusal
		}
	}
	return rt.handle(c)
}

// authenticate demands a token of an active administrator. Who else has a token is
// told no more than who has none.
func (c *call) authenticate() (refusal reply, refused bool) {
	key := strings.Join(c.r.Header.Values(keyHeader), ", ")
	if key == "" {
		return refuse(http.StatusUnauthorized, noKeyText), true
	}
	id, err := c.options().Gate.Authenticate(c.ctx(), accounts.Credential{Bearer: key})
	switch {
	case errors.Is(err, accounts.ErrUnknownToken), errors.Is(err, accounts.ErrExpiredToken), errors.Is(err, accounts.ErrInactive):
		return refuse(http.StatusUnauthorized, badKeyText), true
	case errors.Is(err, accounts.ErrNotReady):
		return reply{status: http.StatusServiceUnavailable, body: failure{Error: "The server is starting"}, retryAfter: time.Second}, true
	case err != nil:
		c.logged(err)
		return refuse(http.StatusInternalServerError, "Failed to validate API key"), true
	}
	record := httpapi.RecordOf(c.ctx())
	record.User, record.Via = id.Name, string(id.Via)
	if !id.SuperUser {
		return refuse(http.StatusUnauthorized, badKeyText), true
	}
	c.admin = id
	if after, fine := c.options().Limiter.Allow(string(id.UID) + "/" + id.TokenName + "/" + id.SessionID); !fine {
		return reply{status: http.StatusTooManyRequests, body: failure{Error: tooManyText}, retryAfter: after}, true
	}
	return reply{}, false
}

// about says in the log what a call is about.
func (c *call) about(object string) { httpapi.RecordOf(c.ctx()).Object = object }

// logged has the log say more than the caller is told.
func (c *call) logged(err error) {
	c.options().Log.Error(err, "A call failed", "request", httpapi.OriginOf(c.ctx()).Request, "path", c.r.URL.Path)
}

// failed is for what went wrong on our side: the call's own text, and what sort of
// failure it was.
func (c *call) failed(err error) reply {
	if errors.Is(err, accounts.ErrNotReady) {
		return reply{status: http.StatusServiceUnavailable, body: failure{Error: "The server is starting"}, retryAfter: time.Second}
	}
	c.logged(err)
	details := httpapi.KindOf(err) + " (request " + httpapi.OriginOf(c.ctx()).Request + ")"
	return reply{status: http.StatusInternalServerError, body: failure{c.route.failure, details}}
}

// broken is for a handler that panicked: the program's fault, not the caller's.
func (c *call) broken(what any) reply {
	request := httpapi.OriginOf(c.ctx()).Request
	c.options().Log.Error(nil, "A call broke", "request", request, "path", c.r.URL.Path, "panic", what, "stack", string(debug.Stack()))
	return reply{status: http.StatusInternalServerError, body: failure{c.route.failure, "an internal error (request " + request + ")"}}
}

func (c *call) name() reply {
	return ok(map[string]string{"name": c.options().Name})
}

package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
	"mollymawk.dev/operator/internal/httpapi/panel"
)

// access says who may call.
type access int

const (
	anybody access = iota
	users
	admins
	// keyed are administrators with a token as the key of the Panel API.
	keyed
)

// kind is what the name in a call is that of.
type kind string

const (
	nothing   kind = ""
	unikernel kind = "unikernel"
	volume    kind = "volume"
	token     kind = "token"
	session   kind = "session"
	user      kind = "user"
	host      kind = "host"
	// declared is a unikernel as the Panel API names it, whoever it belongs to.
	declared kind = "declared"
)

// absent is a name that nothing has.
func (k kind) absent() string {
	if k == token || k == session || k == user || k == declared {
		return "00000000-0000-4000-8000-000000000000"
	}
	return "none"
}

// placed tells whether such things belong to users and are on hosts.
func (k kind) placed() bool { return k == unikernel || k == volume }

// call is somebody's about something.
type call struct {
	*world
	who *person
	// instance and name are those that the request has.
	instance, name string
}

// row is all that the matrix has to know of a route.
type row struct {
	access access
	about  kind
	// makes is true where nothing of the name may be there before.
	makes bool
	// alone is true where the call changes the caller's own account, so that it is made by somebody with whom nothing else is done.
	alone bool
	// before prepares one's own thing besides what its kind needs.
	before func(c call)
	ask    func(c call) apitest.Ask
	// did says what is wrong after a call about one's own that was answered with success.
	did func(c call, reply apitest.Reply) error
}

// ofPanel is before the routes of the Panel API, of which one has a path that is another's too.
const ofPanel = "panel "

// served are the routes of all faces. Those of the Panel API are spelled as they are described: to it that is all the same.
func served(t testing.TB) []string {
	spelled := map[string]string{}
	for route := range apitest.Described(t) {
		method, path, _ := strings.Cut(route, " ")
		spelled[method+" "+strings.ToLower(path)] = route
	}
	all := mollymawk.New(mollymawk.Options{}).Routes()
	for _, route := range panel.New(panel.Options{}).Routes() {
		all = append(all, ofPanel+spelled[route])
	}
	slices.Sort(all)
	return all
}

// rows has a row for each route.
var rows = map[string]row{
	"GET /openapi.yaml":   {ask: empty, did: has("openapi: 3.1")},
	"POST /api/login":     {ask: login, did: func(c call, r apitest.Reply) error { return has(c.who.name)(c, r) }},
	"POST /api/register":  {ask: register, makes: true, about: user, did: func(c call, r apitest.Reply) error { return has(c.name)(c, r) }},
	"GET /api/account":    {access: users, ask: empty, did: hasCaller},
	"POST /api/logout":    {access: users, alone: true, ask: emptyBody, did: loggedOut},
	"POST /logout":        {access: users, alone: true, ask: emptyBody, did: loggedOut},
	"GET /api/tokens":     {access: users, ask: empty, did: func(c call, r apitest.Reply) error { return has(c.who.bearer)(c, r) }},
	"GET /api/unikernels": {access: users, ask: empty, did: has(`"Unikernel Information"`)},
	"GET /api/volumes":    {access: users, ask: empty, did: has(`"errors":[]`)},
	"GET /api/instances":  {access: users, ask: empty, did: has(instance)},
	"GET /api/policies":   {access: users, ask: empty, did: has(`"data":[`)},

	"GET /api/account/csrf":            {access: users, ask: empty, did: has("molly_csrf")},
	"POST /api/account/password":       {access: users, alone: true, ask: changePassword, did: hasNewPassword},
	"POST /account/password/update":    {access: users, alone: true, ask: changePassword, did: hasNewPassword},
	"POST /api/account/session/close":  {access: users, about: session, ask: member("session_value"), did: has("Session closed")},
	"POST /api/account/sessions/close": {access: users, alone: true, ask: emptyBody, did: has("Closed all")},

	"POST /api/tokens/create": {access: users, about: token, makes: true, ask: func(c call) apitest.Ask {
		return apitest.Ask{JSON: map[string]any{"token_name": c.name, "token_expiry": 60}}
	}, did: has(`"Bearer"`)},
	"POST /api/tokens/update": {access: users, about: token, ask: func(c call) apitest.Ask {
		return apitest.Ask{JSON: map[string]any{"token_value": c.name, "token_name": "renamed", "token_expiry": 60}}
	}, did: has(`"renamed"`)},
	"POST /api/tokens/delete": {access: users, about: token, ask: member("token_value"), did: func(c call, _ apitest.Reply) error {
		return refusedTo(c, apitest.Ask{Path: "/api/account", Bearer: c.name})
	}},

	"POST /api/unikernel/create":   {access: users, about: unikernel, makes: true, ask: createUnikernel, did: func(c call, _ apitest.Reply) error { return c.runs(true) }},
	"POST /api/unikernel/destroy":  {access: users, about: unikernel, ask: named, did: func(c call, _ apitest.Reply) error { return c.runs(false) }},
	"POST /api/unikernel/restart":  {access: users, about: unikernel, ask: named, did: func(c call, _ apitest.Reply) error { return c.received("unikernel restart") }},
	"GET /api/unikernel/console":   {access: users, about: unikernel, ask: console, did: func(c call, r apitest.Reply) error { return has("private of "+c.who.name)(c, r) }},
	"POST /api/unikernel/update":   {access: users, about: unikernel, ask: update, did: func(c call, _ apitest.Reply) error { return c.received("unikernel create", "unikernel force create") }},
	"POST /api/unikernel/rollback": {access: users, about: unikernel, before: replace, ask: rollback, did: has("Rollback successful")},

	"POST /api/volume/create":   {access: users, about: volume, makes: true, ask: fillVolume, did: filled},
	"POST /api/volume/upload":   {access: users, about: volume, ask: fillVolume, did: filled},
	"POST /api/volume/delete":   {access: users, about: volume, ask: block, did: removed},
	"POST /api/volume/download": {access: users, about: volume, ask: download, did: downloaded},
	"POST /api/block/create":    {access: users, about: volume, makes: true, ask: fillVolume, did: filled},
	"POST /api/block/upload":    {access: users, about: volume, ask: fillVolume, did: filled},
	"POST /api/block/delete":    {access: users, about: volume, ask: block, did: removed},
	"POST /api/block/download":  {access: users, about: volume, ask: download, did: downloaded},

	"GET /api/admin/users":                 {access: admins, ask: empty, did: hasCaller},
	"POST /api/admin/user/activate/toggle": {access: admins, about: user, ask: member("uuid"), did: has("Updated user")},
	"POST /api/admin/user/admin/toggle":    {access: admins, about: user, ask: member("uuid"), did: has("Updated user")},
	"POST /api/admin/user/account/delete":  {access: admins, about: user, ask: member("uuid"), did: has("Deleted user")},
	"POST /api/admin/u/policy/update": {access: admins, about: user, ask: func(c call) apitest.Ask {
		return apitest.Ask{JSON: map[string]any{"user_uuid": c.name, "albatross_instance": c.instance, "unikernels": 9, "memory": 128, "block": 0, "cpuids": "0", "bridges": "service"}}
	}, did: has(`"allowed_unikernels":9`)},
	"GET /api/admin/albatross/retry": {access: admins, about: host, ask: func(c call) apitest.Ask {
		return apitest.Ask{Path: "?" + url.Values{"instance": {c.name}}.Encode()}
	}, did: has("back online")},
	"POST /api/admin/settings/albatross/create": {access: admins, about: host, makes: true, ask: settings, did: has("updated successfully")},
	"POST /api/admin/settings/albatross/update": {access: admins, about: host, ask: settings, did: has("updated successfully")},
	"POST /api/admin/settings/albatross/delete": {access: admins, about: host, ask: member("name"), did: has("delete successfully")},
}

// init adds the rows of the Panel API.
func init() {
	for route, row := range map[string]row{
		"GET /api/name":      {ask: empty, did: has("Mollymawk")},
		"GET /api/users":     {ask: empty, did: hasCaller},
		"GET /api/instances": {ask: empty, did: has(`"Id"`)},
		"GET /api/images":    {ask: empty, did: has(`"hello"`)},
		"GET /api/nodes":     {ask: empty, did: has(instance)},

		"POST /api/getUser": {about: user, ask: func(c call) apitest.Ask {
			return apitest.Ask{JSON: map[string]any{"type": "email", "value": c.emailOf(c.name)}}
		}, did: has(`"email"`)},
		"POST /api/getUserInstance":  {about: user, ask: member("userId"), did: has("[")},
		"POST /api/users/create":     {about: user, makes: true, ask: createPanelUser, did: created},
		"POST /api/auth/create-user": {about: user, makes: true, ask: createPanelUser, did: created},

		"POST /api/getInstance":              {about: declared, ask: member("id"), did: func(c call, r apitest.Reply) error { return has(c.name)(c, r) }},
		"POST /api/instances/deploy":         {about: declared, makes: true, ask: deploy, did: deployed},
		"DELETE /api/instance/delete":        {about: declared, ask: member("id"), did: gone},
		"POST /api/instances/suspend":        {about: declared, ask: member("id"), did: suspended(true)},
		"POST /api/instances/unsuspend":      {about: declared, ask: member("id"), did: suspended(false)},
		"POST /api/instances/suspend/{id}":   {about: declared, ask: emptyBody, did: suspended(true)},
		"POST /api/instances/unsuspend/{id}": {about: declared, ask: emptyBody, did: suspended(false)},

		"POST /api/nodes/create":   {about: host, makes: true, ask: createNode, did: has(`"Message"`)},
		"DELETE /api/nodes/delete": {about: host, ask: member("nodeId"), did: has("deleted")},
	} {
		row.access = keyed
		rows[ofPanel+route] = row
	}
}

func createPanelUser(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{"username": c.name, "email": c.name + "@example.com", "password": "password123"}}
}

// created waits until there is one user who is called so, and has a namespace.
func created(c call, _ apitest.Reply) error {
	c.Helper()
	names := c.called(c.name)
	if len(names) != 1 {
		return fmt.Errorf("%d users", len(names))
	}
	c.untilReady(names[0])
	return nil
}

// emailOf gives the address of the user with an identifier, or what it is given.
func (w *world) emailOf(uid string) string {
	w.Helper()
	for _, u := range w.accounts() {
		if string(u.UID) == uid {
			return string(u.Spec.Email)
		}
	}
	return uid
}

// deploy has a unikernel of the catalogue in the caller's own namespace.
func deploy(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{
		"name": c.name, "memory": 16, "cpu": 1, "nodeId": instance, "user": c.who.uid, "image": "hello", "imagename": "hello", "ports": "8080:80", "primary": "8080", "variables": map[string]string{},
	}}
}

// deployed waits until it runs where it is to.
func deployed(c call, _ apitest.Reply) error {
	c.Helper()
	c.wait("what was deployed runs", func() (bool, string) {
		for _, u := range c.host.Unikernels(c.who.name) {
			if strings.HasPrefix(u.Name.Label, c.name) {
				return true, ""
			}
		}
		return false, "it does not"
	})
	return nil
}

// gone waits until it is neither declared nor on the host.
func gone(c call, _ apitest.Reply) error {
	c.Helper()
	c.wait("it is gone", func() (bool, string) { return c.declaredBy(c.name) == nil, "it is there" })
	return nil
}

func suspended(want bool) func(call, apitest.Reply) error {
	return func(c call, _ apitest.Reply) error {
		if uk := c.declaredBy(c.name); uk == nil || uk.Spec.Suspended != want {
			return fmt.Errorf("it is %+v", uk)
		}
		return nil
	}
}

func createNode(c call) apitest.Ask {
	address, port := c.host.HostPort()
	return apitest.Ask{JSON: map[string]any{"name": c.name, "tags": "x", "ram": 1, "disk": 1, "processor": "x", "address": address, "port": port}}
}

func empty(call) apitest.Ask     { return apitest.Ask{} }
func emptyBody(call) apitest.Ask { return apitest.Ask{Body: "{}"} }

// member has the name in a member of the body.
func member(of string) func(call) apitest.Ask {
	return func(c call) apitest.Ask { return apitest.Ask{JSON: map[string]any{of: c.name}} }
}

func login(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{"email": c.who.email, "password": c.who.password}}
}

func register(c call) apitest.Ask {
	return apitest.Ask{
		Headers: map[string]string{"Cookie": "molly_csrf=form"},
		JSON:    map[string]any{"name": c.name, "email": c.name + "@example.com", "password": "password123", "form_csrf": "form"},
	}
}

func changePassword(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{"current_password": c.who.password, "new_password": "another password", "confirm_password": "another password"}}
}

func named(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{"albatross_instance": c.instance, "name": c.name}}
}

func block(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{"albatross_instance": c.instance, "block_name": c.name}}
}

func download(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{"albatross_instance": c.instance, "block_name": c.name, "compression_level": 0}}
}

func console(c call) apitest.Ask {
	return apitest.Ask{Path: "?" + url.Values{"instance": {c.instance}, "unikernel": {c.name}}.Encode(), Until: "private of "}
}

func createUnikernel(c call) apitest.Ask {
	return apitest.Ask{Form: []apitest.Part{
		{Name: "albatross_instance", Value: c.instance}, {Name: "unikernel_name", Value: c.name}, {Name: "unikernel_force_create", Value: "true"}, {Name: "molly_csrf"},
		{Name: "unikernel_config", Value: `{"cpuid":0,"memory":16,"arguments":["--key=private of ` + c.who.name + `"],"fail_behaviour":"quit"}`},
		{Name: "binary", Value: newImage(c.TB, ""), File: "hello.hvt"},
	}}
}

func update(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{
		"albatross_instance": c.instance, "unikernel_name": c.name, "job": "hello",
		"to_be_updated_unikernel": aBuild, "currently_running_unikernel": "22222222-2222-4222-8222-222222222222",
	}}
}

// replace makes an earlier revision.
func replace(c call) {
	c.Helper()
	a := update(c)
	a.Path, a.Bearer = "/api/unikernel/update", c.who.bearer
	c.must(a)
}

func rollback(c call) apitest.Ask {
	return apitest.Ask{JSON: map[string]any{"albatross_instance": c.instance, "unikernel_name": c.name}}
}

func fillVolume(c call) apitest.Ask {
	return apitest.Ask{Form: []apitest.Part{
		{Name: "albatross_instance", Value: c.instance}, {Name: "molly_csrf"},
		{Name: "json_data", Value: fmt.Sprintf(`{"block_name":%s,"block_size":1,"block_compressed":false}`, apitest.Quote(c.name))},
		{Name: "block_data", Value: "private of " + c.who.name, File: "disk.img"},
	}}
}

// settings are those of the simulated host.
func settings(c call) apitest.Ask {
	address, port := c.host.HostPort()
	credentials := c.host.Credentials()
	return apitest.Ask{JSON: map[string]any{
		"name": c.name, "server_ip": address, "server_port": port, "certificate": string(credentials.Cert), "private_key": string(credentials.Key),
	}}
}

// has demands a text in the answer.
func has(text string) func(call, apitest.Reply) error {
	return func(_ call, reply apitest.Reply) error {
		if !strings.Contains(reply.Body, text) {
			return fmt.Errorf("there is no %q", text)
		}
		return nil
	}
}

func hasCaller(c call, reply apitest.Reply) error { return has(c.who.email)(c, reply) }

// refusedTo demands that a credential does not count any more.
func refusedTo(c call, a apitest.Ask) error {
	if reply := c.send(a); reply.Status != http.StatusBadRequest {
		return fmt.Errorf("it is still good: %s", reply.Body)
	}
	return nil
}

func loggedOut(_ call, reply apitest.Reply) error {
	if !strings.Contains(reply.Header.Get("Set-Cookie"), "Max-Age=0") {
		return fmt.Errorf("the cookie stays: %v", reply.Header)
	}
	return nil
}

func hasNewPassword(c call, _ apitest.Reply) error {
	if reply := c.send(apitest.Ask{Path: "/api/login", JSON: map[string]any{"email": c.who.email, "password": "another password"}}); reply.Status != http.StatusOK {
		return fmt.Errorf("it is not in force: %s", reply.Body)
	}
	return nil
}

// full is the name on the host of what a caller means by a name.
func (c call) full() string { return c.who.name + ":" + c.name }

// runs demands that a unikernel of the caller's runs, and has an object that it wrote itself, or neither.
func (c call) runs(want bool) error {
	_, is := c.host.Unikernel(c.full())
	object := c.object()
	if is != want || (object != nil) != want {
		return fmt.Errorf("runs: %t, object: %v", is, object)
	}
	return nil
}

// received demands that the host got one of the commands once.
func (c call) received(commands ...string) error {
	n := 0
	for _, command := range commands {
		n += c.host.Received(command, c.full())
	}
	if n == 0 {
		return fmt.Errorf("the host got %v %d times", commands, n)
	}
	return nil
}

func filled(c call, _ apitest.Reply) error {
	content, err := c.host.BlockContent(c.full())
	if err == nil && !strings.HasPrefix(string(content), "private of "+c.who.name) {
		err = fmt.Errorf("it has %.40q", content)
	}
	return err
}

func removed(c call, _ apitest.Reply) error {
	if _, err := c.host.BlockContent(c.full()); err == nil {
		return fmt.Errorf("%s is still there", c.full())
	}
	return nil
}

func downloaded(c call, reply apitest.Reply) error {
	if want := "private of " + c.who.name; len(reply.Body) != 1<<20 || !strings.HasPrefix(reply.Body, want) {
		return fmt.Errorf("%d bytes, beginning with %.40q", len(reply.Body), reply.Body)
	}
	return nil
}

package mollymawk_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
	"mollymawk.dev/operator/internal/httpapi/openapi"
	"mollymawk.dev/operator/internal/services"
)

// routes gives all calls of the description that are not another face's alone:
// method and path.
func routes(t testing.TB) (all []string) {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(openapi.Document)
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			if !slices.Equal(operation.Tags, []string{"panel"}) {
				all = append(all, method+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

// calls has, for each call, a request about something of that name.
var calls = map[string]func(g *rig, name string) ask{
	"GET /openapi.yaml": func(*rig, string) ask { return ask{} },
	"POST /api/login": func(*rig, string) ask {
		return ask{json: map[string]any{"email": "user@example.com", "password": "password123"}}
	},
	"POST /api/register": func(*rig, string) ask {
		return ask{json: map[string]any{"name": "newcomer", "email": "n@example.com", "password": "password123", "form_csrf": "x"}}
	},
	"GET /api/account":                 func(*rig, string) ask { return ask{} },
	"GET /api/account/csrf":            func(*rig, string) ask { return ask{} },
	"POST /api/logout":                 func(*rig, string) ask { return ask{json: map[string]any{}} },
	"POST /api/account/sessions/close": func(*rig, string) ask { return ask{json: map[string]any{}} },
	"POST /api/account/session/close":  func(_ *rig, name string) ask { return ask{json: map[string]any{"session_value": name}} },
	"POST /api/account/password": func(*rig, string) ask {
		return ask{json: map[string]any{"current_password": "password123", "new_password": "password123", "confirm_password": "password123"}}
	},
	"GET /api/tokens": func(*rig, string) ask { return ask{} },
	"POST /api/tokens/create": func(_ *rig, name string) ask {
		return ask{json: map[string]any{"token_name": name, "token_expiry": 60}}
	},
	"POST /api/tokens/update": func(_ *rig, name string) ask {
		return ask{json: map[string]any{"token_value": name, "token_name": "x", "token_expiry": 60}}
	},
	"POST /api/tokens/delete": func(_ *rig, name string) ask { return ask{json: map[string]any{"token_value": name}} },
	"GET /api/unikernels":     func(*rig, string) ask { return ask{} },
	"GET /api/volumes":        func(*rig, string) ask { return ask{} },
	"GET /api/instances":      func(*rig, string) ask { return ask{} },
	"GET /api/policies":       func(*rig, string) ask { return ask{} },
	"POST /api/unikernel/create": func(_ *rig, name string) ask {
		return ask{form: createForm(map[string]any{"unikernel_name": name, "unikernel_force_create": "true"})}
	},
	"POST /api/unikernel/destroy": func(_ *rig, name string) ask { return ask{json: named(name, "eu-west-2")} },
	"POST /api/unikernel/restart": func(_ *rig, name string) ask { return ask{json: named(name, "eu-west-2")} },
	"GET /api/unikernel/console": func(_ *rig, name string) ask {
		return ask{path: "?instance=eu-west-2&unikernel=" + name}
	},
	"POST /api/unikernel/update": func(_ *rig, name string) ask {
		return ask{json: map[string]any{"albatross_instance": "eu-west-2", "unikernel_name": name, "job": "j", "to_be_updated_unikernel": unknown, "currently_running_unikernel": unknown}}
	},
	"POST /api/unikernel/rollback": func(_ *rig, name string) ask {
		return ask{json: map[string]any{"albatross_instance": "eu-west-2", "unikernel_name": name}}
	},
	"POST /api/volume/create":              volumeCall,
	"POST /api/volume/upload":              volumeCall,
	"POST /api/volume/delete":              func(_ *rig, name string) ask { return ask{json: block(name, "eu-west-2")} },
	"POST /api/volume/download":            func(_ *rig, name string) ask { return ask{json: download(name, "eu-west-2", 0)} },
	"GET /api/admin/users":                 func(*rig, string) ask { return ask{} },
	"POST /api/admin/user/activate/toggle": userCall,
	"POST /api/admin/user/admin/toggle":    userCall,
	"POST /api/admin/user/account/delete":  userCall,
	"POST /api/admin/u/policy/update": func(g *rig, _ string) ask {
		return ask{json: map[string]any{"user_uuid": g.people.users["user"].UID, "albatross_instance": "eu-west-2", "unikernels": 1, "memory": 64, "block": 0, "cpuids": "0", "bridges": "service"}}
	},
	"GET /api/admin/albatross/retry":            func(*rig, string) ask { return ask{path: "?instance=eu-west-2"} },
	"POST /api/admin/settings/albatross/create": instanceCall("new"),
	"POST /api/admin/settings/albatross/update": instanceCall("eu-west-2"),
	"POST /api/admin/settings/albatross/delete": func(*rig, string) ask { return ask{json: map[string]any{"name": "spare"}} },
	"POST /api/block/create":                    volumeCall,
	"POST /api/block/upload":                    volumeCall,
	"POST /api/block/delete":                    func(_ *rig, name string) ask { return ask{json: block(name, "eu-west-2")} },
	"POST /api/block/download":                  func(_ *rig, name string) ask { return ask{json: download(name, "eu-west-2", 0)} },
	"POST /logout":                              func(*rig, string) ask { return ask{json: map[string]any{}} },
	"POST /account/password/update": func(*rig, string) ask {
		return ask{json: map[string]any{"current_password": "password123", "new_password": "password123", "confirm_password": "password123"}}
	},
}

func volumeCall(_ *rig, name string) ask {
	return ask{form: volumeForm(map[string]any{"json_data": `{"block_name":"` + name + `","block_size":1,"block_compressed":false}`})}
}

func userCall(g *rig, _ string) ask {
	return ask{json: map[string]any{"uuid": g.people.users["user"].UID}}
}

func instanceCall(name string) func(*rig, string) ask {
	return func(*rig, string) ask {
		return ask{json: map[string]any{"name": name, "server_ip": "192.0.2.1", "server_port": 1025, "certificate": "PEM", "private_key": "PEM"}}
	}
}

// aboutThings are the calls about a unikernel or a volume of the caller.
func aboutThings(route string) bool {
	return strings.Contains(route, "/unikernel/") || strings.Contains(route, "/volume/") || strings.Contains(route, "/block/")
}

func forAdmins(route string) bool { return strings.Contains(route, "/api/admin/") }

func forAll(route string) bool {
	return route == "GET /openapi.yaml" || route == "POST /api/login" || route == "POST /api/register"
}

// call makes the request of a route.
func (g *rig) call(t testing.TB, route, name, bearer, cookie string) heard {
	t.Helper()
	build := calls[route]
	if build == nil {
		t.Fatalf("there is no call of %s", route)
	}
	method, path, _ := strings.Cut(route, " ")
	a := build(g, name)
	a.method, a.path, a.bearer, a.cookie = method, path+a.path, bearer, cookie
	return g.send(t, a)
}

// matrixRig has a user with a unikernel and a volume called mine, and another user.
func matrixRig(t testing.TB) (g *rig, other string) {
	g = newRig(t)
	other, _ = g.people.add("other", true, false)
	g.world.instances["spare"] = &host{online: true}
	close(g.world.live)
	g.own("user", "mine")
	return g, other
}

func (g *rig) own(user, name string) {
	id := accounts.Identity{Name: user, Namespace: user}
	g.world.unikernels["eu-west-2/"+user+":"+name] = running(id, services.CreateRequest{Name: name})
	g.world.volumes["eu-west-2/"+user+":"+name] = &volume{size: 1, content: []byte("private")}
}

// things is what there is of the user, and how it is.
func (g *rig) things(user string) string {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	var all []string
	for key, u := range g.world.unikernels {
		if strings.Contains(key, "/"+user+":") {
			all = append(all, fmt.Sprint(key, u))
		}
	}
	for key, v := range g.world.volumes {
		if strings.Contains(key, "/"+user+":") {
			all = append(all, fmt.Sprint(key, *v))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// TestEveryRouteIsKnown compares the description with what is served.
func TestEveryRouteIsKnown(t *testing.T) {
	face := mollymawk.New(mollymawk.Options{})
	all := routes(t)
	for _, route := range all {
		if _, path, _ := strings.Cut(route, " "); !face.Serves(path) {
			t.Errorf("%s is described and not served", route)
		}
	}
	described := slices.Sorted(maps.Keys(calls))
	if !slices.Equal(all, described) {
		t.Errorf("described %v\ncalled    %v", all, described)
	}
	if got := face.Paths(); len(got) != len(all) {
		t.Errorf("%d paths are served and %d described: %v", len(got), len(all), got)
	}
}

// TestCredentials has every route called with every credential that does not
// count: it says so and does nothing.
func TestCredentials(t *testing.T) {
	g, _ := matrixRig(t)
	p := g.people
	revoked, _ := p.add("revoked", true, false)
	p.users["revoked"].Tokens = nil
	expired, oldCookie := p.add("expired", true, true)
	p.users["expired"].Tokens[0].ExpiresIn = time.Second
	for value, s := range p.users["expired"].sessions {
		s.ExpiresIn = time.Second
		p.users["expired"].sessions[value] = s
	}
	inactive, inactiveCookie := p.add("inactive", false, true)
	p.now = p.now.Add(time.Minute)
	bearerText := func(token string) string { return "Token value is not valid " + token }
	for name, c := range map[string]struct{ bearer, cookie, text string }{
		"none":                       {"", "", ""},
		"unknown token":              {unknown, "", bearerText(unknown)},
		"no token":                   {"not-a-token", "", bearerText("not-a-token")},
		"revoked token":              {revoked, "", bearerText(revoked)},
		"expired token":              {expired, "", bearerText(expired)},
		"token beside a good cookie": {unknown, g.adminCookie, bearerText(unknown)},
		"inactive user":              {inactive, "", "User account is deactivated"},
		"unknown cookie":             {"", "abc", "Failed to find user with cookie"},
		"token as cookie":            {"", g.admin, "Failed to find user with cookie"},
		"cookie as token":            {g.adminCookie, "", bearerText(g.adminCookie)},
		"expired cookie":             {"", oldCookie, "Session value doesn't match user session"},
		"inactive cookie":            {"", inactiveCookie, "User account is deactivated"},
	} {
		before := g.things("")
		for _, route := range routes(t) {
			if forAll(route) {
				continue
			}
			want := c.text
			if name == "none" {
				want = "No molly-session in cookie header. User not found"
				if strings.Contains(route, "/tokens") {
					want = "Auth token not found"
				}
			}
			if h := g.call(t, route, "mine", c.bearer, c.cookie); h.status != 400 || h.data(t) != quote(want) {
				t.Errorf("%s, %s: %d %s", name, route, h.status, h.body)
			}
		}
		if after := g.things(""); after != before {
			t.Errorf("%s: something was done\n%s\n%s", name, before, after)
		}
	}
}

// TestOwners has the user, another one and an administrator call every route
// about the user's things, about nothing, and with names that try to leave the
// caller's own place.
func TestOwners(t *testing.T) {
	for _, route := range routes(t) {
		t.Run(route, func(t *testing.T) {
			g, other := matrixRig(t)
			before := g.things("user")
			if forAdmins(route) {
				for _, bearer := range []string{other, g.user} {
					if h := g.call(t, route, "mine", bearer, ""); h.status != 400 || h.data(t) != quote("You don't have the necessary permissions to access this service.") {
						t.Errorf("a user: %d %s", h.status, h.body)
					}
				}
			}
			if aboutThings(route) {
				notOthers(t, g, route, other)
				tricks(t, g, route, other)
				if after := g.things("user"); after != before {
					t.Errorf("somebody else reached\n%s\nand left\n%s", before, after)
				}
			}
			bearer := g.user
			if forAdmins(route) {
				bearer = g.admin
			}
			name := "mine"
			if strings.HasSuffix(route, "/create") {
				name = "new-one"
			}
			if strings.Contains(route, "/tokens/") {
				name = g.user
			}
			h := g.call(t, route, name, bearer, "")
			if h.status != 200 && route != "POST /api/register" {
				t.Errorf("own: %d %s", h.status, h.body)
			}
		})
	}
}

// notOthers demands that another's thing looks just like one that is not there.
func notOthers(t *testing.T, g *rig, route, other string) {
	t.Helper()
	for _, bearer := range []string{other, g.admin} {
		about := g.call(t, route, "mine", bearer, "")
		absent := g.call(t, route, "none", bearer, "")
		if about.status != absent.status || strings.ReplaceAll(about.body, "mine", "none") != absent.body {
			t.Errorf("another's: %d %s, absent: %d %s", about.status, about.body, absent.status, absent.body)
		}
		if strings.Contains(about.body, "private") {
			t.Errorf("another's content: %s", about.body)
		}
	}
}

// tricks are names that would be another's, or none at all, if they were taken
// as they are.
func tricks(t *testing.T, g *rig, route, other string) {
	t.Helper()
	for _, name := range []string{"..", ".", "user:mine", ":mine", "user:", "../user/mine", "user/mine", "mine.", ".mine", "-mine", "mi..ne", "mine%00", "mine\u200b", strings.Repeat("a", 64), ""} {
		if h := g.call(t, route, name, other, ""); h.status != 400 || !strings.Contains(h.body, "invalid label") {
			t.Errorf("%q: %d %s", name, h.status, h.body)
		}
	}
	// Upper case means lower case, and still one's own.
	if h := g.call(t, route, "MINE", other, ""); strings.Contains(h.body, "private") {
		t.Errorf("upper case: %d %s", h.status, h.body)
	}
}

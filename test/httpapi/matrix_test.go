package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/services"
	"mollymawk.dev/operator/internal/testenv"
)

const (
	notAllowed   = "You don't have the necessary permissions to access this service."
	unknownToken = "00000000-0000-4000-8000-000000000000"
	keyInvalid   = `{"error":"API Key Invalid"}`
	// shared is a route of two APIs. The credential tells which is meant.
	shared = "GET /api/instances"
)

// matrix is a world with a user whose things nobody else may reach, and another user.
type matrix struct {
	*world
	alice, bob *person
	// things are alice's, by what they are.
	things map[kind]string
}

// TestMatrix has every route called with every credential about what is one's own, another's or not there. What became of it is seen
// on the host and in the objects, not only in the answers.
func TestMatrix(t *testing.T) {
	if all, routes := slices.Sorted(maps.Keys(rows)), served(t); !slices.Equal(all, routes) {
		t.Fatalf("rows   %v\nserved %v", all, routes)
	}
	m := newMatrix(t)
	t.Run("Credentials", func(t *testing.T) { m.in(t).credentials() })
	t.Run("Names", func(t *testing.T) { m.in(t).names() })
	t.Run("Paths", func(t *testing.T) { m.in(t).paths() })
	t.Run("Headers", func(t *testing.T) { m.in(t).headers() })
	t.Run("Others", func(t *testing.T) { m.in(t).others() })
	t.Run("Own", func(t *testing.T) { m.in(t).own() })
	t.Run("Namesakes", func(t *testing.T) { m.in(t).namesakes() })
	t.Run("Rights", func(t *testing.T) { m.in(t).kubernetes() })
	m.logHasNoSecrets()
}

func newMatrix(t *testing.T) *matrix {
	w := newWorld(t, unique("root")+"@example.com")
	m := &matrix{world: w, alice: w.newUser("alice"), bob: w.newUser("bob")}
	m.things = map[kind]string{token: m.alice.bearer, session: m.alice.session, user: m.alice.uid, host: instance}
	for _, k := range []kind{unikernel, volume, declared} {
		m.things[k] = w.newThing(k, m.alice)
	}
	return m
}

func (m *matrix) in(t *testing.T) *matrix {
	part := *m
	part.world = m.world.in(t)
	return &part
}

// newThing makes something of somebody's and gives what it is called.
func (w *world) newThing(k kind, of *person) string {
	w.Helper()
	c := call{w, of, instance, unique(string(k))}
	switch k {
	case unikernel:
		a := createUnikernel(c)
		a.Path, a.Bearer = "/api/unikernel/create", of.bearer
		w.must(a)
		if !w.host.Print(c.full(), "private of "+of.name) {
			w.Fatalf("%s does not run", c.full())
		}
	case volume:
		a := fillVolume(c)
		a.Path, a.Bearer = "/api/volume/create", of.bearer
		w.must(a)
	case token:
		return w.newToken(of)
	case session:
		later := *of
		w.beginSession(&later)
		return later.session
	case declared:
		uk := call{w, of, instance, w.newThing(unikernel, of)}.object()
		id, _, _ := strings.Cut(string(uk.UID), "-")
		return id
	case user:
		return w.newUser("user").uid
	case host:
		a := settings(c)
		a.Path, a.Bearer = "/api/admin/settings/albatross/create", w.root.bearer
		w.must(a)
	}
	return c.name
}

// credential is what a request shows.
type credential struct{ bearer, cookie, csrf string }

// credentials are a program's and a browser's.
func (p *person) credentials() map[string]credential {
	return map[string]credential{"bearer": {bearer: p.bearer}, "cookie": {cookie: p.cookie, csrf: p.csrf}}
}

// do makes the request of a route.
func (c call) do(route string, with credential) apitest.Reply {
	c.Helper()
	method, path, _ := strings.Cut(strings.TrimPrefix(route, ofPanel), " ")
	a := rows[route].ask(c)
	a.Method, a.Path = method, strings.ReplaceAll(path, "{id}", url.PathEscape(c.name))+a.Path
	if a.Cookie = with.cookie; with.csrf != "" {
		a.Headers = map[string]string{csrfHeader: with.csrf}
	}
	switch {
	case rows[route].access != keyed:
		a.Bearer = with.bearer
	case with.bearer != "":
		a.Headers = map[string]string{"X-Api-Key": with.bearer}
	}
	return c.send(a)
}

// object reads what a caller's name means, nil when there is none.
func (c call) object() *v1alpha1.Unikernel {
	c.Helper()
	uk := &v1alpha1.Unikernel{}
	err := c.Get(c.Context(), client.ObjectKey{Namespace: c.who.name, Name: c.name}, uk)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		c.Fatal(err)
	}
	return uk
}

// declaredBy finds what an identifier of the Panel API stands for, nil when there is none.
func (w *world) declaredBy(id string) *v1alpha1.Unikernel {
	w.Helper()
	var all v1alpha1.UnikernelList
	if err := w.List(w.Context(), &all); err != nil {
		w.Fatal(err)
	}
	for i := range all.Items {
		if strings.HasPrefix(string(all.Items[i].UID), id+"-") {
			return &all.Items[i]
		}
	}
	return nil
}

// unchanged demands that nothing is another than before, apart from what belongs to the owners, and gives how it is.
func (m *matrix) unchanged(before state, what string, but ...string) state {
	m.Helper()
	now := m.state()
	if all := now.differences(before, but...); len(all) > 0 {
		m.Errorf("%s changed\n%s", what, strings.Join(all, "\n"))
	}
	return now
}

// keepsSecrets demands that an answer gives away nothing of alice's.
func (m *matrix) keepsSecrets(what, text string) {
	m.Helper()
	for _, secret := range m.alice.secrets() {
		if secret != "" && strings.Contains(text, secret) {
			m.Errorf("%s: %q is told in %.300q", what, secret, text)
		}
	}
}

// bad is a credential that does not count, with what is said.
type bad struct {
	credential
	text string
}

// answer is what a route says to it.
func (b bad) answer(route string) (status int, body string) {
	text := b.text
	if b.credential == (credential{}) {
		text = "No molly-session in cookie header. User not found"
		if strings.Contains(route, "/tokens") {
			text = "Auth token not found"
		}
	}
	switch {
	case rows[route].access == keyed && b.bearer != "":
		return http.StatusUnauthorized, keyInvalid
	case rows[route].access == keyed && (b.cookie == "" || route != ofPanel+shared), route == shared && b.credential == (credential{}):
		return http.StatusUnauthorized, `{"error":"API key is required"}`
	}
	return http.StatusBadRequest, `{"status":400,"title":"400","success":false,"data":` + apitest.Quote(text) + "}"
}

// badCredentials are of accounts of their own.
func (m *matrix) badCredentials() map[string]bad {
	m.Helper()
	leaver, sleeper, gone := m.newUser("leaver"), m.newUser("sleeper"), m.newUser("gone")
	revoked := m.newToken(leaver)
	m.must(apitest.Ask{Path: "/api/tokens/delete", Bearer: leaver.bearer, JSON: map[string]any{"token_value": revoked}})
	m.must(apitest.Ask{Path: "/api/tokens/update", Bearer: leaver.bearer, JSON: map[string]any{"token_value": m.newToken(leaver), "token_name": "x", "token_expiry": 1}})
	ended, old := *leaver, *leaver
	m.beginSession(&ended)
	m.must(apitest.Ask{Path: "/api/logout", Cookie: ended.cookie, Headers: map[string]string{csrfHeader: ended.csrf}, Body: "{}"})
	m.beginSession(&old)
	m.age(leaver, old.session)
	expired := m.newToken(leaver)
	m.must(apitest.Ask{Path: "/api/tokens/update", Bearer: leaver.bearer, JSON: map[string]any{"token_value": expired, "token_name": "x", "token_expiry": 0}})
	m.must(apitest.Ask{Path: "/api/admin/user/activate/toggle", Bearer: m.root.bearer, JSON: map[string]any{"uuid": sleeper.uid}})
	m.must(apitest.Ask{Path: "/api/admin/user/account/delete", Bearer: m.root.bearer, JSON: map[string]any{"uuid": gone.uid}})
	const noUser, over, inactive = "Failed to find user with cookie", "Session value doesn't match user session", "User account is deactivated"
	invalid := func(value string) bad { return bad{credential{bearer: value}, "Token value is not valid " + value} }
	return map[string]bad{
		"none":                       {},
		"unknown token":              invalid(unknownToken),
		"no token":                   invalid("x"),
		"long token":                 {credential{bearer: strings.Repeat("x", 4096)}, "Token value is not valid " + strings.Repeat("x", 128)},
		"expired token":              invalid(expired),
		"revoked token":              invalid(revoked),
		"token of a deleted user":    invalid(gone.bearer),
		"token of an inactive user":  {credential{bearer: sleeper.bearer}, inactive},
		"unknown cookie":             {credential{cookie: "x"}, noUser},
		"cookie of an ended session": {credential{cookie: ended.cookie, csrf: ended.csrf}, noUser},
		"cookie of an old session":   {credential{cookie: old.cookie, csrf: old.csrf}, over},
		"cookie of a deleted user":   {credential{cookie: gone.cookie, csrf: gone.csrf}, noUser},
		"cookie of an inactive user": {credential{cookie: sleeper.cookie, csrf: sleeper.csrf}, inactive},
		"token as cookie":            {credential{cookie: m.alice.bearer}, noUser},
		"name of a session":          {credential{cookie: m.alice.session}, noUser},
		"bad token, good cookie":     {credential{bearer: unknownToken, cookie: m.root.cookie, csrf: m.root.csrf}, "Token value is not valid " + unknownToken},
	}
}

// age has a session begin so long ago that it is over.
func (m *matrix) age(of *person, session string) {
	m.Helper()
	secret := &corev1.Secret{}
	if err := m.Get(m.Context(), client.ObjectKey{Namespace: m.system, Name: "mollymawk-account-" + of.uid}, secret); err != nil {
		m.Fatal(err)
	}
	before, stored := secret.DeepCopy(), map[string]any{}
	if err := json.Unmarshal(secret.Data["session."+session], &stored); err != nil {
		m.Fatal(err)
	}
	stored["created_at"] = time.Now().Add(-8 * 24 * time.Hour).UTC().Format(time.RFC3339)
	secret.Data["session."+session] = []byte(toJSON(stored))
	if err := m.Patch(m.Context(), secret, client.MergeFrom(before)); err != nil {
		m.Fatal(err)
	}
}

// credentials has every route called with every credential that does not count.
func (m *matrix) credentials() {
	all := m.badCredentials()
	for name, c := range all {
		m.wait("it is known that a credential does not count: "+name, func() (bool, string) {
			reply := m.send(apitest.Ask{Path: "/api/account", Bearer: c.bearer, Cookie: c.cookie})
			return reply.Status == http.StatusBadRequest, reply.Body
		})
	}
	before := m.state()
	for name, c := range all {
		for _, route := range served(m.TB) {
			row := rows[route]
			if row.access == anybody {
				continue
			}
			reply := call{m.world, m.bob, instance, m.things[row.about]}.do(route, c.credential)
			if status, body := c.answer(route); reply.Status != status || reply.Body != body {
				m.Errorf("%s, %s: %d %s, not %s", name, route, reply.Status, reply.Body, body)
			}
		}
		before = m.unchanged(before, name)
	}
	m.forgedWrites(before)
}

// forgedWrites has browsers send a cookie without what shows that their user wanted it.
func (m *matrix) forgedWrites(before state) {
	for name, c := range map[string]credential{"none": {cookie: m.bob.cookie}, "a guess": {cookie: m.bob.cookie, csrf: "x"}, "another's": {cookie: m.bob.cookie, csrf: m.alice.csrf}} {
		for _, route := range served(m.TB) {
			row := rows[route]
			if row.access != users || !strings.HasPrefix(route, "POST ") {
				continue
			}
			what := name + " as CSRF token, " + route
			if reply := (call{m.world, m.bob, instance, "fine"}).do(route, c); reply.Status != http.StatusBadRequest || !strings.Contains(reply.Body, "CSRF") {
				m.Errorf("%s: %d %s", what, reply.Status, reply.Body)
			}
		}
		// What was uploaded before that was known is for nobody else.
		before = m.unchanged(before, name+" as CSRF token", imageStore)
	}
}

// callers are those who may not reach alice's things.
func (m *matrix) callers() []*person { return []*person{m.bob, m.root} }

// others has everybody else call every route about alice's things, and about what is not there: there is no difference.
func (m *matrix) others() {
	before := m.state()
	for _, route := range served(m.TB) {
		row := rows[route]
		for _, who := range m.callers() {
			for via, with := range who.credentials() {
				what := fmt.Sprintf("%s by %s (%s)", route, who.name, via)
				switch {
				case row.access == admins && who == m.bob:
					m.refused(what, call{m.world, who, instance, m.things[row.about]}.do(route, with))
					m.refused(what, call{m.world, who, instance, row.about.absent()}.do(route, with))
					before = m.unchanged(before, what)
				case row.access == keyed && (who == m.bob || via == "cookie"):
					m.refusesKey(what, route, who, with)
					before = m.unchanged(before, what)
				case row.access >= admins && row.about != nothing && !row.makes:
					reply := call{m.world, who, instance, row.about.absent()}.do(route, with)
					if succeeded(reply) {
						m.Errorf("%s about nothing: %s", what, reply.Body)
					}
					before = m.unchanged(before, what)
				case row.access == users && row.about != nothing && !row.makes:
					m.sameAsAbsent(what, route, who, with)
					before = m.unchanged(before, what, who.name)
				case row.makes && row.about.placed():
					m.makesOwn(what, route, who, with)
					before = m.unchanged(before, what, who.name, imageStore)
				}
			}
		}
	}
}

func (m *matrix) refused(what string, reply apitest.Reply) {
	m.Helper()
	if reply.Status != http.StatusBadRequest || reply.Data(m.TB) != apitest.Quote(notAllowed) {
		m.Errorf("%s: %d %s", what, reply.Status, reply.Body)
	}
}

// refusesKey demands that the Panel API is for administrators' tokens alone: those of others, and sessions, do not count.
func (m *matrix) refusesKey(what, route string, who *person, with credential) {
	m.Helper()
	for _, name := range []string{m.things[rows[route].about], rows[route].about.absent()} {
		reply := call{m.world, who, instance, name}.do(route, with)
		switch {
		case with.bearer != "" && (reply.Status != http.StatusUnauthorized || reply.Body != keyInvalid), with.bearer == "" && reply.Status == http.StatusOK && route != ofPanel+shared:
			m.Errorf("%s: %d %s", what, reply.Status, reply.Body)
		}
		m.keepsSecrets(what, reply.Body)
	}
}

// succeeded tells whether a call was answered well, by either API.
func succeeded(reply apitest.Reply) bool { return reply.Status < http.StatusMultipleChoices }

// sameAsAbsent demands that another's thing looks just like one that is not there.
func (m *matrix) sameAsAbsent(what, route string, who *person, with credential) {
	m.Helper()
	k := rows[route].about
	about := call{m.world, who, instance, m.things[k]}.do(route, with)
	absent := call{m.world, who, instance, k.absent()}.do(route, with)
	if about.Status != absent.Status || strings.ReplaceAll(about.Body, m.things[k], k.absent()) != absent.Body {
		m.Errorf("%s: about alice's %d %s, about nothing %d %s", what, about.Status, about.Body, absent.Status, absent.Body)
	}
	if k.placed() && about.Status == http.StatusOK {
		m.Errorf("%s: %s", what, about.Body)
	}
	m.keepsSecrets(what, strings.ReplaceAll(about.Body, m.things[k], ""))
}

// makesOwn demands that the name of another's thing is as free as any.
func (m *matrix) makesOwn(what, route string, who *person, with credential) {
	m.Helper()
	row := rows[route]
	c := call{m.world, who, instance, m.things[row.about]}
	reply := c.do(route, with)
	if reply.Status != http.StatusOK {
		m.Errorf("%s: %d %s", what, reply.Status, reply.Body)
	} else if err := row.did(c, reply); err != nil {
		m.Errorf("%s: %v", what, err)
	}
	remove := map[kind]string{unikernel: "POST /api/unikernel/destroy", volume: "POST /api/volume/delete"}[row.about]
	if reply := c.do(remove, with); reply.Status != http.StatusOK {
		m.Fatalf("%s, %s: %s", what, remove, reply.Body)
	}
}

// tricks are names that would be another's, or none at all, if they were taken as they are.
func (m *matrix) tricks(name string) []string {
	alice := m.alice.name
	return []string{
		"", ".", "..", "../" + alice + "/" + name, alice + ":" + name, ":" + name, name + ":", alice + "/" + name, "/" + alice + "/" + name, `..\` + alice,
		"%2e%2e%2f" + alice + "%2f" + name, alice + "%3a" + name, name + ".", "." + name, "-" + name, name + "-", name + "..x", name + "\x00", name + "%00", name + "\u200b",
		name + " ", " " + name, name + "\n", strings.Repeat("a", 64), "*", "{" + name + "}", "ａｌｉｃｅ:" + name, alice + "\u2236" + name,
	}
}

// names has what calls are about named so that it would lead to another place.
func (m *matrix) names() {
	before := m.state()
	for _, route := range served(m.TB) {
		row := rows[route]
		if row.about == nothing || row.makes && (row.access == keyed || !row.about.placed() && row.about != host) {
			continue
		}
		who := m.bob
		if row.access >= admins {
			who = m.root
		}
		for _, trick := range m.tricks(m.things[row.about]) {
			what := fmt.Sprintf("%s about %q", route, trick)
			reply := call{m.world, who, instance, trick}.do(route, credential{bearer: who.bearer})
			if row.about.placed() && (reply.Status != http.StatusBadRequest || !strings.Contains(reply.Body, "invalid label")) {
				m.Errorf("%s: %d %s", what, reply.Status, reply.Body)
			}
			if row.access >= admins && succeeded(reply) {
				m.Errorf("%s: %s", what, reply.Body)
			}
			m.keepsSecrets(what, withoutEcho(reply.Body, m.things[row.about]))
			if !row.about.placed() {
				continue
			}
			reply = call{m.world, who, trick, "fine"}.do(route, credential{bearer: who.bearer})
			if reply.Status != http.StatusBadRequest || !strings.Contains(reply.Body, "invalid label") {
				m.Errorf("%s at %q: %d %s", route, trick, reply.Status, reply.Body)
			}
		}
		before = m.unchanged(before, "names that lead elsewhere, "+route, imageStore)
		if row.about.placed() && !row.makes {
			m.oneLabel(route)
			before = m.unchanged(before, "names of several parts, "+route, imageStore)
		}
	}
}

// withoutEcho leaves out what the caller had sent.
func withoutEcho(text, sent string) string { return strings.ReplaceAll(text, sent, "") }

// oneLabel has names that are good, and mean something of the caller's own whatever they look like.
func (m *matrix) oneLabel(route string) {
	thing := m.things[rows[route].about]
	absent := call{m.world, m.bob, instance, "none"}.do(route, credential{bearer: m.bob.bearer})
	for _, name := range []string{strings.ToUpper(thing), m.alice.name + "." + thing, thing + "." + m.alice.name, strings.Repeat("a", 63)} {
		reply := call{m.world, m.bob, instance, name}.do(route, credential{bearer: m.bob.bearer})
		if reply.Status != absent.Status || strings.ReplaceAll(reply.Body, strings.ToLower(name), "none") != absent.Body {
			m.Errorf("%s about %q: %d %s", route, name, reply.Status, reply.Body)
		}
	}
}

// paths has addresses that would be those of other calls if somebody took them apart differently.
func (m *matrix) paths() {
	before := m.state()
	const users = "/api/admin/users"
	query := "?instance=" + instance + "&unikernel="
	thing, alice := m.things[unikernel], m.alice.name
	for _, path := range []string{
		"/api/admin%2fusers", "/api//admin/users", "/api/unikernels/../admin/users", "/api/unikernels/%2e%2e/admin/users", "/api/unikernels%2f..%2fadmin%2fusers", "/API/ADMIN/USERS",
		users + "/", users + ".", users + ";a", users + "%00", "/%61pi/admin/users", "/api/admin/users?x=/api/unikernels", "//api/admin/users", "/.." + users,
		"/api/unikernel/console" + query + alice + "%3a" + thing, "/api/unikernel/console" + query + alice + "%2f" + thing, "/api/unikernel/console" + query + "..%2f" + alice + "%2f" + thing,
		"/api/unikernel/console" + query + "fine&unikernel=" + thing, "/api/unikernel/console" + query + thing + "&namespace=" + alice, "/api/unikernel/console" + query + thing + "%00",
		"/api/unikernel/console?instance=" + instance + "%2f" + alice + "&unikernel=" + thing,
	} {
		reply := m.send(apitest.Ask{Path: path, Bearer: m.bob.bearer, Until: "private of "})
		if reply.Status == http.StatusOK || strings.Contains(withoutEcho(reply.Body, alice+":"), alice+"@") {
			m.Errorf("%s: %d %.300s", path, reply.Status, reply.Body)
		}
		m.keepsSecrets(path, reply.Body)
	}
	for _, path := range []string{"/api/users", "/API/Users/", "/api/users?x-api-key=" + m.root.bearer, "/api/%75sers", "/api/instances/", "/api/nodes", "/api/images/", "/api/instances/suspend/" + alice + "%2f" + thing} {
		for _, headers := range []map[string]string{{"X-Api-Key": m.bob.bearer}, {"X-Api-Key": m.bob.bearer + ", " + m.root.bearer}, {"Authorization": "Bearer " + m.root.bearer}} {
			if reply := m.send(apitest.Ask{Path: path, Headers: headers}); succeeded(reply) {
				m.Errorf("%s: %d %.300s", path, reply.Status, reply.Body)
			}
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, "PROPFIND"} {
		if reply := m.send(apitest.Ask{Method: method, Path: users, Bearer: m.bob.bearer}); reply.Status != http.StatusBadRequest {
			m.Errorf("%s: %d %s", method, reply.Status, reply.Body)
		}
	}
	m.unchanged(before, "odd addresses")
}

// headers has a caller say in other ways who it is, and bodies say a thing twice.
func (m *matrix) headers() {
	before, alice := m.state(), m.alice
	for name, value := range map[string]string{
		"Impersonate-User": "mollymawk:" + alice.name, "X-Remote-User": alice.name, "X-Forwarded-User": alice.name, "X-Original-Url": "/api/admin/users", "X-Rewrite-Url": "/api/admin/users",
		"X-Http-Method-Override": "DELETE", "X-Forwarded-For": "127.0.0.1", "Cookie": "molly_session=" + alice.cookie + "x", "X-Api-Key": m.root.bearer,
	} {
		reply := m.send(apitest.Ask{Path: "/api/account", Bearer: m.bob.bearer, Headers: map[string]string{name: value}})
		if reply.Status != http.StatusOK || !strings.Contains(reply.Body, m.bob.email) {
			m.Errorf("%s: %d %s", name, reply.Status, reply.Body)
		}
		m.keepsSecrets(name, reply.Body)
	}
	for name, scheme := range map[string]string{"no scheme": "", "another scheme": "Basic ", "lower case": "bearer ", "two spaces": "Bearer  "} {
		if reply := m.send(apitest.Ask{Path: "/api/account", Headers: map[string]string{"Authorization": scheme + alice.bearer}}); reply.Status != http.StatusBadRequest {
			m.Errorf("%s: %d %s", name, reply.Status, reply.Body)
		}
	}
	thing := m.things[unikernel]
	for _, body := range []string{
		`{"name":"fine","albatross_instance":"` + instance + `","name":"` + alice.name + `:` + thing + `"}`,
		`{"name":"` + alice.name + `\u003a` + thing + `","albatross_instance":"` + instance + `"}`,
		`{"name":"` + thing + `","albatross_instance":"` + instance + `","namespace":"` + alice.name + `","user":"` + alice.name + `","path":"` + alice.name + `"}`,
		`{"name":["` + thing + `"],"albatross_instance":"` + instance + `"}`, `{"name":{"path":"` + alice.name + `","label":"` + thing + `"},"albatross_instance":"` + instance + `"}`,
	} {
		if reply := m.send(apitest.Ask{Path: "/api/unikernel/destroy", Bearer: m.bob.bearer, Body: body}); reply.Status == http.StatusOK {
			m.Errorf("%s: %s", body, reply.Body)
		}
	}
	m.unchanged(before, "odd headers and bodies")
}

// own has people do to their own things what a route is for. It works, and changes nothing of anybody else's.
func (m *matrix) own() {
	for _, route := range served(m.TB) {
		row := rows[route]
		who := m.bob
		if row.access >= admins {
			who = m.root
		}
		for _, via := range []string{"bearer", "cookie"} {
			if row.access == keyed && via == "cookie" {
				continue
			}
			if row.alone {
				who = m.newUser("single")
			}
			c := call{m.world, who, instance, unique("new")}
			if row.about != nothing && !row.makes {
				c.name = m.newThing(row.about, who)
			}
			if row.before != nil {
				row.before(c)
			}
			with := who.credentials()[via]
			if row.access == anybody {
				with = credential{}
			}
			before, reach, what := m.state(), m.reach(c, row), fmt.Sprintf("%s by its user (%s)", route, via)
			reply := c.do(route, with)
			if !succeeded(reply) {
				m.Errorf("%s: %d %s", what, reply.Status, reply.Body)
			} else if err := row.did(c, reply); err != nil {
				m.Errorf("%s: %v\n%.500s", what, err, reply.Body)
			}
			m.keepsSecrets(what, reply.Body)
			m.unchanged(before, what, append(reach, m.called(c.name)...)...)
		}
	}
}

// reach is what a call about one's own may change.
func (m *matrix) reach(c call, row row) []string {
	all := []string{c.who.name, imageStore}
	if row.about == host {
		all = append(all, "")
	}
	if row.about == user {
		all = append(all, "", c.name)
		for _, p := range m.accounts() {
			if string(p.UID) == c.name {
				all = append(all, p.Name)
			}
		}
	}
	return all
}

// called are the users who are called so by others.
func (w *world) called(name string) (all []string) {
	w.Helper()
	for _, p := range w.accounts() {
		if p.Spec.DisplayName == name {
			all = append(all, p.Name)
		}
	}
	return all
}

func (w *world) accounts() []v1alpha1.User {
	w.Helper()
	var all v1alpha1.UserList
	if err := w.List(w.Context(), &all); err != nil {
		w.Fatal(err)
	}
	return all.Items
}

// namesakes have the name of a deleted user, or that of a namespace that is somebody else's. They inherit nothing.
func (m *matrix) namesakes() {
	first := m.newUser("carol")
	things := map[kind]string{unikernel: m.newThing(unikernel, first), volume: m.newThing(volume, first)}
	m.must(apitest.Ask{Path: "/api/admin/user/account/delete", Bearer: m.root.bearer, JSON: map[string]any{"uuid": first.uid}})
	m.untilUnknown(first)
	second := newPerson(first.email)
	m.register(second)
	if second.uid == first.uid {
		m.Fatal("the same identifier")
	}
	m.activate(second)
	before := m.state()
	for _, p := range []*person{second, m.namedLike(m.system), m.namedLike(metav1.NamespaceSystem), m.namedLike(metav1.NamespaceDefault)} {
		for _, route := range served(m.TB) {
			row := rows[route]
			if row.access != users || !row.about.placed() {
				continue
			}
			reply := call{m.world, p, instance, things[row.about]}.do(route, credential{bearer: p.bearer})
			if reply.Status != http.StatusForbidden || !strings.Contains(reply.Body, "You have no namespace yet.") {
				m.Errorf("%s by %s: %d %s", route, p.name, reply.Status, reply.Body)
			}
		}
		for path, want := range map[string]string{"/api/unikernels": `{"data":[],"errors":[]}`, "/api/volumes": `{"data":[],"errors":[]}`, "/api/policies": `[]`} {
			if reply := m.must(apitest.Ask{Path: path, Bearer: p.bearer}); reply.Data(m.TB) != want {
				m.Errorf("%s sees %s", p.name, reply.Body)
			}
		}
	}
	// New accounts are all that came.
	var made []string
	for _, p := range m.accounts() {
		if p.Name != first.name {
			made = append(made, p.Name)
		}
	}
	for _, difference := range m.state().differences(before, append(made, "")...) {
		m.Errorf("a namesake changed %s", difference)
	}
	m.cannot(second, first.name)
}

// untilUnknown demands that the credentials of a deleted user are known not to count.
func (m *matrix) untilUnknown(p *person) {
	m.Helper()
	m.wait("the account is gone", func() (bool, string) {
		reply := m.send(apitest.Ask{Path: "/api/account", Bearer: p.bearer})
		return reply.Status == http.StatusBadRequest, reply.Body
	})
}

// activate admits a user who does not get a namespace.
func (m *matrix) activate(p *person) {
	m.Helper()
	m.must(apitest.Ask{Path: "/api/admin/user/activate/toggle", Bearer: m.root.bearer, JSON: map[string]any{"uuid": p.uid}})
	m.login(p)
	m.wait("it is known that the namespace is taken", func() (bool, string) {
		ready := apimeta.FindStatusCondition(m.user(p.name).Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonNamespaceTaken, fmt.Sprint(ready)
	})
}

// namedLike makes a user whose name is that of a namespace.
func (m *matrix) namedLike(namespace string) *person {
	m.Helper()
	p := newPerson(namespace + "@example.com")
	m.register(p)
	m.activate(p)
	return p
}

// kubernetes has the API server itself refuse what the checks of the HTTP API would let through.
func (m *matrix) kubernetes() {
	m.cannot(m.bob, m.alice.name)
	m.cannot(m.alice, m.bob.name)
	m.cannot(m.alice, m.system)
	if err := m.as(m.alice).List(m.Context(), &v1alpha1.UnikernelList{}, client.InNamespace(m.alice.name)); err != nil {
		m.Errorf("one's own: %v", err)
	}
	for what, list := range map[string]client.ObjectList{
		"users": &v1alpha1.UserList{}, "hosts": &v1alpha1.AlbatrossInstanceList{}, "everybody's unikernels": &v1alpha1.UnikernelList{}, "Secrets": &corev1.SecretList{},
	} {
		if err := m.as(m.alice).List(m.Context(), list); !apierrors.IsForbidden(err) {
			m.Errorf("%s: %v", what, err)
		}
	}
	// An administrator of the API is not one of the cluster.
	if err := m.as(m.root, services.AdminGroup).List(m.Context(), &corev1.SecretList{}, client.InNamespace(m.system)); !apierrors.IsForbidden(err) {
		m.Errorf("Secrets of the operator: %v", err)
	}
}

// as gives a client with the identity as which the operator writes for somebody.
func (m *matrix) as(p *person, groups ...string) client.Client {
	m.Helper()
	config := testenv.Config(m.TB)
	config.Impersonate = rest.ImpersonationConfig{UserName: "mollymawk:" + p.name, Groups: groups}
	c, err := client.New(config, client.Options{Scheme: m.Scheme()})
	if err != nil {
		m.Fatal(err)
	}
	return c
}

// cannot demands that somebody has no rights in a namespace.
func (m *matrix) cannot(p *person, namespace string) {
	m.Helper()
	c, meta := m.as(p), metav1.ObjectMeta{Namespace: namespace, Name: "x"}
	uk := &v1alpha1.Unikernel{ObjectMeta: meta, Spec: v1alpha1.UnikernelSpec{InstanceRef: v1alpha1.InstanceReference{Name: instance}}}
	in := client.InNamespace(namespace)
	for what, err := range map[string]error{
		"list": c.List(m.Context(), &v1alpha1.UnikernelList{}, in), "list volumes": c.List(m.Context(), &v1alpha1.VolumeList{}, in), "list Secrets": c.List(m.Context(), &corev1.SecretList{}, in),
		"read": c.Get(m.Context(), client.ObjectKeyFromObject(uk), uk.DeepCopy()), "create": c.Create(m.Context(), uk.DeepCopy()), "delete": c.Delete(m.Context(), uk.DeepCopy()),
		"change": c.Patch(m.Context(), uk.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{}`))),
	} {
		if !apierrors.IsForbidden(err) {
			m.Errorf("%s in %s by %s: %v", what, namespace, p.name, err)
		}
	}
}

// logHasNoSecrets looks at all that the operator said, and whether it lacked a right.
func (m *matrix) logHasNoSecrets() {
	text := m.log.String()
	for _, p := range []*person{m.alice, m.bob, m.root} {
		for _, secret := range p.secrets() {
			if secret != "" && secret != p.session && strings.Contains(text, secret) {
				m.Errorf("the log has %q", secret)
			}
		}
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "forbidden") {
			m.Errorf("the operator may not: %s", line)
		}
	}
}

package panel_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/httpapi/panel"
)

// TestBotFindsOrMakesItsUser does as bots do: they look for the e-mail address, and
// what is not found, each by the code that it knows, they make.
func TestBotFindsOrMakesItsUser(t *testing.T) {
	const discord = "815162342108481516"
	for name, bot := range map[string]struct {
		profile     panel.Profile
		isNotFound  func(status int) bool
		isFound     func(status int) bool
		create, uid string
	}{
		"exact codes of the documents": {panel.Documented, func(s int) bool { return s == 400 }, func(s int) bool { return s == 201 }, "/api/users/create", `"` + discord + `"`},
		"only 404 is not found":        {panel.Source, func(s int) bool { return s == 404 }, func(s int) bool { return s == 200 }, "/api/auth/create-user", `"` + discord + `"`},
		"400 or 404, and a number":     {panel.Documented, func(s int) bool { return s == 400 || s == 404 }, func(s int) bool { return s < 300 }, "/api/auth/create-user", discord},
		"any error":                    {panel.Source, func(s int) bool { return s >= 400 }, func(s int) bool { return s < 300 }, "/api/users/create", `"` + discord + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, inProfile(bot.profile))
			search := ask{call: "POST /api/getUser", key: adminKey, json: object{"type": "email", "value": "d@example.org"}}
			create := ask{call: "POST " + bot.create, key: adminKey, kind: "application/json", body: `{"username":"d","email":"d@example.org","password":"x","userId":` + bot.uid + `}`}
			if h := g.send(search); !bot.isNotFound(h.status) {
				t.Errorf("not there: %d %s", h.status, h.body)
			}
			if h := g.send(create); h.status != 201 || h.value(t, "userId") != discord {
				t.Errorf("made: %d %s", h.status, h.body)
			}
			if h := g.send(create); h.status != 409 {
				t.Errorf("made again: %d %s", h.status, h.body)
			}
			if h := g.send(search); !bot.isFound(h.status) || h.value(t, "userId") != discord {
				t.Errorf("there: %d %s", h.status, h.body)
			}
		})
	}
}

// TestOnlyTrueMakesAdministrators, and neither a text nor a form does.
func TestOnlyTrueMakesAdministrators(t *testing.T) {
	g := newRig(t)
	for i, admin := range []any{"true", 1, "yes", []bool{true}, nil, true} {
		n := strconv.Itoa(i)
		h := g.do("POST /api/users/create", newUser("username", n, "email", n+"@x", "admin", admin))
		if want := admin == any(true); h.status != 201 || h.value(t, "admin") != want || g.made[i].SuperUser != want {
			t.Errorf("%v: %d %s", admin, h.status, h.body)
		}
	}
	form := ask{call: "POST /api/users/create", key: adminKey, kind: "application/x-www-form-urlencoded; charset=utf-8", body: "username=f&email=f%40x&password=a%2Bb+c%&admin=true"}
	if h := g.send(form); h.status != 201 || h.value(t, "admin") != false {
		t.Errorf("%d %s", h.status, h.body)
	}
	last := g.made[len(g.made)-1]
	if last.Email != "f@x" || last.Password != "a+b c%" || !last.Active || !last.Distinct || !last.ShortPassword || len(last.ExternalID) != 36 {
		t.Errorf("%+v", last)
	}
	if strings.Contains(g.log.text(), last.Password) {
		t.Error("a password is logged")
	}
}

// TestShopDeploys does as shops do: they read images and nodes, and send back what
// they read, with numbers or texts, and read the id under which the instance is.
func TestShopDeploys(t *testing.T) {
	g := newRig(t)
	g.addUser("42")
	g.addNode("rack1")
	g.addImage("paper", "registry.example.org/minecraft:1", v1alpha1.ImageVariable{Name: "EULA", Default: "true"}, v1alpha1.ImageVariable{Name: "VERSION", Required: true})
	g.images[0].Spec.NetworkInterfaces = []v1alpha1.ImageInterface{{Name: "service"}, {Name: "eth1", Bridge: "management"}}
	g.addImage("spigot", "registry.example.org/minecraft:1")
	var images []struct {
		ID, Name, Image string
		Variables       map[string]struct{ Default string }
	}
	var nodes []struct{ ID, Name string }
	decode(t, g.do("GET /api/images", nil).body, &images)
	decode(t, g.do("GET /api/nodes", nil).body, &nodes)
	for name, changes := range map[string][]any{
		"texts":                  {"variables", `{"VERSION":"1.21"}`},
		"numbers":                {"memory", 512, "cpu", 1, "primary", 25565, "ports", "25565:25565", "variables", object{"VERSION": 1.21}, "disk", 10},
		"a list":                 {"variables", []string{"VERSION=1.21"}, "user", 42},
		"units":                  {"memory", "512MB", "cpu", "1.9", "variables", object{"VERSION": "1.21", "EULA": nil}},
		"no primary port":        {"primary", "", "variables", object{"VERSION": "1.21", "EULA": ""}},
		"no primary port at all": {"primary", nil, "variables", object{"VERSION": "1.21"}},
		"the node's name":        {"nodeId", "rack1", "variables", object{"VERSION": "1.21"}},
		"the image's id":         {"image", images[0].ID, "variables", object{"VERSION": "1.21"}},
		"the image's source":     {"image", "registry.example.org/minecraft:1", "imagename", "paper", "variables", object{"VERSION": "1.21"}},
		"a name that is unknown": {"imagename", "Another", "variables", object{"VERSION": "1.21"}},
	} {
		h := g.do("POST /api/instances/deploy", changed(newInstance("nodeId", nodes[0].ID, "image", images[0].Image, "imagename", images[0].Name), changes))
		if h.status != 201 || h.value(t, "state") != "INSTALLING" {
			t.Errorf("%s: %d %s", name, h.status, h.body)
			continue
		}
		d := g.deployed[len(g.deployed)-1]
		if d.Namespace != "42" || d.Instance != "rack1" || d.CPUs != 1 || d.Spec.MemoryMiB() != 512 || d.Spec.Image.Catalog.Name != "paper" ||
			!slices.Equal(d.Spec.Arguments, []string{"--eula=true", "--version=1.21"}) || d.Annotations[v1alpha1.AnnotationPanelPrimary] != "25565" ||
			!slices.Equal(d.Spec.NetworkInterfaces, []v1alpha1.NetworkInterface{{Name: "service"}, {Name: "eth1", Bridge: "management"}}) {
			t.Errorf("%s: %+v", name, d)
		}
		shown := g.do("POST /api/getInstance", object{"id": h.value(t, "volumeId")})
		if shown.value(t, "User") != "42" || shown.value(t, "Memory") != 512.0 || shown.value(t, "Ports") != "25565:25565" || encode(t, shown.value(t, "Env")) != `["EULA=true","VERSION=1.21"]` {
			t.Errorf("%s: %s", name, shown.body)
		}
	}
	if h := g.do("POST /api/instances/deploy", newInstance("image", "paper")); !h.is(400, `{"error":"Missing required parameters","details":…}`) {
		t.Errorf("without a variable that is required: %d %s", h.status, h.body)
	}
	var all []struct{ Memory, CPU int }
	decode(t, g.do("POST /api/getUserInstance", object{"userId": "42"}).body, &all)
	if len(all) != len(g.deployed) || all[0].Memory != 512 {
		t.Errorf("%+v", all)
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// TestDeployForANewUser waits for the namespace that is being made.
func TestDeployForANewUser(t *testing.T) {
	g := newRig(t)
	g.addUser("42")
	g.addUser("43")
	g.addNode("rack1")
	g.addNode("closed")
	g.addImage("hello", "registry.example.org/hello:1")
	g.users[0].Namespace, g.users[1].Namespace = "", ""
	g.late["42"] = "fresh"
	if h := g.do("POST /api/instances/deploy", newInstance()); h.status != 201 || g.deployed[0].Namespace != "fresh" {
		t.Errorf("%d %s", h.status, h.body)
	}
	if h := g.do("POST /api/instances/deploy", newInstance("user", "43")); !h.is(400, `{"error":"The user has no namespace","details":…}`) {
		t.Errorf("%d %s", h.status, h.body)
	}
	if h := g.do("POST /api/getUserInstance", object{"userId": "43"}); !h.is(200, `[]`) {
		t.Errorf("%d %s", h.status, h.body)
	}
	if h := g.do("POST /api/instances/deploy", newInstance("nodeId", "closed")); !h.is(400, `{"error":"The node does not admit the user","details":…fresh…}`) {
		t.Errorf("%d %s", h.status, h.body)
	}
}

// TestGitOps has an object that somebody else declares say so.
func TestGitOps(t *testing.T) {
	g := newRig(t)
	uk := v1alpha1.Unikernel{}
	uk.Namespace, uk.Name, uk.UID, uk.Annotations = "team", "web", "0a1b2c3d-0000-4000-8000-000000000001", map[string]string{"owner": "argocd-controller"}
	g.unikernels = append(g.unikernels, uk)
	want := `{"error":"spec.suspended is declared by argocd-controller; change it there"}`
	if h := g.do("POST /api/instances/suspend/0a1b2c3d", nil); !h.is(409, want) || g.unikernels[0].Spec.Suspended {
		t.Errorf("%d %s", h.status, h.body)
	}
	if h := g.do("POST /api/instances/unsuspend/0a1b2c3d", nil); h.status != 200 {
		t.Errorf("as it is already: %d %s", h.status, h.body)
	}
}

// TestSpelling has paths in any case, with a slash at the end, and with methods that
// they do not have.
func TestSpelling(t *testing.T) {
	g := newRig(t)
	for call, status := range map[string]int{
		"GET /API/Users": 200, "GET /api/users/": 200, "GET /api/USERS/": 200, "POST /api/getinstance/": 400, "POST /API/INSTANCES/SUSPEND/x/": 400,
		"GET /api/users//": 404, "GET /api/user": 404, "GET /api/getUser": 404, "PUT /api/users": 404, "DELETE /api/instances/deploy": 404,
		"GET /api/instances/suspend/x": 404, "GET /api/instances/suspend/{id}": 404, "GET /": 404, "HEAD /api/users": 200, "HEAD /api/getUser": 404,
		"OPTIONS /api/users": 200, "OPTIONS /api/getUser": 200, "OPTIONS /api/instances/suspend/x": 200,
	} {
		if h := g.do(call, nil); h.status != status || status == 404 && h.body != `{"error":"Not found"}` && !strings.HasPrefix(call, "HEAD") {
			t.Errorf("%s: %d %s", call, h.status, h.body)
		}
	}
	for call, want := range map[string]string{"OPTIONS /api/users": "GET, HEAD", "OPTIONS /api/getUser": "POST", "GET /api/getUser": "POST", "OPTIONS /api/nodes/delete": "DELETE"} {
		if h := g.send(ask{call: call}); h.header.Get("Allow") != want {
			t.Errorf("%s: %q", call, h.header.Get("Allow"))
		}
	}
	face := newWorld().face(g.log.logger())
	for path, want := range map[string]bool{"/api/users": true, "/Api/Users/": true, "/api/instances/suspend/x": true, "/api/unikernels": false, "/openapi.yaml": false, "/api/tokens/create": false, "/": false, "": false} {
		if face.Serves(path) != want {
			t.Errorf("%q is served: %v", path, !want)
		}
	}
}

// TestBodies has what is no document, or too much of one.
func TestBodies(t *testing.T) {
	g := newRig(t)
	for name, tt := range map[string]struct {
		kind, body string
		status     int
		text       string
	}{
		"none":             {"", "", 400, "Type and value are required"},
		"empty":            {"application/json", "", 400, "Type and value are required"},
		"spaces":           {"application/json", " \n", 400, "Type and value are required"},
		"a list":           {"application/json", `[1]`, 400, "Type and value are required"},
		"half":             {"application/json", `{"type":`, 400, "Invalid JSON body"},
		"two":              {"application/json", `{} {}`, 400, "Invalid JSON body"},
		"a comma too many": {"application/json", `{"type":"email",}`, 400, "Invalid JSON body"},
		"a text":           {"application/json", `"x"`, 400, "Invalid JSON body"},
		"null":             {"application/json", `null`, 400, "Invalid JSON body"},
		"text":             {"text/plain", `type=email&value=x`, 400, "Invalid JSON body"},
		"other case":       {"application/json", `{"Type":"email","VALUE":"x"}`, 400, "Type and value are required"},
		"the last counts":  {"application/json", `{"type":"email","value":"x","value":""}`, 400, "Type and value are required"},
		"a form":           {"application/x-www-form-urlencoded", `type=email&value=x`, 400, "User not found"},
		"as curl sends it": {"application/x-www-form-urlencoded", `{"type":"email","value":"x"}`, 400, "User not found"},
		"an empty form":    {"application/x-www-form-urlencoded", `&=&type`, 400, "Type and value are required"},
		"too long":         {"application/json", `{"type":"` + strings.Repeat("x", 100<<10) + `"}`, 413, "The request is too large"},
		"deep":             {"application/json", strings.Repeat(`[`, 50_000), 400, "Invalid JSON body"},
		"not in UTF-8":     {"application/x-www-form-urlencoded", "type=email&value=\xff%ff", 400, "User not found"},
	} {
		if h := g.send(ask{call: "POST /api/getUser", key: adminKey, kind: tt.kind, body: tt.body}); !h.is(tt.status, `{"error":"`+tt.text+`"}`) {
			t.Errorf("%s: %d %s", name, h.status, h.body)
		}
	}
	form := url.Values{"name": {"n"}, "tags": {"a", "b"}, "ram": {"8"}, "disk": {"1"}, "processor": {"p"}, "address": {"192.0.2.9"}, "port": {"1025"}}
	h := g.send(ask{call: "POST /api/nodes/create", key: adminKey, kind: "application/x-www-form-urlencoded", body: form.Encode()})
	if !h.is(201, `{"Message":{…"tags":["a","b"],…"port":"1025",…}}`) {
		t.Errorf("%d %s", h.status, h.body)
	}
}

// TestNodeNames calls the object as the node, unless something else is called so.
func TestNodeNames(t *testing.T) {
	g := newRig(t, func(o *panel.Options) { o.NodeCredentials = "hosts" })
	for name, want := range map[string]string{
		"Rack 1": "rack-1", "ünïcode!": "n-code", "日本": "node", strings.Repeat("a", 80): strings.Repeat("a", 54), strings.Repeat("b", 53) + "--c": strings.Repeat("b", 53),
	} {
		for i, plain := range []bool{true, false} {
			if h := g.do("POST /api/nodes/create", newNode("name", name)); h.status != 201 {
				t.Fatalf("%s: %d %s", name, h.status, h.body)
			}
			node := g.nodes[len(g.nodes)-1]
			if (node.Name == want) != plain || !strings.HasPrefix(node.Name, want) || len(node.Name) > 63 || node.Annotations[v1alpha1.AnnotationPanelName] != name {
				t.Errorf("%s, for the time %d: %s", name, i+1, node.Name)
			}
		}
	}
	if slices.ContainsFunc(g.fallbacks, func(name string) bool { return name != "hosts" }) {
		t.Errorf("%q", g.fallbacks)
	}
}

// TestPostRate has the original's bound, which is for all POSTs of an address and
// for nothing else.
func TestPostRate(t *testing.T) {
	now := time.Now()
	g := newRig(t, func(o *panel.Options) { o.PostRate, o.Now = 6, func() time.Time { return now } })
	for i := range 6 {
		h := g.send(ask{call: "POST /api/getUser"})
		if left := h.header.Get("X-RateLimit-Remaining"); h.status != 401 || left != strconv.Itoa(5-i) || h.header.Get("X-RateLimit-Limit") != "6" || h.header.Get("Retry-After") != "" {
			t.Errorf("%d: %d, %s left", i, h.status, left)
		}
	}
	h := g.do("POST /api/instances/deploy", object{})
	if !h.is(429, `{"error":"Too many requests, please try again later"}`) || h.header.Get("Retry-After") != "6" || h.header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("%d %s %v", h.status, h.body, h.header)
	}
	if reset, err := strconv.ParseInt(h.header.Get("X-RateLimit-Reset"), 10, 64); err != nil || reset < now.Add(panel.PostWindow).Unix() {
		t.Errorf("reset at %d: %v", reset, err)
	}
	if h := g.do("GET /api/users", nil); h.status != 200 || h.header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("GET: %d", h.status)
	}
	if h := g.do("DELETE /api/instance/delete", object{}); h.status != 400 {
		t.Errorf("DELETE: %d", h.status)
	}
	now = now.Add(panel.PostWindow)
	if h := g.do("POST /api/getUser", object{}); h.status != 400 || h.header.Get("X-RateLimit-Remaining") != "5" {
		t.Errorf("afterwards: %d", h.status)
	}
}

// TestKeyRate has the bound of all faces.
func TestKeyRate(t *testing.T) {
	g := newRig(t, func(o *panel.Options) { o.Limiter = httpapi.NewLimiter(0.001, 1, nil) })
	if h := g.do("GET /api/users", nil); h.status != 200 {
		t.Errorf("%d %s", h.status, h.body)
	}
	if h := g.do("GET /api/users", nil); !h.is(429, `{"error":"Too many requests, please try again later"}`) || h.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", h.status, h.body)
	}
}

// TestAudit has a line for each write and none for what only looks like one.
func TestAudit(t *testing.T) {
	g := newRig(t)
	g.addUser("42")
	g.addNode("rack1")
	g.addImage("hello", "registry.example.org/hello:1")
	for _, tt := range []struct {
		call string
		json any
		want string
	}{
		{"GET /api/users", nil, ""},
		{"POST /api/getUser", object{}, ""},
		{"POST /api/getInstance", object{"id": "x"}, ""},
		{"POST /api/getUserInstance", object{"userId": "42"}, ""},
		{"POST /api/instances/deploy", newInstance(), `"user":"root","via":"Bearer","method":"POST","path":"/api/instances/deploy","object":"42/my-server-`},
		{"POST /api/users/create", newUser(), `"object":"user-2","status":201`},
		{"POST /api/nodes/create", newNode(), `"object":"rack-1","status":201`},
		{"POST /api/instances/suspend/42%2Fnone", nil, `"status":400,"reason":"Bad Request"`},
		{"DELETE /api/nodes/delete", object{"nodeId": "rack1"}, `"object":"rack1","status":400`},
	} {
		g.log.mu.Lock()
		g.log.lines = nil
		g.log.mu.Unlock()
		g.do(tt.call, tt.json)
		said := g.log.text()
		if strings.Contains(said, `"msg":"write"`) != (tt.want != "") || !strings.Contains(said, tt.want) {
			t.Errorf("%s: %s", tt.call, said)
		}
		if strings.Contains(said, adminKey) {
			t.Errorf("%s: the key is logged", tt.call)
		}
	}
}

// TestAuthenticates tells whose request it is.
func TestAuthenticates(t *testing.T) {
	request := &http.Request{Header: http.Header{}}
	if panel.Authenticates(request) {
		t.Error("without a key")
	}
	if request.Header.Set("x-api-key", "bad"); !panel.Authenticates(request) {
		t.Error("with a key")
	}
}

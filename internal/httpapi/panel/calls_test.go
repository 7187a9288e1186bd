package panel_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/httpapi/openapi"
	"mollymawk.dev/operator/internal/httpapi/panel"
)

// object is a JSON object.
type object = map[string]any

// newUser is a whole request for one.
func newUser(changes ...any) object {
	return changed(object{"username": "bob", "email": "b@x", "password": "pw"}, changes)
}

func newNode(changes ...any) object {
	return changed(object{
		"name": "rack 1", "tags": "a - b", "ram": "8", "disk": "40", "processor": "AMD EPYC", "address": "192.0.2.7", "port": "1025",
	}, changes)
}

// newInstance is what the documents list, for the user 42.
func newInstance(changes ...any) object {
	return changed(object{
		"image": "hello", "memory": "512", "cpu": "1", "ports": "25565:25565", "nodeId": "rack1", "name": "My <Server>", "user": "42", "primary": "25565",
	}, changes)
}

// changed takes names and values; the value absent leaves a name out.
func changed(o object, changes []any) object {
	for i := 0; i < len(changes); i += 2 {
		if o[changes[i].(string)] = changes[i+1]; changes[i+1] == absent {
			delete(o, changes[i].(string))
		}
	}
	return o
}

type nothing struct{}

var absent = nothing{}

// step is a call with what it is answered: in the documented profile and in that of
// the source. An empty body of the latter is the same as in the former.
type step struct {
	call       string
	json       any
	documented int
	source     int
	body       string
	sourceBody string
}

// theID stands for that of the instance that a step makes.
const theID = "abc00003"

const (
	instanceShown = `{"Name":"My <Server>","Id":"abc00003","Node":{"id":"…","name":"rack1",…},"User":"42","InternalState":"INSTALLING","VolumeId":"abc00003",` +
		`"Memory":512,"Cpu":1,"Ports":"25565:25565","Primary":"25565","Image":"hello","AltImages":[],"imageData":{"Id":…},"Env":[],"suspended":false}`
	suspendedShown = `{"Name":"My <Server>",…,"suspended":true,"success":"Instance Suspended Successfully"}`
	deployedShown  = `{"message":"Container creation initiated. State will be updated asynchronously.","volumeId":"abc00003","state":"INSTALLING"}`
	deletedShown   = `{"message":"The instance has been successfully deleted."}`
	noInstance     = `{"error":"Instance not found"}`
	noUser         = `{"error":"User not found"}`
)

// steps are the calls of the documents, one after another.
func steps() []step {
	return []step{
		{"GET /api/users", nil, 200, 200, `[]`, ""},
		{"GET /api/name", nil, 200, 200, `{"name":"Mollymawk"}`, ""},

		{"POST /api/getUser", object{}, 400, 400, `{"error":"Type and value are required"}`, ""},
		{"POST /api/getUser", object{"type": "email", "value": ""}, 400, 400, `{"error":"Type and value are required"}`, ""},
		{"POST /api/getUser", object{"type": "id", "value": "x"}, 400, 400, `{"error":"Invalid search type. Use \"email\" or \"username\"."}`, ""},
		{"POST /api/getUser", object{"type": "email", "value": "none"}, 400, 404, noUser, ""},
		{"POST /api/users/create", newUser("userId", "42"), 201, 201, `{"userId":"42","username":"bob","email":"b@x","admin":false}`, ""},
		{"POST /api/auth/create-user", newUser("userId", "42"), 409, 409, `{"error":"User already exists"}`, ""},
		{"POST /api/users/create", newUser("email", "c@x"), 409, 409, `{"error":"User already exists"}`, ""},
		{"POST /api/users/create", newUser("username", "carol"), 409, 409, `{"error":"User already exists"}`, ""},
		{"POST /api/users/create", newUser("username", "carol", "email", "c@x", "userId", "42"), 409, 409, `{"error":"User already exists"}`, ""},
		{"POST /api/users/create", newUser("password", absent), 400, 400, `{"error":"Username, email, and password are required"}`, ""},
		{"POST /api/users/create", newUser("password", 12345), 400, 400, `{"error":"Username, email, and password are required"}`, ""},
		{"POST /api/users/create", newUser("email", "nobody", "username", "d"), 400, 400, `{"error":"Invalid email","details":"not an e-mail address"}`, ""},
		{"POST /api/users/create", newUser("email", "d@x", "username", "d", "password", strings.Repeat("x", 1025)), 400, 400, `{"error":"Invalid password","details":…}`, ""},
		{"POST /api/users/create", newUser("email", "d@x", "username", "a\nb"), 400, 400, `{"error":"Invalid username or userId","details":…}`, ""},
		{"POST /api/users/create", newUser("email", "d@x", "username", "d", "userId", []string{"x"}), 400, 400, `{"error":"Invalid userId"}`, ""},
		{"POST /api/getUser", object{"type": "username", "value": "bob"}, 201, 200, `{"userId":"42","username":"bob","email":"b@x","accessTo":[],"admin":false}`, ""},
		{"POST /api/getUser", object{"type": "email", "value": "B@x"}, 201, 200, `{"userId":"42",…}`, ""},
		{"POST /api/getUser", object{"type": "username", "value": "Bob"}, 400, 404, noUser, ""},
		{"GET /api/users", nil, 200, 200, `[{"userId":"42",…}]`, ""},

		{"GET /api/images", nil, 200, 200, `[{"Id":"…","Name":"hello","Image":"hello","AltImages":[],"Cmd":"","Env":[],"Variables":{},"Description":""}]`, ""},
		{"GET /api/nodes", nil, 200, 200, `[{"id":"…","name":"rack1","tags":"","ram":"","disk":"","processor":"","address":"192.0.2.1","port":"1025","status":"Unknown","versionFamily":1}]`, ""},
		{"GET /api/instances", nil, 200, 200, `[]`, ""},
		{"POST /api/getUserInstance", object{}, 400, 400, `{"error":"Parameter \"userId\" is required"}`, ""},
		{"POST /api/getUserInstance", object{"userId": "none"}, 400, 404, noUser, ""},
		{"POST /api/getUserInstance", object{"userId": "42"}, 200, 200, `[]`, ""},

		{"POST /api/instances/deploy", newInstance("nodeId", "none"), 400, 404, `{"error":"Invalid node"}`, ""},
		{"POST /api/instances/deploy", newInstance("image", "none"), 400, 400, `{"error":"Invalid image"}`, ""},
		{"POST /api/instances/deploy", newInstance("user", "none"), 400, 400, noUser, ""},
		{"POST /api/instances/deploy", newInstance("memory", "much"), 400, 400, `{"error":"Invalid memory"}`, ""},
		{"POST /api/instances/deploy", newInstance("memory", "0"), 400, 400, `{"error":"Invalid memory"}`, ""},
		{"POST /api/instances/deploy", newInstance("cpu", "-1"), 400, 400, `{"error":"Invalid cpu"}`, ""},
		{"POST /api/instances/deploy", newInstance("cpu", 3), 400, 400, `{"error":"Invalid cpu","details":…}`, ""},
		{"POST /api/instances/deploy", newInstance("ports", "80:80,80:81"), 400, 400, `{"error":"Invalid ports"}`, ""},
		{"POST /api/instances/deploy", newInstance("primary", "http"), 400, 400, `{"error":"Invalid primary"}`, ""},
		{"POST /api/instances/deploy", newInstance("variables", object{"UNDECLARED": "x"}), 400, 400, `{"error":"Invalid variables","details":…}`, ""},
		{"POST /api/instances/deploy", newInstance("variables", 7), 400, 400, `{"error":"Invalid variables","details":…}`, ""},
		{"POST /api/instances/deploy", newInstance(), 201, 201, deployedShown, ""},
		{"POST /api/getInstance", object{}, 400, 400, `{"error":"Parameter \"id\" is required"}`, ""},
		{"POST /api/getInstance", object{"id": "none"}, 400, 404, noInstance, ""},
		{"POST /api/getInstance", object{"id": "abc00003"}, 200, 200, instanceShown, ""},
		{"POST /api/getUserInstance", object{"userId": 42}, 200, 200, `[` + instanceShown + `]`, ""},
		{"GET /api/instances", nil, 200, 200, `[` + instanceShown + `]`, ""},

		{"POST /api/instances/suspend/none", nil, 400, 404, noInstance, ""},
		{"POST /api/instances/suspend", object{}, 400, 400, `{"error":"Missing ID parameter"}`, ""},
		{"POST /api/instances/suspend/abc00003", nil, 200, 201, suspendedShown, `{"success":"Instance Suspended Successfully"}`},
		{"POST /api/instances/suspend/abc00003", object{"id": "other"}, 200, 201, suspendedShown, `{"success":"Instance Suspended Successfully"}`},
		{"POST /api/instances/unsuspend", object{"id": "abc00003"}, 200, 201, `{…"suspended":false,"success":"Instance Unsuspended Successfully"}`, `{"success":"Instance Unsuspended Successfully"}`},

		{"DELETE /api/nodes/delete", object{"nodeId": "rack1"}, 400, 400, `{"error":"There are instances on the node","details":"Unikernel user-1/my-server-… is declared on it"}`, ""},
		{"DELETE /api/instance/delete", object{}, 400, 400, `{"error":"Missing ID parameter"}`, ""},
		{"DELETE /api/instance/delete", object{"id": "abc00003"}, 201, 200, deletedShown, ""},
		{"DELETE /api/instance/delete", object{"id": "abc00003"}, 400, 404, noInstance, ""},
		{"GET /api/instances", nil, 200, 200, `[]`, ""},

		{"POST /api/nodes/create", newNode("port", "0"), 400, 400, `{"error":"Invalid port"}`, ""},
		{"POST /api/nodes/create", newNode("port", 65536), 400, 400, `{"error":"Invalid port"}`, ""},
		{"POST /api/nodes/create", newNode("address", "a host"), 400, 400, `{"error":"Invalid address","details":…}`, ""},
		{"POST /api/nodes/create", newNode("ram", []string{"8"}), 400, 400, `{"error":"Missing parameters"}`, ""},
		{"POST /api/nodes/create", newNode(), 201, 201, `{"Message":{"id":"…","name":"rack 1","tags":"a - b","ram":"8","disk":"40","processor":"AMD EPYC","address":"192.0.2.7","port":"1025","status":"Unconfigured","versionFamily":1}}`, ""},
		{"POST /api/nodes/create", newNode("tags", []string{"a", "b"}), 201, 201, `{"Message":{"id":"…","name":"rack 1","tags":["a","b"],…}}`, ""},
		{"DELETE /api/nodes/delete", object{}, 400, 200, `{"error":"The node ID was invalid"}`, ""},
		{"DELETE /api/nodes/delete", object{"nodeId": "none"}, 400, 201, `{"error":"The node ID was invalid"}`, `{"Message":"The node has successfully deleted."}`},
		{"DELETE /api/nodes/delete", object{"nodeId": "rack-1"}, 201, 201, `{"Message":"The node has successfully deleted."}`, ""},
		{"GET /api/nodes", nil, 200, 200, `[{…"name":"rack1",…},{…"name":"rack 1",…}]`, ""},
		{"POST /api/instances/deploy", newInstance(), 201, 201, deployedShown, ""},
		{"DELETE /api/nodes/delete?deleteinstances=1", object{"nodeId": "rack1"}, 400, 400, `{"error":"There are instances on the node","details":…}`, ""},
		{"DELETE /api/nodes/delete?deleteinstances=true", object{"nodeId": "rack1"}, 201, 201, `{"Message":"The node has successfully deleted."}`, ""},
		{"GET /api/instances", nil, 200, 200, `[]`, ""},
	}
}

// TestCalls has the documented calls in both profiles.
func TestCalls(t *testing.T) {
	for _, profile := range []panel.Profile{panel.Documented, panel.Source} {
		t.Run(string(profile), func(t *testing.T) {
			g := newRig(t, inProfile(profile))
			g.addNode("rack1")
			g.addImage("hello", "registry.example.org/hello:1")
			// Of the instance that a step makes.
			id := theID
			with := func(text string) string { return strings.ReplaceAll(text, theID, id) }
			for _, s := range steps() {
				status, body := s.documented, s.body
				if profile == panel.Source {
					if status = s.source; s.sourceBody != "" {
						body = s.sourceBody
					}
				}
				a := ask{call: with(s.call), key: adminKey, kind: "application/json"}
				if s.json != nil {
					a.body = with(encode(t, s.json))
				}
				h := g.send(a)
				if len(g.unikernels) > 0 {
					id = string(g.unikernels[0].UID[:8])
				}
				if !h.is(status, with(body)) {
					t.Errorf("%s %v: %d %s, want %d %s", s.call, s.json, h.status, h.body, status, with(body))
				}
			}
		})
	}
}

// TestMissing leaves out, empties and nulls each required parameter.
func TestMissing(t *testing.T) {
	g := newRig(t)
	g.addNode("rack1")
	g.addImage("hello", "registry.example.org/hello:1")
	g.addUser("42")
	for call, of := range map[string]struct {
		whole func(...any) object
		text  string
	}{
		"POST /api/users/create":     {newUser, "Username, email, and password are required"},
		"POST /api/nodes/create":     {newNode, "Missing parameters"},
		"POST /api/instances/deploy": {newInstance, "Missing required parameters"},
	} {
		for name := range of.whole() {
			for _, value := range []any{absent, "", nil, false, 0} {
				if name == "primary" && value != absent {
					continue
				}
				if h := g.do(call, of.whole(name, value)); !h.is(400, `{"error":"`+of.text+`"}`) {
					t.Errorf("%s with %s %v: %d %s", call, name, value, h.status, h.body)
				}
			}
		}
	}
	if len(g.made)+len(g.deployed)+len(g.fallbacks) > 0 {
		t.Error("something was made")
	}
}

// described gives all calls of the description.
func described(t testing.TB) (all []string) {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(openapi.Document)
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			if slices.Contains(operation.Tags, "panel") {
				all = append(all, method+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestEveryRouteIsDescribed compares the description with what is served.
func TestEveryRouteIsDescribed(t *testing.T) {
	var want []string
	for _, call := range described(t) {
		method, path, _ := strings.Cut(call, " ")
		want = append(want, method+" "+strings.ToLower(path))
	}
	slices.Sort(want)
	if served := newWorld().face(logr.Discard()).Routes(); !slices.Equal(served, want) {
		t.Errorf("served    %v\ndescribed %v", served, want)
	}
}

// TestKeys has every call with every key that does not count: nothing is done, and
// a user's key is as bad as none.
func TestKeys(t *testing.T) {
	g := newRig(t)
	g.addNode("rack1")
	g.addImage("hello", "registry.example.org/hello:1")
	g.addUser("42")
	for _, call := range described(t) {
		call = strings.ReplaceAll(call, "{id}", "abc00003")
		for _, bad := range []string{"bad", userKey, adminKey + "x", adminKey + ", " + adminKey, strings.Repeat("x", 10_000)} {
			if h := g.send(ask{call: call, key: bad, json: newInstance("nodeId", "rack1", "id", "x")}); !h.is(401, `{"error":"API Key Invalid"}`) {
				t.Errorf("%s with %.50q: %d %s", call, bad, h.status, h.body)
			}
		}
		if h := g.send(ask{call: call, body: "{"}); !h.is(401, `{"error":"API key is required"}`) {
			t.Errorf("%s without a key: %d %s", call, h.status, h.body)
		}
		request := ask{call: call + "?x-api-key=" + adminKey}.request(t, g.url)
		request.Header.Set("Authorization", "Bearer "+adminKey)
		if response, err := g.client.Do(request); err != nil || response.StatusCode != 401 {
			t.Errorf("%s with a key elsewhere: %v", call, err)
		} else {
			response.Body.Close()
		}
	}
	for _, tt := range []struct {
		gate   error
		status int
		body   string
	}{
		{accounts.ErrExpiredToken, 401, `{"error":"API Key Invalid"}`},
		{accounts.ErrInactive, 401, `{"error":"API Key Invalid"}`},
		{accounts.ErrNotReady, 503, `{"error":"The server is starting"}`},
		{errSecret, 500, `{"error":"Failed to validate API key"}`},
	} {
		g.gate = tt.gate
		if h := g.do("GET /api/users", nil); !h.is(tt.status, tt.body) {
			t.Errorf("%v: %d %s", tt.gate, h.status, h.body)
		}
	}
	if len(g.made)+len(g.deployed)+len(g.fallbacks) > 0 {
		t.Error("something was made")
	}
}

// TestFailures has the objects behind the API fail: each call says its own text and
// nothing that only the log should have.
func TestFailures(t *testing.T) {
	g := newRig(t)
	g.failure = errSecret
	texts := map[string]string{
		"GET /api/users": "Failed to retrieve users", "POST /api/getUser": "Failed to retrieve user", "POST /api/users/create": "Failed to create user",
		"POST /api/auth/create-user": "Failed to create user", "GET /api/instances": "Failed to retrieve instances", "POST /api/getInstance": "Failed to retrieve instance",
		"POST /api/getUserInstance": "Failed to retrieve user instances", "POST /api/instances/deploy": "Failed to create container",
		"DELETE /api/instance/delete": "Failed to delete instance", "GET /api/images": "Failed to retrieve images", "GET /api/nodes": "Failed to retrieve nodes",
		"POST /api/nodes/create": "Failed to create node", "DELETE /api/nodes/delete": "Failed to delete node",
		"POST /api/instances/suspend/{id}":   "An error occurred while suspending the instance",
		"POST /api/instances/unsuspend/{id}": "An error occurred while unsuspending the instance",
		"POST /api/instances/suspend":        "An error occurred while suspending the instance",
		"POST /api/instances/unsuspend":      "An error occurred while unsuspending the instance",
	}
	whole := newInstance("type", "email", "value", "x", "username", "u", "email", "e@x", "password", "pw", "userId", "1", "id", "1")
	maps.Copy(whole, newNode("nodeId", "rack1"))
	for _, call := range described(t) {
		if call == "GET /api/name" {
			continue
		}
		if h := g.do(call, whole); !h.is(500, `{"error":"`+texts[call]+`","details":"an internal error (request …)"}`) {
			t.Errorf("%s: %d %s", call, h.status, h.body)
		}
	}
	if !strings.Contains(g.log.text(), errSecret.Error()) {
		t.Error("the log says nothing")
	}
	g.failure = accounts.ErrNotReady
	if h := g.do("GET /api/users", nil); !h.is(503, `{"error":"The server is starting"}`) || h.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", h.status, h.body)
	}
}

type secretError struct{}

func (secretError) Error() string { return "dial 10.0.0.1: the password is hunter2" }

var errSecret = secretError{}

// TestBroken has a part panic: the caller gets JSON and the number of the request.
func TestBroken(t *testing.T) {
	g := newRig(t, func(o *panel.Options) { o.Images = nil })
	if h := g.do("GET /api/images", nil); !h.is(500, `{"error":"Failed to retrieve images","details":"an internal error (request …)"}`) {
		t.Errorf("%d %s", h.status, h.body)
	}
}

// TestMadeOtherwise shows and deletes what kubectl made.
func TestMadeOtherwise(t *testing.T) {
	g := newRig(t)
	node := g.addNode("rack1")
	g.addUser("alice")
	uk := v1alpha1.Unikernel{}
	uk.Namespace, uk.Name, uk.UID = "alice", "web", "0a1b2c3d-0000-4000-8000-000000000001"
	uk.Spec.InstanceRef.Name = "rack1"
	uk.Spec.Image = &v1alpha1.ImageSource{}
	uk.Spec.Image.URL = "https://example.org/web.hvt"
	foreign := *uk.DeepCopy()
	foreign.Namespace, foreign.UID, foreign.Spec.InstanceRef.Name = "default", "ffffffff-0000-4000-8000-000000000002", "gone"
	g.unikernels = []v1alpha1.Unikernel{uk, foreign}
	shown := `{"Name":"web","Id":"0a1b2c3d","Node":{"id":"` + node + `",…},"User":"alice","InternalState":"INSTALLING","VolumeId":"0a1b2c3d","Memory":32,"Cpu":1,` +
		`"Ports":"","Primary":"","Image":"https://example.org/web.hvt","AltImages":[],"Env":[],"suspended":false}`
	for _, id := range []string{"0a1b2c3d", string(uk.UID), "alice/web"} {
		if h := g.do("POST /api/getInstance", object{"id": id}); !h.is(200, shown) {
			t.Errorf("%s: %d %s", id, h.status, h.body)
		}
	}
	if h := g.do("POST /api/getInstance", object{"id": "default/web"}); !h.is(200, `{"Name":"web","Id":"ffffffff","Node":null,"User":"",…}`) {
		t.Errorf("%d %s", h.status, h.body)
	}
	for _, id := range []string{"", "/", "alice/", "/web", "alice/web/x", "0A1B2C3D", "0a1b2c3", "web"} {
		if h := g.do("POST /api/instances/suspend/"+id, nil); h.status != 400 {
			t.Errorf("%q: %d %s", id, h.status, h.body)
		}
	}
	if h := g.do("POST /api/instances/suspend/alice%2Fweb", nil); h.status != 200 {
		t.Errorf("%d %s", h.status, h.body)
	}
	if h := g.do("DELETE /api/instance/delete?id=0a1b2c3d", nil); h.status != 201 || len(g.unikernels) != 1 {
		t.Errorf("%d %s", h.status, h.body)
	}
}

// TestClash has two unikernels whose uids begin the same: only their whole uids and
// their names find them.
func TestClash(t *testing.T) {
	g := newRig(t)
	for _, name := range []string{"one", "two"} {
		uk := v1alpha1.Unikernel{}
		uk.Namespace, uk.Name, uk.UID = "alice", name, types.UID("0a1b2c3d-0000-4000-8000-000000000"+name)
		g.unikernels = append(g.unikernels, uk)
	}
	several := `{"error":"Instance not found","details":"Several instances have this id; name one by its uid or by namespace/name"}`
	for _, call := range []string{"POST /api/getInstance", "DELETE /api/instance/delete", "POST /api/instances/suspend"} {
		if h := g.do(call, object{"id": "0a1b2c3d"}); !h.is(400, several) {
			t.Errorf("%s: %d %s", call, h.status, h.body)
		}
	}
	if h := g.do("POST /api/getInstance", object{"id": "alice/two"}); !h.is(200, `{"Name":"two","Id":"0a1b2c3d",…}`) {
		t.Errorf("%d %s", h.status, h.body)
	}
	if h := g.do("DELETE /api/instance/delete", object{"id": string(g.unikernels[0].UID)}); h.status != 201 || g.unikernels[0].Name != "two" {
		t.Errorf("%d %s", h.status, h.body)
	}
}

// TestUsersInOrder are listed as they were made, whatever their objects are called.
func TestUsersInOrder(t *testing.T) {
	g := newRig(t)
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, id := range []string{"c", "a", "b"} {
		g.addUser(id)
		g.users[len(g.users)-1].CreatedAt = made.Add(time.Duration(-i) * time.Second)
	}
	if h := g.do("GET /api/users", nil); !h.is(200, `[{"userId":"b",…},{"userId":"a",…},{"userId":"c",…}]`) {
		t.Errorf("%d %s", h.status, h.body)
	}
}

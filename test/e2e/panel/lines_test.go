package panel_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestProfiles proves each profile on a site of its own.
func TestProfiles(t *testing.T) {
	for _, profile := range []string{documented, source} {
		t.Run(profile, func(t *testing.T) {
			args := []string{"--panel-profile", profile}
			if profile == documented {
				args = nil // It is the default.
			}
			p := newPanel(t, profile, args...)
			p.part("Lines", (*panel).lines)
			p.part("Table", (*panel).table)
			p.part("Habits", (*panel).habits)
			p.part("Requests", (*panel).requests)
			p.part("Objects", (*panel).objects)
			p.check("no secret in any reply", func(p *panel) { p.secretsStaySecret(panelPasswords...) })
		})
	}
}

// panelPasswords are those that the tests send.
var panelPasswords = []string{"pw-of-bob", "pw-of-somebody", "pw-of-discord"}

// The objects that stand for what the lines of the facts speak of.
const (
	bob  = `{"username":"bob","email":"b@x","password":"pw"}`
	node = `{"name":"Rack 1","tags":"Tag 1 - Tag 2","ram":"8","disk":"40","processor":"AMD EPYC 9454 - 16 Threads","address":"<host>","port":"<port>"}`
	// deployed has the documented fields as strings.
	deployed  = `{"image":"hello","memory":"32","cpu":"1","ports":"8080:80","nodeId":"<node>","name":"web","user":"<bob>","primary":"8080"}`
	initiated = `{"message":"Container creation initiated. State will be updated asynchronously.","volumeId":"<web=hex8>","state":"INSTALLING"}`
)

// without is a JSON object without a field.
func without(object, field string) string {
	return edited(object, func(fields map[string]any) { delete(fields, field) })
}

// replaced is a JSON object with another value of a field.
func replaced(object, field string, value any) string {
	return edited(object, func(fields map[string]any) { fields[field] = value })
}

func edited(object string, edit func(map[string]any)) string {
	var fields map[string]any
	if err := json.Unmarshal([]byte(object), &fields); err != nil {
		panic(err)
	}
	edit(fields)
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // <node> stays so
	if err := encoder.Encode(fields); err != nil {
		panic(err)
	}
	return text.String()
}

// line is one of the checks that the facts demand of the documented profile.
type line struct {
	// name is the line as it is there.
	name string
	request
	status int
	like   string
	// What is another in the source profile; 0 and "" when it is the same.
	sourceStatus int
	sourceLike   string
}

func (p *panel) all(lines []line) {
	for _, l := range lines {
		p.check(l.name, func(p *panel) {
			status, like := l.in(p.profile)
			p.want(l.method+" "+l.path+" "+l.body, p.ask(l.request), status, like)
		})
	}
}

// in is what is to come in a profile.
func (l line) in(profile string) (status int, like string) {
	if profile != source {
		return l.status, l.like
	}
	return cmp.Or(l.sourceStatus, l.status), cmp.Or(l.sourceLike, l.like)
}

// lines are the checks that the facts name, from an empty site on.
func (p *panel) lines() {
	h := p.newHost()
	p.known["host"], p.known["port"] = h.address, h.port
	p.all(emptyLines)
	p.all(userLines)
	p.all(nodeLines())
	images := p.serveImages()
	p.catalog("hello", images.url, images.digest)
	release := images.hold()
	p.check("a node with credentials and a policy is Online", func(p *panel) { p.admit(h, "<node>") })
	p.all(deployLines())
	release()
	p.check("a deployed instance becomes READY", func(p *panel) { p.becomes("<web>", "READY") })
	p.all(endLines)
	p.check("getUser shows no password", func(p *panel) {
		got := p.post("/api/getUser", `{"type":"username","value":"bob"}`)
		var user map[string]any
		if err := json.Unmarshal([]byte(got.text), &user); err != nil {
			p.Fatal(err)
		}
		for _, field := range []string{"password", "resetToken", "twoFASecret", "twoFAEnabled", "verificationToken"} {
			if value, found := user[field]; found {
				p.Errorf("%s is %v", field, value)
			}
		}
	})
}

var (
	emptyLines = []line{
		{name: `GET /api/users no header 401`, request: request{http.MethodGet, "/api/users", "", withKey("")}, status: 401, like: `{"error":"API key is required"}`},
		{name: `GET /api/users x-api-key: bad 401`, request: request{http.MethodGet, "/api/users", "", withKey("bad")}, status: 401, like: `{"error":"API Key Invalid"}`},
		// Somebody has the key: one user there always is.
		{name: `GET /api/users K, empty 200`, request: request{method: http.MethodGet, path: "/api/users"}, status: 200,
			like: `[{"userId":"<admin=uuid>","username":"admin","email":"admin@example.org","accessTo":[],"admin":true...}]`},
		{name: `GET /api/instances K, empty 200`, request: request{method: http.MethodGet, path: "/api/instances"}, status: 200, like: `[]`},
		{name: `GET /api/images K, empty 200`, request: request{method: http.MethodGet, path: "/api/images"}, status: 200, like: `[]`},
		{name: `GET /api/nodes K, empty 200`, request: request{method: http.MethodGet, path: "/api/nodes"}, status: 200, like: `[]`},
	}

	userLines = []line{
		post(`POST /api/getUser {} 400`, "/api/getUser", `{}`, 400, `{"error":"Type and value are required"}`),
		post(`POST /api/getUser type id 400`, "/api/getUser", `{"type":"id","value":"x"}`, 400, `{"error":"Invalid search type. Use \"email\" or \"username\"."}`),
		post(`POST /api/getUser email none 400`, "/api/getUser", `{"type":"email","value":"none"}`, 400, `{"error":"User not found"}`).inSource(404),
		post(`POST /api/users/create 201`, "/api/users/create", bob, 201, `{"userId":"<bob=uuid>","username":"bob","email":"b@x","admin":false}`),
		post(`POST /api/users/create same again 409`, "/api/users/create", bob, 409, `{"error":"User already exists"}`),
		post(`POST /api/users/create without password 400`, "/api/users/create", without(bob, "password"), 400, `{"error":"Username, email, and password are required"}`),
		post(`POST /api/users/create admin "true" 201 admin false`, "/api/users/create", `{"username":"eve","email":"eve@x","password":"pw","admin":"true"}`, 201,
			`{"userId":"<uuid>","username":"eve","email":"eve@x","admin":false}`),
		post(`POST /api/auth/create-user 201`, "/api/auth/create-user", `{"username":"bob2","email":"b2@x","password":"pw"}`, 201,
			`{"userId":"<uuid>","username":"bob2","email":"b2@x","admin":false}`),
		post(`POST /api/auth/create-user same again 409`, "/api/auth/create-user", bob, 409, `{"error":"User already exists"}`),
		post(`POST /api/auth/create-user without password 400`, "/api/auth/create-user", without(bob, "password"), 400, `{"error":"Username, email, and password are required"}`),
		post(`POST /api/auth/create-user admin "true" 201 admin false`, "/api/auth/create-user", `{"username":"mallory","email":"m@x","password":"pw","admin":"true"}`, 201,
			`{"userId":"<uuid>","username":"mallory","email":"m@x","admin":false}`),
		post(`POST /api/getUser username bob 201`, "/api/getUser", `{"type":"username","value":"bob"}`, 201, `{"userId":"<bob>","username":"bob","email":"b@x","accessTo":[],"admin":false...}`).inSource(200),
		post(`POST /api/getUser email b@x 201`, "/api/getUser", `{"type":"email","value":"b@x"}`, 201, `{"userId":"<bob>",...}`).inSource(200),
	}

	endLines = []line{
		post(`POST /api/getUserInstance 200`, "/api/getUserInstance", `{"userId":"<bob>"}`, 200, `[{"Name":"web",...},{"Name":"web",...}]`),
		post(`POST /api/getUserInstance unknown 400`, "/api/getUserInstance", `{"userId":"nobody"}`, 400, `{"error":"User not found"}`).inSource(404),
		post(`POST /api/getUserInstance {} 400`, "/api/getUserInstance", `{}`, 400, `{"error":"Parameter \"userId\" is required"}`),
		post(`POST /api/instances/suspend/<id> 200 suspended true`, "/api/instances/suspend/<web>", ``, 200,
			`{"Name":"web",..."Id":"<web>",..."suspended":true..."success":"Instance Suspended Successfully"}`).inSource(201, `{"success":"Instance Suspended Successfully"}`),
		post(`POST /api/instances/suspend unknown 400`, "/api/instances/suspend/00000000", ``, 400, `{"error":"Instance not found"}`).inSource(404),
		post(`POST /api/instances/unsuspend/<id> 200 suspended false`, "/api/instances/unsuspend/<web>", `{"id":"<web>"}`, 200,
			`{"Name":"web",..."Id":"<web>",..."suspended":false..."success":"Instance Unsuspended Successfully"}`).inSource(201, `{"success":"Instance Unsuspended Successfully"}`),
		post(`POST /api/instances/unsuspend unknown 400`, "/api/instances/unsuspend/00000000", ``, 400, `{"error":"Instance not found"}`).inSource(404),
		remove(`DELETE /api/instance/delete 201`, "/api/instance/delete", `{"id":"<web>"}`, 201, `{"message":"The instance has been successfully deleted."}`).inSource(200),
		remove(`DELETE /api/instance/delete again 400`, "/api/instance/delete", `{"id":"<web>"}`, 400, `{"error":"Instance not found"}`).inSource(404),
		remove(`DELETE /api/instance/delete {} 400`, "/api/instance/delete", `{}`, 400, `{"error":"Missing ID parameter"}`),
		remove(`DELETE /api/instance/delete of the second 201`, "/api/instance/delete", `{"id":"<web2>"}`, 201, `{"message":"The instance has been successfully deleted."}`).inSource(200),
		remove(`DELETE /api/nodes/delete 201`, "/api/nodes/delete", `{"nodeId":"<node>"}`, 201, `{"Message":"The node has successfully deleted."}`),
		remove(`DELETE /api/nodes/delete {} 400`, "/api/nodes/delete", `{}`, 400, `{"error":"The node ID was invalid"}`).inSource(200),
	}
)

func nodeLines() (lines []line) {
	for _, field := range []string{"name", "tags", "ram", "disk", "processor", "address", "port"} {
		lines = append(lines, post(`POST /api/nodes/create minus `+field+` 400`, "/api/nodes/create", without(node, field), 400, `{"error":"Missing parameters"}`))
	}
	return append(lines, post(`POST /api/nodes/create full 201`, "/api/nodes/create", node, 201,
		`{"Message":{"id":"<node=uuid>","name":"Rack 1","tags":"Tag 1 - Tag 2","ram":"8","disk":"40","processor":"AMD EPYC 9454 - 16 Threads","address":"<host>","port":"<port>",..."status":"Unconfigured"...}}`))
}

func deployLines() (lines []line) {
	for _, field := range []string{"image", "memory", "cpu", "ports", "nodeId", "name", "user", "primary"} {
		lines = append(lines, post(`POST /api/instances/deploy minus `+field+` 400`, "/api/instances/deploy", without(deployed, field), 400, `{"error":"Missing required parameters"}`))
	}
	return append(lines,
		post(`POST /api/instances/deploy nodeId unknown 400`, "/api/instances/deploy", replaced(deployed, "nodeId", "nowhere"), 400, `{"error":"Invalid node"}`).inSource(404),
		post(`POST /api/instances/deploy documented fields, strings 201`, "/api/instances/deploy", deployed, 201, initiated),
		post(`POST /api/instances/deploy documented fields, numbers 201`, "/api/instances/deploy",
			`{"image":"hello","memory":32,"cpu":1,"ports":"8081:81","nodeId":"<node>","name":"web","user":"<bob>","primary":8081}`, 201,
			`{"message":"Container creation initiated. State will be updated asynchronously.","volumeId":"<web2=hex8>","state":"INSTALLING"}`),
		post(`POST /api/getInstance 200 INSTALLING`, "/api/getInstance", `{"id":"<web>"}`, 200,
			`{"Name":"web","Id":"<web>","Node":{"id":"<node>",...},"User":"<bob>","InternalState":"INSTALLING",..."VolumeId":"<web>","Memory":32,"Cpu":1,"Ports":"8080:80","Primary":"8080","Image":"hello",...}`),
		post(`POST /api/getInstance of numbers 200`, "/api/getInstance", `{"id":"<web2>"}`, 200, `{"Name":"web","Id":"<web2>",..."Memory":32,"Cpu":1,"Ports":"8081:81","Primary":"8081",...}`),
	)
}

func post(name, path, body string, status int, like string) line {
	return line{name: name, request: request{method: http.MethodPost, path: path, body: body}, status: status, like: like}
}

func remove(name, path, body string, status int, like string) line {
	return line{name: name, request: request{method: http.MethodDelete, path: path, body: body}, status: status, like: like}
}

// inSource has what is another in the source profile: the status, or the body too.
func (l line) inSource(status int, like ...string) line {
	l.sourceStatus, l.sourceLike = status, strings.Join(like, "")
	return l
}

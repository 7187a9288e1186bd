package panel_test

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// row is a row of the facts' table: what the documents, the source and the proposal have for a route, and what brings each reply of
// the proposal about. A reply of 500 needs a broken control plane; the tests of the package have those.
type row struct {
	route, doc003, doc004, source, proposal string
	// documented and inSource are the statuses of the proposal in the two profiles.
	documented, inSource []int
	lines                []line
}

const (
	rowNode = `{"name":"table","tags":"a - b","ram":"8","disk":"40","processor":"x","address":"<host>","port":"<port>"}`
	rowWeb  = `{"image":"hello","memory":"16","cpu":"1","ports":"80:80","nodeId":"<table>","name":"row","user":"<bob>","primary":"80"}`
	same    = "same"
)

func numbered(name string) string { return strings.Replace(initiated, "web=", name+"=", 1) }

// rows are in the order of the facts.
var rows = []row{
	{"GET /api/users", "200, 500", same, "200 whole users, 500", "200 list of User, redacted; 500", []int{200}, []int{200}, []line{
		{name: "list", request: request{method: http.MethodGet, path: "/api/users"}, status: 200, like: `[...{"userId":"<bob>",...}...]`},
	}},
	{"POST /api/getUser", "201, 400, 500", same, "200, 400, 404, 500", "found 201/200; not found 400/404", []int{201, 400}, []int{200, 400, 404}, []line{
		post("found", "/api/getUser", `{"type":"username","value":"bob"}`, 201, `{"userId":"<bob>",...}`).inSource(200),
		post("not found", "/api/getUser", `{"type":"username","value":"BOB"}`, 400, `{"error":"User not found"}`).inSource(404),
		post("missing", "/api/getUser", `{"type":"username","value":""}`, 400, `{"error":"Type and value are required"}`),
	}},
	{"POST /api/users/create", "201, 400, 409, 500", "-", "no such route (404 HTML)", "alias of the next: 201; 400; 409", []int{201, 400, 409}, []int{201, 400, 409}, []line{
		post("made", "/api/users/create", `{"username":"row1","email":"row1@x","password":"pw-of-somebody","userId":"row-1","admin":false}`, 201, `{"userId":"row-1","username":"row1","email":"row1@x","admin":false}`),
		post("the name is taken", "/api/users/create", `{"username":"row1","email":"row1b@x","password":"pw-of-somebody"}`, 409, `{"error":"User already exists"}`),
		post("missing", "/api/users/create", `{"username":"row3","email":"row3@x"}`, 400, `{"error":"Username, email, and password are required"}`),
	}},
	{"POST /api/auth/create-user", "-", "201, 400, 409, 500", "201, 400, 409, 500", "201; 400; 409 (also userId); User + Secret", []int{201, 400, 409}, []int{201, 400, 409}, []line{
		post("made", "/api/auth/create-user", `{"username":"row2","email":"row2@x","password":"pw-of-somebody","userId":"row-2","admin":true}`, 201, `{"userId":"row-2","username":"row2","email":"row2@x","admin":true}`),
		post("the userId is taken", "/api/auth/create-user", `{"username":"row4","email":"row4@x","password":"pw-of-somebody","userId":"row-2"}`, 409, `{"error":"User already exists"}`),
		post("the email is taken", "/api/auth/create-user", `{"username":"row5","email":"row2@x","password":"pw-of-somebody"}`, 409, `{"error":"User already exists"}`),
		post("missing", "/api/auth/create-user", `{}`, 400, `{"error":"Username, email, and password are required"}`),
	}},
	{"POST /api/auth/reset-password", "-", "-", "200 token in body, 404, 500", "leave out: 404", []int{404}, []int{404}, []line{
		post("not there", "/api/auth/reset-password", `{"email":"b@x"}`, 404, `{"error":"Not found"}`),
	}},
	{"GET /api/instances", "200, 500", same, "200, 500", "200 list of Unikernel", []int{200}, []int{200}, []line{
		{name: "list", request: request{method: http.MethodGet, path: "/api/instances"}, status: 200, like: `[...]`},
	}},
	{"POST /api/instances/deploy", "201, 400, 500; 8 fields", "+ `variables`", "201, 400, 404 node, 500; + `imagename` required",
		"201; 400; unknown node 400/404, unknown image 400; `imagename` optional; creates Unikernel", []int{201, 400}, []int{201, 400, 404}, []line{
			post("deployed without imagename", "/api/instances/deploy", rowWeb, 201, numbered("row1")),
			post("deployed with imagename and variables", "/api/instances/deploy", replaced(replaced(rowWeb, "imagename", "whatever"), "variables", map[string]string{}), 201, numbered("row2")),
			post("missing", "/api/instances/deploy", without(rowWeb, "memory"), 400, `{"error":"Missing required parameters"}`),
			post("unknown node", "/api/instances/deploy", replaced(rowWeb, "nodeId", "00000000-0000-4000-8000-000000000000"), 400, `{"error":"Invalid node"}`).inSource(404),
			post("unknown image", "/api/instances/deploy", replaced(rowWeb, "image", "nothing"), 400, `{"error":"Invalid image"}`),
			post("unknown user", "/api/instances/deploy", replaced(rowWeb, "user", "nobody"), 400, `{"error":"User not found"}`),
			post("memory", "/api/instances/deploy", replaced(rowWeb, "memory", "much"), 400, `{"error":"Invalid memory"...}`),
			post("cpu", "/api/instances/deploy", replaced(rowWeb, "cpu", "-1"), 400, `{"error":"Invalid cpu"...}`),
			post("ports", "/api/instances/deploy", replaced(rowWeb, "ports", "80:80,80:81"), 400, `{"error":"Invalid ports"...}`),
		}},
	{"DELETE /api/instance/delete", "201, 400, 500", same, "200, 400, 404, 500", "201/200; not found 400/404; deletes the CR, keeps Volumes", []int{201, 400}, []int{200, 400, 404}, []line{
		remove("deleted", "/api/instance/delete", `{"id":"<row1>"}`, 201, `{"message":"The instance has been successfully deleted."}`).inSource(200),
		remove("not found", "/api/instance/delete", `{"id":"<row1>"}`, 400, `{"error":"Instance not found"}`).inSource(404),
		remove("missing", "/api/instance/delete", ``, 400, `{"error":"Missing ID parameter"}`),
	}},
	{"POST /api/getUserInstance", "200, 400, 500", same, "200, 400, 404, 500", "200; not found 400/404", []int{200, 400}, []int{200, 400, 404}, []line{
		post("found", "/api/getUserInstance", `{"userId":"<bob>"}`, 200, `[{"Name":"row",..."Id":"<row2>",...}]`),
		post("none", "/api/getUserInstance", `{"userId":"row-1"}`, 200, `[]`),
		post("not found", "/api/getUserInstance", `{"userId":"nobody"}`, 400, `{"error":"User not found"}`).inSource(404),
		post("missing", "/api/getUserInstance", ``, 400, `{"error":"Parameter \"userId\" is required"}`),
	}},
	{"POST /api/getInstance", "200, 400, 500", same, "200, 400, 404, 500", "200; not found 400/404", []int{200, 400}, []int{200, 400, 404}, []line{
		post("found", "/api/getInstance", `{"id":"<row2>"}`, 200, `{"Name":"row",..."Id":"<row2>",...}`),
		post("not found", "/api/getInstance", `{"id":"<row1>"}`, 400, `{"error":"Instance not found"}`).inSource(404),
		post("missing", "/api/getInstance", `{"id":null}`, 400, `{"error":"Parameter \"id\" is required"}`),
	}},
	{"POST /api/instances/suspend/:id", "-", "200, 400, 500", "500 after saving -> 201 `{success}`; 404 text",
		"200/201; 400/404 JSON; `spec.suspended=true`, unikernel destroyed, CR kept", []int{200, 400}, []int{201, 404}, []line{
			post("suspended", "/api/instances/suspend/<row2>", ``, 200, `{"Name":"row",..."suspended":true..."success":"Instance Suspended Successfully"}`).inSource(201, `{"success":"Instance Suspended Successfully"}`),
			post("not found", "/api/instances/suspend/<row1>", `{"id":"<row2>"}`, 400, `{"error":"Instance not found"}`).inSource(404),
		}},
	{"POST /api/instances/unsuspend/:id", "-", "200, 400, 500 (twice)", "500 after saving -> 201 `{success}`; 404 text", "200/201; 400/404 JSON; `spec.suspended=false`", []int{200, 400}, []int{201, 404}, []line{
		post("unsuspended", "/api/instances/unsuspend/<row2>", ``, 200, `{"Name":"row",..."suspended":false..."success":"Instance Unsuspended Successfully"}`).inSource(201, `{"success":"Instance Unsuspended Successfully"}`),
		post("not found", "/api/instances/unsuspend/<row1>", `{"id":"<row2>"}`, 400, `{"error":"Instance not found"}`).inSource(404),
	}},
	{"GET /api/images", "200, 500", same, "200, 500", "200 list of the catalogue", []int{200}, []int{200}, []line{
		{name: "list", request: request{method: http.MethodGet, path: "/api/images"}, status: 200, like: `[{"Id":"<uuid>","Name":"hello","Image":"hello",...}]`},
	}},
	{"GET /api/name", "-", "-", "200 `{name}`, 500", "200 `{\"name\":<flag>}`", []int{200}, []int{200}, []line{
		{name: "name", request: request{method: http.MethodGet, path: "/api/name"}, status: 200, like: `{"name":"Mollymawk"}`},
	}},
	{"GET /api/nodes", "200, 500", same, "200 with secrets, 500", "200 list of AlbatrossInstance, redacted", []int{200}, []int{200}, []line{
		{name: "list", request: request{method: http.MethodGet, path: "/api/nodes"}, status: 200, like: `[...{"id":"<table>","name":"table","tags":"a - b",..."status":"Online"...}...]`},
	}},
	{"POST /api/nodes/create", "201, 400, 500", same, "hangs -> 201 `{Message:node}`, 400", "201 `{Message:node}`; 400; creates AlbatrossInstance, credentials from a Secret", []int{201, 400}, []int{201, 400}, []line{
		post("made", "/api/nodes/create", replaced(rowNode, "name", "row"), 201, `{"Message":{"id":"<rownode=uuid>","name":"row",..."status":"Unconfigured"...}}`),
		post("missing", "/api/nodes/create", replaced(rowNode, "ram", ""), 400, `{"error":"Missing parameters"}`),
		post("port", "/api/nodes/create", replaced(rowNode, "port", "70000"), 400, `{"error":"Invalid port"...}`),
		post("address", "/api/nodes/create", replaced(rowNode, "address", "not an address"), 400, `{"error":"Invalid address"...}`),
	}},
	{"DELETE /api/nodes/delete", "201, 400, 500", same, "201 even if unknown; missing 200 text", "201; missing, unknown or in use 400 (source profile: 200 text, 201, 400)", []int{201, 400}, []int{200, 201, 400}, []line{
		remove("missing", "/api/nodes/delete", ``, 400, `{"error":"The node ID was invalid"}`).inSource(200),
		remove("in use", "/api/nodes/delete", `{"nodeId":"<table>"}`, 400, `{"error":"There are instances on the node"...}`),
		remove("deleted", "/api/nodes/delete", `{"nodeId":"<rownode>"}`, 201, `{"Message":"The node has successfully deleted."}`),
		remove("unknown", "/api/nodes/delete", `{"nodeId":"<rownode>"}`, 400, `{"error":"The node ID was invalid"}`).inSource(201, `{"Message":"The node has successfully deleted."}`),
		remove("in use after all", "/api/nodes/delete?deleteinstances=false", `{"nodeId":"<table>"}`, 400, `{"error":"There are instances on the node"...}`),
		remove("with its instances", "/api/nodes/delete?deleteinstances=true", `{"nodeId":"<table>"}`, 201, `{"Message":"The node has successfully deleted."}`),
	}},
}

// table proves each row on a node of its own.
func (p *panel) table() {
	h := p.newHost()
	p.known["host"], p.known["port"] = h.address, h.port
	p.want("a node", p.post("/api/nodes/create", rowNode), 201, `{"Message":{"id":"<table=uuid>",...}}`)
	p.admit(h, "<table>")
	shown := documentedStatuses(p)
	if len(shown) != len(rows) {
		p.Errorf("the document has %d calls, want %d", len(shown), len(rows))
	}
	for _, r := range rows {
		p.check(r.route, func(p *panel) { p.row(r, shown[r.route]) })
	}
	p.want("gone with its node", p.post("/api/getInstance", `{"id":"<row2>"}`), by(p, 400, 404), `{"error":"Instance not found"}`)
}

func (p *panel) row(r row, shown [2][]int) {
	seen := []int{}
	for _, l := range r.lines {
		got := p.ask(l.request)
		status, like := l.in(p.profile)
		p.want(l.name, got, status, like)
		seen = append(seen, got.status)
		if r.route == "POST /api/auth/reset-password" {
			continue // It is not there for anybody.
		}
		for key, text := range map[string]string{"": "API key is required", "bad": "API Key Invalid"} {
			refused := l.request
			refused.header = withKey(key)
			p.want(l.name+" with the key "+strconv.Quote(key), p.ask(refused), 401, `{"error":"`+text+`"}`)
		}
	}
	slices.Sort(seen)
	want := by(p, r.documented, r.inSource)
	if seen = slices.Compact(seen); !slices.Equal(seen, want) {
		p.Errorf("the replies were %v, want %v", seen, want)
	}
	if inDocument := by(p, shown[0], shown[1]); !slices.Equal(seen, inDocument) {
		p.Errorf("the document says %v, the replies were %v", inDocument, seen)
	}
	p.contract(r, seen)
}

var number = regexp.MustCompile(`\b[1-5][0-9]{2}\b`)

// contract demands that the facts know each reply: in the documented profile the documents, in the other one the source, as
// far as the route is there; otherwise the proposal.
func (p *panel) contract(r row, seen []int) {
	from := r.doc004
	if from == same || from == "+ `variables`" || from == "-" {
		from = r.doc003
	}
	if p.profile == source {
		from = r.source + r.proposal
	}
	if !number.MatchString(from) {
		from = r.source + r.proposal
	}
	for _, status := range seen {
		if !slices.Contains(number.FindAllString(from, -1), strconv.Itoa(status)) {
			p.Errorf("%d is not among %s", status, from)
		}
	}
}

var documentRow = regexp.MustCompile("(?m)^\\| `((?:GET|POST|DELETE) [^`]+)` \\| ([0-9, ]+) \\| ([0-9, ]+) \\|")

// documentedStatuses are those of the document's table: by route, in both profiles.
func documentedStatuses(p *panel) map[string][2][]int {
	p.Helper()
	all := map[string][2][]int{}
	for _, found := range documentRow.FindAllStringSubmatch(string(p.Read(documentFile)), -1) {
		var statuses [2][]int
		for i, cell := range found[2:] {
			for _, n := range number.FindAllString(cell, -1) {
				status, _ := strconv.Atoi(n)
				statuses[i] = append(statuses[i], status)
			}
		}
		all[found[1]] = statuses
	}
	return all
}

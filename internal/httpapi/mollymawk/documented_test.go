package mollymawk_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/internal/services"
)

// documented is one statement of the API's document and how to bring it about.
type documented struct {
	// section, status and text are those of the document, as in documented.txt.
	section string
	status  int
	text    string
	// before prepares; ask is the request, and data what is in the envelope.
	before func(*rig)
	ask    func(*rig) ask
	title  string
	data   string
	// stream is the whole body where there is no envelope.
	stream string
}

const (
	labelText = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"
	unknown   = "00000000-0000-4000-8000-000000000000"
	docConfig = `{
        "cpuid": 0,
        "memory": 64,
        "arguments": [],
        "fail_behaviour": "quit",
        "network_interfaces": [],
        "block_devices": []
      }`
)

// createForm is the document's, with some parts replaced; a nil value leaves
// a part out.
func createForm(changes map[string]any) []part {
	return changed([]part{
		{Name: "albatross_instance", Value: "eu-west-2"}, {Name: "unikernel_name", Value: "hello-world"}, {Name: "unikernel_force_create", Value: "false"},
		{Name: "molly_csrf", Value: "''"}, {Name: "unikernel_config", Value: docConfig}, {Name: "binary", Value: "\x7fELF", File: "hello_world.hvt"},
	}, changes)
}

// volumeForm is the document's: the data come before what they are for.
func volumeForm(changes map[string]any) []part {
	return changed([]part{
		{Name: "albatross_instance", Value: "eu-west-2"}, {Name: "block_data", Value: "hello block", File: "disk_image.img"}, {Name: "molly_csrf", Value: "''"},
		{Name: "json_data", Value: `{"block_name": "data-vol-1", "block_size": 1024, "block_compressed": false}`},
	}, changes)
}

func changed(form []part, changes map[string]any) (out []part) {
	for _, p := range form {
		value, change := changes[p.Name]
		switch v := value.(type) {
		case string:
			p.Value = v
		case nil:
			if change {
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

func named(name, instance string) map[string]any {
	return map[string]any{"name": name, "albatross_instance": instance}
}

func block(name, instance string) map[string]any {
	return map[string]any{"block_name": name, "albatross_instance": instance}
}

func download(name, instance string, level any) map[string]any {
	return map[string]any{"block_name": name, "albatross_instance": instance, "compression_level": level}
}

func login(email, password string) func(*rig) ask {
	return func(*rig) ask {
		return ask{Path: "/api/login", JSON: map[string]any{"email": email, "password": password}}
	}
}

// as gives a request of the user, with a bearer token.
func as(a ask) func(*rig) ask {
	return func(g *rig) ask {
		a.Bearer = g.user
		return a
	}
}

func asAdmin(a ask) func(*rig) ask {
	return func(g *rig) ask {
		a.Bearer = g.admin
		return a
	}
}

// Preparations.
func hello(g *rig) {
	form := createForm(nil)
	h, err := g.client.Do(ask{Path: "/api/unikernel/create", Bearer: g.user, Form: form}.Request(g.t, g.url))
	if err != nil || h.StatusCode != 200 {
		g.t.Fatal("prepare a unikernel", err)
	}
	h.Body.Close()
}

func dataVol(g *rig) { g.world.volumes["eu-west-2/user:data-vol-1"] = &volume{size: 1024} }

func offline(g *rig) { g.world.instances["eu-west-2"].online = false }

func garbled(g *rig) {
	g.world.failure = &services.Unreachable{Instance: "eu-west-2", Problem: "the host's answer is not understood: check that an Albatross of a supported version answers at this address"}
}

func broken(g *rig) { g.people.failure = errors.New("etcd: secret details") }

func TestDocumented(t *testing.T) {
	want := readDocumented(t)
	passed := 0
	for _, c := range cases() {
		key := fmt.Sprintf("%s | %d | %s", c.section, c.status, c.text)
		if !want[key] {
			t.Errorf("the document says nothing like %q", key)
		}
		delete(want, key)
		if t.Run(strings.ReplaceAll(key, "/", "_"), func(t *testing.T) { runDocumented(t, c) }) {
			passed++
		}
	}
	for key := range want {
		t.Errorf("there is no case for %q", key)
	}
	fmt.Printf("documented cases of the Mollymawk API that pass: %d of %d\n", passed, passed+len(want))
}

func readDocumented(t *testing.T) map[string]bool {
	t.Helper()
	content, err := os.ReadFile("testdata/documented.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "#") {
			all[strings.TrimSuffix(line, "\n")] = true
		}
	}
	if len(all) < 80 {
		t.Fatal("only", len(all), "statements")
	}
	return all
}

func runDocumented(t *testing.T, c documented) {
	g := newRig(t)
	if c.before != nil {
		c.before(g)
	}
	h := g.send(t, c.ask(g))
	if h.Status != c.status {
		t.Fatalf("status %d, body %s", h.Status, h.Body)
	}
	if c.stream != "" {
		if h.Body != c.stream {
			t.Errorf("got %q", h.Body)
		}
		return
	}
	title := c.title
	if title == "" {
		title = strconv.Itoa(c.status)
	}
	data := fill(g, c.data)
	if c.status != 200 || !strings.HasPrefix(data, "{") {
		data = quote(data)
	}
	want := fmt.Sprintf(`{"status":%d,"title":%s,"success":%t,"data":%s}`, c.status, quote(title), c.status == 200, data)
	if got := masked(h.Body); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if h.Header.Get("Content-Type") != "application/json" || h.Header.Get("X-Frame-Options") != "DENY" || h.Header.Get("Content-Security-Policy") != "frame-ancestors 'none'" {
		t.Errorf("headers %v", h.Header)
	}
}

// fill puts the values of this rig into what is expected.
func fill(g *rig, text string) string {
	u := g.people.users["user"]
	return strings.NewReplacer("{user-token}", g.user, "{user-uid}", string(u.UID)).Replace(text)
}

func cases() []documented {
	var all []documented
	for _, list := range [][]documented{
		loginCases(), listCases(), createCases(), targetCases("Destroy a Unikernel", "/api/unikernel/destroy", "destroyed unikernel"),
		targetCases("Restart a Unikernel", "/api/unikernel/restart", "created unikernel"), consoleCases(),
		volumeCases("Create a block device", "/api/volume/create"), volumeDeleteCases(), volumeCases("Upload Data to a block device", "/api/volume/upload"),
		downloadCases(), tokenCases(), retryCases(),
	} {
		all = append(all, list...)
	}
	return all
}

func loginCases() []documented {
	const s = "Authentication"
	const text = "This account does not exist."
	return []documented{
		{section: s, status: 200, text: "success", ask: login("user@example.com", "password123"), data: `{"name":"user","email":"user@example.com","email_verified":null,` +
			`"password":"<hidden>","uuid":"{user-uid}","tokens":[{"token_type":"Bearer","value":"{user-token}","expires_in":86400,"created_at":"2025-12-09 05:12:11-00:00",` +
			`"last_access":"2025-12-09 05:12:11-00:00","name":"ci","usage_count":0}],"cookies":[…],"created_at":"2025-12-09 05:12:11-00:00","updated_at":"2025-12-09 05:12:11-00:00",` +
			`"email_verification_uuid":null,"active":true,"super_user":false,"unikernel_updates":[],"scaling_policies":[]}`},
		{section: s, status: 400, text: "All fields must be filled.", ask: login("", "password123"), data: "All fields must be filled."},
		{section: s, status: 400, text: "Invalid email address.", ask: login("nope", "password123"), data: "Invalid email address."},
		{section: s, status: 400, text: "Password must be at least 8 characters long.", ask: login("user@example.com", "short"), data: "Password must be at least 8 characters long."},
		{section: s, status: 400, text: text, ask: login("nobody@example.com", "password123"), data: text},
		{section: s, status: 400, text: "This account is not active", before: func(g *rig) { g.people.users["user"].Active = false },
			ask: login("user@example.com", "wrong-password"), data: "This account is not active"},
		{section: s, status: 400, text: "Invalid email or password.", ask: login("user@example.com", "password124"), data: "Invalid email or password."},
		{section: s, status: 500, text: "May occur if there is a failure updating the user session in the storage backend.", before: broken,
			ask: login("user@example.com", "password123"), data: "Storage error with an internal error (request …)"},
	}
}

func listCases() []documented {
	const s = "List unikernels"
	list := ask{Path: "/api/unikernels"}
	return []documented{
		{section: s, status: 200, text: "success", before: hello, ask: as(list), title: "Unikernel Information",
			data: `{"data":[[{"name":"hello-world","fail_behaviour":"quit","cpuid":0,"cpuids":[0],"memory":64,"block_devices":[],"network_interfaces":[],"arguments":[],` +
				`"numcpus":1,"linux_boot_partition":null}]],"errors":[]}`},
		{section: s, status: 400, text: "Token value is not valid <token>", ask: func(*rig) ask { return ask{Path: "/api/unikernels", Bearer: unknown} },
			data: "Token value is not valid " + unknown},
		{section: s, status: 400, text: "User account is deactivated", before: func(g *rig) { g.people.users["user"].Active = false }, ask: as(list), data: "User account is deactivated"},
		{section: s, status: 500, text: "May occur if the server encounters an unexpected error while aggregating results, though individual instance failures are generally handled gracefully within the `errors` field of a 200 OK response.",
			before: func(g *rig) { g.world.failure = errors.New("the cache is on fire") }, ask: as(list), data: "an internal error (request …)"},
	}
}

func createCases() []documented {
	const s = "Deploy a unikernel"
	form := func(changes map[string]any) func(*rig) ask {
		return as(ask{Path: "/api/unikernel/create", Form: createForm(changes)})
	}
	return []documented{
		{section: s, status: 200, text: "success", ask: form(nil), data: "created unikernel"},
		{section: s, status: 400, text: "One or more required fields are missing.", ask: form(map[string]any{"molly_csrf": nil}), data: "One or more required fields are missing."},
		{section: s, status: 400, text: "Invalid unikernel arguments: ...", ask: form(map[string]any{"unikernel_config": `{"cpuid":0,"memory":"16"}`}),
			data: "Invalid unikernel arguments: memory must be an integer"},
		{section: s, status: 400, text: "Error converting instance name: ...", ask: form(map[string]any{"albatross_instance": "eu_west"}),
			data: "Error converting instance name: " + labelText},
		{section: s, status: 400, text: "Error converting unikernel name: ...", ask: form(map[string]any{"unikernel_name": "hello world"}),
			data: "Error converting unikernel name: " + labelText},
		{section: s, status: 404, text: "Error finding albatross instance: ...", ask: form(map[string]any{"albatross_instance": "nowhere"}),
			data: "Error finding albatross instance: nowhere"},
		{section: s, status: 500, text: "Albatross Query Error: ...", before: offline, ask: form(nil), data: "Albatross Query Error: connection refused"},
		{section: s, status: 500, text: "Albatross Response Error: ...", before: hello, ask: form(nil),
			data: "Albatross Response Error: failure: Unikernel with same name is already running"},
		{section: s, status: 500, text: "Albatross JSON Error: ...", before: garbled, ask: form(nil),
			data: "Albatross JSON Error: the host's answer is not understood: check that an Albatross of a supported version answers at this address"},
	}
}

func targetCases(s, path, done string) []documented {
	at := func(body map[string]any) func(*rig) ask { return as(ask{Path: path, JSON: body}) }
	refusal := documented{section: s, status: 500, text: "failure: ...", ask: at(named("hello-world", "eu-west-2")), data: "failure: destroy: not found"}
	if strings.HasPrefix(s, "Restart") {
		refusal.text = "The response may also contain an error string directly from Albatross if the restart operation failed on the VMM side (e.g., unikernel not found)."
	}
	return []documented{
		{section: s, status: 200, text: "success", before: hello, ask: at(named("hello-world", "eu-west-2")), data: done},
		{section: s, status: 400, text: "Couldn't find unikernel name in json", ask: at(map[string]any{"name": "hello-world"}), data: "Couldn't find unikernel name in json"},
		{section: s, status: 400, text: "Error converting instance name: ...", ask: at(named("hello-world", "a:b")), data: "Error converting instance name: " + labelText},
		{section: s, status: 400, text: "Error converting unikernel name: ...", ask: at(named("a/b", "eu-west-2")), data: "Error converting unikernel name: " + labelText},
		{section: s, status: 404, text: "Error finding albatross instance: <instance_name>", ask: at(named("hello-world", "nowhere")), data: "Error finding albatross instance: nowhere"},
		{section: s, status: 500, text: "Error querying albatross: ...", before: offline, ask: at(named("hello-world", "eu-west-2")), data: "Error querying albatross: connection refused"},
		refusal,
	}
}

func consoleCases() []documented {
	const s = "Stream Unikernel Console"
	at := func(query string) func(*rig) ask {
		return as(ask{Path: "/api/unikernel/console?" + query, Headers: map[string]string{"Accept": "text/event-stream"}})
	}
	line := func(g *rig) {
		hello(g)
		g.world.lines = []services.Line{{Time: time.Date(2023, 10, 27, 10, 5, 0, 0, time.UTC), Text: "[INFO] Application started"}, {Time: clock, Text: `<b> & "x"`}}
		close(g.world.live)
	}
	return []documented{
		{section: s, status: 200, text: "success", before: line, ask: at("unikernel=hello-world&instance=eu-west-2"),
			stream: `data:{"timestamp":"2023-10-27T10:05:00-00:00","line":"[INFO] Application started"}` + "\n\n" +
				`data:{"timestamp":"2025-12-08T17:45:30-00:00","line":"<b> & \"x\""}` + "\n\n"},
		{section: s, status: 400, text: "Couldn't convert unikernel name: <error>", ask: at("unikernel=a_b&instance=eu-west-2"), data: "Couldn't convert unikernel name: " + labelText},
		{section: s, status: 400, text: "Couldn't find <param_name> in query params", ask: at("instance=eu-west-2"), data: "Couldn't find unikernel in query params"},
		{section: s, status: 400, text: "Error with albatross instance name: <error>", ask: at("unikernel=a&instance=a_b"), data: "Error with albatross instance name: " + labelText},
		{section: s, status: 404, text: "Couldn't find albatross instance with name: <instance_name>", ask: at("unikernel=a&instance=nowhere"),
			data: "Couldn't find albatross instance with name: nowhere"},
		{section: s, status: 500, text: "May return a general error message if the Albatross backend connection fails during the setup of the stream.", before: offline,
			ask: at("unikernel=hello-world&instance=eu-west-2"), data: "Error querying albatross: connection refused"},
	}
}

func volumeCases(s, path string) []documented {
	form := func(changes map[string]any) func(*rig) ask {
		return as(ask{Path: path, Form: volumeForm(changes)})
	}
	settings := func(text string) func(*rig) ask { return form(map[string]any{"json_data": text}) }
	all := []documented{
		{section: s, status: 200, text: "success", ask: form(nil), data: "set block device"},
		{section: s, status: 400, text: "One or more required fields are missing.", ask: form(map[string]any{"json_data": nil}), data: "One or more required fields are missing."},
		{section: s, status: 400, text: "Invalid block name: <error>", ask: settings(`{"block_name": "data_vol_1", "block_size": 1024, "block_compressed": false}`),
			data: "Invalid block name: " + labelText},
		{section: s, status: 400, text: "Error converting name to albatross instance <error>", ask: form(map[string]any{"albatross_instance": "eu_west"}),
			data: "Error converting name to albatross instance " + labelText},
		{section: s, status: 400, text: "unexpected field. got <error>", ask: settings(`{"block_name": "vol1", "block_compressed": false}`),
			data: `unexpected field. got {\"block_name\":\"vol1\",\"block_compressed\":false}`},
		{section: s, status: 400, text: "expected a dictionary", ask: settings(`[]`), data: "expected a dictionary"},
		{section: s, status: 404, text: "Couldn't find albatross instance with name <name>", ask: form(map[string]any{"albatross_instance": "nowhere"}),
			data: "Couldn't find albatross instance with name nowhere"},
		{section: s, status: 500, text: "an error with albatross. got <error>", ask: settings(`{"block_name": "vol1", "block_size": 4096, "block_compressed": false}`),
			data: "an error with albatross. got failure: block device policy limit of 2048 MB (used 0 MB) would be exceeded by the request (4096 MB)"},
	}
	if strings.HasPrefix(s, "Upload") {
		all[0].before, all[4].text = dataVol, "unexpected field. got <json>"
		all[7].ask, all[7].data = form(nil), "an error with albatross. got failure: set block: not found"
	}
	return all
}

func volumeDeleteCases() []documented {
	const s = "Delete a block device"
	at := func(body map[string]any) func(*rig) ask { return as(ask{Path: "/api/volume/delete", JSON: body}) }
	return []documented{
		{section: s, status: 200, text: "success", before: dataVol, ask: at(block("data-vol-1", "eu-west-2")), data: "removed block"},
		{section: s, status: 400, text: "Couldn't find block name in json", ask: at(map[string]any{"block_name": "data-vol-1"}), data: "Couldn't find block name in json"},
		{section: s, status: 400, text: "Error converting instance name: <error>", ask: at(block("data-vol-1", "a_b")), data: "Error converting instance name: " + labelText},
		{section: s, status: 400, text: "Error converting block name: <error>", ask: at(block("a_b", "eu-west-2")), data: "Error converting block name: " + labelText},
		{section: s, status: 404, text: "Couldn't find albatross instance with name: <name>", ask: at(block("data-vol-1", "nowhere")),
			data: "Couldn't find albatross instance with name: nowhere"},
		{section: s, status: 500, text: "Error querying albatross: <error>", before: offline, ask: at(block("data-vol-1", "eu-west-2")), data: "Error querying albatross: connection refused"},
		{section: s, status: 500, text: "<albatross error>", ask: at(block("data-vol-1", "eu-west-2")), data: "failure: remove block: not found"},
	}
}

func downloadCases() []documented {
	const s = "Downloading Data from a block device"
	at := func(body map[string]any) func(*rig) ask { return as(ask{Path: "/api/volume/download", JSON: body}) }
	small := func(g *rig) {
		g.world.volumes["eu-west-2/user:vol1"] = &volume{size: 1, content: []byte("hello block")}
	}
	return []documented{
		{section: s, status: 200, text: "success", before: small, ask: at(download("vol1", "eu-west-2", 0)), stream: "hello block" + strings.Repeat("\x00", 1<<20-11)},
		{section: s, status: 400, text: "Couldn't find block name in json", ask: at(block("vol1", "eu-west-2")), data: "Couldn't find block name in json"},
		{section: s, status: 400, text: "Couldn't convert instance name: <error>", ask: at(download("vol1", "a_b", 0)), data: "Couldn't convert instance name: " + labelText},
		{section: s, status: 400, text: "Couldn't convert block name: <error>", ask: at(download("a_b", "eu-west-2", 0)), data: "Couldn't convert block name: " + labelText},
		{section: s, status: 404, text: "Couldn't find albatross instance with name: <name>", ask: at(download("vol1", "nowhere", 0)),
			data: "Couldn't find albatross instance with name: nowhere"},
		{section: s, status: 500, text: "May occur if the server fails to establish the data stream with the Albatross backend.", ask: at(download("vol1", "eu-west-2", 0)),
			data: "failure: dump block: not found"},
	}
}

func tokenCases() []documented {
	const create, update, remove = "Create a new API Key (Token)", "Upade an API Key", "Delete an API Key"
	made := map[string]any{"token_name": "Gitlab CI", "token_expiry": 400000}
	with := func(value any) map[string]any {
		return map[string]any{"token_value": value, "token_name": "updated-gitlab-token", "token_expiry": 800000}
	}
	own := func(path string) func(*rig) ask {
		return func(g *rig) ask { return ask{Path: path, Bearer: g.user, JSON: with(g.user)} }
	}
	const token = `{"token_type":"Bearer","value":"%s","expires_in":%d,"created_at":"2025-12-09 05:12:11-00:00","last_access":"2025-12-09 05:12:11-00:00","name":"%s","usage_count":%d}`
	const storage = "Storage error with an internal error (request …)"
	return []documented{
		{section: create, status: 200, text: "success", ask: as(ask{Path: "/api/tokens/create", JSON: made}), data: fmt.Sprintf(token, "…", 400000, "Gitlab CI", 0)},
		{section: create, status: 400, text: "Create token: Unexpected fields...", ask: as(ask{Path: "/api/tokens/create", Body: `{"token_name":"x"}`}),
			data: `Create token: Unexpected fields. Got {\"token_name\":\"x\"}`},
		{section: create, status: 400, text: "Auth token not found...", ask: func(*rig) ask { return ask{Path: "/api/tokens/create", JSON: made} }, data: "Auth token not found"},
		{section: create, status: 500, text: "Storage error with <details>", before: broken, ask: as(ask{Path: "/api/tokens/create", JSON: made}), data: storage},

		{section: update, status: 200, text: "success", ask: own("/api/tokens/update"), data: fmt.Sprintf(token, "{user-token}", 800000, "updated-gitlab-token", 1)},
		{section: update, status: 400, text: "Update token: Unexpected fields. Got ...", ask: as(ask{Path: "/api/tokens/update", Body: `{"token_name":5}`}),
			data: `Update token: Unexpected fields. Got {\"token_name\":5}`},
		{section: update, status: 400, text: "Auth token not found", ask: func(*rig) ask { return ask{Path: "/api/tokens/update", JSON: with("x")} }, data: "Auth token not found"},
		{section: update, status: 404, text: "Token not found", ask: as(ask{Path: "/api/tokens/update", JSON: with(unknown)}), data: "Token not found"},
		{section: update, status: 500, text: "Storage error with <details>", before: broken, ask: own("/api/tokens/update"), data: storage},

		{section: remove, status: 200, text: "success", ask: own("/api/tokens/delete"), title: "OK", data: "Token deleted succesfully"}, //nolint:misspell // the document's text
		{section: remove, status: 400, text: "Delete token: Unexpected fields...", ask: as(ask{Path: "/api/tokens/delete", Body: `{}`}), data: "Delete token: Unexpected fields. Got {}"},
		{section: remove, status: 400, text: "Auth token not found", ask: func(*rig) ask { return ask{Path: "/api/tokens/delete", JSON: with("x")} }, data: "Auth token not found"},
		{section: remove, status: 500, text: "Storage error with <details>", before: broken, ask: own("/api/tokens/delete"), data: storage},
	}
}

func retryCases() []documented {
	const s = "Retry Albatross Connection (Admin)"
	at := func(query string) func(*rig) ask { return asAdmin(ask{Path: "/api/admin/albatross/retry" + query}) }
	return []documented{
		{section: s, status: 200, text: "success", ask: at("?instance=eu-west-2"), data: "Re-initialization successful, instance is back online"},
		{section: s, status: 400, text: "Couldn't find instance in query params", ask: at(""), data: "Couldn't find instance in query params"},
		{section: s, status: 400, text: "Error with albatross instance name: <error>", ask: at("?instance=a_b"), data: "Error with albatross instance name: " + labelText},
		{section: s, status: 400, text: "You don't have the necessary permissions...", ask: as(ask{Path: "/api/admin/albatross/retry?instance=eu-west-2"}),
			data: "You don't have the necessary permissions to access this service."},
		{section: s, status: 404, text: "Couldn't find albatross instance with name: <name>", ask: at("?instance=nowhere"), data: "Couldn't find albatross instance with name: nowhere"},
		{section: s, status: 500, text: "Re-initialization failed. See error logs: <error>", before: offline, ask: at("?instance=eu-west-2"),
			data: "Re-initialization failed. See error logs: connection refused"},
	}
}

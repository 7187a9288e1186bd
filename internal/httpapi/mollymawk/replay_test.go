package mollymawk_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/services"
)

// difference is a reply that is meant to be another one than the original's.
type difference struct {
	why  string
	want string // status and body
}

// The reasons. Where the document is explicit it counts; where it contradicts
// itself or is silent the original does; where the original is broken, what a
// user would expect.
const (
	documentSaysSo = "the document is explicit"
	anyOrder       = "parts may come in any order"
	brokenThere    = "the original gives no answer, or ends"
	jsonHere       = "errors are JSON for callers of the API"
	lenient        = "what the document has as optional is optional"
	noEcho         = "secrets are not repeated"
)

func told(status int, data string) string { return titled(status, fmt.Sprint(status), data) }

func titled(status int, title, data string) string {
	return fmt.Sprintf(`%d {"status":%d,"title":%s,"success":%t,"data":%s}`, status, status, quote(title), status == 200, quote(data))
}

var differences = map[string]difference{
	"unknown path POST":                       {jsonHere, titled(400, "Page not found", "This page cannot be found.")},
	"GET /api/unikernels with unknown token":  {documentSaysSo, told(400, "Token value is not valid 00000000-0000-4000-8000-000000000000")},
	"login: missing field":                    {documentSaysSo, told(400, "All fields must be filled.")},
	"tokens create: mistyped":                 {noEcho, told(400, `Create token: Unexpected fields. Got {\"token_name\":\"t\",\"token_expiry\":\"3600\",\"molly_csrf\":\"<hidden>\"}`)},
	"tokens create with bearer":               {documentSaysSo, `200 {"status":200,"title":"200","success":true,"data":{"token_type":"Bearer","value":"U","expires_in":3600,"created_at":"T","last_access":"T","name":"t","usage_count":0}}`},
	"albatross delete: missing":               {noEcho, told(400, `Delete albatross config: Unexpected fields. Got {\"molly_csrf\":\"<hidden>\"}`)},
	"retry: unknown instance":                 {documentSaysSo, told(404, "Couldn't find albatross instance with name: nope")},
	"policy: missing":                         {noEcho, told(400, `Update policy: Unexpected fields. Got {\"molly_csrf\":\"<hidden>\"}`)},
	"policy: bridges empty":                   {brokenThere, `200 {"status":200,"title":"200","success":true,"data":{"name":"test-user:","allowed_unikernels":60,"allowed_cpuids":[0,1],"allowed_memory":2048,"allowed_block_size":512,"allowed_bridges":[]}}`},
	"create: no boundary":                     {brokenThere, told(400, "Invalid Content-Type: no boundary")},
	"create: binary part first":               {anyOrder, told(200, "created unikernel")},
	"create: no deploy_mode":                  {lenient, told(500, "Albatross Response Error: failure: Unikernel with same name is already running")},
	"create: no typ":                          {lenient, told(200, "created unikernel")},
	"console: bad instance label":             {documentSaysSo, told(400, "Error with albatross instance name: "+labelText)},
	"console: unknown instance":               {documentSaysSo, told(404, "Couldn't find albatross instance with name: nope")},
	"console: no unikernel":                   {documentSaysSo, told(400, "Couldn't find unikernel in query params")},
	"restart: documented body form":           {documentSaysSo, told(200, "created unikernel")},
	"update: not running":                     {brokenThere, titled(500, "Update Error", "Update failed. tb failed to update to build 22222222-2222-4222-8222-222222222222 with error failure: update: not found")},
	"block create: beyond policy":             {documentSaysSo, told(500, "an error with albatross. got failure: block device policy limit of 2048 MB (used 0 MB) would be exceeded by the request (4096 MB)")},
	"block create: data larger than volume":   {brokenThere, told(500, "an error with albatross. got failure: stream exceeds size")},
	"block download: bad name":                {brokenThere, told(400, "Couldn't convert block name: "+labelText)},
	"block download: bad instance":            {brokenThere, told(400, "Couldn't convert instance name: "+labelText)},
	"block delete: bad name":                  {documentSaysSo, told(400, "Error converting block name: "+labelText)},
	"HAZARD create: force flag not a boolean": {brokenThere, told(400, "unikernel_force_create must be true or false")},
	"HAZARD percent sign in path":             {"the request is no HTTP: the server refuses it before any face", "400 400 Bad Request"},
	"GET /api/unikernels after the failed update (tb is gone)": {"a failed update ends nothing here; and one CPU is shown as the document does too", list(
		shown("tb", 16, "hello"), shown("tick1", 24, "again"))},
	"HAZARD its token": {"one CPU is shown as the document does too", list(shown("t9", 16, "hello"), shown("tick1", 24, "again"))},
	"HAZARD create: body ends before the closing boundary": {brokenThere, told(400, "Couldn't process multipart request: it is malformed or ended before its end.")},
}

func shown(name string, memory int, argument string) string {
	return fmt.Sprintf(`{"name":"%s","fail_behaviour":"quit","cpuid":0,"cpuids":[0],"memory":%d,"block_devices":[],"network_interfaces":[],"arguments":["%s"],"numcpus":1,"linux_boot_partition":null}`,
		name, memory, argument)
}

func list(unikernels ...string) string {
	return `200 {"status":200,"title":"Unikernel Information","success":true,"data":{"data":[[` + strings.Join(unikernels, ",") + `]],"errors":[]}}`
}

// recording is a request to the original and what it answered.
type recording struct {
	Name    string
	Request struct {
		Method, Path, Body string
		Headers            [][2]string
		Multipart          []struct {
			Name, Value, Filename string
			Data                  *struct{ Bytes int }
		}
	}
	Response *struct {
		Status, Body string
		Truncated    int `json:"body_truncated_from_bytes"`
	}
}

// notHere are calls of the original that no document has and that are left out:
// pages for people, their files, mail, autoscaling and monitoring.
var notHere = regexp.MustCompile(`^/($|images/|account$|tokens$|admin/|blocks|unikernel/|api/unikernel/(scaling|monitoring)/|api/admin/settings/email/)`)

// The credentials in the recordings.
const (
	recordedToken   = "d5d55fcf-29f6-4e0d-8e9e-0686ff4c8633"
	recordedExpired = "1d9956b2-ee80-4b4b-b450-36c17647e6a2"
	recordedOther   = "31bc437f-46fc-4042-9441-dbc5ce747c0c"
	recordedSession = "Y2U3MDFhMzQtNmJlNC00ODY2LWEwMjAtNTgxMTJhMmZmZTM2"
	recordedSecond  = "ZWNjMTA0OGEtMzlkNi00N2Y1LWFkMTEtNDA2ZTRjYzZkYjZl"
	recordedCSRF    = "YzZkODYxY2QtNGY3ZS00YzIyLWFmZGUtZmU2YTk1NDE0ZWNi"
	testUID         = "b6ac4f08-b5a1-4180-ad56-fe58428cefdc"
	secondUID       = "c75dbdd6-c81f-4833-b32f-4062fd8d58d7"
)

// TestRecorded sends what was recorded from the original, in its order. Each
// answer is the original's, or the one that the table of differences has.
func TestRecorded(t *testing.T) {
	content, err := os.ReadFile("testdata/mollymawk-http.json")
	if err != nil {
		t.Fatal(err)
	}
	var recordings []recording
	if err := json.Unmarshal(content, &recordings); err != nil {
		t.Fatal(err)
	}
	g := recordedRig(t)
	same, other, left := 0, 0, 0
	used := map[string]bool{}
	for _, r := range recordings {
		if notHere.MatchString(r.Request.Path) {
			left++
			continue
		}
		if prepare := prepared[r.Name]; prepare != nil {
			prepare(g)
		}
		got := g.replay(t, r)
		if d, differs := differences[r.Name]; differs && d.why != "" {
			used[r.Name] = true
			other++
			if got != d.want {
				t.Errorf("%s:\ngot  %.700s\nwant %s", r.Name, got, d.want)
			}
			continue
		}
		same++
		if want := r.answer(t); got != want {
			t.Errorf("%s:\ngot      %.700s\noriginal %.700s", r.Name, got, want)
		}
	}
	for name, d := range differences {
		if d.why != "" && !used[name] {
			t.Errorf("there is no recording %q", name)
		}
	}
	fmt.Printf("recordings of the original: %d answered alike, %d otherwise on purpose, %d of pages and calls that are not served\n", same, other, left)
}

func recordedRig(t *testing.T) *rig {
	g := newRig(t)
	p := g.people
	p.users = map[string]*person{}
	p.add("test-user", true, true)
	u := p.users["test-user"]
	u.Email, u.UID, u.password = "test@example.com", testUID, "password1"
	u.Tokens = []accounts.Token{
		{Value: recordedToken, Name: "ci", CreatedAt: p.now, LastAccess: p.now, ExpiresIn: 24 * time.Hour},
		{Value: recordedOther, Name: "other", CreatedAt: p.now, LastAccess: p.now, ExpiresIn: 24 * time.Hour},
		{Value: recordedExpired, Name: "dead", CreatedAt: p.now, LastAccess: p.now},
	}
	u.sessions = map[string]accounts.Session{recordedSession: {ID: "own", Value: recordedSession, CreatedAt: p.now, ExpiresIn: time.Hour}}
	p.csrf["own"+recordedCSRF] = p.now.Add(time.Hour)
	g.world.instances = map[string]*host{"alpha": {online: true}}
	return g
}

// prepared does, before a case, what the original's state came from and is not
// among the recordings.
var prepared = map[string]func(*rig){
	"login: unknown account": func(g *rig) {
		u := g.people.users["second"]
		u.UID = types.UID(secondUID)
		u.sessions = map[string]accounts.Session{recordedSecond: {ID: "second", Value: recordedSecond, CreatedAt: g.people.now, ExpiresIn: time.Hour}}
		u.Namespace = "second"
	},
	"GET /api/unikernels, no instance configured": func(g *rig) { delete(g.world.instances, "alpha") },
	"albatross create: exists":                    func(g *rig) { g.world.instances["alpha"] = &host{online: true} },
	"create: no deploy_mode":                      func(g *rig) { delete(g.world.unikernels, "alpha/test-user:tick2") },
	"create: memory string":                       func(g *rig) { delete(g.world.unikernels, "alpha/test-user:t3") },
	"GET /api/unikernels after the failed update (tb is gone)": func(g *rig) {
		delete(g.world.unikernels, "alpha/test-user:tick4")
		g.runs("tick1", 24, "again")
	},
	"update: not running":     func(g *rig) { delete(g.world.unikernels, "alpha/test-user:tb") },
	"block download: level 0": func(g *rig) { g.fills("vol1", strings.Repeat("abc", 4<<10)) },
	"user admin toggle back":  func(g *rig) { g.people.users["second"].SuperUser = true },
	"block delete: vol2":      func(g *rig) { g.fills("vol2", "") },
	"HAZARD its token":        func(g *rig) { g.runs("t9", 16, "hello") },
	"HAZARD console: viewer leaves": func(g *rig) {
		for i := range 41 {
			g.world.lines = append(g.world.lines, services.Line{Time: time.Date(2026, 11, 20, 21, 51, 48+i, 0, time.UTC), Text: fmt.Sprintf("tick %d", 8+i)})
		}
		close(g.world.live)
	},
	"HAZARD block download: client leaves early": func(g *rig) { g.fills("vol1", "hello block") },
	"create with chunked transfer encoding":      func(g *rig) { delete(g.world.unikernels, "alpha/test-user:tick1") },
}

func (g *rig) runs(name string, memory int64, argument string) {
	u := albatross.Unikernel{Name: albatross.Name{Path: albatross.Path{"test-user"}, Label: name}}
	u.Info = albatross.Info{CPUIDs: []int64{0}, Memory: memory, Argv: []string{argument}, NumCPUs: 1}
	g.world.unikernels["alpha/test-user:"+name] = u
}

func (g *rig) fills(name, content string) {
	g.world.volumes["alpha/test-user:"+name] = &volume{size: 2, content: []byte(content)}
}

// replay sends a recorded request, byte by byte where it is no proper one.
func (g *rig) replay(t *testing.T, r recording) string {
	t.Helper()
	a := ask{Method: r.Request.Method, Path: r.Request.Path, Body: r.Request.Body, Headers: map[string]string{}}
	for _, h := range r.Request.Headers {
		if h[0] != "Host" && h[0] != "Content-Length" && h[0] != "Transfer-Encoding" {
			a.Headers[h[0]] = h[1]
		}
	}
	for _, p := range r.Request.Multipart {
		value := p.Value
		if p.Data != nil {
			value = strings.Repeat("x", p.Data.Bytes)
		}
		a.Form = append(a.Form, part{Name: p.Name, Value: value, File: p.Filename})
	}
	if strings.HasPrefix(a.Body, "<multipart as in") {
		a.Form, a.Body = createForm(map[string]any{"albatross_instance": "alpha", "unikernel_name": "tick1"}), ""
	}
	if strings.Contains(a.Path, "%zz") {
		return g.raw(t, "GET "+a.Path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	if a.Form != nil {
		delete(a.Headers, "Content-Type")
	}
	request := a.Request(t, g.url)
	if _, typed := a.Headers["Content-Type"]; !typed && a.Form == nil {
		request.Header.Del("Content-Type")
	}
	if strings.Contains(r.Name, "chunked") {
		request.ContentLength = -1
	}
	response, err := g.client.Do(request)
	if err != nil {
		t.Fatalf("%s: %v", r.Name, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: %v", r.Name, err)
	}
	heard{Status: response.StatusCode, Header: response.Header, Body: string(body)}.Check(t, request)
	return normal(response.StatusCode, string(body), r.shownBody())
}

func (g *rig) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

// shownBody is how much of the body was kept in the recording; 0 means all.
func (r recording) shownBody() int {
	if r.Response != nil && !strings.HasPrefix(r.Response.Body, "(HTML") && (r.Response.Truncated > 0 || strings.HasPrefix(r.Response.Body, "data:")) {
		return len(r.Response.Body)
	}
	return 0
}

func (r recording) answer(t *testing.T) string {
	t.Helper()
	if r.Response == nil {
		t.Errorf("%s: the original has no answer, so there must be a difference", r.Name)
		return ""
	}
	var status int
	if _, err := fmt.Sscanf(r.Response.Status, "HTTP/1.1 %d", &status); err != nil {
		t.Fatal(err)
	}
	return normal(status, r.Response.Body, r.shownBody())
}

var normalForms = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d-00:00"`), `"T"`},
	{regexp.MustCompile(`"value":"[0-9a-f-]{36}"`), `"value":"U"`},
	{regexp.MustCompile(`"cookies":\[[^\]]*\]`), `"cookies":[C]`},
	{regexp.MustCompile(`"tokens":\[[^\]]*\]`), `"tokens":[K]`},
	{regexp.MustCompile(`"password":"[^"]*"`), `"password":"P"`},
	{regexp.MustCompile(`("email":"second@example.com",.*"uuid":)"[^"]*"`), `$1"U"`},
}

// normal is status and body, without what is another at each time.
func normal(status int, body string, enough int) string {
	if enough > 0 {
		body = body[:min(len(body), enough)]
	}
	for _, form := range normalForms {
		body = form.from.ReplaceAllString(body, form.to)
	}
	return fmt.Sprintf("%d %s", status, body)
}

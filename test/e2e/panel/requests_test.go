package panel_test

import (
	"net/http"
	"slices"
	"strings"
)

// withType is a header with the key and a type of the body.
func (p *panel) withType(kind string) http.Header {
	header := withKey(p.key)
	if kind != "" {
		header.Set("Content-Type", kind)
	}
	return header
}

// requests are about what all calls have in common.
func (p *panel) requests() {
	p.check("the key is compared as it is, and nothing else is a key", (*panel).keys)
	p.check("bodies may be JSON or forms", (*panel).bodies)
	p.check("what cannot be read is refused in JSON, and only who has a key is told", (*panel).unreadable)
	p.check("paths in any case, with a slash at the end", (*panel).paths)
	p.check("HEAD and OPTIONS", (*panel).methods)
	p.check("the description has all calls", (*panel).described)
	p.check("texts come back as they are", (*panel).texts)
	p.check("headers forbid to keep and to guess", (*panel).headers)
}

func (p *panel) keys() {
	ask := func(header http.Header, path string) reply {
		return p.ask(request{method: http.MethodGet, path: path, header: header})
	}
	p.want("none", ask(http.Header{"X-Api-Key": {""}}, "/api/nodes"), 401, `{"error":"API key is required"}`)
	p.want("in the query", ask(http.Header{}, "/api/nodes?x-api-key="+p.key), 401, `{"error":"API key is required"}`)
	p.want("as a bearer", ask(http.Header{"Authorization": {"Bearer " + p.key}}, "/api/name"), 401, `{"error":"API key is required"}`)
	if got := ask(http.Header{"Authorization": {"Bearer " + p.key}}, "/api/instances"); !strings.HasPrefix(got.text, `{"status":200,`) {
		p.Errorf("a bearer does not mean the Mollymawk API: %d %s", got.status, got.text)
	}
	for _, path := range []string{"/api/UNIKERNELS", "/api/unikernels/"} {
		if got := ask(http.Header{"Authorization": {"Bearer " + p.key}}, path); got.status == 200 {
			p.Errorf("the paths of the Mollymawk API are not exact: %s is answered with %s", path, got.text)
		}
	}
	p.want("two", ask(http.Header{"X-Api-Key": {p.key, p.key}}, "/api/nodes"), 401, `{"error":"API Key Invalid"}`)
	p.want("in upper case", ask(withKey(strings.ToUpper(p.key)), "/api/nodes"), 401, `{"error":"API Key Invalid"}`)
	p.want("its own", ask(withKey(p.key), "/api/name"), 200, `{"name":"Mollymawk"}`)
}

func (p *panel) bodies() {
	const form = "application/x-www-form-urlencoded"
	ask := func(kind, body string) reply {
		return p.ask(request{method: http.MethodPost, path: "/api/getUser", body: body, header: p.withType(kind)})
	}
	found := by(p, 201, 200)
	p.want("a form", ask(form, "type=username&value=bob"), found, `{"userId":"<bob>",...}`)
	p.want("a form with a type of characters", ask(form+"; charset=utf-8", "type=email&value=b%40x"), found, `{"userId":"<bob>",...}`)
	p.want("JSON", ask("application/json; charset=utf-8", `{"value":"bob","type":"username","more":{}}`), found, `{"userId":"<bob>",...}`)
	p.want("JSON as curl sends it", ask(form, `{"type":"username","value":"bob"}`), found, `{"userId":"<bob>",...}`)
	p.want("names in another case", ask("application/json", `{"Type":"username","Value":"bob"}`), 400, `{"error":"Type and value are required"}`)
	p.want("a list", ask("application/json", `["type"]`), 400, `{"error":"Type and value are required"}`)
	p.want("nothing", ask("", ``), 400, `{"error":"Type and value are required"}`)
	p.want("a form makes no administrator", p.post("/api/users/create", "username=former&email=former%40x&password=pw-of-somebody&admin=true"), 201,
		`{"userId":"<uuid>","username":"former","email":"former@x","admin":false}`)
	p.want("a password that is a number", p.post("/api/users/create", `{"username":"number","email":"number@x","password":12345}`), 400, `{"error":"..."}`)
	p.want("DELETE with a form", p.delete("/api/instance/delete", "id=00000000"), by(p, 400, 404), `{"error":"Instance not found"}`)
}

func (p *panel) unreadable() {
	ask := func(header http.Header, body string) reply {
		header.Set("Content-Type", "application/json")
		return p.ask(request{method: http.MethodPost, path: "/api/getUser", body: body, header: header})
	}
	for _, body := range []string{`{"type":`, `"text"`, `7`, `null`, `{} {}`} {
		p.want(body, ask(withKey(p.key), body), 400, `{"error":"Invalid JSON body"}`)
	}
	p.want("too large", ask(withKey(p.key), `{"type":"`+strings.Repeat("x", 101<<10)+`"}`), 413, `{"error":"..."}`)
	p.want("without a key", ask(withKey(""), `{"type":`), 401, `{"error":"API key is required"}`)
}

func (p *panel) paths() {
	for path, like := range map[string]string{"/api/NODES": `[...]`, "/API/nodes/": `[...]`, "/Api/Name/": `{"name":"Mollymawk"}`} {
		p.want(path, p.get(path), 200, like)
	}
	p.want("POST", p.post("/api/getuser/", `{"type":"username","value":"bob"}`), by(p, 201, 200), `{"userId":"<bob>",...}`)
	p.want("POST", p.post("/API/Instances/Suspend/00000000/", ``), by(p, 400, 404), `{"error":"Instance not found"}`)
	for _, path := range []string{"/api/nothing", "/api/auth/reset-password", "/api/apikeys"} {
		p.want(path, p.post(path, ``), 404, `{"error":"Not found"}`)
	}
	p.want("GET of what is posted to", p.get("/api/getUser"), 404, `{"error":"Not found"}`)
	p.want("DELETE of what is read", p.delete("/api/users", ``), 404, `{"error":"Not found"}`)
}

func (p *panel) methods() {
	if got := p.ask(request{method: http.MethodHead, path: "/api/nodes"}); got.status != 200 || got.text != "" || got.header.Get("Content-Length") == "0" {
		p.Errorf("HEAD: %d %v %q", got.status, got.header, got.text)
	}
	for path, want := range map[string]string{"/api/nodes": "GET, HEAD", "/api/getUser": "POST", "/api/nodes/delete": "DELETE"} {
		if got := p.ask(request{method: http.MethodOptions, path: path, header: withKey("")}); got.status != 200 || got.header.Get("Allow") != want {
			p.Errorf("OPTIONS %s: %d, Allow %q", path, got.status, got.header.Get("Allow"))
		}
	}
}

func (p *panel) described() {
	text := p.ask(request{method: http.MethodGet, path: "/openapi.yaml", header: withKey("")}).text
	for _, r := range rows {
		_, path, _ := strings.Cut(r.route, " ")
		path = strings.Replace(path, ":id", "{id}", 1)
		has := strings.Contains(text, "\n  "+path+":\n")
		if has == (path == "/api/auth/reset-password") {
			p.Errorf("%s: %v", path, has)
		}
	}
}

func (p *panel) texts() {
	const name = `<3 \"Bob & Söhne\"`
	p.want("create", p.post("/api/users/create", `{"username":"`+name+`","email":"sons@x","password":"pw-of-somebody","userId":"a/b <3 & c"}`), 201,
		`{"userId":"a/b <3 & c","username":"`+name+`","email":"sons@x","admin":false}`)
	p.want("getUser", p.post("/api/getUser", `{"type":"username","value":"`+name+`"}`), by(p, 201, 200), `{"userId":"a/b <3 & c","username":"`+name+`",...}`)
	p.want("the id", p.post("/api/getUserInstance", `{"userId":"a/b <3 & c"}`), 200, `[]`)
	p.want("another id", p.post("/api/getUserInstance", `{"userId":"A/B <3 & C"}`), by(p, 400, 404), `{"error":"User not found"}`)
}

func (p *panel) headers() {
	header := p.get("/api/users").header
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := header.Get(name); got != want {
			p.Errorf("%s: %q", name, got)
		}
	}
	for _, name := range []string{"Access-Control-Allow-Origin", "Set-Cookie", "X-Powered-By"} {
		if values := header.Values(name); len(values) > 0 {
			p.Errorf("%s: %q", name, values)
		}
	}
	if !slices.Contains(header.Values("X-Request-Id"), header.Get("X-Request-Id")) || header.Get("X-Request-Id") == "" {
		p.Errorf("no id of the request: %v", header)
	}
}

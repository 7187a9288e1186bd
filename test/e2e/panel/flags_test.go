package panel_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// TestFlags has a site with what may be chosen otherwise.
func TestFlags(t *testing.T) {
	p := newPanel(t, "flags", "--panel-name", "Our panel", "--panel-node-credentials", "all-nodes", "--panel-post-rate", "6")
	p.check("the name is the chosen one", func(p *panel) { p.want("name", p.get("/api/name"), 200, `{"name":"Our panel"}`) })
	h := p.newHost()
	p.known["host"], p.known["port"] = h.address, h.port
	p.check("nodes without a Secret of their own have the common one", func(p *panel) {
		p.want("create", p.post("/api/nodes/create", node), 201, `{"Message":{"id":"<node=uuid>",..."status":"Unconfigured"...}}`)
		if err := p.Client().Create(p.Context(), h.secret("all-nodes")); err != nil {
			p.Fatal(err)
		}
		p.nodeBecomes("<node>", "Online")
	})
	p.check("nodes with a Secret of their own have that one", func(p *panel) {
		if err := p.Client().Create(p.Context(), h.secret("own-tls")); err != nil {
			p.Fatal(err)
		}
		p.want("create", p.post("/api/nodes/create", replaced(node, "name", "own")), 201, `{"Message":{"id":"<own=uuid>",..."name":"own"...}}`)
		if name := p.nodeObject("<own>").Spec.CredentialsSecretRef.Name; name != "own-tls" {
			p.Errorf("it has %s", name)
		}
		p.nodeBecomes("<own>", "Online")
	})
	p.check("six POSTs in six seconds, and no bound for others", (*panel).postRate)
	p.check("no secret in any reply", func(p *panel) { p.secretsStaySecret() })
}

// postRate asks until it is refused, which must be at the seventh time of a window at the latest, also without a key.
func (p *panel) postRate() {
	var got reply
	for asked := 0; ; asked++ {
		got = p.ask(request{method: http.MethodPost, path: "/api/getUser", body: `{}`, header: withKey("bad")})
		if got.status == http.StatusTooManyRequests {
			break
		}
		p.want("before", got, 401, `{"error":"API Key Invalid"}`)
		if limit := got.header.Get("X-RateLimit-Limit"); limit != "6" || got.header.Get("X-RateLimit-Remaining") == "" || got.header.Get("X-RateLimit-Reset") == "" {
			p.Errorf("headers %v", got.header)
		}
		// A window may end while the first ones are asked.
		if asked == 2*6 {
			p.Fatal("nothing is refused")
		}
	}
	p.want("the seventh", got, 429, `{"error":"Too many requests, please try again later"}`)
	if got.header.Get("X-RateLimit-Remaining") != "0" {
		p.Errorf("headers %v", got.header)
	}
	wait, err := strconv.Atoi(got.header.Get("Retry-After"))
	if err != nil || wait < 1 || wait > 6 {
		p.Fatalf("Retry-After %q", got.header.Get("Retry-After"))
	}
	p.want("GET", p.get("/api/name"), 200, `{...}`)
	p.want("DELETE", p.delete("/api/nodes/delete", ``), 400, `{"error":"The node ID was invalid"}`)
	time.Sleep(time.Duration(wait) * time.Second) // As the header says.
	p.want("after the time that it was told", p.post("/api/getUser", `{}`), 400, `{"error":"Type and value are required"}`)
}

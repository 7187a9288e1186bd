package panel_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// finder is how a real client finds the user of an address, or makes one. The facts name clients by their file in an index.
type finder struct {
	name string
	// found and absent say what it makes of the status of getUser. It gives up when neither is so.
	found, absent func(status int) bool
	create        string
	// works names the profiles that suit it.
	works []string
}

func success(status int) bool { return status/100 == 2 }

func exactly(all ...int) func(int) bool {
	return func(status int) bool { return slices.Contains(all, status) }
}

var finders = []finder{
	{"4754562590", success, exactly(404), "/api/users/create", []string{source}},
	{"5768591238", success, exactly(400, 404), "/api/users/create", []string{documented, source}},
	{"37278061230", success, exactly(400, 404), "/api/auth/create-user", []string{documented, source}},
	{"5419035727", success, func(status int) bool { return !success(status) }, "/api/auth/create-user", []string{documented, source}},
	{"7786113333", success, func(status int) bool { return !success(status) }, "/api/users/create", []string{documented, source}},
	{"10813686129", exactly(201), exactly(400), "/api/auth/create-user", []string{documented}},
}

// find gives the userId as the client would store it.
func (f finder) find(p *panel, discord string) (userID string, err error) {
	email := discord + "@discord.example.org"
	got := p.post("/api/getUser", `{"type":"email","value":"`+email+`"}`)
	if f.absent(got.status) {
		got = p.post(f.create, `{"username":"`+discord+`","email":"`+email+`","password":"pw-of-discord","userId":"`+discord+`"}`)
		if got.status == http.StatusConflict {
			return discord, nil
		}
	} else if !f.found(got.status) {
		return "", fmt.Errorf("gives up: %d %s", got.status, got.text)
	}
	var user struct {
		UserID string `json:"userId"`
	}
	err = json.Unmarshal([]byte(got.text), &user)
	return user.UserID, err
}

// habits replay what real clients do.
func (p *panel) habits() {
	for i, f := range finders {
		discord := fmt.Sprintf("8035111022467891%d", i)
		p.check("client "+f.name+" finds or makes its user", func(p *panel) {
			suits := slices.Contains(f.works, p.profile)
			for _, time := range []string{"first", "second"} {
				userID, err := f.find(p, discord)
				if suits && (err != nil || userID != discord) || !suits && err == nil {
					p.Errorf("the %s time: %q, %v", time, userID, err)
				}
			}
		})
	}
	h, images := p.newHost(), p.serveImages()
	p.known["host"], p.known["port"] = h.address, h.port
	p.catalog("generic-node-js", images.url, images.digest, "  variables:\n  - {name: Version, default: \"20\"}\n")
	p.want("a node", p.post("/api/nodes/create", strings.Replace(node, "Rack 1", "habits", 1)), 201, `{"Message":{"id":"<habits=uuid>",...}}`)
	p.admit(h, "<habits>")
	p.check("a userId that is a number comes back as a text, with all its digits", (*panel).numericUser)
	p.check("a user may deploy in the moment in which it was made", (*panel).newcomer)
	for _, body := range deployments {
		p.check("a dashboard deploys, counts and deletes: "+body[:24], func(p *panel) { p.dashboard(body) })
	}
	p.check("of many who make the same user, one does", (*panel).sameAtOnce)
	p.check("the lists are what dashboards save", (*panel).savedLists)
	p.check("a user of the Panel API uses the Mollymawk API", (*panel).sameUser)
	p.check("a key is one as long as its administrator is one", (*panel).formerAdmin)
}

func (p *panel) numericUser() {
	p.want("create", p.post("/api/auth/create-user", `{"username":"numeric","email":"numeric@x","password":"pw-of-discord","userId":803511102246789122}`), 201,
		`{"userId":"803511102246789122","username":"numeric","email":"numeric@x","admin":false}`)
	p.want("its instances", p.post("/api/getUserInstance", `{"userId":803511102246789122}`), 200, `[]`)
	p.want("again", p.post("/api/getUserInstance", `{"userId":"803511102246789122"}`), 200, `[]`)
}

func (p *panel) newcomer() {
	p.want("create", p.post("/api/auth/create-user", `{"username":"newcomer","email":"newcomer@x","password":"pw-of-discord","userId":"newcomer"}`), 201, `{"userId":"newcomer",...}`)
	p.want("deploy", p.post("/api/instances/deploy", `{"image":"generic-node-js","imagename":"Generic: Node.js","memory":32,"cpu":1,"ports":"3000:3000","nodeId":"<habits>","name":"n","user":"newcomer","primary":3000}`), 201, numbered("newcomers"))
	p.becomes("<newcomers>", "READY")
}

// deployments are bodies as real clients send them: numbers or texts, variables as an object or in a text, and a field too many.
var deployments = []string{
	`{"memory":64,"cpu":2,"primary":3000,"ports":"3000:3000","image":"generic-node-js","imagename":"generic-node-js","nodeId":"<habits>","name":"my server","user":"newcomer","variables":{"Version":"22"}}`,
	`{"memory":"64","cpu":"2","primary":"3000","ports":"3000:3000","image":"generic-node-js","imagename":"generic-node-js","nodeId":"<habits>","name":"my server","user":"newcomer","variables":"{\"Version\":\"22\"}","disk":"10"}`,
	`{"disk":5,"memory":64,"cpu":2,"primary":3000,"ports":"3000:3000","image":"generic-node-js","imagename":"generic-node-js","nodeId":"habits","name":"my server","user":"newcomer","variables":{}}`,
	`{"variables":[],"memory":64,"cpu":2,"primary":3000,"ports":"3000:3000","image":"generic-node-js","imagename":"generic-node-js","nodeId":"<habits>","name":"my server","user":"newcomer"}`,
}

// dashboard deploys for a user whose quota it counts, shows the instance and deletes it.
func (p *panel) dashboard(body string) {
	got := p.post("/api/instances/deploy", body)
	var deployed struct {
		VolumeID string `json:"volumeId"`
	}
	if err := json.Unmarshal([]byte(got.text), &deployed); err != nil || got.status != http.StatusCreated || deployed.VolumeID == "" {
		p.Fatalf("%d %s", got.status, got.text)
	}
	var mine []struct {
		ID, User          string
		Memory, CPU, Disk int
	}
	if err := json.Unmarshal([]byte(p.post("/api/getUserInstance", `{"userId":"newcomer"}`).text), &mine); err != nil {
		p.Fatal(err)
	}
	memory, cpu, disk := 0, 0, 0
	for _, instance := range mine {
		memory, cpu, disk = memory+instance.Memory, cpu+instance.CPU*100, disk+instance.Disk
	}
	if len(mine) != 2 || memory != 32+64 || cpu != 300 || disk != 0 {
		p.Errorf("%d instances with %d MiB, %d %% and %d of disk: %+v", len(mine), memory, cpu, disk, mine)
	}
	var instance struct{ ID, User, Ports, Primary, Image string }
	if err := json.Unmarshal([]byte(p.post("/api/getInstance", `{"id":"`+deployed.VolumeID+`"}`).text), &instance); err != nil {
		p.Fatal(err)
	}
	if instance.User != "newcomer" || instance.ID != deployed.VolumeID || instance.Ports != "3000:3000" || instance.Primary != "3000" || instance.Image != "generic-node-js" {
		p.Errorf("the instance is %+v", instance)
	}
	if got := p.delete("/api/instance/delete", `{"id":"`+deployed.VolumeID+`"}`); !success(got.status) {
		p.Errorf("delete: %d %s", got.status, got.text)
	}
	if got := p.delete("/api/instance/delete", `{"id":"`+deployed.VolumeID+`"}`); got.status != by(p, 400, 404) {
		p.Errorf("delete again: %d %s", got.status, got.text)
	}
}

// savedImage is what dashboards read of an image.
type savedImage struct {
	ID, Name, Image string
	Variables       map[string]struct {
		Type, Default string
		Required      bool
	}
}

func (p *panel) savedLists() {
	var images []savedImage
	if err := json.Unmarshal([]byte(p.get("/api/images").text), &images); err != nil {
		p.Fatal(err)
	}
	i := slices.IndexFunc(images, func(image savedImage) bool { return image.Name == "generic-node-js" })
	if i < 0 || images[i].ID == "" || images[i].Image == "" || images[i].Variables["Version"].Default != "20" {
		p.Errorf("images %+v", images)
	}
	var nodes []struct{ ID, Name string }
	if err := json.Unmarshal([]byte(p.get("/api/nodes").text), &nodes); err != nil {
		p.Fatal(err)
	}
	if !slices.Contains(nodes, struct{ ID, Name string }{p.known["habits"], "habits"}) {
		p.Errorf("nodes %+v", nodes)
	}
}

func (p *panel) sameAtOnce() {
	const many = 8
	statuses := make(chan int, many)
	for range many {
		go func() {
			statuses <- p.post("/api/auth/create-user", `{"username":"twin","email":"twin@x","password":"pw-of-discord","userId":"twin"}`).status
		}()
	}
	count := map[int]int{}
	for range many {
		count[<-statuses]++
	}
	if count[201] != 1 || count[409] != many-1 {
		p.Errorf("statuses %v", count)
	}
	p.want("getUser", p.post("/api/getUser", `{"type":"email","value":"twin@x"}`), by(p, 201, 200), `{"userId":"twin","username":"twin","email":"twin@x",...}`)
}

func (p *panel) formerAdmin() {
	p.want("create", p.post("/api/users/create", `{"username":"deputy","email":"deputy@x","password":"pw-of-discord","userId":"deputy","admin":true}`), 201,
		`{"userId":"deputy","username":"deputy","email":"deputy@x","admin":true}`)
	if reply, _ := p.Run(`curl -c deputy -d '{"email":"deputy@x","password":"pw-of-discord"}' https://` + server + `/api/login`); !strings.Contains(reply, `"success":true`) {
		p.Fatal(reply)
	}
	list := request{method: http.MethodGet, path: "/api/nodes", header: withKey(p.TokenOfSession("deputy"))}
	p.want("an administrator", p.ask(list), 200, `[...]`)
	var deputy v1alpha1.User
	if err := p.Client().Get(p.Context(), client.ObjectKey{Name: p.ownersNamespace("deputy")}, &deputy); err != nil {
		p.Fatal(err)
	}
	for _, change := range []string{`{"spec":{"superUser":false}}`, `{"spec":{"superUser":true,"active":false}}`} {
		if err := p.Client().Patch(p.Context(), &deputy, client.RawPatch(types.MergePatchType, []byte(change))); err != nil {
			p.Fatal(err)
		}
		p.Eventually(change+" ends the key", func() bool { return p.ask(list).status == http.StatusUnauthorized })
		p.want(change, p.ask(list), 401, `{"error":"API Key Invalid"}`)
		if err := p.Client().Patch(p.Context(), &deputy, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"superUser":true,"active":true}}`))); err != nil {
			p.Fatal(err)
		}
		p.Eventually("the key is one again", func() bool { return p.ask(list).status == http.StatusOK })
	}
}

// sameUser logs in with the password that the Panel API was given, and lists what it deployed.
func (p *panel) sameUser() {
	reply, _ := p.Run(`curl -c newcomer -d '{"email":"newcomer@x","password":"pw-of-discord"}' https://` + server + `/api/login`)
	if !strings.Contains(reply, `"success":true`) {
		p.Fatal(reply)
	}
	if reply, _ = p.Run(`curl -b newcomer https://` + server + `/api/unikernels`); !strings.Contains(reply, `"name":"n-`) {
		p.Error(reply)
	}
	// The token of somebody who is no administrator is no key.
	token := p.TokenOfSession("newcomer")
	p.want("a key of a user", p.ask(request{method: http.MethodGet, path: "/api/users", header: withKey(token)}), 401, `{"error":"API Key Invalid"}`)
}

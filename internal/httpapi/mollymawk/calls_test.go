package mollymawk_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/httpapi/apitest"
	"mollymawk.dev/operator/internal/httpapi/mollymawk"
	"mollymawk.dev/operator/internal/services"
)

// expect demands a status and a text in the reply.
func (g *rig) expect(t testing.TB, a ask, status int, text string) heard {
	t.Helper()
	h := g.send(t, a)
	if h.Status != status || !strings.Contains(h.Body, text) {
		t.Errorf("%s %s: %d %s, want %d and %q", a.Method, a.Path, h.Status, h.Body, status, text)
	}
	return h
}

// TestCSRF has a browser's writes need a token, in the field or in the header, and
// those of programs none.
func TestCSRF(t *testing.T) {
	g := newRig(t)
	body := map[string]any{"token_name": "x", "token_expiry": 60}
	create := ask{Path: "/api/tokens/create", Cookie: g.userCookie, JSON: body}
	g.expect(t, create, 400, `"data":"Couldn't find CSRF token"`)
	body["molly_csrf"] = "guess"
	g.expect(t, create, 400, `"title":"Missing CSRF Token","success":false,"data":"Missing CSRF token. Please refresh and try again."`)
	h := g.expect(t, ask{Path: "/api/account/csrf", Cookie: g.userCookie}, 200, "molly_csrf")
	token := h.Header.Get("X-MOLLY-CSRF")
	body["molly_csrf"] = token
	g.expect(t, create, 200, "Bearer")
	delete(body, "molly_csrf")
	create.Headers = map[string]string{"X-MOLLY-CSRF": token}
	g.expect(t, create, 200, "Bearer")
	// Another's token is none.
	create.Cookie = g.adminCookie
	g.expect(t, create, 400, "Missing CSRF Token")
	g.expect(t, ask{Path: "/api/unikernel/create", Cookie: g.userCookie, Form: createForm(map[string]any{"molly_csrf": token})}, 200, "created unikernel")
	g.expect(t, ask{Path: "/api/unikernel/create", Cookie: g.userCookie, Form: createForm(map[string]any{"unikernel_name": "other"})}, 400, "Missing CSRF Token")
	g.expect(t, ask{Path: "/api/volume/create", Cookie: g.userCookie, Form: volumeForm(nil)}, 400, "Missing CSRF Token")
	g.people.mu.Lock()
	g.people.now = g.people.now.Add(2 * time.Hour)
	g.people.mu.Unlock()
	create.Cookie = g.userCookie
	g.expect(t, create, 400, `"title":"CSRF Token Mismatch","success":false,"data":"Invalid CSRF token error. Please refresh and try again."`)
	g.expect(t, ask{Path: "/api/account/csrf", Bearer: g.user}, 200, `"molly_csrf":""`)
}

func TestAccount(t *testing.T) {
	g := newRig(t)
	post := func(path string, body any) ask { return ask{Path: path, Bearer: g.user, JSON: body} }
	password := map[string]any{"current_password": "password123", "new_password": "password124", "confirm_password": "password125"}
	g.expect(t, post("/api/account/password", password), 400, "New password and confirm password do not match")
	password["confirm_password"] = "password124"
	password["current_password"] = "wrong"
	g.expect(t, post("/api/account/password", password), 400, "The current password entered is wrong.")
	password["current_password"] = "password123"
	g.expect(t, post("/api/account/password", password), 200, "Updated password successfully")
	g.expect(t, post("/api/account/password", map[string]any{"current_password": "hunter22", "new_password": 5}), 400, `{\\\"current_password\\\":\\\"<hidden>\\\",\\\"new_password\\\":5}`)
	g.expect(t, post("/account/password/update", map[string]any{"current_password": "a", "new_password": "b", "confirm_password": "b"}), 400, "New password must be atleast 8 characters.")
	h := g.expect(t, ask{Path: "/api/login", JSON: map[string]any{"email": "User <USER@example.com>", "password": "password124"}}, 200, `"name":"user"`)
	cookie := strings.TrimPrefix(strings.Split(h.Header.Get("Set-Cookie"), ";")[0], "molly_session=")
	if h.Header.Get("Location") != "/dashboard" || strings.Contains(h.Body, cookie) {
		t.Errorf("%v\n%s", h.Header, h.Body)
	}
	g.expect(t, ask{Path: "/api/account", Cookie: cookie}, 200, `"name":"user"`)
	g.expect(t, post("/api/account/session/close", map[string]any{}), 400, "Close session: Unexpected fields.")
	g.expect(t, post("/api/account/session/close", map[string]any{"session_value": cookie}), 200, "Session closed successfully")
	g.expect(t, ask{Path: "/api/account", Cookie: cookie}, 400, "Failed to find user with cookie")
	g.expect(t, post("/api/account/sessions/close", map[string]any{}), 200, "Closed all sessions successfully")
	h = g.expect(t, post("/api/logout", map[string]any{}), 200, "Logout successful")
	if !strings.Contains(h.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the cookie stays: %v", h.Header)
	}
	g.people.throttled = 90 * time.Second
	h = g.expect(t, ask{Path: "/api/login", JSON: map[string]any{"email": "user@example.com", "password": "password124"}}, 429, "Try again in 90 seconds.")
	if h.Header.Get("Retry-After") != "90" {
		t.Errorf("%v", h.Header)
	}
}

func TestRegister(t *testing.T) {
	g := newRig(t)
	body := map[string]any{"name": "New-One", "email": "new@example.com", "password": "password123", "form_csrf": "abc"}
	register := ask{Path: "/api/register", JSON: body, Headers: map[string]string{"Cookie": "molly_csrf=abc"}}
	g.expect(t, register, 200, `"name":"new-one","email":"new@example.com"`)
	g.expect(t, register, 400, "A user with this name or email already exist.")
	body["name"] = "another"
	g.expect(t, register, 400, "A user with this email already exist.")
	body["email"] = "another@example.com"
	register.Headers["Cookie"] = "molly_csrf=def"
	g.expect(t, register, 400, "CSRF token mismatch error. Please referesh and try again.")
	body["name"] = "abc"
	g.expect(t, register, 400, "Name must be at least 3 characters long.")
	g.people.closed = true
	body["name"], body["form_csrf"] = "another", "def"
	g.expect(t, register, 403, "Registration is closed.")
	// Who has no namespace yet has nothing in it.
	g.people.users["new-one"].Active = true
	var cookie string
	for value := range g.people.users["new-one"].sessions {
		cookie = value
	}
	g.expect(t, ask{Path: "/api/unikernels", Cookie: cookie}, 200, `{"data":[],"errors":[]}`)
	g.expect(t, ask{Path: "/api/volumes", Cookie: cookie}, 200, `{"data":[],"errors":[]}`)
	g.expect(t, ask{Path: "/api/unikernel/destroy", Cookie: cookie, JSON: named("a", "eu-west-2")}, 403, "You have no namespace yet.")
}

// TestForms sends parts in every order, twice, without end and without data.
func TestForms(t *testing.T) {
	g := newRig(t, func(o *mollymawk.Options) {
		o.Limits.Parts, o.Limits.Fields, o.Limits.Image, o.Limits.Volume, o.Limits.Spool = 10, 8<<10, 1<<20, 4<<20, 2<<20
	})
	create := func(form []part) ask { return ask{Path: "/api/unikernel/create", Bearer: g.user, Form: form} }
	volume := func(form []part) ask { return ask{Path: "/api/volume/create", Bearer: g.user, Form: form} }
	form := createForm(nil)
	for i := range form {
		rotated := append(append([]part{}, form[i:]...), form[:i]...)
		g.expect(t, create(rotated), 200, "created unikernel")
		g.world.forget()
	}
	g.expect(t, create(createForm(map[string]any{"unikernel_force_create": nil})), 200, "created unikernel")
	if last := g.world.created[len(g.world.created)-1]; last.Force || last.Spec.MemoryMiB() != 64 || last.Spec.RestartPolicy.Type != v1alpha1.RestartNever || len(last.Digest) != 64 {
		t.Errorf("%+v", last)
	}
	for _, name := range []string{"binary", "albatross_instance", "unikernel_name", "unikernel_config", "molly_csrf"} {
		g.expect(t, create(createForm(map[string]any{name: nil})), 400, "One or more required fields are missing.")
	}
	g.expect(t, create(append(form, form[5])), 400, "twice")
	g.expect(t, create(append(form, part{Name: "more", Value: strings.Repeat("x", 9<<10+64<<10)})), 413, "The request is too large.")
	g.expect(t, create(append(form, form[:5]...)), 400, "too many parts")
	g.expect(t, create(createForm(map[string]any{"binary": strings.Repeat("x", 1<<20+1)})), 400, "too large")
	g.expect(t, create(append(form[:5:5], part{Name: "binary", Value: "undefined"})), 400, "One or more required fields are missing.")
	g.expect(t, create(append(form[:5:5], part{Name: "deploy_mode", Value: "builder"}, part{Name: "builder_job", Value: "hello"}, part{Name: "unikernel_name", Value: "built"})), 200, "created unikernel")
	if last := g.world.created[len(g.world.created)-1]; last.Spec.Image == nil || last.Spec.Image.Build.Job != "hello" || last.Digest != "" {
		t.Errorf("%+v", last)
	}
	settings := `{"block_name":"v1","block_size":8,"block_compressed":false}`
	for _, nothing := range []part{{Name: "block_data", Value: "undefined"}, {Name: "block_data", Value: "null"}, {Name: "block_data", Value: "", File: "empty"}} {
		g.world.forget()
		g.expect(t, volume([]part{{Name: "albatross_instance", Value: "eu-west-2"}, {Name: "molly_csrf", Value: ""}, {Name: "json_data", Value: settings}, nothing}), 200, "set block device")
		if g.world.volumes["eu-west-2/user:v1"].content != nil {
			t.Errorf("%+v was written", nothing)
		}
	}
	// Data first: kept in memory, on disk, too much for that; last, they may be more.
	for size, status := range map[int]int{10: 200, 1<<20 + 5: 200, 3 << 20: 413} {
		g.world.forget()
		data := part{Name: "block_data", Value: strings.Repeat("d", size), File: "disk"}
		g.expect(t, volume([]part{data, {Name: "albatross_instance", Value: "eu-west-2"}, {Name: "molly_csrf", Value: ""}, {Name: "json_data", Value: settings}}), status, "")
		g.world.forget()
		g.expect(t, volume([]part{{Name: "albatross_instance", Value: "eu-west-2"}, {Name: "molly_csrf", Value: ""}, {Name: "json_data", Value: settings}, data}), 200, "set block device")
		if v := g.world.volumes["eu-west-2/user:v1"]; len(v.content) != size {
			t.Errorf("%d of %d bytes", len(v.content), size)
		}
	}
	g.world.forget()
	g.expect(t, volume([]part{{Name: "albatross_instance", Value: "eu-west-2"}, {Name: "molly_csrf", Value: ""}, {Name: "json_data", Value: settings}, {Name: "block_data", Value: strings.Repeat("d", 5<<20), File: "disk"}}), 413, "too large")
}

// TestDocuments has bodies that are no documents, and those that are too long.
func TestDocuments(t *testing.T) {
	g := newRig(t, func(o *mollymawk.Options) { o.Limits.Document = 1 << 10 })
	at := func(body string) ask {
		return ask{Path: "/api/unikernel/destroy", Bearer: g.user, Body: body, Method: "POST"}
	}
	for body, text := range map[string]string{
		"": "Blank input data", "  \n": "Blank input data", "[]": "not a dictionary", "null": "not a dictionary",
		"{\n  \"a\": 1,\n}": `Line 3, bytes 0-1:\\nExpected string or identifier but found '}'`, `{"a" 1}`: "Line 1, bytes 5-6:",
		`{"name":"a","name":5,"albatross_instance":"b","x":[{}]}`: "Error finding albatross instance: b", strings.Repeat("[", 80) + strings.Repeat("]", 80): "levels",
	} {
		h := g.send(t, at(body))
		if h.Status != 400 && h.Status != 404 || !strings.Contains(h.Body, text) {
			t.Errorf("%q: %d %s", body, h.Status, h.Body)
		}
	}
	g.expect(t, at(`{"a":"`+strings.Repeat("x", 2<<10)+`"}`), 413, "The request is too large.")
	g.expect(t, ask{Method: "DELETE", Path: "/api/unikernels", Bearer: g.user}, 400, "Bad HTTP request method.")
	g.expect(t, ask{Path: "/api/unikernels/", Bearer: g.user}, 400, "This page cannot be found.")
}

func TestConfigs(t *testing.T) {
	g := newRig(t)
	g.world.volumes["eu-west-2/user:data"] = &volume{size: 1}
	create := func(config string) ask {
		return ask{Path: "/api/unikernel/create", Bearer: g.user, Form: createForm(map[string]any{"unikernel_config": config, "unikernel_force_create": "true"})}
	}
	for config, text := range map[string]string{
		`[]`: "not a json assoc", `{`: `Line 1, bytes 0-1:\\nUnexpected end of input`, `{}`: "cpuids must be a list of integers", `{"cpuid":"0"}`: "cpuid must be an integer",
		`{"cpuids":5}`: "CPUids must be a list of integers", `{"cpuids":[]}`: "CPUids cannot be an empty list", `{"cpuids":[0.5]}`: "CPUid is not an int",
		`{"cpuid":0,"vcpus":0}`: "vcpus must be a positive integer greater than 0", `{"cpuid":0,"linux_boot_partition":1}`: "linux_boot_partition must be a string",
		`{"cpuid":0,"memory":1.0}`: "memory must be an integer", `{"cpuid":0,"network_interfaces":{}}`: "expected a list of network devices",
		`{"cpuid":0,"block_devices":null}`: "expected a list of block devices", `{"cpuid":0,"block_devices":[5]}`: "bad json, either string or assoc",
		`{"cpuid":0,"block_devices":[{}]}`: "name must be present in the json", `{"cpuid":0,"block_devices":[{"name":1}]}`: "couldn't decode json",
		`{"cpuid":0,"block_devices":[{"name":"a","sector_size":"x"}]}`: "couldn't decode json", `{"cpuid":0,"network_interfaces":[{"name":"a","mac":"x"}]}`: "invalid MAC address",
		`{"cpuid":0,"arguments":"x"}`: "arguments must be a list of strings", `{"cpuid":0,"arguments":[1]}`: "argument is not a string",
		`{"cpuid":0,"startup":0}`: "startup must be an integer between 1 and 100, default is 50", `{"cpuid":0,"typ":1}`: "typ must be a string",
		`{"cpuid":0,"typ":"xen"}`: "only 'solo5' and 'bhyve' supported as typ", `{"cpuid":0,"fail_behaviour":null}`: "fail behaviour must be quit or restart",
		`{"cpuid":0,"fail_behaviour":{}}`: "expected a restart", `{"cpuid":0,"fail_behaviour":{"restart":null,"exit_code":1}}`: "expected a list of integers as exit_code payload",
		`{"cpuid":0,"fail_behaviour":{"restart":null,"exit_code":["1"]}}`: "fail_behaviour exit code is not an integer", `{"cpuid":0,"memory":-5}`: "spec.memory",
	} {
		g.expect(t, create(config), 400, "Invalid unikernel arguments: "+text)
	}
	g.expect(t, create(`{"cpuids":[1,0],"typ":"solo5","memory":128,"startup":10,"arguments":["a","b"],"numcpus":1,"fail_behaviour":{"restart":{"exit_code":[3,2]}},
		"network_interfaces":["service",{"name":"two","host_device":"br1","mac":"00:80:41:12:34:56"}],"block_devices":[{"name":"storage","host_device":"data","sector_size":4096}]}`), 200, "created")
	spec := g.world.created[len(g.world.created)-1].Spec
	got := fmt.Sprint(spec.CPUIDs, spec.MemoryMiB(), spec.StartupPriority, spec.Arguments, spec.RestartPolicy, spec.NetworkInterfaces, spec.BlockDevices)
	if want := "[1 0] 128 10 [a b] &{OnFailure [3 2]} [{service  } {two br1 00:80:41:12:34:56}] [{storage <nil> data 4096}]"; got != want {
		t.Errorf("%s", got)
	}
	g.expect(t, ask{Path: "/api/unikernels", Bearer: g.user}, 200, `"fail_behaviour":{"restart":null,"exit_code":[3,2],"all_exit_codes":false},"cpuids":[1,0],"memory":128,`+
		`"block_devices":[{"name":"storage","host_device":"data","sector_size":512,"size":1}],"network_interfaces":[{"name":"service","host_device":"service"},{"name":"two","host_device":"br1"}]`)
}

// TestConflict says who owns what.
func TestConflict(t *testing.T) {
	g := newRig(t)
	g.world.owned["eu-west-2/user:hello-world"] = "argocd-controller"
	g.expect(t, ask{Path: "/api/unikernel/create", Bearer: g.user, Form: createForm(nil)}, 409, "spec.image is declared by argocd-controller; change it there")
}

// TestFailures has every kind of failure answered, without what only the log may say.
func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		text   string
	}{
		{services.ErrForbidden, 403, "You don't have the necessary permissions"},
		{services.ErrBusy, 503, "too much is going on"},
		{&services.NotAdmitted{Instance: "eu-west-2", Namespace: "user"}, 500, "failure: albatross instance"},
		{&services.Timeout{Doing: "waiting"}, 500, "Error querying albatross: not done in time: waiting"},
		{context.DeadlineExceeded, 500, "a time-out (request "},
		{errors.New("etcd: secret details"), 500, "Error querying albatross: an internal error (request "},
	} {
		g := newRig(t)
		g.world.failure = tt.err
		h := g.expect(t, ask{Path: "/api/unikernel/destroy", Bearer: g.user, JSON: named("a", "eu-west-2")}, tt.status, tt.text)
		if strings.Contains(h.Body, "secret details") || !strings.Contains(g.log.text(), "path") {
			t.Errorf("%s\n%s", h.Body, g.log.text())
		}
	}
}

// TestRateLimit is for each token.
func TestRateLimit(t *testing.T) {
	now := time.Now()
	g := newRig(t, func(o *mollymawk.Options) { o.Limiter = httpapi.NewLimiter(1, 2, func() time.Time { return now }) })
	list := ask{Path: "/api/unikernels", Bearer: g.user}
	g.expect(t, list, 200, "")
	g.expect(t, list, 200, "")
	if h := g.expect(t, list, 429, "Too many requests."); h.Header.Get("Retry-After") != "1" {
		t.Errorf("%v", h.Header)
	}
	list.Bearer = g.admin
	g.expect(t, list, 200, "")
}

// TestConsoleLives sends lines as they come and comments between them, and ends when the server does.
func TestConsoleLives(t *testing.T) {
	g := newRig(t, func(o *mollymawk.Options) { o.Heartbeat = 20 * time.Millisecond })
	hello(g)
	request := ask{Path: "/api/unikernel/console?instance=eu-west-2&unikernel=hello-world", Bearer: g.user}.Request(t, g.url)
	ctx, leave := context.WithCancel(t.Context())
	response, err := g.client.Do(request.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Cache-Control") != "no-cache" || response.ContentLength >= 0 {
		t.Errorf("%v", response.Header)
	}
	events := bufio.NewReader(response.Body)
	if line, err := events.ReadString('\n'); err != nil || line != ": alive\n" {
		t.Errorf("%q, %v", line, err)
	}
	g.world.live <- services.Line{Time: clock, Text: "tick"}
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == `data:{"timestamp":"2025-12-08T17:45:30-00:00","line":"tick"}`+"\n" {
			break
		}
	}
	leave()
	response.Body.Close()
	g.world.viewers.Wait()
	// A second viewer stays until the server ends, which the rig demands.
	response, err = g.client.Do(ask{Path: "/api/unikernel/console?instance=eu-west-2&unikernel=hello-world", Bearer: g.user}.Request(t, g.url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
}

// TestCutDownload must not look complete.
func TestCutDownload(t *testing.T) {
	g := newRig(t)
	g.world.volumes["eu-west-2/user:v"] = &volume{size: 1, content: []byte("cut")}
	response, err := g.client.Do(ask{Path: "/api/volume/download", Bearer: g.user, JSON: download("v", "eu-west-2", 0)}.Request(t, g.url))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err == nil || response.StatusCode != 200 {
		t.Errorf("status %d, %v", response.StatusCode, err)
	}
	g.expect(t, ask{Path: "/api/volume/download", Bearer: g.user, JSON: download("v", "eu-west-2", 10)}, 400, "compression_level must be between 0 and 9")
}

// TestUploaderLeaves ends the call on the other side too.
func TestUploaderLeaves(t *testing.T) {
	g := newRig(t)
	body, contentType := apitest.EncodeForm(t, createForm(map[string]any{"binary": strings.Repeat("x", 1<<20)}))
	ctx, leave := context.WithCancel(t.Context())
	reader, feed := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/api/unikernel/create", reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Authorization", "Bearer "+g.user)
	go func() {
		_, _ = io.Copy(feed, bytes.NewReader(body[:len(body)/2]))
		leave()
		feed.CloseWithError(context.Canceled)
	}()
	if response, err := g.client.Do(request); err == nil {
		response.Body.Close()
	}
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	if len(g.world.images) > 0 || len(g.world.unikernels) > 0 {
		t.Error("a half of an image is used")
	}
}

func TestAdministration(t *testing.T) {
	g := newRig(t)
	post := func(path string, body any) ask { return ask{Path: "/api/admin/" + path, Bearer: g.admin, JSON: body} }
	uid := g.people.users["user"].UID
	g.expect(t, post("user/activate/toggle", map[string]any{}), 400, "Couldn't find a UUID in the JSON.")
	g.expect(t, post("user/activate/toggle", map[string]any{"uuid": uid}), 200, "Updated user successfully")
	g.expect(t, ask{Path: "/api/account", Bearer: g.user}, 400, "User account is deactivated")
	g.expect(t, post("user/activate/toggle", map[string]any{"uuid": g.people.users["root"].UID}), 403, "Cannot deactivate last active user")
	g.expect(t, post("user/admin/toggle", map[string]any{"uuid": g.people.users["root"].UID}), 403, "Cannot remove last administrator")
	g.expect(t, post("user/account/delete", map[string]any{"uuid": uid}), 200, "Deleted user successfully")
	g.expect(t, post("user/account/delete", map[string]any{"uuid": uid}), 404, "Account not found")
	g.expect(t, post("settings/albatross/create", map[string]any{"name": "x", "private_key": "secret"}), 400, `\\\"private_key\\\":\\\"<hidden>\\\"`)
	settings := map[string]any{"name": "x", "server_ip": "192.0.2.1", "server_port": 70000, "certificate": "c", "private_key": "k"}
	g.expect(t, post("settings/albatross/create", settings), 400, "server_port must be between 1 and 65535")
	settings["server_port"], settings["server_ip"] = 1025, "a b"
	g.expect(t, post("settings/albatross/create", settings), 400, "server_ip must be an IP address or a host name")
	offline(g)
	g.expect(t, ask{Path: "/api/instances", Bearer: g.admin}, 200, `{"name":"eu-west-2","online":false,"server_ip":"192.0.2.1","server_port":1025,"problem":"connection refused"}`)
	if text := g.log.text(); strings.Contains(text, g.admin) || strings.Contains(text, "secret") || !strings.Contains(text, `user="root"`) {
		t.Error(text)
	}
}

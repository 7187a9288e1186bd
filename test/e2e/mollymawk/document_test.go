package mollymawk_test

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/test/e2e/site"
)

// The document's instance, user and files.
const (
	instance  = "eu-west-2"
	imageSize = 130 << 10
)

var block = regexp.MustCompile("(?ms)^## ([^\n]+)\n+```bash\n(.*?)```")

// requests gives the document's requests by section.
func requests(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("testdata/requests.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, found := range block.FindAllStringSubmatch(string(content), -1) {
		all[found[1]] = found[2]
	}
	if len(all) != 14 {
		t.Fatal(len(all), "requests")
	}
	return all
}

// user is the document's, at a running program.
type user struct {
	*site.Site
	token string
}

// in has what fails belong to a part of the test.
func (s *user) in(t *testing.T) *user {
	part := *s
	part.Site = s.In(t)
	return &part
}

// curl runs a request of the document, with the token and the files of this test in the places of the document's.
func (s *user) curl(line string, changes ...string) string {
	s.Helper()
	line = strings.NewReplacer("<access_token>", s.token, "<existing_token>", s.token, "/path/to/", s.Work+"/").Replace(line)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(line, changes[i]) {
			s.Fatalf("%q is not in\n%s", changes[i], line)
		}
		line = strings.ReplaceAll(line, changes[i], changes[i+1])
	}
	output, _ := s.Run(line)
	return output
}

// want compares a reply, literally.
func (s *user) want(what, got string, status int, title, data string) {
	s.Helper()
	want := fmt.Sprintf(`{"status":%d,"title":"%s","success":%t,"data":%s}`, status, title, status == 200, data)
	if got != want {
		s.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
	}
}

func (s *user) done(what, got, data string) { s.Helper(); s.want(what, got, 200, "200", data) }

func (s *user) refused(what, got string, status int, text string) {
	s.Helper()
	s.want(what, got, status, strconv.Itoa(status), strconv.Quote(text))
}

const (
	anyTime = `[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}-00:00`
	anyUUID = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
)

func (s *user) match(what, got, pattern string) {
	s.Helper()
	if !regexp.MustCompile(`^` + pattern + `$`).MatchString(got) {
		s.Errorf("%s:\ngot %s\nwant like %s", what, got, pattern)
	}
}

// withoutComma is a request without the comma before a closing brace, which is no JSON.
func withoutComma(line string) string {
	return regexp.MustCompile(`,(\s*})`).ReplaceAllString(line, "$1")
}

// TestDocument does what the document shows, in an order in which it makes sense.
func TestDocument(t *testing.T) {
	s := &user{Site: site.New(t, site.Options{Server: "mollymawk.test", Email: "user@example.com", Password: "password123"})}
	lines := requests(t)
	for name, content := range map[string][]byte{
		"hello_world.hvt": s.Image(imageSize), "disk_image.img": []byte("hello block"), "image.iso": bytes.Repeat([]byte("iso "), 1<<16),
	} {
		s.Write(filepath.Join(s.Work, name), content)
	}
	uid := s.signIn(lines["Authentication"])
	host := s.addHost(uid)
	t.Run("Tokens", func(t *testing.T) { s.in(t).tokens(lines) })
	t.Run("Unikernels", func(t *testing.T) { s.in(t).unikernels(lines, host) })
	t.Run("Volumes", func(t *testing.T) { s.in(t).volumes(lines) })
	t.Run("Refusals", func(t *testing.T) { s.in(t).refusals(lines, host) })
}

// signIn logs in as documented and makes the first token with the session, as a page would.
func (s *user) signIn(line string) (uid string) {
	s.Helper()
	var reply string
	s.Eventually("the administrator is there", func() bool {
		reply = s.curl(line, "curl ", "curl -c cookies ")
		return strings.Contains(reply, `"success":true`)
	})
	s.match("login", reply, `\{"status":200,"title":"200","success":true,"data":\{"name":"user","email":"user@example.com","email_verified":null,"password":"<hidden>",`+
		`"uuid":"`+anyUUID+`","tokens":\[\],"cookies":\[\{"name":"molly_session","created_at":"`+anyTime+`","value":"[^"]+","expires_in":604800,"uuid":"`+anyUUID+
		`","last_access":"`+anyTime+`","user_agent":"curl/[^"]+"\}\],"created_at":"`+anyTime+`","updated_at":"`+anyTime+
		`","email_verification_uuid":null,"active":true,"super_user":true,"unikernel_updates":\[\],"scaling_policies":\[\]\}\}`)
	var profile struct{ UUID string }
	s.Data(reply, &profile)
	s.token = s.TokenOfSession("cookies")
	return profile.UUID
}

// addHost adds a host as the document's instance, and lets the user have something of it.
func (s *user) addHost(uid string) *albatrosstest.Host {
	s.Helper()
	host := s.NewHost()
	address, port, err := net.SplitHostPort(host.Addr())
	if err != nil {
		s.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	credentials := host.Credentials()
	settings, err := json.Marshal(map[string]any{
		"name": instance, "server_ip": address, "server_port": number, "certificate": string(credentials.Cert), "private_key": string(credentials.Key),
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Write(filepath.Join(s.Work, "settings.json"), settings)
	s.done("add an instance", s.admin("settings/albatross/create", "@settings.json"), `"Configuration updated successfully"`)
	s.Eventually("the user's namespace is there", func() bool {
		return !strings.Contains(s.admin("u/policy/update", s.policy(uid, 1)), "namespace")
	})
	s.done("set the policy", s.admin("u/policy/update", s.policy(uid, 10)),
		`{"name":"user:","allowed_unikernels":10,"allowed_cpuids":[0,1],"allowed_memory":512,"allowed_block_size":2048,"allowed_bridges":["service"]}`)
	return host
}

func (s *user) policy(uid string, unikernels int) string {
	return fmt.Sprintf(`{"user_uuid":"%s","albatross_instance":"%s","unikernels":%d,"memory":512,"block":2048,"cpuids":"0,1","bridges":"service"}`, uid, instance, unikernels)
}

// admin makes a call of administration.
func (s *user) admin(path, body string) string {
	s.Helper()
	return s.curl(`curl -H "Authorization: Bearer <access_token>" -d '` + body + `' https://mollymawk.test/api/admin/` + path)
}

func (s *user) tokens(lines map[string]string) {
	create, update, remove := lines["Create a new API Key (Token)"], lines["Upade an API Key"], lines["Delete an API Key"]
	s.match("a comma too many", s.curl(create), `\{"status":400,"title":"400","success":false,"data":"Line 4, bytes 2-3:\\\\nExpected string or identifier but found '\}'"\}`)
	reply := s.curl(withoutComma(create))
	s.match("create", reply, `\{"status":200,"title":"200","success":true,"data":\{"token_type":"Bearer","value":"`+anyUUID+`","expires_in":400000,"created_at":"`+anyTime+
		`","last_access":"`+anyTime+`","name":"Gitlab CI","usage_count":0\}\}`)
	var token struct{ Value string }
	s.Data(reply, &token)
	s.refused("update of an unknown one", s.curl(update), 404, "Token not found")
	s.match("update", s.curl(update, "3cb6bc72-a52d-4f4f-969c-c85465875774", token.Value), `\{"status":200,"title":"200","success":true,"data":\{"token_type":"Bearer","value":"`+
		token.Value+`","expires_in":800000,"created_at":"`+anyTime+`","last_access":"`+anyTime+`","name":"updated-gitlab-token","usage_count":0\}\}`)
	s.want("delete", s.curl(withoutComma(remove), "d3b07384-d113-4ec6-973d-285854e7432f", token.Value), 200, "OK", `"Token deleted succesfully"`) //nolint:misspell // the document's text
	other := *s
	other.token = token.Value
	s.refused("use of a deleted one", other.curl(lines["List unikernels"]), 400, "Token value is not valid "+token.Value)
}

func (s *user) unikernels(lines map[string]string, host *albatrosstest.Host) {
	list := lines["List unikernels"]
	s.want("empty list", s.curl(list), 200, "Unikernel Information", `{"data":[[]],"errors":[]}`)
	s.done("create", s.curl(lines["Deploy a unikernel"]), `"created unikernel"`)
	if info, runs := host.Unikernel("user:hello-world"); !runs || info.Memory != 64 {
		s.Errorf("the host has %v, %+v", runs, info)
	}
	const shown = `{"name":"hello-world","fail_behaviour":"quit","cpuid":0,"cpuids":[0],"memory":64,"block_devices":[],"network_interfaces":[],"arguments":["--name=hello-world"],"numcpus":1,"linux_boot_partition":null}`
	s.want("list", s.curl(list), 200, "Unikernel Information", `{"data":[[`+s.listed(shown, list)+`]],"errors":[]}`)
	s.sameInKubernetes()
	s.refused("create again", s.curl(lines["Deploy a unikernel"]), 500, "Albatross Response Error: failure: Unikernel with same name is already running")
	s.done("force", s.curl(lines["Deploy a unikernel"], "unikernel_force_create=false", "unikernel_force_create=true", `"memory": 64`, `"memory": 32`), `"created unikernel"`)
	if info, _ := host.Unikernel("user:hello-world"); info.Memory != 32 {
		s.Errorf("after force the host has %+v", info)
	}
	s.done("restart", s.curl(lines["Restart a Unikernel"]), `"created unikernel"`)
	s.console(lines["Stream Unikernel Console"], host)
	s.done("retry", s.curl(lines["Retry Albatross Connection (Admin)"]), `"Re-initialization successful, instance is back online"`)
	s.done("destroy", s.curl(lines["Destroy a Unikernel"]), `"destroyed unikernel"`)
	if _, runs := host.Unikernel("user:hello-world"); runs {
		s.Error("it runs on")
	}
	s.refused("destroy again", s.curl(lines["Destroy a Unikernel"]), 500, "failure: destroy: not found")
	s.refused("restart what is gone", s.curl(lines["Restart a Unikernel"]), 500, "failure: destroy: not found")
}

// listed is how the host shows the unikernel: it may have put the name before the arguments.
func (s *user) listed(shown, list string) string {
	if strings.Contains(s.curl(list), `"arguments":[]`) {
		return strings.Replace(shown, `"--name=hello-world"`, "", 1)
	}
	return shown
}

// sameInKubernetes demands that what curl made is an object like all others.
func (s *user) sameInKubernetes() {
	s.Helper()
	var uk v1alpha1.Unikernel
	if err := s.Client().Get(s.Context(), client.ObjectKey{Namespace: "user", Name: "hello-world"}, &uk); err != nil {
		s.Fatal(err)
	}
	if uk.Spec.InstanceRef.Name != instance || uk.Spec.Image.Stored == nil || uk.Spec.MemoryMiB() != 64 || uk.Spec.RestartPolicy.Type != v1alpha1.RestartNever {
		s.Errorf("the object is %+v", uk.Spec)
	}
}

// console reads until the host has printed a line of the test's own.
func (s *user) console(line string, host *albatrosstest.Host) {
	s.Helper()
	if !host.Print("user:hello-world", `[INFO] <Hello> & "World"`) {
		s.Fatal("it does not run")
	}
	// The stream has no end, so the reader ends it.
	output := s.curl("(" + strings.TrimSpace(line) + " -N; true) | grep -m 1 -B 100 World")
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for i, got := range lines {
		if i%2 == 1 {
			if got != "" {
				s.Errorf("no empty line after an event: %q", got)
			}
			continue
		}
		s.match("event", got, `data:\{"timestamp":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}-00:00","line":".*"\}`)
	}
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, `"line":"[INFO] <Hello> & \"World\""}`) {
		s.Errorf("the last line is %q", last)
	}
}

func (s *user) volumes(lines map[string]string) {
	create, download := lines["Create a block device"], lines["Downloading Data from a block device"]
	// A label has no underscore, on the hosts of the original too.
	s.refused("the document's name", s.curl(create), 400, "Invalid block name: invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)")
	s.done("create", s.curl(create, "data_vol_1", "data-vol-1"), `"set block device"`)
	s.refused("create again", s.curl(create, "data_vol_1", "data-vol-1"), 500, "an error with albatross. got failure: block device with same name already exists")
	s.done("create without data", s.curl(create, "data_vol_1", "vol1", "1024", "1", "@"+s.Work+"/disk_image.img", "undefined"), `"set block device"`)
	s.done("upload", s.curl(lines["Upload Data to a block device"]), `"set block device"`)
	s.done("create to delete", s.curl(create, "data_vol_1", "my-data-vol", "1024", "1"), `"set block device"`)
	s.refused("a comma too many", s.curl(lines["Delete a block device"]), 400, `Line 4, bytes 2-3:\nExpected string or identifier but found '}'`)
	s.done("delete", s.curl(withoutComma(lines["Delete a block device"])), `"removed block"`)
	s.refused("delete again", s.curl(withoutComma(lines["Delete a block device"])), 500, "failure: remove block: not found")

	dump := filepath.Join(s.Work, "data_vol_1_dump.img")
	s.curl(withoutComma(download))
	s.refused("download of the document's name", string(s.Read(dump)), 400, "Couldn't convert block name: invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)")
	s.curl(withoutComma(download), "data_vol_1\"", "vol1\"")
	z, err := zlib.NewReader(bytes.NewReader(s.Read(dump)))
	if err != nil {
		s.Fatal(err)
	}
	content, err := io.ReadAll(z)
	want := append(bytes.Repeat([]byte("iso "), 1<<16), make([]byte, 1<<20-1<<18)...)
	if err != nil || !bytes.Equal(content, want) {
		s.Errorf("downloaded %d bytes, %v", len(content), err)
	}
}

// refusals has each kind of error come from the real parts.
func (s *user) refusals(lines map[string]string, host *albatrosstest.Host) {
	create := lines["Deploy a unikernel"]
	s.refused("an instance that is not there", s.curl(create, "eu-west-2", "nowhere"), 404, "Error finding albatross instance: nowhere")
	s.refused("a name that is none", s.curl(create, "unikernel_name=hello-world", "unikernel_name=a:b"), 400,
		"Error converting unikernel name: invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)")
	s.refused("arguments that are none", s.curl(create, `"memory": 64`, `"memory": "64"`), 400, "Invalid unikernel arguments: memory must be an integer")
	s.match("beyond the policy", s.curl(create, `"memory": 64`, `"memory": 4096`), `\{"status":500,"title":"500","success":false,"data":"Albatross Response Error: failure: .*memory.*"\}`)
	s.want("nothing is left", s.curl(lines["List unikernels"]), 200, "Unikernel Information", `{"data":[[]],"errors":[]}`)
	s.refused("no image", s.curl(create, "binary=@"+s.Work+"/hello_world.hvt", "other=1"), 400, "One or more required fields are missing.")

	lift := host.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	defer lift()
	// Three looks have to fail; a retry is one.
	s.Eventually("the host is lost", func() bool {
		s.curl(lines["Retry Albatross Connection (Admin)"])
		return strings.Contains(s.curl(lines["List unikernels"]), `"errors":[{`)
	})
	s.match("list", s.curl(lines["List unikernels"]), `\{"status":200,"title":"Unikernel Information","success":true,"data":\{"data":\[\],"errors":\[\{"instance":"eu-west-2","error":"[^"]+"\}\]\}\}`)
	for section, prefix := range map[string]string{
		"Deploy a unikernel": "Albatross Query Error: ", "Destroy a Unikernel": "Error querying albatross: ", "Restart a Unikernel": "Error querying albatross: ",
		"Stream Unikernel Console": "Error querying albatross: ", "Delete a block device": "Error querying albatross: ",
		"Upload Data to a block device": "an error with albatross. got ", "Retry Albatross Connection (Admin)": "Re-initialization failed. See error logs: ",
	} {
		s.match(section, s.curl(withoutComma(lines[section])), `\{"status":500,"title":"500","success":false,"data":"`+prefix+`[^"]+"\}`)
	}
}

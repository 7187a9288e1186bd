package panel_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"sync"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
)

// images serve one image, and can be told to wait with it.
type images struct {
	url, digest string
	mu          sync.RWMutex
}

func (p *panel) serveImages(devices ...solo5.Device) *images {
	p.Helper()
	content := p.Image(130<<10, devices...)
	sum := sha256.Sum256(content)
	i := &images{digest: hex.EncodeToString(sum[:])}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.RLock()
		defer i.mu.RUnlock()
		_, _ = w.Write(content)
	}))
	p.Cleanup(web.Close)
	i.url = web.URL
	return i
}

// hold has whoever wants the image wait for the release.
func (i *images) hold() (release func()) {
	i.mu.Lock()
	return sync.OnceFunc(i.mu.Unlock)
}

// apply does what kubectl apply --server-side does.
func (p *panel) apply(manifest string) {
	p.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(manifest), &o.Object); err != nil {
		p.Fatalf("%v in %s", err, manifest)
	}
	if err := p.Client().Apply(p.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl")); err != nil {
		p.Fatal(err)
	}
}

// catalog makes an entry of the catalogue and waits until it is seen.
func (p *panel) catalog(name, url, digest string, more ...string) {
	p.Helper()
	p.apply(fmt.Sprintf(`apiVersion: mollymawk.dev/v1alpha1
kind: UnikernelImage
metadata: {name: %q}
spec:
  description: Says hello.
  image: {url: %q, sha256: %q}
%s`, name, url, digest, strings.Join(more, "")))
	p.Eventually("the image "+name+" is seen", func() bool { return strings.Contains(p.get("/api/images").text, `"Name":"`+name+`"`) })
}

// nodeObject gives the object of a node.
func (p *panel) nodeObject(id string) *v1alpha1.AlbatrossInstance {
	p.Helper()
	id = p.known.fill(id)
	var all v1alpha1.AlbatrossInstanceList
	if err := p.Client().List(p.Context(), &all); err != nil {
		p.Fatal(err)
	}
	for i := range all.Items {
		if string(all.Items[i].UID) == id {
			return &all.Items[i]
		}
	}
	p.Fatalf("no object has the uid %s", id)
	return nil
}

// admit does what somebody with kubectl does for a node of the Panel API: its credentials, and who may use how much of it.
func (p *panel) admit(h host, id string) {
	p.Helper()
	object := p.nodeObject(id)
	if err := p.Client().Create(p.Context(), h.secret(object.Spec.CredentialsSecretRef.Name)); err != nil {
		p.Fatal(err)
	}
	p.apply(fmt.Sprintf(`apiVersion: mollymawk.dev/v1alpha1
kind: AlbatrossInstance
metadata: {name: %q}
spec:
  endpoint: {host: %q}
  credentialsSecretRef: {name: %q}
  tenants: %s
`, object.Name, object.Spec.Endpoint.Host, object.Spec.CredentialsSecretRef.Name, everybody))
	p.nodeBecomes(id, "Online")
}

// everybody admits the namespaces of all users.
const everybody = `[{namespaceSelector: {matchExpressions: [{key: mollymawk.dev/user, operator: Exists}]}, policy: {unikernels: 10, cpuIDs: [0, 1], memory: 1Gi, storage: 1Gi, bridges: [service]}}]`

// nodeBecomes waits until the list of nodes has a status.
func (p *panel) nodeBecomes(id, status string) {
	p.Helper()
	like := `[..."id":"` + p.known.fill(id) + `",..."status":"` + status + `"...]`
	var got reply
	p.Eventually("the node "+id+" is "+status, func() bool {
		got = p.get("/api/nodes")
		return statusOf(got.text, p.known.fill(id)) == status
	})
	p.want("the list of nodes", got, 200, like)
}

// statusOf gives the status of a node in a list.
func statusOf(list, id string) string {
	_, after, _ := strings.Cut(list, `"id":"`+id+`"`)
	after, _, _ = strings.Cut(after, `"id":"`)
	_, after, _ = strings.Cut(after, `"status":"`)
	status, _, _ := strings.Cut(after, `"`)
	return status
}

// becomes waits until an instance has a state, and gives the reply that has it.
func (p *panel) becomes(id, state string) reply {
	p.Helper()
	var got reply
	p.Eventually(id+" is "+state, func() bool {
		got = p.post("/api/getInstance", `{"id":"`+id+`"}`)
		if got.status != 200 {
			p.Fatalf("%d %s", got.status, got.text)
		}
		return strings.Contains(got.text, `"InternalState":"`+state+`"`)
	})
	return got
}

// unikernel gives the object of an instance.
func (p *panel) unikernel(id string) *v1alpha1.Unikernel {
	p.Helper()
	id = p.known.fill(id)
	var all v1alpha1.UnikernelList
	if err := p.Client().List(p.Context(), &all); err != nil {
		p.Fatal(err)
	}
	for i := range all.Items {
		if strings.HasPrefix(string(all.Items[i].UID), id) {
			return &all.Items[i]
		}
	}
	p.Fatalf("no object has a uid that begins with %s", id)
	return nil
}

// gone waits until an object is no more.
func (p *panel) gone(o client.Object) {
	p.Helper()
	p.Eventually(o.GetName()+" is gone", func() bool {
		return apierrors.IsNotFound(p.Client().Get(p.Context(), client.ObjectKeyFromObject(o), o))
	})
}

// describe gives what kubectl describe shows of a unikernel's state: its conditions and events. In the source profile, and where there
// is no kubectl, these are read without it.
func (p *panel) describe(uk *v1alpha1.Unikernel) (text string) {
	p.Helper()
	if program, err := exec.LookPath("kubectl"); err == nil && p.profile != source {
		cmd := exec.CommandContext(p.Context(), program, "--kubeconfig", p.Kubeconfig(), "--cache-dir", p.Work, "describe", "unikernel", "--namespace", uk.Namespace, uk.Name)
		shown, err := cmd.CombinedOutput()
		if err != nil {
			p.Fatalf("%v: %s", err, shown)
		}
		return string(shown)
	}
	if err := p.Client().Get(p.Context(), client.ObjectKeyFromObject(uk), uk); err != nil {
		p.Fatal(err)
	}
	for _, c := range uk.Status.Conditions {
		text += fmt.Sprintf("%s %s %s %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	var all eventsv1.EventList
	if err := p.Client().List(p.Context(), &all, client.InNamespace(uk.Namespace)); err != nil {
		p.Fatal(err)
	}
	for _, e := range all.Items {
		if e.Regarding.UID == uk.UID {
			text += fmt.Sprintf("event %s %s %s\n", e.Type, e.Reason, e.Note)
		}
	}
	return text
}

// objects prove that the Panel API and kubectl have the same objects.
func (p *panel) objects() {
	h, images := p.newHost(), p.serveImages()
	p.known["host"], p.known["port"] = h.address, h.port
	p.check("a node is Unconfigured until its Secret exists, then Online", func(p *panel) { p.nodeLife(h) })
	p.catalog("tick", images.url, images.digest, `  arguments: ["--first"]
  variables:
  - {name: GREETING, default: hello}
  - {name: IPV4, argument: "--ip={value}"}
  - {name: TOKEN, required: true}
`)
	p.want("a user", p.post("/api/users/create", `{"username":"owner","email":"owner@x","password":"pw-of-somebody","userId":"owner-1"}`), 201,
		`{"userId":"owner-1","username":"owner","email":"owner@x","admin":false}`)
	p.check("INSTALLING becomes READY, and the host has what was asked for", func(p *panel) { p.installing(h, images) })
	p.check("what the Panel API made is an object like others", (*panel).madeHere)
	p.check("kubectl changes it", func(p *panel) { p.changedByKubectl(h) })
	p.check("suspend destroys on the host and keeps the object, unsuspend brings it back", func(p *panel) { p.suspended(h) })
	p.check("kubectl deletes it", func(p *panel) { p.deletedByKubectl(h) })
	p.check("one with a network device is on the bridge that the catalogue says", func(p *panel) { p.connected(h) })
	p.check("a refused one is FAILED, and kubectl describe says why", func(p *panel) { p.failed(images) })
	p.check("one that is beyond the policy is FAILED, and kubectl describe says why", (*panel).beyondPolicy)
	p.check("what kubectl made is seen, suspended and deleted here, and its volume stays", func(p *panel) { p.madeByKubectl(h, images) })
	p.check("what Git declares is not changed here", func(p *panel) { p.declaredElsewhere(images) })
	p.check("users, nodes and images of kubectl are seen", (*panel).othersOfKubectl)
	p.check("a node in use is not deleted", (*panel).inUse)
	p.check("an owner without a place on the node is refused", (*panel).notAdmitted)
	p.check("a name of any length", (*panel).longName)
	p.check("a lost node is Offline and its instances UNKNOWN, until it is back", func(p *panel) { p.lost(h) })
}

func (p *panel) longName() {
	long := strings.Repeat("long name ", 25)
	p.want("deploy", p.post("/api/instances/deploy", replaced(tick, "name", long)), 201, numbered("long"))
	p.want("getInstance", p.post("/api/getInstance", `{"id":"<long>"}`), 200, `{"Name":"`+long+`",...}`)
	if uk := p.unikernel("<long>"); len(uk.Name) > 63 || !strings.HasPrefix(uk.Name, "long-name-long-name-") {
		p.Errorf("the object is %s", uk.Name)
	}
	p.becomes("<long>", "READY")
}

func (p *panel) lost(h host) {
	lift := h.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	defer lift()
	// Three looks in a row must fail; each of these is one.
	look := func() {
		p.Run(`curl -H "Authorization: Bearer ` + p.key + `" "https://` + server + `/api/admin/albatross/retry?instance=g-teborg-2"`)
	}
	p.Eventually("it is Offline", func() bool {
		look()
		return statusOf(p.get("/api/nodes").text, p.known["second"]) == "Offline"
	})
	p.becomes("<long>", "UNKNOWN")
	lift()
	look()
	p.nodeBecomes("<second>", "Online")
	p.becomes("<long>", "READY")
}

func (p *panel) nodeLife(h host) {
	p.want("create", p.post("/api/nodes/create", `{"name":"Göteborg 2","tags":["a","b"],"ram":8,"disk":40,"processor":"x","address":"<host>","port":<port>}`), 201,
		`{"Message":{"id":"<second=uuid>","name":"Göteborg 2","tags":["a","b"],"ram":"8","disk":"40","processor":"x","address":"<host>","port":"<port>",..."status":"Unconfigured"...}}`)
	object := p.nodeObject("<second>")
	if want := object.Name + "-tls"; object.Spec.CredentialsSecretRef.Name != want {
		p.Errorf("the Secret is to be %s, want %s", object.Spec.CredentialsSecretRef.Name, want)
	}
	if object.Name != "g-teborg-2" {
		p.Errorf("the object is %s", object.Name)
	}
	p.nodeBecomes("<second>", "Unconfigured")
	p.admit(h, "<second>")
	p.want("a namesake", p.post("/api/nodes/create", `{"name":"Göteborg 2","tags":"x","ram":"8","disk":"40","processor":"x","address":"<host>","port":"<port>"}`), 201, `{"Message":{"id":"<third=uuid>","name":"Göteborg 2",...}}`)
	if err := (known{}).match("g-teborg-2-<hex8>", p.nodeObject("<third>").Name); err != nil {
		p.Error(err)
	}
	p.want("without the namesake", p.delete("/api/nodes/delete", `{"nodeId":"<third>"}`), 201, `{"Message":"The node has successfully deleted."}`)
}

const tick = `{"image":"tick","imagename":"tick","memory":"64","cpu":"1","ports":"8080:80, 53:53","nodeId":"<second>","name":"My first Unikernel!","user":"owner-1","primary":"8080","variables":{"IPV4":"10.0.0.2/24","TOKEN":"abc"}}`

func (p *panel) installing(h host, images *images) {
	release := images.hold()
	defer release()
	p.want("deploy", p.post("/api/instances/deploy", tick), 201, strings.Replace(initiated, "web=", "tick=", 1))
	p.want("at once", p.post("/api/getInstance", `{"id":"<tick>"}`), 200, `{"Name":"My first Unikernel!","Id":"<tick>","Node":{"id":"<second>"...},"User":"owner-1","InternalState":"INSTALLING","VolumeId":"<tick>","Memory":64,"Cpu":1,"Ports":"8080:80, 53:53","Primary":"8080","Image":"tick"...}`)
	release()
	ready := p.becomes("<tick>", "READY")
	p.want("ready", ready, 200, `{"Name":"My first Unikernel!","Id":"<tick>",...,"InternalState":"READY",..."ContainerId":"<hex64>"...}`)
	uk := p.unikernel("<tick>")
	info, runs := h.Unikernel(uk.Status.HostName)
	if !runs || info.Memory != 64 || len(info.CPUIDs) != 1 {
		p.Errorf("the host has %v %+v", runs, info)
	}
	for _, want := range []string{"--first", "--greeting=hello", "--ip=10.0.0.2/24", "--token=abc"} {
		if !strings.Contains(strings.Join(info.Argv, " "), want) {
			p.Errorf("%q is not among the arguments %q", want, info.Argv)
		}
	}
}

func (p *panel) madeHere() {
	uk := p.unikernel("<tick>")
	if uk.Spec.Image.Catalog == nil || uk.Spec.Image.Catalog.Name != "tick" || uk.Spec.InstanceRef.Name != p.nodeObject("<second>").Name || uk.Spec.MemoryMiB() != 64 {
		p.Errorf("spec %+v", uk.Spec)
	}
	if err := (known{}).match("my-first-unikernel-<hex8>", uk.Name); err != nil {
		p.Error(err)
	}
	var owner v1alpha1.User
	users := &v1alpha1.UserList{}
	if err := p.Client().List(p.Context(), users); err != nil {
		p.Fatal(err)
	}
	for i := range users.Items {
		if users.Items[i].Spec.ExternalID == "owner-1" {
			owner = users.Items[i]
		}
	}
	if uk.Namespace != owner.NamespaceOrDefault() || owner.Spec.DisplayName != "owner" || owner.Spec.Email != "owner@x" {
		p.Errorf("it is in %s, the owner is %s %+v", uk.Namespace, owner.Name, owner.Spec)
	}
	sum := sha256.Sum256([]byte("owner-1"))
	if want := "user-" + hex.EncodeToString(sum[:])[:10]; owner.Name != want {
		p.Errorf("the owner's object is %s, want %s", owner.Name, want)
	}
	for annotation, want := range map[string]string{
		"name": "My first Unikernel!", "ports": "8080:80, 53:53", "primary": "8080", "image": "tick",
	} {
		if got := uk.Annotations["panel.mollymawk.dev/"+annotation]; got != want {
			p.Errorf("annotation %s is %q, want %q", annotation, got, want)
		}
	}
	// The full uid and the name of the object find it too.
	for _, id := range []string{string(uk.UID), uk.Namespace + "/" + uk.Name} {
		p.want("by "+id, p.post("/api/getInstance", `{"id":"`+id+`"}`), 200, `{"Name":"My first Unikernel!","Id":"<tick>",...}`)
	}
}

// becomesReady waits until an object is as it is declared now.
func (p *panel) becomesReady(uk *v1alpha1.Unikernel) {
	p.Helper()
	p.Eventually(uk.Name+" is ready", func() bool {
		if err := p.Client().Get(p.Context(), client.ObjectKeyFromObject(uk), uk); err != nil {
			p.Fatal(err)
		}
		return uk.Status.ObservedGeneration == uk.Generation && apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionReady)
	})
}

func (p *panel) changedByKubectl(h host) {
	uk := p.unikernel("<tick>")
	if err := p.Client().Patch(p.Context(), uk, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"memory":"96Mi"}}`))); err != nil {
		p.Fatal(err)
	}
	p.becomesReady(uk)
	if info, runs := h.Unikernel(uk.Status.HostName); !runs || info.Memory != 96 {
		p.Errorf("the host has %v %+v", runs, info)
	}
	p.want("getInstance", p.post("/api/getInstance", `{"id":"<tick>"}`), 200, `{..."InternalState":"READY",..."Memory":96,...}`)
}

func (p *panel) suspended(h host) {
	uk := p.unikernel("<tick>")
	p.want("suspend", p.post("/api/instances/suspend/<tick>", ""), by(p, 200, 201), by(p, `{"Name":"My first Unikernel!",..."suspended":true..."success":"Instance Suspended Successfully"}`, `{"success":"Instance Suspended Successfully"}`))
	p.want("suspend again", p.post("/api/instances/suspend/<tick>", ""), by(p, 200, 201), `{..."success":"Instance Suspended Successfully"}`)
	p.Eventually("it is gone from the host", func() bool { _, runs := h.Unikernel(uk.Status.HostName); return !runs })
	p.becomesReady(uk)
	if !uk.Spec.Suspended || !apimeta.IsStatusConditionFalse(uk.Status.Conditions, v1alpha1.ConditionRunning) {
		p.Errorf("the object is %+v", uk)
	}
	p.want("getInstance", p.post("/api/getInstance", `{"id":"<tick>"}`), 200, `{..."InternalState":"READY",..."suspended":true...}`)
	p.want("unsuspend", p.post("/api/instances/unsuspend/<tick>", ""), by(p, 200, 201), `{..."success":"Instance Unsuspended Successfully"}`)
	p.Eventually("it is on the host again", func() bool { _, runs := h.Unikernel(uk.Status.HostName); return runs })
	p.becomesReady(uk)
	p.want("getInstance", p.post("/api/getInstance", `{"id":"<tick>"}`), 200, `{..."InternalState":"READY",..."suspended":false...}`)
}

func (p *panel) deletedByKubectl(h host) {
	uk := p.unikernel("<tick>")
	if err := p.Client().Delete(p.Context(), uk); err != nil {
		p.Fatal(err)
	}
	p.gone(uk)
	if _, runs := h.Unikernel(uk.Status.HostName); runs {
		p.Error("it runs on")
	}
	p.Eventually("it is gone here", func() bool { return p.post("/api/getInstance", `{"id":"<tick>"}`).status != 200 })
	p.want("getInstance", p.post("/api/getInstance", `{"id":"<tick>"}`), by(p, 400, 404), `{"error":"Instance not found"}`)
	p.want("delete", p.delete("/api/instance/delete", `{"id":"<tick>"}`), by(p, 400, 404), `{"error":"Instance not found"}`)
	p.want("suspend", p.post("/api/instances/suspend/<tick>", ""), by(p, 400, 404), `{"error":"Instance not found"}`)
}

// warning is an event as kubectl describe shows it.
var warning = regexp.MustCompile(`Warning\s+` + v1alpha1.ReasonDigestMismatch + `\s`)

// failed deploys an image whose content is not what the catalogue says.
func (p *panel) connected(h host) {
	images := p.serveImages(solo5.Device{Name: "eth0", Type: solo5.Network})
	p.catalog("online", images.url, images.digest, "  networkInterfaces: [{name: eth0, bridge: service}]\n")
	p.want("deploy", p.post("/api/instances/deploy", `{"image":"online","memory":32,"cpu":1,"ports":"80","nodeId":"<second>","name":"online","user":"owner-1","primary":80}`), 201,
		strings.Replace(initiated, "web=", "online=", 1))
	p.becomes("<online>", "READY")
	uk := p.unikernel("<online>")
	info, runs := h.Unikernel(uk.Status.HostName)
	if !runs || len(info.Bridges) != 1 || info.Bridges[0].Device != "eth0" || info.Bridges[0].HostDevice != "service" {
		p.Errorf("the host has %v %+v", runs, info.Bridges)
	}
	p.want("it can be deleted", p.delete("/api/instance/delete", `{"id":"<online>"}`), by(p, 201, 200), `{"message":"The instance has been successfully deleted."}`)
	p.gone(uk)
}

func (p *panel) failed(images *images) {
	p.catalog("broken", images.url, strings.Repeat("0", 64))
	p.want("deploy", p.post("/api/instances/deploy", `{"image":"broken","imagename":"broken","memory":32,"cpu":1,"ports":"1:1","nodeId":"<second>","name":"broken","user":"owner-1","primary":1}`), 201,
		strings.Replace(initiated, "web=", "broken=", 1))
	p.becomes("<broken>", "FAILED")
	uk := p.unikernel("<broken>")
	var shown string
	p.Eventually("an event tells of it", func() bool { shown = p.describe(uk); return warning.MatchString(shown) })
	stalled := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled == nil || stalled.Reason != v1alpha1.ReasonDigestMismatch || !strings.Contains(stalled.Message, images.digest) {
		p.Fatalf("Stalled is %+v", stalled)
	}
	for _, want := range []string{stalled.Reason, stalled.Message} {
		if !strings.Contains(shown, want) {
			p.Errorf("%q is not shown:\n%s", want, shown)
		}
	}
	p.want("it can be deleted", p.delete("/api/instance/delete", `{"id":"<broken>"}`), by(p, 201, 200), `{"message":"The instance has been successfully deleted."}`)
	p.gone(uk)
}

func (p *panel) beyondPolicy() {
	p.want("deploy", p.post("/api/instances/deploy", `{"image":"tick","memory":"2048MB","cpu":1,"ports":"1:1","nodeId":"<second>","name":"big","user":"owner-1","primary":"","variables":"{\"TOKEN\":\"abc\"}"}`), 201,
		strings.Replace(initiated, "web=", "big=", 1))
	p.want("FAILED", p.becomes("<big>", "FAILED"), 200, `{..."Memory":2048,...}`)
	if shown := p.describe(p.unikernel("<big>")); !strings.Contains(shown, v1alpha1.ReasonPolicyExceeded) || !strings.Contains(shown, v1alpha1.ConditionStalled) {
		p.Errorf("the reason is not shown:\n%s", shown)
	}
	p.want("it can be deleted", p.delete("/api/instance/delete", `{"id":"<big>"}`), by(p, 201, 200), `{"message":"The instance has been successfully deleted."}`)
}

// ownersNamespace is where the unikernels of a user are.
func (p *panel) ownersNamespace(id string) string {
	p.Helper()
	var users v1alpha1.UserList
	if err := p.Client().List(p.Context(), &users); err != nil {
		p.Fatal(err)
	}
	for i := range users.Items {
		if users.Items[i].ExternalIDOrDefault() == id {
			return users.Items[i].NamespaceOrDefault()
		}
	}
	p.Fatalf("nobody is %s", id)
	return ""
}

func (p *panel) manifest(name string, images *images, more string) string {
	return fmt.Sprintf(`apiVersion: mollymawk.dev/v1alpha1
kind: Unikernel
metadata: {name: %s, namespace: %s}
spec:
  instanceRef: {name: %s}
  image: {url: %q, sha256: %s}
  memory: 48Mi
%s`, name, p.ownersNamespace("owner-1"), p.nodeObject("<second>").Name, images.url, images.digest, more)
}

func (p *panel) madeByKubectl(h host, images *images) {
	namespace := p.ownersNamespace("owner-1")
	p.apply(fmt.Sprintf(`apiVersion: mollymawk.dev/v1alpha1
kind: Volume
metadata: {name: data, namespace: %s}
spec: {instanceRef: {name: %s}, size: 1Mi}
`, namespace, p.nodeObject("<second>").Name))
	p.apply(p.manifest("plain", images, ""))
	uk := &v1alpha1.Unikernel{}
	uk.Namespace, uk.Name = namespace, "plain"
	p.becomesReady(uk)
	volume := &v1alpha1.Volume{}
	p.Eventually("the volume is there", func() bool {
		if err := p.Client().Get(p.Context(), client.ObjectKey{Namespace: namespace, Name: "data"}, volume); err != nil {
			p.Fatal(err)
		}
		return apimeta.IsStatusConditionTrue(volume.Status.Conditions, v1alpha1.ConditionReady)
	})
	p.known["plain"] = string(uk.UID)[:8]
	const plain = `{"Name":"plain","Id":"<plain>","Node":{"id":"<second>"...},"User":"owner-1","InternalState":"READY",..."VolumeId":"<plain>","Memory":48,"Cpu":1,"Ports":"","Primary":""...}`
	p.want("getInstance", p.post("/api/getInstance", `{"id":"<plain>"}`), 200, plain)
	p.want("getUserInstance", p.post("/api/getUserInstance", `{"userId":"owner-1"}`), 200, `[...`+plain+`...]`)
	p.want("list", p.get("/api/instances"), 200, `[...`+plain+`...]`)
	p.want("suspend", p.post("/api/instances/suspend/<plain>", `{}`), by(p, 200, 201), `{..."success":"Instance Suspended Successfully"}`)
	p.Eventually("it is gone from the host", func() bool { _, runs := h.Unikernel(uk.Status.HostName); return !runs })
	p.becomesReady(uk)
	if !uk.Spec.Suspended {
		p.Error("kubectl does not see that it is suspended")
	}
	// Applied again, the manifest does not bring it back: it says nothing of suspended.
	p.apply(p.manifest("plain", images, ""))
	p.becomesReady(uk)
	if !uk.Spec.Suspended {
		p.Error("kubectl apply has brought it back")
	}
	p.want("unsuspend", p.post("/api/instances/unsuspend/"+namespace+"%2Fplain", ""), by(p, 200, 201), `{..."success":"Instance Unsuspended Successfully"}`)
	p.Eventually("it is on the host again", func() bool { _, runs := h.Unikernel(uk.Status.HostName); return runs })
	p.want("delete", p.delete("/api/instance/delete", `{"id":"`+string(uk.UID)+`"}`), by(p, 201, 200), `{"message":"The instance has been successfully deleted."}`)
	p.want("it counts as gone", p.post("/api/getInstance", `{"id":"<plain>"}`), by(p, 400, 404), `{"error":"Instance not found"}`)
	p.gone(uk)
	if err := p.Client().Get(p.Context(), client.ObjectKeyFromObject(volume), volume); err != nil || !volume.DeletionTimestamp.IsZero() {
		p.Errorf("the volume: %v, %+v", err, volume.ObjectMeta)
	}
}

func (p *panel) declaredElsewhere(images *images) {
	p.apply(p.manifest("gitops", images, "  suspended: false\n"))
	uk := &v1alpha1.Unikernel{}
	uk.Namespace, uk.Name = p.ownersNamespace("owner-1"), "gitops"
	p.becomesReady(uk)
	p.want("suspend", p.post("/api/instances/suspend/"+string(uk.UID), ""), 409, `{"error":"...kubectl..."}`)
	p.becomesReady(uk)
	if uk.Spec.Suspended {
		p.Error("it is suspended")
	}
	p.want("delete", p.delete("/api/instance/delete?id="+string(uk.UID), ""), by(p, 201, 200), `{"message":"The instance has been successfully deleted."}`)
	p.gone(uk)
}

func (p *panel) othersOfKubectl() {
	p.apply(`apiVersion: mollymawk.dev/v1alpha1
kind: User
metadata: {name: carol}
spec: {email: carol@x}
`)
	p.apply(`apiVersion: mollymawk.dev/v1alpha1
kind: AlbatrossInstance
metadata: {name: rack9}
spec: {endpoint: {host: rack9.example.org}, credentialsSecretRef: {name: rack9}}
`)
	var carol v1alpha1.User
	if err := p.Client().Get(p.Context(), client.ObjectKey{Name: "carol"}, &carol); err != nil {
		p.Fatal(err)
	}
	p.Eventually("carol is seen", func() bool {
		return p.post("/api/getUser", `{"type":"email","value":"carol@x"}`).status == by(p, 201, 200)
	})
	p.want("getUser", p.post("/api/getUser", `{"type":"username","value":"carol"}`), by(p, 201, 200), `{"userId":"`+string(carol.UID)+`","username":"carol","email":"carol@x","accessTo":[],"admin":false...}`)
	p.Eventually("rack9 is seen", func() bool { return strings.Contains(p.get("/api/nodes").text, `"rack9"`) })
	p.want("nodes", p.get("/api/nodes"), 200, `[...{"id":"<rack9=uuid>","name":"rack9",..."address":"rack9.example.org","port":"1025",..."status":"Unconfigured"...}...]`)
	p.want("delete a node by its name", p.delete("/api/nodes/delete", `{"nodeId":"rack9"}`), 201, `{"Message":"The node has successfully deleted."}`)
	p.want("images", p.get("/api/images"), 200,
		`[...{"Id":"<uuid>","Name":"tick","Image":"tick"..."Variables":{"GREETING":{"type":"text","default":"hello","required":false},"IPV4":{"type":"text","default":"","required":false},"TOKEN":{"type":"text","default":"","required":true}}...}...]`)
}

func (p *panel) inUse() {
	p.want("deploy", p.post("/api/instances/deploy", tick), 201, strings.Replace(initiated, "web=", "used=", 1))
	p.want("delete", p.delete("/api/nodes/delete", `{"nodeId":"<second>"}`), 400, `{"error":"There are instances on the node"...}`)
	p.want("the node is there", p.get("/api/nodes"), 200, `[..."id":"<second>"...]`)
	p.want("delete the instance", p.delete("/api/instance/delete", `{"id":"<used>"}`), by(p, 201, 200), `{...}`)
}

func (p *panel) notAdmitted() {
	p.want("create", p.post("/api/nodes/create", `{"name":"elsewhere","tags":"x","ram":"1","disk":"1","processor":"x","address":"elsewhere.example.org","port":"1025"}`), 201,
		`{"Message":{"id":"<elsewhere=uuid>",...}}`)
	p.want("deploy", p.post("/api/instances/deploy", strings.Replace(tick, "<second>", "<elsewhere>", 1)), 400, `{"error":"The node does not admit the user","details":"..."}`)
	p.want("delete", p.delete("/api/nodes/delete?nodeId=<elsewhere>", ""), 201, `{"Message":"The node has successfully deleted."}`)
}

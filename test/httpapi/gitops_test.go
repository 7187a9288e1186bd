package httpapi

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/httpapi/apitest"
)

// tool keeps objects as their manifests in Git say.
type tool struct {
	// manager is its name in managed fields.
	manager string
	// change gives what it would change, empty for nothing, and does so unless it is told not to.
	change func(w *world, tool tool, manifest *unstructured.Unstructured, dry bool) string
}

var tools = map[string]tool{
	"Argo CD": {"argocd-controller", threeWay},
	"kubectl": {"kubectl-client-side-apply", threeWay},
	"Flux":    {"kustomize-controller", serverSide},
	// Who does not force would be held up by anybody who declares the same.
	"kubectl --server-side": {"kubectl", serverSide},
}

// threeWay applies as kubectl and Argo CD do by default: what was applied last is in an annotation, and of it, the manifest and the object
// a merge patch is made.
func threeWay(w *world, tool tool, manifest *unstructured.Unstructured, dry bool) string {
	w.Helper()
	modified := manifest.DeepCopy()
	modified.SetAnnotations(map[string]string{lastApplied: toJSON(manifest.Object)})
	live, owner := w.live(manifest), client.FieldOwner(tool.manager)
	if live == nil {
		if !dry {
			w.create(modified, owner)
		}
		return "it is not there"
	}
	original := live.GetAnnotations()[lastApplied]
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch([]byte(original), []byte(toJSON(modified.Object)), []byte(toJSON(live.Object)))
	if err != nil {
		w.Fatal(err)
	}
	if string(patch) == "{}" {
		return ""
	}
	if !dry {
		if err := w.Patch(w.Context(), live, client.RawPatch(types.MergePatchType, patch), owner); err != nil {
			w.Fatal(err)
		}
	}
	return string(patch)
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// serverSide applies as Flux does: the server tells what would become of the object, and what is in Git counts.
func serverSide(w *world, tool tool, manifest *unstructured.Unstructured, dry bool) string {
	w.Helper()
	live := w.live(manifest)
	for _, really := range []bool{false, !dry} {
		options := []client.ApplyOption{client.FieldOwner(tool.manager)}
		if tool.manager != "kubectl" {
			options = append(options, client.ForceOwnership)
		}
		if !really {
			options = append(options, client.DryRunAll)
		}
		applied := manifest.DeepCopy()
		if err := w.Apply(w.Context(), client.ApplyConfigurationFromUnstructured(applied), options...); err != nil {
			w.Fatal(err)
		}
		if live == nil || really {
			continue
		}
		if before, after := declaredOf(live), declaredOf(applied); before == after {
			return ""
		} else if dry {
			return before + "\n" + after
		}
	}
	return "changed"
}

// declaredOf is what of an object somebody has declared.
func declaredOf(o *unstructured.Unstructured) string {
	return toJSON([]any{o.Object["spec"], o.GetLabels(), o.GetAnnotations()})
}

// live reads an object; nil when there is none.
func (w *world) live(of *unstructured.Unstructured) *unstructured.Unstructured {
	w.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(of.GroupVersionKind())
	err := w.Get(w.Context(), client.ObjectKeyFromObject(of), live)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return live
}

// repository is Git with a tool that applies it.
type repository struct {
	*world
	tool
	owner *person
	// unikernel and volume are the manifests.
	unikernel, volume *unstructured.Unstructured
}

// TestGitOps has objects that Git owns do what the HTTP API offers. The tool sees no difference afterwards, and who would change what Git
// says is told who does.
func TestGitOps(t *testing.T) {
	w := newWorld(t, unique("root")+"@example.com")
	owner := w.newUser("alice")
	for name, tool := range tools {
		t.Run(name, func(t *testing.T) {
			r := &repository{world: w.in(t), tool: tool, owner: owner}
			r.commit()
			r.use()
			r.rollback()
			r.destroy()
		})
	}
	t.Run("both ways", func(t *testing.T) { bothWays(w.in(t), owner) })
}

func manifest(kind string, of *person, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind, "spec": spec,
		"metadata": map[string]any{"namespace": of.name, "name": name, "labels": map[string]any{"app": "web"}},
	}}
}

// image gives the source of an image.
func (w *world) image(variant string) map[string]any {
	w.Helper()
	source := w.web.Image(w.TB, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, variant)
	return map[string]any{"url": source.URL, "sha256": string(source.SHA256)}
}

// commit puts the first manifests into Git, and has them applied.
func (r *repository) commit() {
	at := map[string]any{"name": instance}
	r.unikernel = manifest("Unikernel", r.owner, unique("web"), map[string]any{"instanceRef": at, "memory": "32Mi", "image": r.image("first")})
	r.volume = manifest("Volume", r.owner, unique("data"), map[string]any{"instanceRef": at, "size": "1Mi"})
	for _, m := range []*unstructured.Unstructured{r.unikernel, r.volume} {
		r.change(r.world, r.tool, m, false)
		r.untilObjectReady(m, v1alpha1.ReasonSucceeded)
		r.same("being applied")
	}
}

// untilObjectReady waits until the present generation is ready for a reason.
func (w *world) untilObjectReady(of *unstructured.Unstructured, reason string) {
	w.Helper()
	w.wait(of.GetName()+" is ready", func() (bool, string) {
		live := w.live(of)
		if live == nil {
			return false, "it is not there"
		}
		all, _, err := unstructured.NestedSlice(live.Object, "status", "conditions")
		for _, c := range all {
			if c := c.(map[string]any); c["type"] == v1alpha1.ConditionReady && c["reason"] == reason && c["observedGeneration"] == live.GetGeneration() {
				return true, ""
			}
		}
		return false, fmt.Sprint(all, err)
	})
}

// same demands that the tool sees no difference.
func (r *repository) same(after string) {
	r.Helper()
	for _, m := range []*unstructured.Unstructured{r.unikernel, r.volume} {
		if r.live(m) == nil {
			continue
		}
		if difference := r.change(r.world, r.tool, m, true); difference != "" {
			r.Errorf("after %s %s differs: %s", after, m.GetName(), difference)
		}
	}
}

// told is what a call is answered.
type told struct {
	status int
	text   string
}

// use makes all calls about what Git owns.
func (r *repository) use() {
	c := call{r.world, r.owner, instance, r.unikernel.GetName()}
	v := call{r.world, r.owner, instance, r.volume.GetName()}
	arguments := func(config string) apitest.Ask {
		body := map[string]any{"albatross_instance": instance, "name": c.name, "arguments": config}
		return apitest.Ask{Path: "/api/unikernel/restart", JSON: body}
	}
	at := func(path string, a apitest.Ask) apitest.Ask { a.Path = path + a.Path; return a }
	done, owned := told{http.StatusOK, ""}, told{http.StatusConflict, "declared by " + r.manager}
	for _, step := range []struct {
		what string
		ask  apitest.Ask
		told told
	}{
		{"restart", at("/api/unikernel/restart", named(c)), done},
		{"restart with another memory", arguments(`{"memory":64,"cpuid":0,"fail_behaviour":"quit"}`), owned},
		{"restart with what Git does not say", arguments(`{"memory":32,"cpuid":1,"fail_behaviour":"quit"}`), done},
		{"restart with what the host refuses", arguments(`{"memory":32,"cpuid":9,"fail_behaviour":"quit"}`), told{http.StatusInternalServerError, "CPUids"}},
		{"create by force", at("/api/unikernel/create", createUnikernel(c)), owned},
		{"update to another build", at("/api/unikernel/update", update(c)), owned},
		{"create of the volume", at("/api/volume/create", fillVolume(v)), told{http.StatusInternalServerError, "already exists"}},
		{"upload", at("/api/volume/upload", fillVolume(v)), done},
		{"list", apitest.Ask{Path: "/api/unikernels"}, told{http.StatusOK, c.name}},
	} {
		before := r.live(r.unikernel)
		step.ask.Bearer = r.owner.bearer
		reply := r.send(step.ask)
		if reply.Status != step.told.status || !strings.Contains(reply.Body, step.told.text) {
			r.Errorf("%s: %d %s", step.what, reply.Status, reply.Body)
		}
		if after := r.live(r.unikernel); step.told.status != http.StatusOK && declaredOf(after) != declaredOf(before) {
			r.Errorf("%s was refused, and changed\n%s\n%s", step.what, declaredOf(before), declaredOf(after))
		}
		r.same(step.what)
	}
	r.suspend()
	if content, err := r.host.BlockContent(v.full()); err != nil || !strings.HasPrefix(string(content), "private of") {
		r.Errorf("the volume has %.20q, %v", content, err)
	}
	r.ownsAlone()
}

// suspend is a call of the Panel API about a field that Git does not have.
func (r *repository) suspend() {
	id, _, _ := strings.Cut(string(r.live(r.unikernel).GetUID()), "-")
	for _, step := range []struct{ path, reason string }{{"/api/instances/suspend", v1alpha1.ReasonSuspended}, {"/api/instances/unsuspend", v1alpha1.ReasonSucceeded}} {
		reply := r.send(apitest.Ask{Path: step.path, Headers: map[string]string{"X-Api-Key": r.root.bearer}, JSON: map[string]any{"id": id}})
		if !succeeded(reply) {
			r.Errorf("%s: %d %s", step.path, reply.Status, reply.Body)
		}
		r.untilObjectReady(r.unikernel, step.reason)
		r.same(step.path)
	}
}

// ownsAlone demands that nothing of what Git says is the API's besides.
func (r *repository) ownsAlone() {
	for _, entry := range r.live(r.unikernel).GetManagedFields() {
		for _, field := range []string{`"f:memory"`, `"f:image"`, `"f:instanceRef"`, `"f:labels"`} {
			if entry.Subresource == "" && entry.Manager != r.manager && strings.Contains(entry.FieldsV1.GetRawString(), field) {
				r.Errorf("%s owns %s", entry.Manager, field)
			}
		}
	}
}

// rollback brings back what Git had before. It is no secret, and still no difference.
func (r *repository) rollback() {
	r.unikernel.Object["spec"].(map[string]any)["image"] = r.image("second")
	if r.change(r.world, r.tool, r.unikernel, false) == "" {
		r.Fatal("the tool sees no change")
	}
	r.untilObjectReady(r.unikernel, v1alpha1.ReasonSucceeded)
	reply := r.send(apitest.Ask{Path: "/api/unikernel/rollback", Bearer: r.owner.bearer, JSON: map[string]any{"albatross_instance": instance, "unikernel_name": r.unikernel.GetName()}})
	if reply.Status != http.StatusOK {
		r.Errorf("rollback: %d %s", reply.Status, reply.Body)
	}
	r.untilObjectReady(r.unikernel, v1alpha1.ReasonRolledBack)
	r.same("rollback")
	if info, _ := r.host.Unikernel(r.owner.name + ":" + r.unikernel.GetName()); hex.EncodeToString(info.Digest) != r.image("first")["sha256"] {
		r.Errorf("it runs %x", info.Digest)
	}
}

// destroy is seen by the tool, which brings the object back.
func (r *repository) destroy() {
	for _, step := range []struct {
		of   *unstructured.Unstructured
		path string
		ask  func(call) apitest.Ask
	}{{r.unikernel, "/api/unikernel/destroy", named}, {r.volume, "/api/volume/delete", block}} {
		a := step.ask(call{r.world, r.owner, instance, step.of.GetName()})
		a.Path, a.Bearer = step.path, r.owner.bearer
		r.must(a)
		if r.live(step.of) != nil {
			r.Errorf("%s is still there", step.of.GetName())
		}
		if r.change(r.world, r.tool, step.of, false) == "" {
			r.Errorf("the tool does not see that %s is gone", step.of.GetName())
		}
		r.untilObjectReady(step.of, v1alpha1.ReasonSucceeded)
		r.same("coming back")
	}
}

// bothWays has curl see what kubectl does, and kubectl what curl does.
func bothWays(w *world, owner *person) {
	made := manifest("Unikernel", owner, w.newThing(unikernel, owner), nil)
	live := w.live(made)
	if live == nil {
		w.Fatal("kubectl does not see what curl made")
	}
	if memory, _, _ := unstructured.NestedString(live.Object, "spec", "memory"); memory != "16Mi" {
		w.Errorf("it has %s", memory)
	}
	if err := w.Patch(w.Context(), live, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"memory":"48Mi"}}`))); err != nil {
		w.Fatal(err)
	}
	w.untilListed(owner, made.GetName(), `"memory":48`)
	if err := w.Delete(w.Context(), live); err != nil {
		w.Fatal(err)
	}
	w.untilListed(owner, made.GetName(), "")

	other := manifest("Unikernel", owner, unique("kubectl"), map[string]any{"instanceRef": map[string]any{"name": instance}, "image": w.image("first")})
	w.create(other)
	w.untilListed(owner, other.GetName(), `"name"`)
	a := named(call{w, owner, instance, other.GetName()})
	a.Path, a.Bearer = "/api/unikernel/destroy", owner.bearer
	w.must(a)
	if w.live(other) != nil {
		w.Error("kubectl still sees what curl destroyed")
	}
}

// untilListed waits until the list has something of that name with a text, or nothing when the text is empty.
func (w *world) untilListed(of *person, name, text string) {
	w.Helper()
	w.wait(name+" is listed", func() (bool, string) {
		body := w.must(apitest.Ask{Path: "/api/unikernels", Bearer: of.bearer}).Body
		_, rest, found := strings.Cut(body, `"name":"`+name+`"`)
		rest, _, _ = strings.Cut(`"name"`+rest, "}")
		return found == (text != "") && strings.Contains(rest, text), body
	})
}

package faults

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
)

// story is something that an operator does on a host, during which it is killed.
type story struct {
	name string
	// command is the one that the host gets.
	command string
	object  func(*world) client.Object
	// prepare brings the object to where the story begins; nil is for one that
	// does not exist yet.
	prepare func(*world, client.Object)
	// begin changes what is declared.
	begin func(*world, client.Object)
	// done tells whether the host has carried the command out.
	done func(*world, client.Object) bool
	// settled waits for the end; nil waits until the object is ready or, when the
	// story is about its deletion, gone.
	settled func(*world, client.Object)
	// check looks at the end.
	check  func(*testing.T, *world, client.Object)
	points []point
}

// point is where an operator is killed.
type point struct {
	name string
	// fault has the host fail at the command.
	fault albatrosstest.Fault
	// arm sets the fuse; the command was sent to the host earlier times before.
	// The object is not changed any more.
	arm func(w *world, s *story, o client.Object, earlier int)
	// strike waits for the moment, and kills, where there is no fuse for it.
	strike func(w *world, s *story, o client.Object, earlier int)
}

// writes chooses the write to an object, or to its status.
func writes(o client.Object, toStatus bool) func(*http.Request) bool {
	return func(r *http.Request) bool {
		path, isStatus := strings.CutSuffix(r.URL.Path, "/status")
		return r.Method == http.MethodPatch && isStatus == toStatus && strings.HasSuffix(path, "/"+o.GetName())
	}
}

// Points at which the operator writes to the API server.
var (
	beforeFinalizer = point{name: "before the finalizer is written", arm: func(w *world, _ *story, o client.Object, _ int) {
		w.operator.set(fuse{request: writes(o, false)})
	}}
	afterFinalizer = point{name: "when the finalizer is written", arm: func(w *world, _ *story, o client.Object, _ int) {
		w.operator.set(fuse{request: writes(o, false), after: true})
	}}
	beforeStatus = point{name: "before the status is saved", arm: func(w *world, s *story, o client.Object, earlier int) {
		w.operator.set(fuse{request: w.afterCommand(s, o, earlier, writes(o, true))})
	}}
	afterStatus = point{name: "when the status is saved", arm: func(w *world, s *story, o client.Object, earlier int) {
		w.operator.set(fuse{request: w.afterCommand(s, o, earlier, writes(o, true)), after: true})
	}}
	beforeEvent = point{name: "before the event is written", arm: func(w *world, s *story, o client.Object, earlier int) {
		w.operator.set(fuse{request: w.afterCommand(s, o, earlier, func(r *http.Request) bool {
			return r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/namespaces/"+w.namespace+"/events")
		})})
	}}
)

// Points at which the operator saves what it is about to do.
var (
	beforeSaved = point{name: "before the decision is saved", arm: func(w *world, _ *story, o client.Object, _ int) {
		w.operator.set(fuse{request: writes(o, true)})
	}}
	afterSaved = point{name: "when the decision is saved", arm: func(w *world, _ *story, o client.Object, _ int) {
		w.operator.set(fuse{request: writes(o, true), after: true})
	}}
)

// Points at which the host has the command.
var (
	cutBefore     = afterFault("cut before it is carried out", albatrosstest.Fault{Kind: albatrosstest.CutUpload})
	cutReply      = afterFault("reply cut at its beginning", albatrosstest.Fault{Kind: albatrosstest.CutReply})
	cutInReply    = afterFault("reply cut within", albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 5})
	garbage       = afterFault("garbage for a reply", albatrosstest.Fault{Kind: albatrosstest.Garbage})
	answered      = afterFault("answered, before the next look", albatrosstest.Fault{})
	cutFirst      = afterFault("upload cut after a byte", albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: 1})
	cutHalf       = afterFault("upload cut in its middle", albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: imageSize / 2})
	cutLast       = afterFault("upload cut near its end", albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: imageSize})
	notCarriedOut = point{
		name: "received and not carried out", fault: albatrosstest.Fault{Kind: albatrosstest.Slow, Delay: time.Second},
		strike: func(w *world, s *story, o client.Object, earlier int) {
			w.wait("received", func() (bool, string) { return w.host.Received(s.command, w.hostName(o)) > earlier, "" })
			w.operator.kill()
		},
	}
	uploading = point{
		name: "in the middle of an upload", fault: albatrosstest.Fault{Kind: albatrosstest.Slow, BytesPerSecond: imageSize},
		strike: notCarriedOut.strike,
	}
	noReply = point{
		name: "carried out, no reply", fault: albatrosstest.Fault{Kind: albatrosstest.NoReply},
		strike: func(w *world, s *story, o client.Object, earlier int) {
			w.wait("carried out", func() (bool, string) {
				return w.host.Received(s.command, w.hostName(o)) > earlier && s.done(w, o), ""
			})
			w.operator.kill()
		},
	}
)

// afterFault is a point right after the command is over, before the operator says
// anything else to anybody.
func afterFault(name string, fault albatrosstest.Fault) point {
	return point{name: name, fault: fault, arm: func(w *world, s *story, o client.Object, earlier int) {
		w.operator.set(fuse{
			request: w.afterCommand(s, o, earlier, func(*http.Request) bool { return true }),
			dial:    func() bool { return w.host.ended(s.command, w.hostName(o)) > earlier },
		})
	}}
}

// afterCommand narrows requests to those after the command's end.
func (w *world) afterCommand(s *story, o client.Object, earlier int, request func(*http.Request) bool) func(*http.Request) bool {
	return func(r *http.Request) bool { return w.host.ended(s.command, w.hostName(o)) > earlier && request(r) }
}

// Pieces of stories.

func unikernel(w *world) client.Object { return w.newUnikernel("uk") }
func volume(w *world) client.Object    { return w.newVolume("vol", 2) }

func filledVolume(w *world) client.Object {
	v := w.newVolume("vol", 2)
	content := w.web.Publish(noise(7, imageSize))
	v.Spec.Source = &v1alpha1.VolumeSource{ContentSource: content}
	return v
}

func created(w *world, o client.Object) { w.create(o) }

func ready(w *world, o client.Object) {
	w.create(o)
	w.untilReady(o)
}

func deleted(w *world, o client.Object) { w.delete(o) }

func runs(w *world, o client.Object) bool {
	_, ok := w.host.Unikernel(w.hostName(o))
	return ok
}

func exists(w *world, o client.Object) bool {
	return slices.ContainsFunc(w.host.Blocks(w.namespace), func(b albatross.Block) bool { return b.Name.String() == w.hostName(o) })
}

func isFilled(w *world, o client.Object) bool {
	content, err := w.host.BlockContent(w.hostName(o))
	return err == nil && bytes.HasPrefix(content, noise(7, imageSize))
}

// asDeclared checks that what is declared and nothing else is on the host.
func asDeclared(t *testing.T, w *world, o client.Object) {
	uk := o.(*v1alpha1.Unikernel)
	all := w.host.Unikernels(w.namespace)
	if len(all) != 1 || all[0].Name.String() != w.hostName(uk) {
		t.Fatalf("on the host: %v", all)
	}
	if digest := hex.EncodeToString(all[0].Info.Digest); digest != string(uk.Spec.Image.SHA256) || !slices.Equal(all[0].Info.Argv, uk.Spec.Arguments) {
		t.Errorf("digest %s, arguments %v", digest, all[0].Info.Argv)
	}
	if len(uk.Status.History) == 0 || uk.Status.History[0].Digest != string(uk.Spec.Image.SHA256) || uk.Status.Digest != string(uk.Spec.Image.SHA256) {
		t.Errorf("the status does not know what runs: %+v", uk.Status)
	}
}

func thereOnce(t *testing.T, w *world, o client.Object) {
	v := o.(*v1alpha1.Volume)
	all := w.host.Blocks(w.namespace)
	if len(all) != 1 || all[0].Name.String() != w.hostName(v) || all[0].Size != v1alpha1.MiB(v.Spec.Size) {
		t.Fatalf("on the host: %v", all)
	}
	if v.Spec.Source != nil && (!isFilled(w, v) || v.Status.PopulatedDigest != string(v.Spec.Source.SHA256)) {
		t.Errorf("not filled; status %+v", v.Status)
	}
}

func nothing(_ *testing.T, w *world, _ client.Object) { w.nothingLeft() }

func newImage(w *world, o client.Object) {
	change(w, o.(*v1alpha1.Unikernel), func(uk *v1alpha1.Unikernel) { uk.Spec.Image = w.image(2) })
}

func newArguments(w *world, o client.Object) {
	change(w, o.(*v1alpha1.Unikernel), func(uk *v1alpha1.Unikernel) { uk.Spec.Arguments = append(uk.Spec.Arguments, "--more") })
}

func runsNewImage(w *world, o client.Object) bool {
	info, ok := w.host.Unikernel(w.hostName(o))
	return ok && hex.EncodeToString(info.Digest) == string(w.image(2).SHA256)
}

func runsNewArguments(w *world, o client.Object) bool {
	info, ok := w.host.Unikernel(w.hostName(o))
	return ok && slices.Contains(info.Argv, "--more")
}

// catalogued is a unikernel that takes up by itself what the catalogue's entry of
// its world says.
func catalogued(w *world) client.Object {
	uk := w.newUnikernel("uk")
	uk.Spec.Image = &v1alpha1.ImageSource{Catalog: &v1alpha1.CatalogReference{Name: w.instance}}
	uk.Spec.Update = &v1alpha1.UpdateStrategy{Policy: v1alpha1.UpdateAutomatic}
	return uk
}

func (w *world) entry(variant uint64) *v1alpha1.UnikernelImage {
	return &v1alpha1.UnikernelImage{
		ObjectMeta: metav1.ObjectMeta{Name: w.instance},
		Spec:       v1alpha1.UnikernelImageSpec{Image: v1alpha1.CatalogSource{ContentSource: w.image(variant).ContentSource}},
	}
}

func readyFromCatalog(w *world, o client.Object) {
	w.create(w.entry(1))
	w.Cleanup(func() { _ = w.Delete(context.Background(), w.entry(1)) })
	ready(w, o)
}

func newEntry(w *world, _ client.Object) {
	change(w, w.entry(1), func(e *v1alpha1.UnikernelImage) { e.Spec = w.entry(2).Spec })
}

func isUpdated(w *world, o client.Object) {
	uk := o.(*v1alpha1.Unikernel)
	w.until("updated", uk, func() bool {
		return uk.Status.Digest == string(w.image(2).SHA256) && condition(uk, v1alpha1.ConditionReady).Status == metav1.ConditionTrue
	})
}

// updated checks that the newer image is the one in use.
func updated(t *testing.T, w *world, o client.Object) {
	st, want := &o.(*v1alpha1.Unikernel).Status, string(w.image(2).SHA256)
	if st.Digest != want || st.Image.Digest != want || st.AvailableImage != nil || len(st.History) != 2 {
		t.Errorf("the status does not know what runs: %+v", st)
	}
}

// health is the file that tells whether unikernels are well.
const health = "health"

// probed is a unikernel that is well as long as the file is there.
func probed(w *world) client.Object {
	uk := w.newUnikernel("uk")
	uk.Spec.Probe = &v1alpha1.Probe{
		HTTP:   &v1alpha1.HTTPProbe{URL: w.web.URL + "/" + health},
		Period: &metav1.Duration{Duration: time.Second}, Timeout: &metav1.Duration{Duration: time.Second}, FailureThreshold: 1,
	}
	uk.Spec.Update = &v1alpha1.UpdateStrategy{ProgressDeadline: &metav1.Duration{Duration: 3 * time.Second}}
	return uk
}

// onTrial has a change deployed with which the unikernel is not well.
func onTrial(w *world, o client.Object) {
	w.web.Set(health, []byte("well"))
	ready(w, o)
	w.web.Set(health, nil)
	newImage(w, o)
	w.until("deployed", o, func() bool { return o.(*v1alpha1.Unikernel).Status.Digest == string(w.image(2).SHA256) })
}

func waits(*world, client.Object) {}

func runsOldImage(w *world, o client.Object) bool {
	info, ok := w.host.Unikernel(w.hostName(o))
	return ok && hex.EncodeToString(info.Digest) == string(w.image(1).SHA256)
}

func isRolledBack(w *world, o client.Object) {
	w.untilReason(o, v1alpha1.ReasonRolledBack)
	w.wait("as before", func() (bool, string) { return runsOldImage(w, o), "" })
}

func rolledBack(t *testing.T, w *world, o client.Object) {
	st := &o.(*v1alpha1.Unikernel).Status
	if st.Digest != string(w.image(1).SHA256) || st.Rollback == nil || st.Rollback.Revision != 1 || len(st.History) != 3 {
		t.Errorf("the status does not know what runs: %+v", st)
	}
}

var stories = []story{
	{
		name: "create", command: "unikernel create", object: unikernel, begin: created, done: runs, check: asDeclared,
		points: []point{
			beforeFinalizer, afterFinalizer, cutFirst, cutHalf, cutLast, uploading, notCarriedOut, noReply, cutReply, cutInReply, garbage,
			answered, beforeStatus, afterStatus, beforeEvent,
		},
	}, {
		name: "replace", command: "unikernel force create", object: unikernel, prepare: ready, begin: newImage, done: runsNewImage, check: asDeclared,
		points: []point{cutFirst, cutHalf, cutLast, uploading, notCarriedOut, noReply, cutReply, cutInReply, garbage, answered, beforeStatus, afterStatus},
	}, {
		name: "reconfigure", command: "unikernel restart", object: unikernel, prepare: ready, begin: newArguments, done: runsNewArguments, check: asDeclared,
		points: []point{cutBefore, notCarriedOut, noReply, cutReply, cutInReply, garbage, answered, beforeStatus, afterStatus},
	}, {
		name: "update", command: "unikernel force create", object: catalogued, prepare: readyFromCatalog, begin: newEntry, done: runsNewImage, settled: isUpdated, check: updated,
		points: []point{beforeSaved, afterSaved, cutHalf, notCarriedOut, noReply, cutReply, answered, beforeStatus, afterStatus},
	}, {
		name: "roll back", command: "unikernel force create", object: probed, prepare: onTrial, begin: waits, done: runsOldImage, settled: isRolledBack, check: rolledBack,
		points: []point{beforeSaved, afterSaved, cutHalf, notCarriedOut, noReply, cutReply, answered, beforeStatus, afterStatus},
	}, {
		name: "destroy", command: "unikernel destroy", object: unikernel, prepare: ready, begin: deleted, check: nothing,
		done:   func(w *world, o client.Object) bool { return !runs(w, o) },
		points: []point{cutBefore, notCarriedOut, noReply, cutReply, cutInReply, garbage, answered, beforeFinalizer, afterFinalizer},
	}, {
		name: "add", command: "block add", object: volume, begin: created, done: exists, check: thereOnce,
		points: []point{
			beforeFinalizer, afterFinalizer, cutBefore, notCarriedOut, noReply, cutReply, cutInReply, garbage, answered, beforeStatus, afterStatus, beforeEvent,
		},
	}, {
		name: "add to fill", command: "block add", object: filledVolume, begin: created, done: exists, check: thereOnce,
		points: []point{beforeFinalizer, afterFinalizer, cutBefore, noReply, cutReply, answered, beforeStatus, afterStatus},
	}, {
		name: "populate", command: "block set", object: filledVolume, begin: created, done: isFilled, check: thereOnce,
		points: []point{cutFirst, cutHalf, cutLast, uploading, notCarriedOut, noReply, cutReply, cutInReply, garbage, answered, beforeStatus, afterStatus},
	}, {
		name: "remove", command: "block remove", object: volume, prepare: ready, begin: deleted, check: nothing,
		done:   func(w *world, o client.Object) bool { return !exists(w, o) },
		points: []point{cutBefore, notCarriedOut, noReply, cutReply, cutInReply, garbage, answered, beforeFinalizer, afterFinalizer},
	},
}

// TestCrash kills the operator at every boundary between a command and what is
// saved of it, and has another one go on.
func TestCrash(t *testing.T) {
	for _, s := range stories {
		for _, p := range s.points {
			t.Run(s.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				crash(t, &s, &p)
			})
		}
	}
}

func crash(t *testing.T, s *story, p *point) {
	w := newWorld(t)
	o := s.object(w)
	if s.prepare != nil {
		s.prepare(w, o)
	}
	earlier, mutations := w.host.ended(s.command, w.hostName(o)), w.host.Mutations(w.hostName(o))
	lift := func() {}
	if p.fault.Kind != 0 {
		p.fault.Command, p.fault.Name = s.command, w.hostName(o)
		lift = w.host.Inject(p.fault)
	}
	first, as := w.operator, o.DeepCopyObject().(client.Object)
	if p.arm != nil {
		p.arm(w, s, as, earlier)
	}
	s.begin(w, o)
	if p.strike != nil {
		p.strike(w, s, as, earlier)
	}
	select {
	case <-first.died:
	case <-time.After(limit):
		t.Fatalf("the operator never came to this point; the host got %v", w.host.Log())
	}
	lift()
	w.startOperator()
	// A host may have more of a command than its sender lived to see, and then
	// goes on with it.
	w.wait("done with everything", func() (bool, string) {
		return w.host.ended(s.command, w.hostName(o)) == w.host.Received(s.command, w.hostName(o)), ""
	})
	switch {
	case isDeletion(s):
		w.untilGone(o)
	case s.settled != nil:
		s.settled(w, o)
	default:
		w.untilReady(o)
		w.wait("as declared", func() (bool, string) { return s.done(w, o), "" })
	}
	s.check(t, w, o)
	// One before and one after; what fills a volume is preceded by adding it.
	most := 2
	if v, ok := o.(*v1alpha1.Volume); ok && v.Spec.Source != nil {
		most = 3
	}
	if got := w.host.Mutations(w.hostName(o)) - mutations; got > most {
		t.Errorf("%d commands that change something", got)
	}
	w.delete(o)
	w.untilGone(o)
	w.nothingLeft()
}

func isDeletion(s *story) bool { return s.name == "destroy" || s.name == "remove" }

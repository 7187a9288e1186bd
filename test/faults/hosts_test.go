package faults

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/api/v1alpha1"
)

// networkFaults are the ways in which a host does not answer.
var networkFaults = []struct {
	name  string
	fault albatrosstest.Fault
}{
	{"refuses connections", albatrosstest.Fault{Kind: albatrosstest.Refuse}},
	{"resets connections", albatrosstest.Fault{Kind: albatrosstest.Reset}},
	{"accepts and stalls", albatrosstest.Fault{Kind: albatrosstest.Stall}},
	{"speaks no TLS", albatrosstest.Fault{Kind: albatrosstest.NotTLS}},
	{"wrong certificate", albatrosstest.Fault{Kind: albatrosstest.WrongCertificate}},
	{"certificate of a client", albatrosstest.Fault{Kind: albatrosstest.ClientCertificate}},
	{"daemon down", albatrosstest.Fault{Kind: albatrosstest.Unreachable}},
	{"carries out without a reply", albatrosstest.Fault{Kind: albatrosstest.NoReply}},
	{"cuts before carrying out", albatrosstest.Fault{Kind: albatrosstest.CutUpload}},
	{"cuts replies", albatrosstest.Fault{Kind: albatrosstest.CutReply}},
	{"replies garbage", albatrosstest.Fault{Kind: albatrosstest.Garbage}},
	{"slower than any patience", albatrosstest.Fault{Kind: albatrosstest.Slow, Delay: 2 * probeTimeout}},
}

// healing is how long after a fault everything must be well again.
const healing = 60 * time.Second

// TestNetworkFaults has a host fail in every way while objects of all kinds are
// there, change and are new: none is ever stalled, what was known is kept, and all
// is well soon after.
func TestNetworkFaults(t *testing.T) {
	for _, tt := range networkFaults {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.seen.neverStalled.Store(true)
			uk, v, instance := w.newUnikernel("old"), w.newVolume("old", 1), w.theInstance()
			ready(w, uk)
			ready(w, v)
			digest, started := uk.Status.Digest, uk.Status.StartedAt
			lift := w.host.Inject(tt.fault)
			for _, o := range []client.Object{instance, uk, v} {
				w.until("lost", o, func() bool {
					return condition(o, v1alpha1.ConditionReady).Status == metav1.ConditionUnknown &&
						condition(o, v1alpha1.ConditionReconciling).Status == metav1.ConditionTrue
				})
			}
			if uk.Status.Digest != digest || !uk.Status.StartedAt.Equal(started) || v.Status.Size == nil {
				t.Errorf("facts were forgotten: %+v %+v", uk.Status, v.Status)
			}
			change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.Arguments = append(uk.Spec.Arguments, "--more") })
			fresh, freshVolume := w.newUnikernel("new"), w.newVolume("new", 1)
			w.create(fresh)
			w.create(freshVolume)
			w.untilReason(fresh, condition(uk, v1alpha1.ConditionReady).Reason)
			lift()
			began := time.Now()
			for _, o := range []client.Object{instance, uk, v, fresh, freshVolume} {
				w.untilReady(o)
			}
			if took := time.Since(began); took > healing {
				t.Errorf("well again only after %s", took)
			} else {
				t.Logf("well again after %s", took.Round(time.Millisecond))
			}
			if !runsNewArguments(w, uk) || !runs(w, fresh) || !exists(w, v) || !exists(w, freshVolume) {
				t.Error("ready, but not as declared")
			}
		})
	}
}

// TestCommandFaults has each command fail once, and looks work: nothing is done
// twice that was done, and nothing is stalled.
func TestCommandFaults(t *testing.T) {
	kinds := map[string]albatrosstest.Fault{
		"daemon down": {Kind: albatrosstest.Unreachable}, "cut before": {Kind: albatrosstest.CutUpload},
		"cut within an upload": {Kind: albatrosstest.CutUpload, Bytes: imageSize / 3}, "reply cut": {Kind: albatrosstest.CutReply, Bytes: 2},
		"garbage": {Kind: albatrosstest.Garbage},
	}
	for name, fault := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.seen.neverStalled.Store(true)
			for _, command := range []string{"unikernel create", "unikernel force create", "unikernel restart", "unikernel destroy", "block add", "block set", "block remove"} {
				fault.Command, fault.Times = command, 1
				w.host.Inject(fault)
			}
			uk, v := w.newUnikernel("uk"), filledVolume(w)
			w.create(v)
			ready(w, uk)
			newImage(w, uk)
			w.untilReady(uk)
			newArguments(w, uk)
			w.untilReady(uk)
			w.untilReady(v)
			asDeclaredOnHost(w, uk)
			if !isFilled(w, v) {
				t.Error("the volume is not filled")
			}
			w.delete(uk)
			w.delete(v)
			w.untilGone(uk)
			w.untilGone(v)
			w.nothingLeft()
			if got := w.host.Mutations(w.hostName(uk)); got > 8 {
				t.Errorf("%d commands for four that failed once each", got)
			}
			if got := w.host.Mutations(w.hostName(v)); got > 6 {
				t.Errorf("%d commands for three that failed once each", got)
			}
		})
	}
}

func asDeclaredOnHost(w *world, uk *v1alpha1.Unikernel) {
	if !runsNewImage(w, uk) || !runsNewArguments(w, uk) {
		w.Error("it does not run as declared")
	}
}

// TestLongPoll has an answer be lost with a poll interval in which nobody would
// see what the command did: the operator looks by itself.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	w := newSilentWorld(t, albatrosstest.Options{})
	w.create(w.newSecret(w.instance, w.host))
	instance := w.newInstance(w.instance, w.host)
	instance.Spec.PollInterval = &metav1.Duration{Duration: time.Hour}
	w.create(instance)
	w.startOperator()
	w.seen.neverStalled.Store(true)
	for _, command := range []string{"unikernel create", "unikernel force create", "unikernel restart", "unikernel destroy", "block add", "block remove"} {
		w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.CutReply, Command: command, Times: 1})
	}
	uk, v := w.newUnikernel("uk"), w.newVolume("vol", 1)
	w.create(v)
	ready(w, uk)
	newImage(w, uk)
	w.untilReady(uk)
	newArguments(w, uk)
	w.untilReady(uk)
	w.untilReady(v)
	for _, o := range []client.Object{uk, v} {
		w.delete(o)
		w.untilGone(o)
	}
	w.nothingLeft()
	// What was carried out without an answer was not repeated.
	if got, all := w.host.Mutations(w.hostName(uk)), w.host.Mutations(w.hostName(v)); got != 4 || all != 2 {
		t.Errorf("%d and %d commands for four and two", got, all)
	}
}

// TestNoReplyToCreate has the operator wait in vain for the answer.
func TestNoReplyToCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.seen.neverStalled.Store(true)
	w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.NoReply, Command: "unikernel create", Times: 1})
	w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.NoReply, Command: "block add", Times: 1})
	uk, v := w.newUnikernel("uk"), w.newVolume("vol", 1)
	w.create(uk)
	w.create(v)
	w.untilReady(uk)
	w.untilReady(v)
	if got := w.host.Mutations(""); got != 2 {
		t.Errorf("%d commands for two", got)
	}
}

// TestHostRestart has a host go down with all that runs, and come back.
func TestHostRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.seen.neverStalled.Store(true)
	uk, v := unikernel(w).(*v1alpha1.Unikernel), filledVolume(w).(*v1alpha1.Volume)
	ready(w, uk)
	ready(w, v)
	options := albatrosstest.Options{Listen: w.host.Addr(), Dir: w.host.Dir()}
	w.host.Close()
	w.untilReason(w.theInstance(), v1alpha1.ReasonHostUnreachable)
	w.host = w.newHost(options)
	w.untilReady(w.theInstance())
	w.untilReady(uk)
	w.untilReady(v)
	asDeclared(t, w, uk)
	thereOnce(t, w, v)
	if got := w.host.Mutations(""); got > 1 {
		t.Errorf("%d commands after a restart of the host, which starts its unikernels itself", got)
	}
}

// TestHostLosesState has a host come back with its certificates and nothing else:
// everything is made anew, policies first.
func TestHostLosesState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uk, v := unikernel(w).(*v1alpha1.Unikernel), filledVolume(w).(*v1alpha1.Volume)
	ready(w, uk)
	ready(w, v)
	options := albatrosstest.Options{Listen: w.host.Addr(), Dir: t.TempDir()}
	for _, file := range []string{albatrosstest.CACertFile, albatrosstest.CAKeyFile, "server.pem", "server.key"} {
		content, err := os.ReadFile(filepath.Join(w.host.Dir(), file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(options.Dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.host.Close()
	w.untilReason(w.theInstance(), v1alpha1.ReasonHostUnreachable)
	w.host = w.newHost(options)
	w.wait("made anew", func() (bool, string) {
		return runs(w, uk) && exists(w, v) && isFilled(w, v), describe(uk) + describe(v)
	})
	for _, o := range []client.Object{w.theInstance(), uk, v} {
		w.untilReady(o)
	}
	asDeclared(t, w, uk)
	thereOnce(t, w, v)
	if got := w.host.Mutations(""); got != 3 {
		t.Errorf("%d commands for three", got)
	}
}

// TestClockSkew has a host whose clock is two minutes off.
func TestClockSkew(t *testing.T) {
	for name, skew := range map[string]time.Duration{"ahead": 2 * time.Minute, "behind": -2 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSilentWorld(t, albatrosstest.Options{Now: func() time.Time { return time.Now().Add(skew) }})
			w.seen.neverStalled.Store(true)
			w.create(w.newSecret(w.instance, w.host))
			w.create(w.newInstance(w.instance, w.host))
			w.startOperator()
			uk, v := unikernel(w).(*v1alpha1.Unikernel), filledVolume(w)
			ready(w, v)
			ready(w, uk)
			newImage(w, uk)
			w.untilReady(uk)
			newArguments(w, uk)
			w.untilReady(uk)
			asDeclared(t, w, uk)
			for _, o := range []client.Object{uk, v} {
				w.delete(o)
				w.untilGone(o)
			}
			w.nothingLeft()
		})
	}
}

// TestDrift has things vanish from a host behind everybody's back.
func TestDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uk := w.newUnikernel("uk")
	ready(w, uk)
	before := w.host.Mutations("")
	w.host.Kill(w.hostName(uk))
	began := time.Now()
	w.wait("back", func() (bool, string) { return w.host.Mutations("") > before && runs(w, uk), describe(uk) })
	t.Logf("back after %s", time.Since(began).Round(time.Millisecond))
	w.until("counted", uk, func() bool { return uk.Status.Restarts == 1 })
	w.untilReady(uk)
}

// TestNamesakes has two objects for one name on a host: the second is refused,
// the first unaffected.
func TestNamesakes(t *testing.T) {
	t.Parallel()
	w := newSilentWorld(t, albatrosstest.Options{})
	w.create(w.newSecret(w.instance, w.host))
	w.create(w.newInstance(w.instance, w.host))
	twin := w.instance + "-twin"
	w.create(w.newSecret(twin, w.host))
	w.create(w.newInstance(twin, w.host))
	other := w.otherNamespace(twin)
	w.startOperator()
	first, firstVolume := w.newUnikernel("web"), w.newVolume("data", 1)
	ready(w, first)
	ready(w, firstVolume)
	started := first.Status.StartedAt

	second, secondVolume := w.newUnikernel("web"), w.newVolume("data", 2)
	second.Namespace, secondVolume.Namespace = other, other
	second.Spec.InstanceRef.Name, secondVolume.Spec.InstanceRef.Name = twin, twin
	second.Spec.Image = w.image(3)
	w.create(second)
	w.create(secondVolume)
	w.untilReason(second, v1alpha1.ReasonNameTaken)
	w.untilReason(secondVolume, v1alpha1.ReasonNameTaken)
	for _, o := range []client.Object{second, secondVolume} {
		w.delete(o)
		w.untilGone(o)
	}
	w.untilReady(first)
	w.untilReady(firstVolume)
	if !runs(w, first) || !exists(w, firstVolume) || !first.Status.StartedAt.Equal(started) {
		t.Error("the first was not left alone")
	}
	// Before its first look the second may have tried to create it, which the host refuses.
	if create, all := w.host.Received("unikernel create", w.hostName(first)), w.host.Mutations(w.hostName(first)); create != all || all > 2 {
		t.Errorf("%d creates of %d commands", create, all)
	}
}

// otherNamespace makes one whose tenant on an instance has the path of the world's.
func (w *world) otherNamespace(instance string) string {
	w.Helper()
	name := w.newNamespace()
	change(w, &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: instance}}, func(i *v1alpha1.AlbatrossInstance) {
		i.Spec.Tenants[0].Path = v1alpha1.Path(i.Spec.Tenants[0].Namespace)
		i.Spec.Tenants[0].Namespace = name
	})
	w.otherNamespaces = append(w.otherNamespaces, name)
	return name
}

// TestStrangerOnTheHost has something run on the host that no object made: it is
// left alone, whatever the object's life is.
func TestStrangerOnTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.newUnikernel("web")
	first.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
	ready(w, first)
	w.delete(first)
	w.untilGone(first)
	before := w.host.Mutations("")
	second := w.newUnikernel("web")
	second.Spec.Arguments = []string{"--other"}
	w.create(second)
	w.untilReason(second, v1alpha1.ReasonNameTaken)
	if c := condition(second, v1alpha1.ConditionReady); !strings.Contains(c.Message, "arguments") {
		t.Errorf("the message does not say what differs: %s", c.Message)
	}
	w.delete(second)
	w.untilGone(second)
	if info, ok := w.host.Unikernel(w.hostName(first)); !ok || slices.Contains(info.Argv, "--other") || w.host.Mutations("") != before {
		t.Error("the stranger was touched")
	}
}

package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
)

func TestUnikernelLife(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("hello")
	uk.Spec.Arguments = []string{"--greeting=hello"}
	w.create(uk)
	w.untilReady(uk)
	info, running := w.host.Unikernel(w.hostName(uk))
	if !running || info.Memory != v1alpha1.DefaultMemoryMiB || !slices.Equal(info.Argv, uk.Spec.Arguments) {
		t.Fatalf("on the host: %v %+v", running, info)
	}
	if got, want := uk.Status.Digest, string(uk.Spec.Image.SHA256); got != want || uk.Status.ShortDigest != want[:12] || uk.Status.HostName != w.hostName(uk) {
		t.Errorf("status %+v", uk.Status)
	}
	if len(uk.Status.History) != 1 || uk.Status.History[0].Digest != uk.Status.Digest || uk.Status.StartedAt == nil {
		t.Errorf("history %+v", uk.Status.History)
	}
	for _, condition := range []string{v1alpha1.ConditionHostAvailable, v1alpha1.ConditionImageReady, v1alpha1.ConditionRunning} {
		if !apimeta.IsStatusConditionTrue(uk.Status.Conditions, condition) {
			t.Errorf("%s is not True: %s", condition, describe(uk))
		}
	}
	if got := w.host.Mutations(w.hostName(uk)); got != 1 {
		t.Errorf("%d mutating commands for a create", got)
	}

	w.delete(uk)
	w.untilGone(uk)
	if _, running := w.host.Unikernel(w.hostName(uk)); running {
		t.Error("still runs")
	}
	if got := w.host.Mutations(w.hostName(uk)); got != 2 {
		t.Errorf("%d mutating commands for create and delete", got)
	}
}

// TestUnikernelChanges has each kind of change lead to just the command that it needs.
func TestUnikernelChanges(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("web")
	w.create(uk)
	w.untilReady(uk)
	for _, step := range []struct {
		what, command string
		change        func(*v1alpha1.Unikernel)
		check         func(albatross.Info) bool
	}{
		{"image", "unikernel force create", func(uk *v1alpha1.Unikernel) {
			uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "second")
		}, func(i albatross.Info) bool { return fmt.Sprintf("%x", i.Digest) == string(uk.Spec.Image.SHA256) }},
		{"arguments", "unikernel restart", func(uk *v1alpha1.Unikernel) { uk.Spec.Arguments = []string{"-v"} },
			func(i albatross.Info) bool { return slices.Equal(i.Argv, []string{"-v"}) }},
		{"memory", "unikernel restart", func(uk *v1alpha1.Unikernel) { uk.Spec.Memory = new(v1alpha1.FromMiB(64)) },
			func(i albatross.Info) bool { return i.Memory == 64 }},
		{"annotation", "unikernel restart", func(uk *v1alpha1.Unikernel) {
			uk.Annotations = map[string]string{v1alpha1.AnnotationRestartedAt: "2026-11-21T10:00:00Z"}
		}, func(i albatross.Info) bool { return i.Memory == 64 }},
	} {
		before := w.host.Mutations(w.hostName(uk))
		received := w.host.Received(step.command, w.hostName(uk))
		change(w, uk, step.change)
		w.until(step.what+" changed", uk, func() bool {
			return isReady(uk) && w.host.Received(step.command, w.hostName(uk)) == received+1
		})
		if got := w.host.Mutations(w.hostName(uk)); got != before+1 {
			t.Errorf("%s: %d commands", step.what, got-before)
		}
		info, _ := w.host.Unikernel(w.hostName(uk))
		if !step.check(info) {
			t.Errorf("%s: on the host %+v", step.what, info)
		}
	}
	if got := len(uk.Status.History); got != 4 {
		t.Errorf("%d revisions, want 4 (the restart is none)", got)
	}
}

func TestUnikernelSuspend(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("nap")
	uk.Spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}
	w.create(uk)
	w.untilReady(uk)
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.Suspended = true })
	w.untilReason(uk, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	if _, running := w.host.Unikernel(w.hostName(uk)); running {
		t.Error("still runs")
	}
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.Suspended = false })
	w.untilReason(uk, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if _, running := w.host.Unikernel(w.hostName(uk)); !running {
		t.Error("does not run again")
	}
}

// TestUnikernelComesBack covers what happens to one that ends, by restart policy.
func TestUnikernelComesBack(t *testing.T) {
	w := newWorld(t)
	always, never := w.newUnikernel("always"), w.newUnikernel("never")
	never.Spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}
	for _, uk := range []*v1alpha1.Unikernel{always, never} {
		w.create(uk)
		w.untilReady(uk)
		w.host.Kill(w.hostName(uk))
	}
	w.until("brought back", always, func() bool { return isReady(always) && always.Status.Restarts == 1 })
	w.untilReason(never, metav1.ConditionFalse, v1alpha1.ReasonExited)
	if reason(never, v1alpha1.ConditionRunning, metav1.ConditionFalse) != v1alpha1.ReasonExited || never.Status.Digest != "" {
		t.Errorf("an ended one is told as %s", describe(never))
	}
	// Ending again and again is paced.
	w.host.Kill(w.hostName(always))
	w.untilReason(always, metav1.ConditionFalse, v1alpha1.ReasonRestarting)
	if _, running := w.host.Unikernel(w.hostName(always)); running {
		t.Error("brought back twice within 10 s")
	}
	change(w, never, func(uk *v1alpha1.Unikernel) {
		uk.Annotations = map[string]string{v1alpha1.AnnotationRestartedAt: "again"}
	})
	w.untilReady(never)
}

// TestUnikernelNamesakes covers what runs under the name without our doing.
func TestUnikernelNamesakes(t *testing.T) {
	w := newWorld(t)
	equal, other := w.newUnikernel("equal"), w.newUnikernel("other")
	for _, uk := range []*v1alpha1.Unikernel{equal, other} {
		w.create(uk)
		w.untilReady(uk)
		// Forgotten by us and left on the host.
		change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
		w.delete(uk)
		w.untilGone(uk)
	}
	mutations := w.host.Mutations("")

	adopted := w.newUnikernel("equal")
	w.create(adopted)
	w.untilReady(adopted)
	foreign := w.newUnikernel("other")
	foreign.Spec.Arguments = []string{"--different"}
	w.create(foreign)
	w.untilReason(foreign, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	if got := w.host.Mutations(""); got != mutations {
		t.Errorf("%d commands to what is not ours", got-mutations)
	}
	if len(foreign.Finalizers) != 0 {
		t.Errorf("finalizers %v on an object that has nothing on the host", foreign.Finalizers)
	}
	change(w, foreign, func(uk *v1alpha1.Unikernel) {
		uk.Annotations = map[string]string{v1alpha1.AnnotationForce: "true"}
	})
	w.untilReady(foreign)
	if info, _ := w.host.Unikernel(w.hostName(foreign)); !slices.Equal(info.Argv, []string{"--different"}) {
		t.Errorf("not replaced: %+v", info)
	}
	w.delete(adopted)
	w.untilGone(adopted)
	if _, running := w.host.Unikernel(w.hostName(adopted)); running {
		t.Error("an adopted one outlives its object")
	}
}

// TestUnikernelCannotRun names what somebody must mend, and mends it.
func TestUnikernelCannotRun(t *testing.T) {
	w := newWorld(t)
	net := func(name string) solo5.Image {
		return solo5.Image{Target: solo5.HVT, ABIVersion: 2, Devices: []solo5.Device{{Name: name, Type: solo5.Network}}}
	}
	for _, tt := range []struct {
		name, reason, says string
		change, mend       func(*v1alpha1.Unikernel)
	}{
		{"no-instance", v1alpha1.ReasonInstanceNotFound, "does not exist",
			func(uk *v1alpha1.Unikernel) { uk.Spec.InstanceRef.Name = "nowhere" },
			func(uk *v1alpha1.Unikernel) { uk.Spec.InstanceRef.Name = w.instance }},
		{"no-device", v1alpha1.ReasonImageInvalid, `needs a device "service" that spec.networkInterfaces lacks`,
			func(uk *v1alpha1.Unikernel) { uk.Spec.Image = w.web.Image(t, net("service"), "") },
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.NetworkInterfaces = []v1alpha1.NetworkInterface{{Name: "service"}}
			}},
		{"surplus-device", v1alpha1.ReasonImageInvalid, `has "service", which the image does not know`,
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.NetworkInterfaces = []v1alpha1.NetworkInterface{{Name: "service"}}
			},
			func(uk *v1alpha1.Unikernel) { uk.Spec.NetworkInterfaces = nil }},
		{"no-elf", v1alpha1.ReasonImageInvalid, "ELF",
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = &v1alpha1.ImageSource{ContentSource: w.web.Publish([]byte("#!/bin/sh"))}
			},
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "")
			}},
		{"wrong-target", v1alpha1.ReasonImageInvalid, "hvt and spt only",
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.Xen, ABIVersion: 2}, "")
			},
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.SPT, ABIVersion: 2}, "")
			}},
		{"wrong-digest", v1alpha1.ReasonDigestMismatch, "the content has SHA-256",
			func(uk *v1alpha1.Unikernel) { uk.Spec.Image.SHA256 = v1alpha1.SHA256(strings.Repeat("0", 64)) },
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "")
			}},
		{"no-image", v1alpha1.ReasonImageNotFound, "404",
			func(uk *v1alpha1.Unikernel) {
				// Not one that is at hand already, whatever its address.
				uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "never fetched")
				uk.Spec.Image.URL += "0"
			},
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "")
			}},
		{"too-much-memory", v1alpha1.ReasonPolicyExceeded, "maximum allowed memory",
			func(uk *v1alpha1.Unikernel) { uk.Spec.Memory = new(v1alpha1.FromMiB(1024)) },
			func(uk *v1alpha1.Unikernel) { uk.Spec.Memory = nil }},
		{"wrong-cpu", v1alpha1.ReasonPolicyExceeded, "CPUids 7 are not allowed by policy",
			func(uk *v1alpha1.Unikernel) { uk.Spec.CPUIDs = []v1alpha1.CPUID{7} },
			func(uk *v1alpha1.Unikernel) { uk.Spec.CPUIDs = nil }},
		{"no-pull-secret", v1alpha1.ReasonSecretNotFound, `Secret "registry" in namespace`,
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{OCI: &v1alpha1.OCISource{
					Reference: "registry.example.org/hello:1", PullSecretRef: &v1alpha1.SecretReference{Name: "registry"},
				}}}
			},
			func(uk *v1alpha1.Unikernel) {
				uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2}, "")
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uk := w.newUnikernel(tt.name)
			tt.change(uk)
			w.create(uk)
			w.untilReason(uk, metav1.ConditionFalse, tt.reason)
			if c := apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, tt.says) {
				t.Errorf("message %q, want %q", c.Message, tt.says)
			}
			change(w, uk, tt.mend)
			w.untilReady(uk)
			w.delete(uk)
			w.untilGone(uk)
		})
	}
	if left := w.host.Unikernels(w.namespace); len(left) != 0 {
		t.Errorf("left on the host: %v", left)
	}
}

// TestLateRefusals has changes that the host would refuse only after it ended
// the old unikernel: it goes on running.
func TestLateRefusals(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("careful")
	w.create(uk)
	w.untilReady(uk)
	before := w.host.Mutations(w.hostName(uk))
	for what, f := range map[string]func(*v1alpha1.Unikernel){
		"memory": func(uk *v1alpha1.Unikernel) { uk.Spec.Memory = new(v1alpha1.FromMiB(1024)) },
		"device": func(uk *v1alpha1.Unikernel) {
			uk.Spec.NetworkInterfaces = []v1alpha1.NetworkInterface{{Name: "service"}}
		},
		"image": func(uk *v1alpha1.Unikernel) {
			uk.Spec.Image = w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2, Devices: []solo5.Device{{Name: "disk", Type: solo5.Block}}}, "")
		},
	} {
		spec := uk.Spec.DeepCopy()
		change(w, uk, f)
		w.until(what+" refused", uk, func() bool {
			return apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionStalled) && uk.Status.ObservedGeneration == uk.Generation
		})
		if _, running := w.host.Unikernel(w.hostName(uk)); !running || w.host.Mutations(w.hostName(uk)) != before {
			t.Errorf("%s: the old one was touched", what)
		}
		if !apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionRunning) {
			t.Errorf("%s: Running is lost: %s", what, describe(uk))
		}
		change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec = *spec })
		w.untilReady(uk)
	}
}

func TestHostLostAndFound(t *testing.T) {
	w := newWorld(t)
	uk, doomed := w.newUnikernel("steady"), w.newUnikernel("doomed")
	for _, uk := range []*v1alpha1.Unikernel{uk, doomed} {
		w.create(uk)
		w.untilReady(uk)
	}
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	w.untilReason(uk, metav1.ConditionUnknown, v1alpha1.ReasonHostUnreachable)
	if uk.Status.Digest == "" || uk.Status.StartedAt == nil {
		t.Error("the last known facts are lost")
	}
	fresh := w.newUnikernel("fresh")
	w.create(fresh)
	w.untilReason(fresh, metav1.ConditionUnknown, v1alpha1.ReasonHostUnreachable)
	w.delete(fresh) // nothing of it was ever on the host
	w.untilGone(fresh)
	w.delete(doomed)
	w.until("held by the host", doomed, func() bool {
		return reason(doomed, v1alpha1.ConditionReconciling, metav1.ConditionTrue) == v1alpha1.ReasonHostUnreachable
	})
	orphan := w.newUnikernel("steady")
	change(w, orphan, func(uk *v1alpha1.Unikernel) { uk.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	w.delete(orphan)
	w.untilGone(orphan)
	lift()
	w.untilGone(doomed)
	if _, running := w.host.Unikernel(w.hostName(orphan)); !running {
		t.Error("an orphan was ended")
	}
	if _, running := w.host.Unikernel(w.hostName(doomed)); running {
		t.Error("the deleted one still runs")
	}
}

// TestSteadyState counts writes: nothing changes, so nothing is written.
func TestSteadyState(t *testing.T) {
	w := newWorld(t)
	var all []*v1alpha1.Unikernel
	for i := range 5 {
		uk := w.newUnikernel(fmt.Sprintf("steady-%d", i))
		w.create(uk)
		all = append(all, uk)
	}
	for _, uk := range all {
		w.untilReady(uk)
	}
	var instance v1alpha1.AlbatrossInstance
	instance.Name = w.instance
	w.until("counted", &instance, func() bool { return instance.Status.Unikernels != nil && *instance.Status.Unikernels == 5 })
	versions := w.versions(all)
	looks := w.host.Received("unikernel info", "")
	w.wait("looked at five times more", func() (bool, string) {
		got := w.host.Received("unikernel info", "") - looks
		return got >= 5, fmt.Sprint(got)
	})
	if got := w.versions(all); !slices.Equal(got, versions) {
		t.Errorf("written without a change: %v, then %v", versions, got)
	}
	if got := w.host.Mutations(""); got != 5 {
		t.Errorf("%d commands", got)
	}
}

func (w *world) versions(all []*v1alpha1.Unikernel) (versions []string) {
	w.Helper()
	for _, uk := range all {
		var now v1alpha1.Unikernel
		if err := w.Get(w.Context(), client.ObjectKeyFromObject(uk), &now); err != nil {
			w.Fatal(err)
		}
		versions = append(versions, now.Name+" "+now.ResourceVersion)
	}
	var instance v1alpha1.AlbatrossInstance
	if err := w.Get(w.Context(), client.ObjectKey{Name: w.instance}, &instance); err != nil {
		w.Fatal(err)
	}
	return append(versions, instance.ResourceVersion)
}

// TestRestartOfTheOperator sends nothing to hosts that are as declared.
func TestRestartOfTheOperator(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("kept")
	w.create(uk)
	w.untilReady(uk)
	instance := v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: w.instance}}
	w.until("counted", &instance, func() bool { return instance.Status.Unikernels != nil && *instance.Status.Unikernels == 1 })
	before := w.host.Mutations("")
	version := w.versions([]*v1alpha1.Unikernel{uk})
	looks := w.host.Received("unikernel info", "")
	w.stop()
	w.start()
	w.wait("looked at again", func() (bool, string) {
		got := w.host.Received("unikernel info", "") - looks
		return got >= 3, fmt.Sprint(got)
	})
	if got := w.host.Mutations(""); got != before {
		t.Errorf("%d commands after a restart", got-before)
	}
	if got := w.versions([]*v1alpha1.Unikernel{uk}); !slices.Equal(got, version) {
		t.Errorf("written after a restart: %v, then %v", version, got)
	}
}

func TestPaused(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("still")
	w.create(uk)
	w.untilReady(uk)
	before := w.host.Mutations("")
	change(w, uk, func(uk *v1alpha1.Unikernel) {
		uk.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		uk.Spec.Memory = new(v1alpha1.FromMiB(64))
	})
	w.until("paused", uk, func() bool {
		return apimeta.FindStatusCondition(uk.Status.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonPaused
	})
	if w.host.Mutations("") != before {
		t.Error("changed while paused")
	}
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Annotations = nil })
	w.until("resumed", uk, func() bool {
		info, _ := w.host.Unikernel(w.hostName(uk))
		return isReady(uk) && info.Memory == 64
	})
}

// TestEvents wants one event a transition and no secret in any.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("told")
	w.create(uk)
	w.untilReady(uk)
	var events eventsv1.EventList
	w.wait("told", func() (bool, string) {
		if err := w.List(context.Background(), &events, client.InNamespace(w.namespace)); err != nil {
			return false, err.Error()
		}
		return slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool { return e.Reason == v1alpha1.ReasonSucceeded }), fmt.Sprint(len(events.Items))
	})
	seen := map[string]int{}
	for _, e := range events.Items {
		if e.Regarding.Name == uk.Name {
			seen[e.Reason]++
		}
	}
	if seen[v1alpha1.ReasonSucceeded] != 1 {
		t.Errorf("events %v", seen)
	}
}

// TestGitOps applies as Argo CD and Flux do: what they applied stays as it was.
func TestGitOps(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("declared")
	uk.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Unikernel"}
	uk.Labels = map[string]string{"app": "declared"}
	apply := func() *v1alpha1.Unikernel {
		applied := uk.DeepCopy()
		if err := w.Patch(w.Context(), applied, client.Apply, client.FieldOwner("gitops"), client.ForceOwnership); err != nil { //nolint:staticcheck // typed apply configurations are not generated
			t.Fatal(err)
		}
		return applied
	}
	first := apply()
	w.untilReady(first)
	again := apply()
	if again.ResourceVersion != first.ResourceVersion {
		t.Errorf("a second apply changed the object: %s, then %s", first.ResourceVersion, again.ResourceVersion)
	}
	if !equality.Semantic.DeepEqual(again.Spec, uk.Spec) || len(again.Annotations) != 0 || len(again.Labels) != 1 {
		t.Errorf("spec, labels or annotations were changed: %+v", again)
	}
}

// TestTenants has namespaces reach only what an instance admits them to.
func TestTenants(t *testing.T) {
	w := newWorld(t)
	stranger := w.newUnikernel("stranger")
	stranger.Namespace = w.system
	w.create(stranger)
	w.untilReason(stranger, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAdmitted)
	instance := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: w.instance}}
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) {
		i.Spec.Tenants = append(i.Spec.Tenants, v1alpha1.Tenant{NamespaceSelector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"team": "ops"}}})
	})
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.system}}
	change(w, ns, func(ns *corev1.Namespace) { ns.Labels["team"] = "ops" })
	w.untilReason(stranger, metav1.ConditionFalse, v1alpha1.ReasonNoPolicy)
	if w.host.Received("unikernel create", "") != 0 {
		t.Error("created without a policy")
	}
	if err := w.host.SetPolicy(w.system, albatross.Policy{Unikernels: 1, CPUIDs: []int64{0}, Memory: 64}); err != nil {
		t.Fatal(err)
	}
	w.untilReady(stranger)
	policy, _ := w.host.Policy(w.system)
	if policy.Memory != 64 {
		t.Errorf("the policy of the host's administrator is now %+v", policy)
	}
	w.delete(stranger)
	w.untilGone(stranger)
}

// TestEverythingDeletedAtOnce ends in any order, with nothing left on the host.
func TestEverythingDeletedAtOnce(t *testing.T) {
	w := newWorld(t)
	uk := w.newUnikernel("last")
	w.create(uk)
	w.untilReady(uk)
	instance := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: w.instance}}
	w.delete(instance)
	w.until("kept while needed", instance, func() bool {
		return reason(instance, v1alpha1.ConditionReady, metav1.ConditionFalse) == v1alpha1.ReasonInUse
	})
	w.delete(uk)
	w.untilGone(uk)
	w.untilGone(instance)
	if left := w.host.Unikernels(w.namespace); len(left) != 0 {
		t.Errorf("left on the host: %v", left)
	}
}

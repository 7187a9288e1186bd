package controllers_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
)

func (w *world) newVolume(name string, mib int64) *v1alpha1.Volume {
	return &v1alpha1.Volume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec:       v1alpha1.VolumeSpec{InstanceRef: v1alpha1.InstanceReference{Name: w.instance}, Size: v1alpha1.FromMiB(mib)},
	}
}

// source publishes content for a volume.
func (w *world) source(content []byte) *v1alpha1.VolumeSource {
	return &v1alpha1.VolumeSource{ContentSource: w.web.Publish(content)}
}

func (w *world) block(v *v1alpha1.Volume) (albatross.Block, bool) {
	for _, b := range w.host.Blocks(w.namespace) {
		if b.Name.String() == w.namespace+":"+v.Name {
			return b, true
		}
	}
	return albatross.Block{}, false
}

// holds compares the beginning of a block.
func (w *world) holds(v *v1alpha1.Volume, want []byte) {
	w.Helper()
	got, err := w.host.BlockContent(w.namespace + ":" + v.Name)
	if err != nil || !bytes.HasPrefix(got, want) || bytes.ContainsFunc(got[len(want):], func(r rune) bool { return r != 0 }) {
		w.Errorf("%s holds other data: %.40q (%v)", v.Name, got, err)
	}
}

// newDisk is a unikernel that needs a block device.
func (w *world) newDisk(name string, v *v1alpha1.Volume) *v1alpha1.Unikernel {
	uk := w.newUnikernel(name)
	uk.Spec.Image = w.web.Image(w.T, solo5.Image{Target: solo5.HVT, ABIVersion: 2, Devices: []solo5.Device{{Name: "storage", Type: solo5.Block}}}, name)
	uk.Spec.BlockDevices = []v1alpha1.BlockDevice{{Name: "storage", VolumeRef: &v1alpha1.VolumeReference{Name: v.Name}}}
	return uk
}

func TestVolumeLife(t *testing.T) {
	w := newWorld(t)
	empty, filled := w.newVolume("empty", 4), w.newVolume("filled", 4)
	content := bytes.Repeat([]byte("data"), 100_000)
	filled.Spec.Source = w.source(content)
	for _, v := range []*v1alpha1.Volume{empty, filled} {
		w.create(v)
		w.untilReady(v)
		if b, ok := w.block(v); !ok || b.Size != 4 || b.Active {
			t.Errorf("%s on the host: %v %+v", v.Name, ok, b)
		}
		if v.Status.HostName != w.namespace+":"+v.Name || v1alpha1.MiB(*v.Status.Size) != 4 {
			t.Errorf("status %+v", v.Status)
		}
	}
	w.holds(empty, nil)
	w.holds(filled, content)
	sum := sha256.Sum256(content)
	if filled.Status.PopulatedDigest != hex.EncodeToString(sum[:]) || filled.Status.PopulatedAt == nil || empty.Status.PopulatedAt != nil {
		t.Errorf("status %+v", filled.Status)
	}
	if got := w.host.Mutations(filled.Status.HostName); got != 2 {
		t.Errorf("%d commands to add and fill", got)
	}
	for _, v := range []*v1alpha1.Volume{empty, filled} {
		w.delete(v)
		w.untilGone(v)
		if _, ok := w.block(v); ok {
			t.Errorf("%s is still on the host", v.Name)
		}
	}
}

// TestVolumeAndUnikernel has the unikernel wait for its volume, and the volume
// outlast the unikernel.
func TestVolumeAndUnikernel(t *testing.T) {
	w := newWorld(t)
	v := w.newVolume("data", 4)
	uk := w.newDisk("disk", v)
	w.create(uk)
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonWaitingForVolume)
	w.create(v)
	w.untilReady(uk)
	w.until("attached", v, func() bool { return v.Status.AttachedTo == uk.Name })
	if len(uk.Status.BlockDevices) != 1 || uk.Status.BlockDevices[0].Name != "storage" {
		t.Errorf("devices %+v", uk.Status.BlockDevices)
	}
	w.delete(v)
	w.untilReason(v, metav1.ConditionFalse, v1alpha1.ReasonInUse)
	if c := apimeta.FindStatusCondition(v.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, uk.Name) {
		t.Errorf("message %q does not name the user", c.Message)
	}
	w.delete(uk)
	w.untilGone(uk)
	w.untilGone(v)
	if left := w.host.Blocks(w.namespace); len(left) != 0 {
		t.Errorf("left on the host: %v", left)
	}
}

// TestVolumeThatIsThere has a block of the same name: one of the same size is
// adopted and never written to.
func TestVolumeThatIsThere(t *testing.T) {
	w := newWorld(t)
	first := w.newVolume("kept", 4)
	content := []byte("precious")
	first.Spec.Source = w.source(content)
	first.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
	w.create(first)
	w.untilReady(first)
	w.delete(first)
	w.untilGone(first)
	w.holds(first, content)

	larger := w.newVolume("kept", 8)
	w.create(larger)
	w.untilReason(larger, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	w.delete(larger)
	w.untilGone(larger)

	second := w.newVolume("kept", 4)
	second.Spec.Source = w.source([]byte("would destroy"))
	w.create(second)
	w.untilReady(second)
	w.until("owned", second, func() bool { return len(second.Finalizers) == 1 })
	w.holds(first, content)
	if second.Status.PopulatedAt != nil {
		t.Error("an adopted volume claims to be filled")
	}
	w.delete(second)
	w.untilGone(second)
}

func TestVolumeSources(t *testing.T) {
	w := newWorld(t)
	large := w.newVolume("large", 1)
	large.Spec.Source = w.source(make([]byte, 1<<20+1))
	w.create(large)
	w.until("refused", large, func() bool {
		return reason(large, v1alpha1.ConditionStalled, metav1.ConditionTrue) == v1alpha1.ReasonContentTooLarge
	})
	missing := w.newVolume("missing", 1)
	missing.Spec.Source = w.source([]byte("x"))
	missing.Spec.Source.URL = w.web.URL + "/nothing"
	missing.Spec.Source.SHA256 = v1alpha1.SHA256(strings.Repeat("1", 64))
	w.create(missing)
	w.untilReason(missing, metav1.ConditionFalse, v1alpha1.ReasonImageNotFound)
	registry := newRegistry(t)
	registry.push(t, "data", "1", []byte("from a registry"))
	oci := w.newVolume("oci", 1)
	oci.Spec.Source = &v1alpha1.VolumeSource{ContentSource: registry.source("data", "1")}
	w.create(oci)
	w.untilReady(oci)
	w.holds(oci, []byte("from a registry"))
	nowhere := w.newVolume("nowhere", 1)
	nowhere.Spec.Source = &v1alpha1.VolumeSource{ContentSource: registry.source("data", "2")}
	w.create(nowhere)
	w.untilReason(nowhere, metav1.ConditionFalse, v1alpha1.ReasonImageNotFound)
	for _, v := range []*v1alpha1.Volume{large, missing, oci, nowhere} {
		w.delete(v)
		w.untilGone(v)
	}
	if left := w.host.Blocks(w.namespace); len(left) != 0 {
		t.Errorf("left on the host: %v", left)
	}
}

// TestVolumeAfterACrash has blocks that may be ours: with our finalizer on the
// object and nothing in its status.
func TestVolumeAfterACrash(t *testing.T) {
	w := newWorld(t)
	content := []byte("somebody's data")
	for _, tt := range []struct {
		name   string
		before []byte
		ready  bool
	}{{"zeros", nil, true}, {"data", content, false}} {
		orphan := w.newVolume(tt.name, 2)
		if tt.before != nil {
			orphan.Spec.Source = w.source(tt.before)
		}
		orphan.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
		w.create(orphan)
		w.untilReady(orphan)
		w.delete(orphan)
		w.untilGone(orphan)

		crashed := w.newVolume(tt.name, 2)
		crashed.Finalizers = []string{v1alpha1.Finalizer}
		crashed.Spec.Source = w.source([]byte("new"))
		w.create(crashed)
		if tt.ready {
			w.untilReady(crashed)
			w.holds(crashed, []byte("new"))
			continue
		}
		w.untilReason(crashed, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
		w.holds(crashed, content)
	}
}

// TestMove creates on the new host before it destroys on the old one.
func TestMove(t *testing.T) {
	w := newWorld(t)
	other := albatrosstest.Start(t, albatrosstest.Options{})
	w.create(w.newSecret(w.instance+"-2", other))
	w.create(w.newInstance(w.instance+"-2", other))
	uk := w.newUnikernel("nomad")
	w.create(uk)
	w.untilReady(uk)
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Command: "unikernel destroy", Text: "couldn't reach service"})
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.InstanceRef.Name = w.instance + "-2" })
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonMoving)
	for _, host := range []*albatrosstest.Host{w.host, other} {
		if _, running := host.Unikernel(w.hostName(uk)); !running {
			t.Error("it should run on both hosts now")
		}
	}
	lift()
	w.untilReady(uk)
	if _, running := w.host.Unikernel(w.hostName(uk)); running || uk.Status.Instance != w.instance+"-2" {
		t.Errorf("still on the old host; status says %q", uk.Status.Instance)
	}
	w.delete(uk)
	w.untilGone(uk)
	if _, running := other.Unikernel(w.hostName(uk)); running {
		t.Error("left on the new host")
	}
}

// TestDeletedDuringAMove leaves nothing on either host.
func TestDeletedDuringAMove(t *testing.T) {
	w := newWorld(t)
	other := albatrosstest.Start(t, albatrosstest.Options{})
	w.create(w.newSecret(w.instance+"-2", other))
	w.create(w.newInstance(w.instance+"-2", other))
	uk := w.newUnikernel("nomad")
	w.create(uk)
	w.untilReady(uk)
	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Command: "unikernel destroy", Text: "couldn't reach service"})
	change(w, uk, func(uk *v1alpha1.Unikernel) { uk.Spec.InstanceRef.Name = w.instance + "-2" })
	w.untilReason(uk, metav1.ConditionFalse, v1alpha1.ReasonMoving)
	w.delete(uk)
	lift()
	w.untilGone(uk)
	for _, host := range []*albatrosstest.Host{w.host, other} {
		if _, running := host.Unikernel(w.hostName(uk)); running {
			t.Error("left on a host")
		}
	}
}

func TestUnschedulable(t *testing.T) {
	w := newWorld(t)
	old := w.newUnikernel("old")
	w.create(old)
	w.untilReady(old)
	instance := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: w.instance}}
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) { i.Spec.Unschedulable = true })
	fresh, volume := w.newUnikernel("fresh"), w.newVolume("fresh", 1)
	w.create(fresh)
	w.create(volume)
	w.untilReason(fresh, metav1.ConditionFalse, v1alpha1.ReasonUnschedulable)
	w.untilReason(volume, metav1.ConditionFalse, v1alpha1.ReasonUnschedulable)
	change(w, old, func(uk *v1alpha1.Unikernel) { uk.Spec.Arguments = []string{"looked after"} })
	w.until("looked after", old, func() bool {
		info, _ := w.host.Unikernel(w.hostName(old))
		return isReady(old) && slices.Equal(info.Argv, old.Spec.Arguments)
	})
	change(w, instance, func(i *v1alpha1.AlbatrossInstance) { i.Spec.Unschedulable = false })
	w.untilReady(fresh)
	w.untilReady(volume)
}

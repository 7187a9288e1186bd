package services_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

// TestEveryReplicaServes asks a replica that is not the leader, whose looks at the
// host are far between.
func TestEveryReplicaServes(t *testing.T) {
	w := newWorld(t)
	standby, pool := w.runOperator(nil)
	w.untilPooled(pool)
	w.slowPolls()
	listed := func() (names []string) {
		list, _, err := standby.Unikernels(t.Context(), w.user)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		for _, u := range list[0].Unikernels {
			names = append(names, u.Name.Label)
		}
		return names
	}
	for _, through := range []*services.Services{standby, w.Services} {
		if err := through.CreateUnikernel(t.Context(), w.user, w.request("web", "first")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is listed", func() bool { return len(listed()) == 1 })
		if err := through.RestartUnikernel(t.Context(), w.user, services.RestartRequest{Instance: w.instance, Name: "web"}); err != nil {
			t.Fatal(err)
		}
		if err := through.DestroyUnikernel(t.Context(), w.user, w.instance, "web"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is listed no more", func() bool { return len(listed()) == 0 })
	}
	if err := standby.CreateVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "data", Size: 1, Data: strings.NewReader("hello")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the volume is listed", func() bool { list, _, _ := standby.Volumes(t.Context(), w.user); return len(list) == 1 })
	if r, err := standby.DownloadVolume(t.Context(), w.user, w.instance, "data", 0); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}
	// What is gone is forgotten by all.
	if err := standby.DeleteVolume(t.Context(), w.user, w.instance, "data"); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: w.instance}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the instance is forgotten", func() bool { _, known := pool.State(w.instance); return !known })
}

// slowPolls has nobody look at the host but for a reason.
func (w *world) slowPolls() {
	w.Helper()
	instance := w.object(w.instance)
	before := instance.DeepCopy()
	instance.Spec.PollInterval.Duration = 3_600_000_000_000
	if err := w.Patch(w.Context(), instance, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
	w.untilConnected(w.instance)
	w.untilPooled(w.pool)
}

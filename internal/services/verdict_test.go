package services

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/status"
)

// stated gives a unikernel about which the controllers said something.
func stated(v status.Verdict, observed int64) *v1alpha1.Unikernel {
	uk := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	uk.Status.ObservedGeneration = observed
	uk.Status.Conditions = status.Merge(nil, v.Conditions(), []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
	}, observed, metav1.Now())
	return uk
}

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		name string
		uk   *v1alpha1.Unikernel
		// want is empty for none yet.
		want string
	}{
		{"never looked at", &v1alpha1.Unikernel{}, ""},
		{"ready", stated(status.Ready(v1alpha1.ReasonSucceeded, "m"), 2), "done"},
		{"ready before", stated(status.Ready(v1alpha1.ReasonSucceeded, "m"), 1), ""},
		{"stalled", stated(status.Stalled(v1alpha1.ReasonPolicyExceeded, "m"), 2), "*services.Refused m"},
		{"stalled before", stated(status.Stalled(v1alpha1.ReasonPolicyExceeded, "m"), 1), ""},
		{"creating", stated(status.Working(v1alpha1.ReasonCreating, "m"), 2), ""},
		{"fetching", stated(status.Working(v1alpha1.ReasonFetching, "m"), 2), ""},
		{"waiting for a volume", stated(status.Working(v1alpha1.ReasonWaitingForVolume, "m"), 2), ""},
		{"instance not ready yet", stated(status.Lost(v1alpha1.ReasonInstanceNotReady, "m"), 2), ""},
		{"unschedulable", stated(status.Working(v1alpha1.ReasonUnschedulable, "m"), 2), "*services.Refused m"},
		{"host lost", stated(status.Lost(v1alpha1.ReasonHostUnreachable, "m"), 2), "*services.Unreachable"},
		{"instance gone", stated(status.Working(v1alpha1.ReasonInstanceNotFound, "m"), 2), "*services.NotFound"},
		{"refused for now", stated(status.Working(v1alpha1.ReasonHostError, "block device alice:x not found"), 2), "*services.Refused block device"},
		{"host broken", stated(status.Working(v1alpha1.ReasonHostError, "couldn't reach service"), 2), "*services.Unreachable"},
		{"host silent", stated(status.Working(v1alpha1.ReasonHostError, "the host does not answer in time"), 2), "*services.Unreachable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			done, err := verdict(test.uk, "host", 2)
			got := ""
			switch {
			case err != nil:
				got = fmt.Sprintf("%T %v", err, err)
			case done:
				got = "done"
			}
			if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %q", got)
			}
		})
	}
	deleting := stated(status.Ready(v1alpha1.ReasonSucceeded, "m"), 2)
	deleting.DeletionTimestamp = new(metav1.Now())
	if done, err := verdict(deleting, "host", 2); done || err != nil {
		t.Errorf("of what is being deleted: %t, %v", done, err)
	}
}

func TestNeverRestarts(t *testing.T) {
	paused := stated(status.Ready(v1alpha1.ReasonSucceeded, "m"), 2)
	paused.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
	suspended := stated(status.Ready(v1alpha1.ReasonSuspended, "m"), 2)
	suspended.Spec.Suspended = true
	for _, test := range []struct {
		name   string
		uk     *v1alpha1.Unikernel
		refuse bool
	}{
		{"running", stated(status.Ready(v1alpha1.ReasonSucceeded, "m"), 2), false},
		{"paused", paused, true},
		{"suspended", suspended, true},
		{"exited", stated(status.Stalled(v1alpha1.ReasonExited, "m"), 2), false},
		{"refused", stated(status.Stalled(v1alpha1.ReasonRefused, "m"), 2), true},
		{"refused before", stated(status.Stalled(v1alpha1.ReasonRefused, "m"), 1), false},
		{"being made", stated(status.Working(v1alpha1.ReasonCreating, "m"), 2), false},
		{"new", &v1alpha1.Unikernel{}, false},
	} {
		if text := neverRestarts(test.uk); (text != "") != test.refuse {
			t.Errorf("%s: %q", test.name, text)
		}
	}
}

func TestAsHostSays(t *testing.T) {
	err := asHostSays(&Refused{v1alpha1.ReasonNameTaken, "a long story"}, textVolumeExists)
	if err.Error() != textVolumeExists {
		t.Errorf("%v", err)
	}
	other := &Refused{v1alpha1.ReasonRefused, "a long story"}
	if err := asHostSays(other, textVolumeExists); !errors.Is(err, other) {
		t.Errorf("%v", err)
	}
}

func TestSameRun(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	uk := &v1alpha1.Unikernel{}
	uk.Status.Digest, uk.Status.StartedAt = "0102", new(metav1.NewTime(started).Rfc3339Copy())
	for name, test := range map[string]struct {
		info albatross.Info
		same bool
	}{
		"the same":      {albatross.Info{Digest: []byte{1, 2}, Started: started}, true},
		"another image": {albatross.Info{Digest: []byte{1, 3}, Started: started}, false},
		"an older run":  {albatross.Info{Digest: []byte{1, 2}, Started: started.Add(-2 * time.Second)}, false},
		"a newer run":   {albatross.Info{Digest: []byte{1, 2}, Started: started.Add(time.Hour)}, true},
	} {
		if sameRun(uk, albatross.Unikernel{Info: test.info}) != test.same {
			t.Errorf("%s", name)
		}
	}
}

func TestByPath(t *testing.T) {
	things := map[string]albatross.Block{}
	for _, name := range []string{"alice:web", "alice:api", "alice:sub:web", "bob:web", ":root", "alice.x:web"} {
		n, err := albatross.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		things[name] = albatross.Block{Name: n}
	}
	all := byPath(things, func(b albatross.Block) albatross.Name { return b.Name })
	var got []string
	for _, b := range all["alice"] {
		got = append(got, b.Name.String())
	}
	if fmt.Sprint(got) != "[alice:api alice:web]" || len(all) != 5 {
		t.Errorf("%v, %d paths", got, len(all))
	}
}

func TestListsAreKept(t *testing.T) {
	var l lists
	one, two := &hosts.Snapshot{}, &hosts.Snapshot{}
	first := l.of("host", one)
	if l.of("host", one) != first || l.of("host", two) == first || l.of("other", one) == first {
		t.Error("a list is that of one look at one host")
	}
	l.forget("host")
	if len(l.all) != 1 {
		t.Errorf("%d are kept", len(l.all))
	}
}

package services

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/hosts"
)

func TestNews(t *testing.T) {
	var n news
	web := &v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: "alice", Name: "web"}}
	first, stopFirst := n.listen(web)
	second, stopSecond := n.listen(web)
	for _, other := range []*v1alpha1.Unikernel{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "bob", Name: "web"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "alice", Name: "api"}},
	} {
		n.tell(other)
	}
	n.tell(&v1alpha1.Volume{ObjectMeta: web.ObjectMeta})
	if len(first)+len(second) != 0 {
		t.Error("told of others")
	}
	n.tell(web)
	n.tell(web) // nobody is waited for
	if len(first) != 1 || len(second) != 1 {
		t.Errorf("told %d and %d times", len(first), len(second))
	}
	stopFirst()
	<-second
	n.tell(web)
	if len(second) != 1 {
		t.Error("the other is told no more")
	}
	stopSecond()
	if len(n.waiting) != 0 {
		t.Errorf("%v is kept", n.waiting)
	}
}

func TestLooksAreShared(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var l looks
	var looked atomic.Int64
	begun, goOn := make(chan struct{}, 100), make(chan struct{})
	look := func(context.Context) error {
		looked.Add(1)
		begun <- struct{}{}
		<-goOn
		return nil
	}
	l.again(t.Context(), "one", look)
	<-begun
	for range 50 { // all of these are served by one more
		l.again(t.Context(), "one", look)
	}
	l.again(t.Context(), "two", look) // another host is not held up
	<-begun
	close(goOn)
	l.work.Wait()
	if n := looked.Load(); n != 3 {
		t.Errorf("looked %d times", n)
	}
	lost := func(context.Context) error { return hosts.ErrNotConnected }
	l.again(t.Context(), "one", lost)
	l.work.Wait()
	if len(l.under) != 0 {
		t.Errorf("%v is kept", l.under)
	}
}

// TestLooksEnd tells of changes while looks end, as informers do.
func TestLooksEnd(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(t.Context())
	var l looks
	begun := make(chan struct{})
	l.again(ctx, "slow", func(ctx context.Context) error {
		close(begun)
		<-ctx.Done() // a look at a host that does not answer
		return ctx.Err()
	})
	<-begun
	var ended atomic.Bool
	var informers sync.WaitGroup
	for range 10 {
		informers.Go(func() {
			for range 100 {
				l.again(ctx, "one", func(context.Context) error {
					if ended.Load() {
						t.Error("it looks after the end")
					}
					return nil
				})
			}
		})
	}
	cancel()
	l.end()
	ended.Store(true)
	informers.Wait()
	l.work.Wait()
}

func TestNamesAreTakenOnce(t *testing.T) {
	var n names
	var won atomic.Int64
	var all sync.WaitGroup
	releases := make(chan func(), 100)
	for range 100 {
		all.Go(func() {
			if release, ok := n.take("host alice:web"); ok {
				won.Add(1)
				releases <- release
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have it", won.Load())
	}
	if _, ok := n.take("host alice:api"); !ok {
		t.Error("another name is taken too")
	}
	(<-releases)()
	if _, ok := n.take("host alice:web"); !ok {
		t.Error("it was not given back")
	}
}

func TestWhereabouts(t *testing.T) {
	uk, volume := &v1alpha1.Unikernel{}, &v1alpha1.Volume{}
	uk.Spec.InstanceRef.Name, uk.Status.Instance, uk.Status.HostName = "new", "old", "alice:web"
	volume.Spec.InstanceRef.Name, volume.Status.HostName = "old", "alice:data"
	if instance, name := whereabouts(uk); instance != "old" || name != "alice:web" {
		t.Errorf("a unikernel that moves is on %s as %s", instance, name)
	}
	if instance, name := whereabouts(volume); instance != "old" || name != "alice:data" {
		t.Errorf("a volume is on %s as %s", instance, name)
	}
	if instance, _ := whereabouts(&v1alpha1.AlbatrossInstance{}); instance != "" {
		t.Errorf("an instance is on %s", instance)
	}
	if !isAt(uk, "old") || !isAt(uk, "new") || isAt(uk, "other") {
		t.Error("a unikernel that moves is at both places")
	}
}

func TestArguments(t *testing.T) {
	running := albatross.Info{CPUIDs: []int64{3}}
	a := argumentsOf(&v1alpha1.UnikernelSpec{}, running)
	if a.Memory != 32 || a.NumCPUs != 1 || len(a.CPUIDs) != 1 || a.CPUIDs[0] != 3 || a.FailBehaviour.Restart || a.Startup != nil {
		t.Errorf("of nothing: %+v", a)
	}
	a = argumentsOf(&v1alpha1.UnikernelSpec{
		Memory: new(v1alpha1.FromMiB(64)), CPUIDs: []v1alpha1.CPUID{1, 2}, CPUs: 2, Arguments: []string{"x"}, StartupPriority: 7, LinuxBootPartition: "gpt2",
		RestartPolicy:     &v1alpha1.RestartPolicy{Type: v1alpha1.RestartOnFailure, ExitCodes: []v1alpha1.ExitCode{3}},
		NetworkInterfaces: []v1alpha1.NetworkInterface{{Name: "a"}, {Name: "b", Bridge: "service", MAC: "00:80:41:12:34:56"}},
		BlockDevices: []v1alpha1.BlockDevice{
			{Name: "c", VolumeRef: &v1alpha1.VolumeReference{Name: "data"}}, {Name: "d", HostDevice: "old", SectorSize: 512}, {Name: "e"},
		},
	}, running)
	switch {
	case a.Memory != 64, a.NumCPUs != 2, len(a.CPUIDs) != 2, *a.Startup != 7, *a.LinuxBootPartition != "gpt2", len(a.Argv) != 1:
		t.Errorf("%+v", a)
	case !a.FailBehaviour.Restart, len(a.FailBehaviour.ExitCodes) != 1:
		t.Errorf("%+v", a.FailBehaviour)
	case a.Bridges[0].Host() != "a", a.Bridges[0].MAC != nil, a.Bridges[1].Host() != "service", a.Bridges[1].MAC.String() != "00:80:41:12:34:56":
		t.Errorf("%+v", a.Bridges)
	case a.Blocks[0].Host() != "data", a.Blocks[1].Host() != "old", *a.Blocks[1].SectorSize != 512, a.Blocks[2].Host() != "e":
		t.Errorf("%+v", a.Blocks)
	}
}

func TestDevicesFit(t *testing.T) {
	info := albatross.Info{Bridges: []albatross.BridgeInfo{{Device: "a"}, {Device: "b"}}, Blocks: []albatross.BlockInfo{{Device: "c"}}}
	good := albatross.Arguments{Bridges: []albatross.Bridge{{Name: "b"}, {Name: "a"}}, Blocks: []albatross.BlockDevice{{Name: "c"}}}
	if err := devicesFit(info, good); err != nil {
		t.Error(err)
	}
	less := good
	less.Bridges = less.Bridges[:1]
	more := good
	more.Blocks = append(more.Blocks, albatross.BlockDevice{Name: "d"})
	for name, a := range map[string]albatross.Arguments{"less": less, "more": more, "nothing": {}} {
		err := devicesFit(info, a)
		if refused, ok := errors.AsType[*Refused](err); !ok || refused.Reason != v1alpha1.ReasonImageInvalid || !hosts.IsRefusal(refused.Text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

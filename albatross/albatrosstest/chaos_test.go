package albatrosstest_test

import (
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// TestManyClients has eight clients do what they like with four names at the
// same time, and checks that what the host says fits together at every moment.
func TestManyClients(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.policy.Unikernels, r.policy.Memory = 3, 60
	disk := standIn(t, "test_tick", solo5.Device{Name: "disk", Type: solo5.Block})
	plain := standIn(t, "test_tick")
	command := func(random *mathrand.Rand) (string, wire.Command) {
		n := random.IntN(4)
		unikernel, device := fmt.Sprint("u", n), fmt.Sprint("d", n)
		c := config(plain)
		if random.IntN(2) == 0 {
			c = config(disk)
			c.Blocks = []wire.BlockDevice{{Name: "disk", HostDevice: &device}}
		}
		c.FailBehaviour.Restart = random.IntN(2) == 0
		c.Argv = []string{fmt.Sprintf("--sim-exit=%d", random.IntN(3)), fmt.Sprintf("--sim-after=%dms", random.IntN(60))}
		switch random.IntN(9) {
		case 0, 1:
			return unikernel, wire.UnikernelCreate{Config: c}
		case 2:
			return unikernel, wire.UnikernelForceCreate{Config: c}
		case 3:
			return unikernel, wire.UnikernelRestart{}
		case 4:
			return unikernel, wire.UnikernelDestroy{}
		case 5:
			return device, wire.BlockAdd{Size: 1}
		case 6:
			return device, wire.BlockRemove{}
		case 7:
			return device, wire.OldBlockSet{Data: []byte("data")}
		default:
			return ".", wire.UnikernelInfo{}
		}
	}
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			random := mathrand.New(mathrand.NewPCG(uint64(client), 1))
			for range 60 {
				cn, c := command(random)
				r.ask(cn, c)
			}
		})
	}
	stop := make(chan struct{})
	var observer sync.WaitGroup
	observer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				r.checkUsage()
			}
		}
	})
	clients.Wait()
	close(stop)
	observer.Wait()
	r.endAll()
}

// checkUsage tells when more runs than is allowed.
func (r *rig) checkUsage() {
	all := r.Unikernels("alice")
	var memory int64
	for _, u := range all {
		memory += u.Info.Memory
	}
	if len(all) > 3 || memory > 60 {
		r.t.Errorf("%d unikernels with %d MiB", len(all), memory)
	}
}

// endAll leaves nothing, and nothing may be left in use.
func (r *rig) endAll() {
	eventually(r.t, "nothing runs", func() bool {
		for _, u := range r.Unikernels("") {
			r.ask(u.Name.Label, wire.UnikernelDestroy{})
		}
		return len(r.Unikernels("")) == 0
	})
	for _, b := range r.Blocks("") {
		if b.Active {
			r.t.Errorf("%s is in use by nobody", b.Name)
		}
		r.expect("removed block", b.Name.Label, wire.BlockRemove{})
	}
}

// TestCloseInTheMiddle ends while everything is going on.
func TestCloseInTheMiddle(t *testing.T) {
	r := newRig(t, albatrosstest.Options{StopTime: time.Hour, Quirks: albatrosstest.AllQuirks})
	r.create("web")
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	var open []*subscription
	for cn, c := range map[string]wire.Command{"web": wire.ConsoleSubscribe{}, ".": wire.StatsSubscribe{}} {
		open = append(open, r.subscribe(cn, c))
		open[len(open)-1].next()
	}
	open = append(open,
		r.subscribe("web", wire.UnikernelDestroy{}),
		r.subscribe("data", wire.BlockSet{}),
		r.subscribe("new", wire.UnikernelCreate{Config: config(nil)}),
		r.subscribe("web", wire.UnikernelRestart{}))
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.NoReply, Times: 1, Command: "unikernel info"})
	open = append(open, r.subscribe(".", wire.UnikernelInfo{}))
	eventually(t, "all have arrived", func() bool { return r.Received("", "") == 9 })
	began := time.Now()
	r.Close()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("closing takes %s", took)
	}
	for i, s := range open {
		if f, err := readFrame(s.Conn); err == nil {
			t.Errorf("%d: %+v", i, f)
		}
	}
}

// TestStreamFaults strike in the middle of a stream.
func TestStreamFaults(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("web")
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 500_000, Command: "block dump", Times: 1})
	got := r.send("data", wire.BlockDump{}, 0)
	if n := len(got.data); n > 125 || got.end || got.closing == nil {
		t.Errorf("%d frames of data, ended with %v", n, got.closing)
	}
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.Garbage, Command: "console subscribe", Times: 1})
	if f, err := readFrame(r.subscribe("web", wire.ConsoleSubscribe{}).Conn); err == nil {
		t.Errorf("%+v", f)
	}
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, BytesPerSecond: 4 << 20, Command: "block dump", Times: 1})
	began := time.Now()
	if got := r.send("data", wire.BlockDump{}, 0); !got.lastEnd || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%d frames after %s", got.count, time.Since(began))
	}
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "not now", Command: "statistics subscribe"})
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "no", Command: "stats subscribe"})
	r.expect("no", ".", wire.StatsSubscribe{})
}

package albatrosstest

import (
	"log/slog"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// Options describe the host to simulate. The zero value is the machine that the
// vectors were recorded on.
//
// Arguments of a unikernel that the simulation understands, whatever its image:
//
//	--sim-exit=N      exit with this code, at once unless --sim-after is given
//	--sim-after=3s    when to exit (a Go duration; without --sim-exit: code 0)
//	--sim-print=TEXT  print a line at the start; may be repeated
//	--sim-no-name     exit with code 64 when the host adds --name
//
// Images made with [StandIn] besides behave as the recorded test images of the
// same name; of these, test_tick takes after=N (ticks of a second) and exit=K.
type Options struct {
	// Listen is the address to listen on; empty means a free port of 127.0.0.1.
	Listen string
	// Dir keeps certificates and state, so that another host with the same
	// folder goes on where this one ended. Empty means a temporary folder.
	Dir string
	// CPUs is the number of CPUs; 0 means 2.
	CPUs int
	// Memory and Storage in MiB are told in the policy of the root; 0 means
	// 24105 and 258019.
	Memory, Storage int64
	// Bridges exist on the host; nil means "service".
	Bridges []string
	// StatsPeriod is the time between two statistics; 0 means 10 s.
	StatsPeriod time.Duration
	// StopTime passes between the order to end a unikernel and its end; 0 means 3 ms.
	StopTime time.Duration
	// Latency is waited before each command is carried out.
	Latency time.Duration
	// Now is the clock for certificates, times of start and console lines; nil
	// means time.Now.
	Now func() time.Time
	// After runs a function when unikernels have lived for d, unless stop is
	// called before; nil means in real time. Everything else takes real time.
	After func(d time.Duration, f func()) (stop func())
	// Quirks of the original to be faithful about.
	Quirks Quirks
	// Log gets a line for each command; nil means none.
	Log *slog.Logger
}

// Quirks are what the original does to everybody's harm. All are off by default;
// the comment says what happens instead.
type Quirks struct {
	// OldInfoCrash ends the daemon when an old info command meets a unikernel
	// with several CPUs (old-info-with-two-cpus). Otherwise: "error reading from
	// fd" for that command only.
	OldInfoCrash bool
	// Deadlocks leaves a command unanswered for ever: a block set with more data
	// than fits or with a broken zlib stream, and of two concurrent destroys the
	// earlier. Otherwise: a failure, and success for both.
	Deadlocks bool
	// NamelessCreate makes every create fail after one without a label.
	// Otherwise: only that one fails.
	NamelessCreate bool
}

// AllQuirks is the original as it is.
var AllQuirks = Quirks{OldInfoCrash: true, Deadlocks: true, NamelessCreate: true}

func (o *Options) setDefaults() {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.Memory == 0 {
		o.Memory = 24105
	}
	if o.Storage == 0 {
		o.Storage = 258019
	}
	if o.Bridges == nil {
		o.Bridges = []string{"service"}
	}
	if o.StatsPeriod == 0 {
		o.StatsPeriod = 10 * time.Second
	}
	if o.StopTime == 0 {
		o.StopTime = 3 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = func(d time.Duration, f func()) func() {
			timer := time.AfterFunc(d, f)
			return func() { timer.Stop() }
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// rootPolicy is what the host allows in all (extra-certificate).
func (o *Options) rootPolicy() wire.Policy {
	p := wire.Policy{Unikernels: wire.UnlimitedUnikernels, Memory: o.Memory, Block: &o.Storage, Bridges: o.Bridges}
	for id := range int64(o.CPUs) {
		p.CPUIDs = append(p.CPUIDs, id)
	}
	return p
}

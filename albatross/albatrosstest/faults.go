package albatrosstest

import (
	"slices"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// FaultKind is what goes wrong.
type FaultKind int

const (
	// Refuse closes the listener and cuts all connections: the host is down.
	// When lifted it listens on the same port again.
	Refuse FaultKind = iota + 1
	// Reset accepts connections and resets them at once.
	Reset
	// Stall accepts connections and is silent.
	Stall
	// NotTLS answers with bytes that are no TLS.
	NotTLS
	// WrongCertificate presents a certificate of another CA of the same name.
	WrongCertificate
	// ClientCertificate presents a certificate of the right CA, but for a client.
	ClientCertificate
	// Unreachable answers "couldn't reach service": the daemon is down behind the
	// TLS endpoint.
	Unreachable
	// Fail answers with the failure Text; the command is not carried out.
	Fail
	// NoReply carries the command out, and is silent then.
	NoReply
	// CutUpload resets the connection after Bytes of what is uploaded, or before
	// carrying out a command without an upload.
	CutUpload
	// CutReply resets the connection after Bytes of the answer; the command is
	// carried out. A reset overtakes what is under way, so less may arrive.
	CutReply
	// Garbage carries the command out and answers with frames that are no frames.
	Garbage
	// Slow waits Delay before each command and moves uploads and answers with
	// BytesPerSecond (0 means as fast as possible).
	Slow
)

// ofConnection tells whether the fault strikes before the command is known.
func (k FaultKind) ofConnection() bool { return k <= ClientCertificate }

// Fault is something that goes wrong until it is lifted.
type Fault struct {
	Kind FaultKind
	// Command restricts the fault to commands of a kind, as wire.CommandName
	// names them: "unikernel create". Name restricts it to those about one name:
	// "alice:web". Both have no meaning for faults of a connection.
	Command, Name string
	// Times is how often it strikes; 0 means until it is lifted.
	Times int
	// Bytes of payload, lengths of frames and chunks counted, for CutUpload and CutReply.
	Bytes int64
	// Text for Fail.
	Text string
	// Delay and BytesPerSecond are for Slow.
	Delay          time.Duration
	BytesPerSecond int64
}

// matches tells whether the fault strikes at the command.
func (f *Fault) matches(command wire.Command, name wire.Name) bool {
	return (f.Command == "" || f.Command == wire.CommandName(command)) && (f.Name == "" || f.Name == name.String())
}

type faults struct {
	mu     sync.Mutex
	active []*Fault
}

func (f *faults) add(fault Fault) (lift func()) {
	active := &fault
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = append(f.active, active)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.active = slices.DeleteFunc(f.active, func(other *Fault) bool { return other == active })
	}
}

// strike takes the first fault that fits; the zero Fault is none.
func (f *faults) strike(fits func(*Fault) bool) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.active, fits)
	if i < 0 {
		return Fault{}
	}
	fault := f.active[i]
	if fault.Times--; fault.Times == 0 {
		f.active = slices.Delete(f.active, i, i+1)
	}
	return *fault
}

// Inject has something go wrong from now on, until lift is called or the fault
// has struck as often as it says. Of several faults that fit, the one injected
// first strikes. lift may be called more than once.
func (h *Host) Inject(f Fault) (lift func()) {
	if f.Kind == Refuse {
		return h.goDown()
	}
	return h.faults.add(f)
}

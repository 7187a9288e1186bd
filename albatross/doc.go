// Package albatross is a client of Albatross, the manager of MirageOS and Solo5
// unikernels on a host.
//
// Every command is a TLS connection of its own: the command is in the client's
// certificate, which the client mints. So a [Client] keeps no connections; it is
// cheap, safe for concurrent use and needs no closing. Each call takes a context
// and has a deadline of its own besides.
//
// A [Scope] says which tenant a command is for. All names that go in and come
// out are relative to the credential: with a host's CA they begin at the root,
// with a delegated credential at the path that was delegated.
package albatross

import (
	"fmt"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// The vocabulary of the protocol, under names of this package, so that users of
// the client need no other.
type (
	// Credential is what commands are signed with; see [ParseCredential].
	Credential = cert.Credential
	// Level is one label of a [Scope] with its policy.
	Level = cert.Level
	// Path is a list of labels, outermost first.
	Path = wire.Path
	// Name is a label in a path, or the path itself.
	Name = wire.Name
	// Policy limits what a tenant may use.
	Policy = wire.Policy
	// Config describes a unikernel, but for its image.
	Config = wire.Config
	// Arguments are what a restart may change.
	Arguments = wire.Arguments
	// FailBehaviour says what the host does when a unikernel exits.
	FailBehaviour = wire.FailBehaviour
	// BlockDevice connects a unikernel's device to a block device of the host.
	BlockDevice = wire.BlockDevice
	// Bridge connects a unikernel's network device to a bridge of the host.
	Bridge = wire.Bridge
	// MAC is an Ethernet address.
	MAC = wire.MAC
	// Info is what a host tells about a unikernel that runs.
	Info = wire.Info
	// BridgeInfo is a network device of a unikernel that runs.
	BridgeInfo = wire.BridgeInfo
	// BlockInfo is a block device of a unikernel that runs.
	BlockInfo = wire.BlockInfo
	// Unikernel is one that runs.
	Unikernel = wire.NamedInfo
	// Block is a block device of the host.
	Block = wire.NamedBlock
	// PathPolicy is the policy of a path.
	PathPolicy = wire.NamedPolicy
	// ConsoleLine is a line that a unikernel printed.
	ConsoleLine = wire.ConsoleLine
	// Timeval is a time in seconds and microseconds.
	Timeval = wire.Timeval
	// Stats is one measurement of a unikernel.
	Stats = wire.Stats
)

// The types of unikernels.
const (
	Solo5 = wire.Solo5
	BHyve = wire.BHyve
)

// Parsers and derivations that users of the client need.
var (
	// ParseCredential reads the PEM of a CA (or a delegated CA and its chain) and its key.
	ParseCredential = cert.ParseCredential
	// ParseServerCA reads the PEM of the CAs that a host's certificate may be signed by.
	ParseServerCA = cert.ParseServerCA
	// ParseLabel checks the name of a tenant, unikernel or block device.
	ParseLabel = wire.ParseLabel
	// ParsePath reads labels joined by ':'.
	ParsePath = wire.ParsePath
	// ParseName reads a label in a path as [Name.String] writes it.
	ParseName = wire.ParseName
	// ParseMAC reads six pairs of hexadecimal digits joined by ':'.
	ParseMAC = wire.ParseMAC
	// DeriveMAC gives the address that a host chooses when none is given.
	DeriveMAC = wire.DeriveMAC
)

// Unlimited is how a host writes "no limit" in [Policy.Unikernels] of the root.
const Unlimited = wire.UnlimitedUnikernels

// Scope is the tenant that a command is for: the labels of its path with a
// policy each, outermost first. The host applies these policies before the
// command; sending those in force changes nothing. The empty scope is where the
// credential begins.
//
// A host applies the innermost policy first. So to raise the limits of several
// levels, send a command for the outer scope before one for the inner. A level
// that is allowed more than the one above it is refused with [ErrInvalid].
type Scope []Level

// Path gives the labels in their normal form.
func (s Scope) Path() Path {
	path := make(Path, 0, len(s))
	for _, level := range s {
		label, err := wire.ParseLabel(level.Label)
		if err != nil {
			label = level.Label // a command with it is refused, and says so
		}
		path = append(path, label)
	}
	return path
}

// check refuses a level that is allowed more than the one above it. The host
// would refuse it too, unless it has no policy above yet: then it would take the
// inner one first, and refuse that above for ever.
func (s Scope) check(above *Policy) error {
	for i := range s {
		if above != nil {
			if err := s[i].Policy.Within(*above); err != nil {
				return fmt.Errorf("policy of %s: %w", s[:i+1].Path(), err)
			}
		}
		above = &s[i].Policy
	}
	return nil
}

package wire

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// Version is the version of the protocol that this package speaks.
const Version = 5

var errOneCPU = errors.New("this form of a unikernel's info has room for exactly one CPU id")

// Command is what a client asks of a host. The types of this file implement it.
type Command interface {
	addTo(b *builder)
}

// Commands about unikernels. The name in the certificate says which one; the
// infos may also be about a whole path.
type (
	// UnikernelInfo asks for what is running: one unikernel, or all below a path.
	UnikernelInfo struct{}
	// OldUnikernelInfo4 asks for infos of [InfoForm4]. Never send it to a host
	// that may run a unikernel on several CPUs: its daemon dies of it.
	OldUnikernelInfo4 struct{}
	// OldUnikernelInfo5 asks for infos of [InfoForm5], with the same danger.
	OldUnikernelInfo5 struct{}
	// UnikernelGet asks for the image of a running unikernel.
	UnikernelGet struct {
		// Level of compression, 0 (none) to 9.
		Level int64
	}
	// UnikernelCreate starts a unikernel under a name that is not in use.
	UnikernelCreate struct{ Config Config }
	// UnikernelForceCreate ends a unikernel of the same name first.
	UnikernelForceCreate struct{ Config Config }
	// UnikernelRestart ends a unikernel and starts it again with its image.
	UnikernelRestart struct {
		// Arguments replace the old ones; nil keeps them.
		Arguments *Arguments
	}
	// UnikernelDestroy ends a unikernel.
	UnikernelDestroy struct{}
)

// Commands about policies. Over TLS only [PolicyInfo] is accepted as a leaf's
// command, and [PolicyAdd] in an intermediate certificate.
type (
	// PolicyInfo asks for the policies at and below a path.
	PolicyInfo struct{}
	// PolicyAdd sets the policy of a path.
	PolicyAdd struct{ Policy Policy }
	// PolicyRemove lifts the policy of a path.
	PolicyRemove struct{}
)

// Commands about block devices.
type (
	// BlockList lists block devices: one, or all below a path.
	BlockList struct{}
	// BlockAdd makes a block device.
	BlockAdd struct {
		// Size in MiB. Never send 0: the host refuses it, but keeps a file that
		// blocks the name.
		Size int64
	}
	// BlockRemove deletes a block device that is not in use.
	BlockRemove struct{}
	// BlockSet writes a block device with the chunks that follow.
	BlockSet struct {
		// Compressed says that the chunks are a zlib stream.
		Compressed bool
	}
	// BlockDump reads a block device.
	BlockDump struct {
		// Level of compression, 0 (none) to 9.
		Level int64
	}
	// OldBlockAdd of earlier clients carries the data.
	OldBlockAdd struct {
		Size       int64
		Compressed bool
		// Data is nil when none is given.
		Data []byte
	}
	// OldBlockSet of earlier clients carries the data.
	OldBlockSet struct {
		Compressed bool
		Data       []byte
	}
	// OldBlockDump of earlier clients is answered in one frame.
	OldBlockDump struct{ Level int64 }
)

// Commands about consoles.
type (
	// ConsoleAdd is sent by the host's daemon when a unikernel starts.
	ConsoleAdd struct{ MaxUnikernels int64 }
	// ConsoleSubscribe asks for the lines of a unikernel, from the past and as
	// they come. It never ends by itself.
	ConsoleSubscribe struct {
		// Since asks for lines from this time on; nil means the last Count ones.
		Since *time.Time
		Count int64
	}
	// ConsoleListInactive asks for the consoles of unikernels that do not run.
	ConsoleListInactive struct{}
)

// Commands about statistics.
type (
	// StatsAdd is sent by the host's daemon when a unikernel starts.
	StatsAdd struct {
		VMMDevice string
		PID       int64
		Taps      []StatsTap
	}
	// StatsRemove is sent by the host's daemon when a unikernel ends.
	StatsRemove struct{}
	// StatsSubscribe asks for the statistics of all unikernels below a path.
	StatsSubscribe struct{}
	// StatsInitial is sent by the statistics daemon when it starts.
	StatsInitial struct{}
)

// StatsTap says which interface of the host belongs to a unikernel's bridge.
type StatsTap struct{ Bridge, Tap string }

// The groups of commands by their tag.
const (
	groupConsole    = 0
	groupStatistics = 1
	groupLog        = 2
	groupUnikernel  = 3
	groupPolicy     = 4
	groupBlock      = 5
)

// addIn writes alternative n of a group.
func addIn(b *builder, group, n uint8, write func(*builder)) {
	addExplicit(b, group, func(b *builder) { addExplicit(b, n, write) })
}

func (UnikernelInfo) addTo(b *builder)     { addIn(b, groupUnikernel, 19, addNull) }
func (OldUnikernelInfo4) addTo(b *builder) { addIn(b, groupUnikernel, 15, addNull) }
func (OldUnikernelInfo5) addTo(b *builder) { addIn(b, groupUnikernel, 18, addNull) }
func (UnikernelDestroy) addTo(b *builder)  { addIn(b, groupUnikernel, 3, addNull) }
func (c UnikernelGet) addTo(b *builder) {
	addIn(b, groupUnikernel, 11, func(b *builder) { addInt(b, c.Level) })
}
func (c UnikernelCreate) addTo(b *builder) {
	addIn(b, groupUnikernel, 20, func(b *builder) { addConfig(b, c.Config) })
}
func (c UnikernelForceCreate) addTo(b *builder) {
	addIn(b, groupUnikernel, 21, func(b *builder) { addConfig(b, c.Config) })
}
func (c UnikernelRestart) addTo(b *builder) {
	addIn(b, groupUnikernel, 14, func(b *builder) {
		if c.Arguments == nil {
			addChoiceNull(b, 0)
			return
		}
		addExplicit(b, 3, func(b *builder) { addArguments(b, *c.Arguments) })
	})
}

func (PolicyInfo) addTo(b *builder)   { addIn(b, groupPolicy, 0, addNull) }
func (PolicyRemove) addTo(b *builder) { addIn(b, groupPolicy, 2, addNull) }
func (c PolicyAdd) addTo(b *builder) {
	addIn(b, groupPolicy, 1, func(b *builder) { addPolicy(b, c.Policy) })
}

func (BlockList) addTo(b *builder)   { addIn(b, groupBlock, 0, addNull) }
func (BlockRemove) addTo(b *builder) { addIn(b, groupBlock, 2, addNull) }
func (c BlockAdd) addTo(b *builder) {
	addIn(b, groupBlock, 1, func(b *builder) { addInt(b, c.Size) })
}
func (c BlockSet) addTo(b *builder) {
	addIn(b, groupBlock, 7, func(b *builder) { b.AddASN1Boolean(c.Compressed) })
}
func (c BlockDump) addTo(b *builder) {
	addIn(b, groupBlock, 6, func(b *builder) { addInt(b, c.Level) })
}
func (c OldBlockDump) addTo(b *builder) {
	addIn(b, groupBlock, 5, func(b *builder) { addInt(b, c.Level) })
}
func (c OldBlockSet) addTo(b *builder) {
	addIn(b, groupBlock, 4, func(b *builder) { addImage(b, c.Compressed, c.Data) })
}
func (c OldBlockAdd) addTo(b *builder) {
	addIn(b, groupBlock, 3, func(b *builder) {
		addSequence(b, func(b *builder) {
			addInt(b, c.Size)
			b.AddASN1Boolean(c.Compressed)
			if c.Data != nil {
				b.AddASN1OctetString(c.Data)
			}
		})
	})
}

func (ConsoleListInactive) addTo(b *builder) { addIn(b, groupConsole, 3, addNull) }
func (c ConsoleAdd) addTo(b *builder) {
	addIn(b, groupConsole, 0, func(b *builder) { addInt(b, c.MaxUnikernels) })
}
func (c ConsoleSubscribe) addTo(b *builder) {
	addIn(b, groupConsole, 2, func(b *builder) {
		if c.Since != nil {
			addExplicit(b, 0, func(b *builder) { addTime(b, *c.Since) })
			return
		}
		addExplicit(b, 1, func(b *builder) { addInt(b, c.Count) })
	})
}

func (StatsRemove) addTo(b *builder)    { addIn(b, groupStatistics, 1, addNull) }
func (StatsSubscribe) addTo(b *builder) { addIn(b, groupStatistics, 2, addNull) }
func (StatsInitial) addTo(b *builder)   { addIn(b, groupStatistics, 3, addNull) }
func (c StatsAdd) addTo(b *builder) {
	addIn(b, groupStatistics, 0, func(b *builder) {
		addSequence(b, func(b *builder) {
			addText(b, c.VMMDevice)
			addInt(b, c.PID)
			addSequence(b, func(b *builder) {
				for _, tap := range c.Taps {
					addSequence(b, func(b *builder) {
						addText(b, tap.Bridge)
						addText(b, tap.Tap)
					})
				}
			})
		})
	})
}

// EncodeExtension gives the content of the certificate extension that carries a
// command: SEQUENCE { version, command }.
func EncodeExtension(c Command) ([]byte, error) {
	var b builder
	addSequence(&b, func(b *builder) {
		addInt(b, Version)
		addCommand(b, c)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", c, err)
	}
	return der, nil
}

func addCommand(b *builder, c Command) {
	if c == nil {
		b.SetError(errors.New("no command"))
		return
	}
	c.addTo(b)
}

// DecodeExtension reads what [EncodeExtension] writes, and what earlier clients
// write. Byte slices in the result share memory with der.
func DecodeExtension(der []byte) (c Command, err error) {
	err = decode(der, "extension", func(d *decoder) {
		d.sequence("extension", func(d *decoder) {
			d.version()
			c = d.command()
		})
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *decoder) version() {
	if v := d.int("version"); !d.failed() && v != Version {
		d.fail("unknown version number %d, want %d", v, Version)
	}
}

func (d *decoder) command() (c Command) {
	d.choice("command", []alternative{
		{groupConsole, func(d *decoder) { c = d.consoleCommand() }},
		{groupStatistics, func(d *decoder) { c = d.statsCommand() }},
		{groupLog, func(d *decoder) { d.fail("commands about logs are no longer part of the protocol") }},
		{groupUnikernel, func(d *decoder) { c = d.unikernelCommand() }},
		{groupPolicy, func(d *decoder) { c = d.policyCommand() }},
		{groupBlock, func(d *decoder) { c = d.blockCommand() }},
	})
	return c
}

func (d *decoder) unikernelCommand() (c Command) {
	null := func(is Command) func(*decoder) {
		return func(d *decoder) { d.null("unikernel command"); c = is }
	}
	d.choice("unikernel command", []alternative{
		{3, null(UnikernelDestroy{})},
		{9, func(d *decoder) { c = UnikernelCreate{d.configWithoutStartup()} }},
		{10, func(d *decoder) { c = UnikernelForceCreate{d.configWithoutStartup()} }},
		{11, func(d *decoder) { c = UnikernelGet{d.int("compression level")} }},
		{14, func(d *decoder) { c = d.restart() }},
		{15, null(OldUnikernelInfo4{})},
		{16, func(d *decoder) { c = UnikernelCreate{d.configWithOneCPU()} }},
		{17, func(d *decoder) { c = UnikernelForceCreate{d.configWithOneCPU()} }},
		{18, null(OldUnikernelInfo5{})},
		{19, null(UnikernelInfo{})},
		{20, func(d *decoder) { c = UnikernelCreate{d.config()} }},
		{21, func(d *decoder) { c = UnikernelForceCreate{d.config()} }},
	})
	return c
}

func (d *decoder) restart() (c UnikernelRestart) {
	d.choice("restart", []alternative{
		{0, func(d *decoder) { d.null("no arguments") }},
		{1, func(d *decoder) { c.Arguments = new(d.argumentsWithoutStartup()) }},
		{2, func(d *decoder) { c.Arguments = new(d.argumentsWithOneCPU()) }},
		{3, func(d *decoder) { c.Arguments = new(d.arguments()) }},
	})
	return c
}

func (d *decoder) policyCommand() (c Command) {
	d.choice("policy command", []alternative{
		{0, func(d *decoder) { d.null("info"); c = PolicyInfo{} }},
		{1, func(d *decoder) { c = PolicyAdd{d.policy()} }},
		{2, func(d *decoder) { d.null("remove"); c = PolicyRemove{} }},
	})
	return c
}

func (d *decoder) blockCommand() (c Command) {
	d.choice("block command", []alternative{
		{0, func(d *decoder) { d.null("info"); c = BlockList{} }},
		{1, func(d *decoder) { c = BlockAdd{d.int("size")} }},
		{2, func(d *decoder) { d.null("remove"); c = BlockRemove{} }},
		{3, func(d *decoder) { c = d.oldBlockAdd() }},
		{4, func(d *decoder) {
			compressed, data := d.imageData("set")
			c = OldBlockSet{compressed, data}
		}},
		{5, func(d *decoder) { c = OldBlockDump{d.int("compression level")} }},
		{6, func(d *decoder) { c = BlockDump{d.int("compression level")} }},
		{7, func(d *decoder) { c = BlockSet{d.bool("compressed")} }},
	})
	return c
}

func (d *decoder) oldBlockAdd() (c OldBlockAdd) {
	d.sequence("add", func(d *decoder) {
		c.Size = d.int("size")
		c.Compressed = d.bool("compressed")
		if d.in.PeekASN1Tag(asn1.OCTET_STRING) {
			c.Data = d.octets("data")
		}
	})
	return c
}

func (d *decoder) consoleCommand() (c Command) {
	d.choice("console command", []alternative{
		{0, func(d *decoder) { c = ConsoleAdd{d.int("maximum of unikernels")} }},
		{2, func(d *decoder) { c = d.consoleSubscribe() }},
		{3, func(d *decoder) { d.null("list inactive"); c = ConsoleListInactive{} }},
	})
	return c
}

func (d *decoder) consoleSubscribe() (c ConsoleSubscribe) {
	d.choice("subscribe", []alternative{
		{0, func(d *decoder) { c.Since = new(d.time("since")) }},
		{1, func(d *decoder) { c.Count = d.int("count") }},
	})
	return c
}

func (d *decoder) statsCommand() (c Command) {
	d.choice("statistics command", []alternative{
		{0, func(d *decoder) { c = d.statsAdd() }},
		{1, func(d *decoder) { d.null("remove"); c = StatsRemove{} }},
		{2, func(d *decoder) { d.null("subscribe"); c = StatsSubscribe{} }},
		{3, func(d *decoder) { d.null("initial"); c = StatsInitial{} }},
	})
	return c
}

func (d *decoder) statsAdd() (c StatsAdd) {
	d.sequence("statistics add", func(d *decoder) {
		c.VMMDevice = d.text("device")
		c.PID = d.int("process id")
		d.sequenceOf("network", func(d *decoder) {
			d.sequence("tap", func(d *decoder) {
				c.Taps = append(c.Taps, StatsTap{Bridge: d.text("bridge"), Tap: d.text("tap")})
			})
		})
	})
	return c
}

// CommandName gives the name that Albatross's logs and errors use.
func CommandName(c Command) string {
	switch c.(type) {
	case UnikernelInfo:
		return "unikernel info"
	case OldUnikernelInfo4:
		return "old unikernel info4"
	case OldUnikernelInfo5:
		return "old unikernel info5"
	case UnikernelGet:
		return "unikernel get"
	case UnikernelCreate:
		return "unikernel create"
	case UnikernelForceCreate:
		return "unikernel force create"
	case UnikernelRestart:
		return "unikernel restart"
	case UnikernelDestroy:
		return "unikernel destroy"
	}
	return otherCommandName(c)
}

func otherCommandName(c Command) string {
	switch c.(type) {
	case PolicyInfo:
		return "policy info"
	case PolicyAdd:
		return "policy add"
	case PolicyRemove:
		return "policy remove"
	case BlockList:
		return "block info"
	case BlockAdd, OldBlockAdd:
		return "block add"
	case BlockRemove:
		return "block remove"
	case BlockSet, OldBlockSet:
		return "block set"
	case BlockDump, OldBlockDump:
		return "block dump"
	}
	return streamCommandName(c)
}

// streamCommandName names the commands for the daemons of consoles and statistics.
func streamCommandName(c Command) string {
	switch c.(type) {
	case ConsoleAdd:
		return "console add"
	case ConsoleSubscribe:
		return "console subscribe"
	case ConsoleListInactive:
		return "console list inactive"
	case StatsAdd:
		return "stats add"
	case StatsRemove:
		return "stats remove"
	case StatsSubscribe:
		return "stats subscribe"
	case StatsInitial:
		return "stats initial"
	}
	return "unknown command"
}

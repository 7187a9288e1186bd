package wire

import (
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// Type says what runs a unikernel.
type Type uint8

// The types that Albatross knows.
const (
	Solo5 Type = 0
	BHyve Type = 1
)

// String gives the name that Albatross's own tools use.
func (t Type) String() string {
	switch t {
	case Solo5:
		return "solo5"
	case BHyve:
		return "bhyve"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

func addType(b *builder, t Type) {
	if t > BHyve {
		b.SetError(fmt.Errorf("unknown unikernel type %d", t))
		return
	}
	addChoiceNull(b, uint8(t))
}

func (d *decoder) unikernelType() (t Type) {
	d.choice("type", []alternative{
		{0, func(d *decoder) { d.null("solo5"); t = Solo5 }},
		{1, func(d *decoder) { d.null("bhyve"); t = BHyve }},
	})
	return t
}

// FailBehaviour says what the host does when a unikernel exits. Whatever it
// says, the host never restarts after exit codes 1 and 60 to 64 and signals.
type FailBehaviour struct {
	// Restart is false for "leave it stopped".
	Restart bool
	// ExitCodes limits Restart to these codes, a set; empty means every code.
	ExitCodes []int64
}

func addFailBehaviour(b *builder, f FailBehaviour) {
	if !f.Restart {
		addChoiceNull(b, 0)
		return
	}
	addExplicit(b, 1, func(b *builder) { addIntSetOf(b, f.ExitCodes) })
}

func (d *decoder) failBehaviour() (f FailBehaviour) {
	d.choice("fail behaviour", []alternative{
		{0, func(d *decoder) { d.null("quit") }},
		{1, func(d *decoder) {
			f.Restart = true
			if codes := d.intSet(asn1.SET, "exit codes"); len(codes) > 0 {
				f.ExitCodes = codes
			}
		}},
	})
	return f
}

// BlockDevice gives a unikernel's device of this name a block device of the host.
type BlockDevice struct {
	// Name as in the image's manifest.
	Name string
	// HostDevice is the label of the block device in the unikernel's path (for
	// bhyve a device file); nil means it is called Name too.
	HostDevice *string
	// SectorSize in bytes; nil leaves the choice to the host (512).
	SectorSize *int64
}

// Host is the name of the block device on the host.
func (v BlockDevice) Host() string { return hostName(v.Name, v.HostDevice) }

// Bridge connects a unikernel's network device of this name to a host's bridge.
type Bridge struct {
	// Name as in the image's manifest.
	Name string
	// HostDevice is the bridge; nil means it is called Name too.
	HostDevice *string
	// MAC of the device; nil means [DeriveMAC].
	MAC *MAC
}

// Host is the name of the bridge on the host.
func (v Bridge) Host() string { return hostName(v.Name, v.HostDevice) }

func hostName(name string, host *string) string {
	if host != nil {
		return *host
	}
	return name
}

// Arguments are what a restart may change about a unikernel: all but its image.
type Arguments struct {
	FailBehaviour FailBehaviour
	// Startup is the priority at the start of the host's daemon; smaller is earlier.
	Startup *int64
	// AddName makes the host put "--name=<label>" before the arguments.
	AddName bool
	// CPUIDs are the host's CPUs to run on, a set.
	CPUIDs []int64
	// Memory in MiB.
	Memory  int64
	Blocks  []BlockDevice
	Bridges []Bridge
	// Argv is nil for "none given", which is not the same as an empty list.
	Argv []string
	// NumCPUs is how many CPUs the unikernel sees (bhyve).
	NumCPUs int64
	// LinuxBootPartition is used by type bhyve only.
	LinuxBootPartition *string
}

// Config describes a unikernel to be created.
type Config struct {
	Type Type
	// Compressed says that the image is a zlib stream.
	Compressed bool
	// Image is empty when it follows as chunks after the handshake.
	Image []byte
	Arguments
}

func addConfig(b *builder, c Config) {
	addSequence(b, func(b *builder) {
		addType(b, c.Type)
		b.AddASN1Boolean(c.Compressed)
		b.AddASN1OctetString(c.Image)
		addOptionalInt(b, c.Startup)
		b.AddASN1Boolean(c.AddName)
		addFailBehaviour(b, c.FailBehaviour)
		addTail(b, c.Arguments)
	})
}

func addArguments(b *builder, a Arguments) {
	addSequence(b, func(b *builder) {
		addFailBehaviour(b, a.FailBehaviour)
		addOptionalInt(b, a.Startup)
		b.AddASN1Boolean(a.AddName)
		addTail(b, a)
	})
}

// addTail writes the fields that config and arguments end with alike.
func addTail(b *builder, a Arguments) {
	addIntSetOf(b, a.CPUIDs)
	addInt(b, a.Memory)
	if len(a.Blocks) > 0 {
		addExplicit(b, 0, func(b *builder) {
			addSetOf(b, len(a.Blocks), func(b *builder, i int) { addBlockDevice(b, a.Blocks[i]) })
		})
	}
	if len(a.Bridges) > 0 {
		addExplicit(b, 1, func(b *builder) {
			addSetOf(b, len(a.Bridges), func(b *builder, i int) { addBridge(b, a.Bridges[i]) })
		})
	}
	addOptionalArgv(b, a.Argv)
	addExplicit(b, 3, func(b *builder) { addInt(b, a.NumCPUs) })
	addOptionalPartition(b, 4, a.LinuxBootPartition)
}

func addOptionalArgv(b *builder, argv []string) {
	if argv != nil {
		addExplicit(b, 2, func(b *builder) { addTexts(b, argv) })
	}
}

func addOptionalPartition(b *builder, n uint8, partition *string) {
	if partition != nil {
		addExplicit(b, n, func(b *builder) { addText(b, *partition) })
	}
}

func addBlockDevice(b *builder, v BlockDevice) {
	addSequence(b, func(b *builder) {
		addText(b, v.Name)
		addOptionalText(b, v.HostDevice)
		addOptionalInt(b, v.SectorSize)
	})
}

func addBridge(b *builder, v Bridge) {
	addSequence(b, func(b *builder) {
		addText(b, v.Name)
		addOptionalText(b, v.HostDevice)
		if v.MAC != nil {
			b.AddASN1OctetString(v.MAC[:])
		}
	})
}

func (d *decoder) config() (c Config) {
	d.sequence("config", func(d *decoder) {
		d.image(&c)
		c.Startup = d.optionalInt("startup")
		c.AddName = d.bool("add name")
		c.FailBehaviour = d.failBehaviour()
		c.CPUIDs = d.intSet(asn1.SET, "CPU ids")
		d.tail(&c.Arguments)
		d.cpusAndPartition(&c.Arguments)
	})
	return c
}

// image reads the fields that every form of a config begins with.
func (d *decoder) image(c *Config) {
	c.Type = d.unikernelType()
	c.Compressed = d.bool("compressed")
	c.Image = d.octets("image")
}

// configWithOneCPU reads [16] and [17] of earlier clients, which know one CPU.
func (d *decoder) configWithOneCPU() (c Config) {
	d.sequence("config with one CPU", func(d *decoder) {
		d.image(&c)
		c.Startup = d.optionalInt("startup")
		c.AddName = d.bool("add name")
		c.FailBehaviour = d.failBehaviour()
		d.oneCPU(&c.Arguments)
		d.tail(&c.Arguments)
	})
	return c
}

// configWithoutStartup reads [9] and [10] of still earlier clients.
func (d *decoder) configWithoutStartup() (c Config) {
	d.sequence("config without startup", func(d *decoder) {
		d.image(&c)
		c.AddName = true
		c.FailBehaviour = d.failBehaviour()
		d.oneCPU(&c.Arguments)
		d.tail(&c.Arguments)
	})
	return c
}

func (d *decoder) oneCPU(a *Arguments) {
	a.CPUIDs = []int64{d.int("CPU id")}
	a.NumCPUs = 1
}

// tail reads the fields from memory to argv, which all forms share.
func (d *decoder) tail(a *Arguments) {
	a.Memory = d.int("memory")
	d.optional(0, "blocks", func(d *decoder) {
		d.setOf("blocks", func(d *decoder) { a.Blocks = append(a.Blocks, d.blockDevice()) })
	})
	d.optional(1, "bridges", func(d *decoder) {
		d.setOf("bridges", func(d *decoder) { a.Bridges = append(a.Bridges, d.bridge()) })
	})
	d.optional(2, "arguments", func(d *decoder) { a.Argv = d.texts("arguments") })
}

func (d *decoder) cpusAndPartition(a *Arguments) {
	a.NumCPUs = 1
	d.optional(3, "number of CPUs", func(d *decoder) { a.NumCPUs = d.int("number of CPUs") })
	d.optional(4, "boot partition", func(d *decoder) { a.LinuxBootPartition = new(d.text("boot partition")) })
}

func (d *decoder) arguments() (a Arguments) {
	d.sequence("arguments", func(d *decoder) {
		a.FailBehaviour = d.failBehaviour()
		a.Startup = d.optionalInt("startup")
		a.AddName = d.bool("add name")
		a.CPUIDs = d.intSet(asn1.SET, "CPU ids")
		d.tail(&a)
		d.cpusAndPartition(&a)
	})
	return a
}

// argumentsWithOneCPU reads the restart arguments [2] of earlier clients.
func (d *decoder) argumentsWithOneCPU() (a Arguments) {
	d.sequence("arguments with one CPU", func(d *decoder) {
		a.FailBehaviour = d.failBehaviour()
		a.Startup = d.optionalInt("startup")
		a.AddName = d.bool("add name")
		d.oneCPU(&a)
		d.tail(&a)
	})
	return a
}

// argumentsWithoutStartup reads the restart arguments [1] of still earlier clients.
func (d *decoder) argumentsWithoutStartup() (a Arguments) {
	d.sequence("arguments without startup", func(d *decoder) {
		a.FailBehaviour = d.failBehaviour()
		a.AddName = true
		d.oneCPU(&a)
		d.tail(&a)
	})
	return a
}

func (d *decoder) blockDevice() (v BlockDevice) {
	d.sequence("block device", func(d *decoder) {
		v.Name = d.text("block device name")
		v.HostDevice = d.optionalText("host device")
		v.SectorSize = d.optionalInt("sector size")
	})
	return v
}

func (d *decoder) bridge() (v Bridge) {
	d.sequence("bridge", func(d *decoder) {
		v.Name = d.text("network device name")
		v.HostDevice = d.optionalText("bridge name")
		if d.in.PeekASN1Tag(asn1.OCTET_STRING) {
			v.MAC = new(d.mac("MAC"))
		}
	})
	return v
}

// Clone gives arguments whose lists are not shared with a.
func (a Arguments) Clone() Arguments {
	a.FailBehaviour.ExitCodes = slices.Clone(a.FailBehaviour.ExitCodes)
	a.CPUIDs = slices.Clone(a.CPUIDs)
	a.Blocks = slices.Clone(a.Blocks)
	a.Bridges = slices.Clone(a.Bridges)
	a.Argv = slices.Clone(a.Argv)
	return a
}

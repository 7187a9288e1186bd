package wire

import (
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// BlockInfo is a block device as a running unikernel sees it.
type BlockInfo struct {
	// Device is the unikernel's name for it, HostDevice the host's.
	Device, HostDevice string
	// SectorSize in bytes, Size in MiB.
	SectorSize, Size int64
}

// BridgeInfo is a network device as a running unikernel sees it.
type BridgeInfo struct {
	// Device is the unikernel's name for it, HostDevice the bridge.
	Device, HostDevice string
	MAC                MAC
}

// Info is what a host tells about a unikernel that is running.
type Info struct {
	Type          Type
	FailBehaviour FailBehaviour
	Startup       *int64
	CPUIDs        []int64
	// Memory in MiB.
	Memory  int64
	Blocks  []BlockInfo
	Bridges []BridgeInfo
	// Argv is nil when none were given.
	Argv []string
	// Digest is the SHA-256 of the uncompressed image; for bhyve another text.
	Digest []byte
	// Started is the Unix epoch when the host did not tell.
	Started            time.Time
	NumCPUs            int64
	LinuxBootPartition *string
}

// InfoForm is one of the three encodings of unikernel infos.
type InfoForm uint8

// The forms by their tag among the successful replies.
const (
	// InfoForm4 has one CPU and no startup priority.
	InfoForm4 InfoForm = 9
	// InfoForm5 has one CPU.
	InfoForm5 InfoForm = 11
	// InfoCurrent is what Albatross 2.7 answers to [UnikernelInfo].
	InfoCurrent InfoForm = 13
)

func addInfo(b *builder, form InfoForm, i Info) {
	addSequence(b, func(b *builder) {
		addType(b, i.Type)
		if form != InfoForm4 {
			addOptionalInt(b, i.Startup)
		}
		addFailBehaviour(b, i.FailBehaviour)
		if form == InfoCurrent {
			addIntSetOf(b, i.CPUIDs)
		} else {
			addOnlyCPU(b, i.CPUIDs)
		}
		addInt(b, i.Memory)
		b.AddASN1OctetString(i.Digest)
		addInfoDevices(b, i)
		addOptionalArgv(b, i.Argv)
		addExplicit(b, 3, func(b *builder) { addTime(b, i.Started) })
		if form == InfoCurrent {
			addExplicit(b, 4, func(b *builder) { addInt(b, i.NumCPUs) })
			addOptionalPartition(b, 5, i.LinuxBootPartition)
		}
	})
}

// addOnlyCPU fails for several CPUs, on which the original's daemon dies
// (behaviour.json, old-info-with-two-cpus).
func addOnlyCPU(b *builder, ids []int64) {
	if len(ids) != 1 {
		b.SetError(errOneCPU)
		return
	}
	addInt(b, ids[0])
}

func addInfoDevices(b *builder, i Info) {
	if len(i.Blocks) > 0 {
		addExplicit(b, 0, func(b *builder) {
			addSetOf(b, len(i.Blocks), func(b *builder, n int) {
				v := i.Blocks[n]
				addSequence(b, func(b *builder) {
					addText(b, v.Device)
					addText(b, v.HostDevice)
					addInt(b, v.SectorSize)
					addInt(b, v.Size)
				})
			})
		})
	}
	if len(i.Bridges) > 0 {
		addExplicit(b, 1, func(b *builder) {
			addSetOf(b, len(i.Bridges), func(b *builder, n int) {
				v := i.Bridges[n]
				addSequence(b, func(b *builder) {
					addText(b, v.Device)
					addText(b, v.HostDevice)
					b.AddASN1OctetString(v.MAC[:])
				})
			})
		})
	}
}

func (d *decoder) info(form InfoForm) (i Info) {
	d.sequence("info", func(d *decoder) {
		i.Type = d.unikernelType()
		if form != InfoForm4 {
			i.Startup = d.optionalInt("startup")
		}
		i.FailBehaviour = d.failBehaviour()
		if form == InfoCurrent {
			i.CPUIDs = d.intSet(asn1.SET, "CPU ids")
		} else {
			i.CPUIDs = []int64{d.int("CPU id")}
		}
		i.Memory = d.int("memory")
		i.Digest = d.octets("digest")
		d.infoDevices(&i)
		d.optional(2, "arguments", func(d *decoder) { i.Argv = d.texts("arguments") })
		i.Started = time.Unix(0, 0).UTC()
		d.optional(3, "started", func(d *decoder) { i.Started = d.time("started") })
		i.NumCPUs = 1
		if form == InfoCurrent {
			d.optional(4, "number of CPUs", func(d *decoder) { i.NumCPUs = d.int("number of CPUs") })
			d.optional(5, "boot partition", func(d *decoder) { i.LinuxBootPartition = new(d.text("boot partition")) })
		}
	})
	return i
}

func (d *decoder) infoDevices(i *Info) {
	d.optional(0, "blocks", func(d *decoder) {
		d.setOf("blocks", func(d *decoder) {
			d.sequence("block", func(d *decoder) {
				i.Blocks = append(i.Blocks, BlockInfo{
					Device:     d.text("unikernel device"),
					HostDevice: d.text("host device"),
					SectorSize: d.int("sector size"),
					Size:       d.int("block size"),
				})
			})
		})
	})
	d.optional(1, "bridges", func(d *decoder) {
		d.setOf("bridges", func(d *decoder) {
			d.sequence("bridge", func(d *decoder) {
				i.Bridges = append(i.Bridges, BridgeInfo{
					Device:     d.text("unikernel device"),
					HostDevice: d.text("host device"),
					MAC:        d.mac("MAC"),
				})
			})
		})
	})
}

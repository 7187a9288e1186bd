package wire

import (
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Stats is one measurement of a unikernel. A host sends one about every ten
// seconds for each unikernel below the subscribed path; the frame's name says
// which. Values are those of the host's getrusage, kinfo_proc and interfaces.
type Stats struct {
	Usage Usage
	// Memory is nil where the host has none to tell.
	Memory *ProcessMemory
	// VMM are counters of the hypervisor; nil where there are none.
	VMM        []VMMCounter
	Interfaces []InterfaceStats
}

// Timeval is a time in seconds and microseconds.
type Timeval struct{ Seconds, Microseconds int64 }

// Usage is the resource usage of the unikernel's process (getrusage).
type Usage struct {
	UserTime, SystemTime                                 Timeval
	MaxRSS, SharedText, UnsharedData, UnsharedStack      int64
	MinorFaults, MajorFaults, Swaps, BlocksIn, BlocksOut int64
	MessagesSent, MessagesReceived, Signals              int64
	VoluntaryContextSwitches, InvoluntaryContextSwitches int64
}

// ProcessMemory is the memory of the unikernel's process.
type ProcessMemory struct {
	VirtualSize, RSS, TextSize, DataSize, StackSize, Runtime int64
	CopyOnWriteFaults                                        int64
	Start                                                    Timeval
}

// VMMCounter is one counter of the hypervisor.
type VMMCounter struct {
	Key   string
	Value int64
}

// InterfaceStats are the counters of one network interface.
type InterfaceStats struct {
	Bridge                                  string
	Flags, SendLength, MaxSendLength        int32
	SendDrops, MTU                          int32
	Baudrate, InputPackets, InputErrors     int64
	OutputPackets, OutputErrors, Collisions int64
	InputBytes, OutputBytes                 int64
	InputMulticasts, OutputMulticasts       int64
	InputDropped, OutputDropped             int64
}

// counters lists the 64 bit fields after the times, in the order on the wire.
func (u *Usage) counters() []*int64 {
	return []*int64{
		&u.MaxRSS, &u.SharedText, &u.UnsharedData, &u.UnsharedStack,
		&u.MinorFaults, &u.MajorFaults, &u.Swaps, &u.BlocksIn, &u.BlocksOut,
		&u.MessagesSent, &u.MessagesReceived, &u.Signals,
		&u.VoluntaryContextSwitches, &u.InvoluntaryContextSwitches,
	}
}

func (m *ProcessMemory) sizes() []*int64 {
	return []*int64{&m.VirtualSize, &m.RSS, &m.TextSize, &m.DataSize, &m.StackSize, &m.Runtime}
}

func (i *InterfaceStats) small() []*int32 {
	return []*int32{&i.Flags, &i.SendLength, &i.MaxSendLength, &i.SendDrops, &i.MTU}
}

func (i *InterfaceStats) counters() []*int64 {
	return []*int64{
		&i.Baudrate, &i.InputPackets, &i.InputErrors, &i.OutputPackets, &i.OutputErrors,
		&i.Collisions, &i.InputBytes, &i.OutputBytes, &i.InputMulticasts, &i.OutputMulticasts,
		&i.InputDropped, &i.OutputDropped,
	}
}

// tagProcessMemory is implicit, as only this field of the protocol is.
var tagProcessMemory = contextTag(1)

func (p Stats) addPayload(b *builder) {
	addIn(b, payloadData, 1, func(b *builder) {
		addSequence(b, func(b *builder) {
			addUsage(b, p.Usage)
			addSequence(b, func(b *builder) {
				for _, i := range p.Interfaces {
					addInterfaceStats(b, i)
				}
			})
			addVMMCounters(b, p.VMM)
			if p.Memory != nil {
				b.AddASN1(tagProcessMemory, func(b *builder) { addProcessMemory(b, *p.Memory) })
			}
		})
	})
}

func addTimeval(b *builder, t Timeval) {
	addSequence(b, func(b *builder) {
		addInt64(b, t.Seconds)
		addInt(b, t.Microseconds)
	})
}

func addUsage(b *builder, u Usage) {
	addSequence(b, func(b *builder) {
		addTimeval(b, u.UserTime)
		addTimeval(b, u.SystemTime)
		for _, v := range u.counters() {
			addInt64(b, *v)
		}
	})
}

func addInterfaceStats(b *builder, i InterfaceStats) {
	addSequence(b, func(b *builder) {
		addText(b, i.Bridge)
		for _, v := range i.small() {
			addInt(b, int64(*v))
		}
		for _, v := range i.counters() {
			addInt64(b, *v)
		}
	})
}

func addVMMCounters(b *builder, counters []VMMCounter) {
	if counters == nil {
		return
	}
	addExplicit(b, 0, func(b *builder) {
		addSequence(b, func(b *builder) {
			for _, c := range counters {
				addSequence(b, func(b *builder) {
					addText(b, c.Key)
					addInt64(b, c.Value)
				})
			}
		})
	})
}

func addProcessMemory(b *builder, m ProcessMemory) {
	for _, v := range m.sizes() {
		addInt64(b, *v)
	}
	addInt(b, m.CopyOnWriteFaults)
	addTimeval(b, m.Start)
}

func (d *decoder) stats() (p Stats) {
	d.sequence("statistics", func(d *decoder) {
		p.Usage = d.usage()
		d.sequenceOf("interfaces", func(d *decoder) {
			p.Interfaces = append(p.Interfaces, d.interfaceStats())
		})
		d.optional(0, "hypervisor counters", func(d *decoder) {
			p.VMM = []VMMCounter{}
			d.sequenceOf("hypervisor counters", func(d *decoder) {
				d.sequence("hypervisor counter", func(d *decoder) {
					p.VMM = append(p.VMM, VMMCounter{d.text("key"), d.int64("value")})
				})
			})
		})
		if d.in.PeekASN1Tag(tagProcessMemory) {
			p.Memory = d.processMemory(tagProcessMemory)
		}
	})
	return p
}

func (d *decoder) timeval(what string) (t Timeval) {
	d.sequence(what, func(d *decoder) {
		t.Seconds = d.int64("seconds")
		t.Microseconds = d.int("microseconds")
	})
	return t
}

func (d *decoder) usage() (u Usage) {
	d.sequence("resource usage", func(d *decoder) {
		u.UserTime = d.timeval("user time")
		u.SystemTime = d.timeval("system time")
		for _, v := range u.counters() {
			*v = d.int64("resource usage")
		}
	})
	return u
}

func (d *decoder) interfaceStats() (i InterfaceStats) {
	d.sequence("interface", func(d *decoder) {
		i.Bridge = d.text("bridge")
		for _, v := range i.small() {
			*v = d.int32("interface")
		}
		for _, v := range i.counters() {
			*v = d.int64("interface")
		}
	})
	return i
}

func (d *decoder) processMemory(tag asn1.Tag) *ProcessMemory {
	var m ProcessMemory
	d.nested(tag, "process memory", func(d *decoder) {
		for _, v := range m.sizes() {
			*v = d.int64("process memory")
		}
		m.CopyOnWriteFaults = d.int("copy on write faults")
		m.Start = d.timeval("start")
	})
	return &m
}

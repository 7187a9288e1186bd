package wire

import (
	"errors"
	"fmt"
	"time"
)

// Frame is what travels in either direction once the connection stands, without
// the length before it.
type Frame struct {
	// Sequence is 0 in single replies and a counter of the host's in streams: do
	// not match on it.
	Sequence int64
	// Name is the base that names in the payload are relative to (see [Name.In]).
	Name    Name
	Payload Payload
}

// Payload is a command, a successful reply, a failure or data of a stream. The
// types of this file implement it.
type Payload interface {
	addPayload(b *builder)
}

// Request is a command as it travels between the parts of a host.
type Request struct{ Command Command }

// Failure is a refusal with the host's text.
type Failure struct{ Text string }

// Successful replies.
type (
	// Empty says no more than that it worked.
	Empty struct{}
	// Text such as "created unikernel".
	Text struct{ Text string }
	// Policies answers [PolicyInfo].
	Policies struct{ Policies []NamedPolicy }
	// BlockDevices answers [BlockList].
	BlockDevices struct{ Devices []NamedBlock }
	// UnikernelImage answers [UnikernelGet].
	UnikernelImage struct {
		Compressed bool
		Image      []byte
	}
	// OldBlockDeviceImage answers [OldBlockDump].
	OldBlockDeviceImage struct {
		Compressed bool
		Image      []byte
	}
	// BlockDeviceImage says that data of a block device follows ([BlockDump]).
	BlockDeviceImage struct{ Compressed bool }
	// Consoles answers [ConsoleListInactive].
	Consoles struct{ Names []Name }
	// UnikernelInfos answers [UnikernelInfo] and its older forms.
	UnikernelInfos struct {
		Form  InfoForm
		Infos []NamedInfo
	}
)

// NamedPolicy is the policy of a path.
type NamedPolicy struct {
	Name   Name
	Policy Policy
}

// NamedBlock is a block device.
type NamedBlock struct {
	Name Name
	// Size in MiB.
	Size int64
	// Active says that a unikernel uses it.
	Active bool
}

// NamedInfo is a running unikernel.
type NamedInfo struct {
	Name Name
	Info Info
}

// Data of a stream; statistics are in [Stats].
type (
	// ConsoleLine is one line that a unikernel printed.
	ConsoleLine struct {
		Time time.Time
		Line string
	}
	// BlockData is a part of a block device; it may be empty before the end.
	BlockData struct{ Data []byte }
	// BlockDataEnd ends a block device's data.
	BlockDataEnd struct{}
)

// The kinds of payload by their tag.
const (
	payloadCommand = 0
	payloadSuccess = 1
	payloadFailure = 2
	payloadData    = 3
)

func (p Request) addPayload(b *builder) {
	addExplicit(b, payloadCommand, func(b *builder) { addCommand(b, p.Command) })
}

func (p Failure) addPayload(b *builder) {
	addExplicit(b, payloadFailure, func(b *builder) { addText(b, p.Text) })
}

func (Empty) addPayload(b *builder) { addIn(b, payloadSuccess, 0, addNull) }

func (p Text) addPayload(b *builder) {
	addIn(b, payloadSuccess, 1, func(b *builder) { addText(b, p.Text) })
}

func (p Policies) addPayload(b *builder) {
	addIn(b, payloadSuccess, 2, func(b *builder) {
		addSequence(b, func(b *builder) {
			for _, entry := range p.Policies {
				addSequence(b, func(b *builder) {
					addName(b, entry.Name)
					addPolicy(b, entry.Policy)
				})
			}
		})
	})
}

func (p BlockDevices) addPayload(b *builder) {
	addIn(b, payloadSuccess, 4, func(b *builder) {
		addSequence(b, func(b *builder) {
			for _, entry := range p.Devices {
				addSequence(b, func(b *builder) {
					addName(b, entry.Name)
					addInt(b, entry.Size)
					b.AddASN1Boolean(entry.Active)
				})
			}
		})
	})
}

func addImage(b *builder, compressed bool, image []byte) {
	addSequence(b, func(b *builder) {
		b.AddASN1Boolean(compressed)
		b.AddASN1OctetString(image)
	})
}

func (p UnikernelImage) addPayload(b *builder) {
	addIn(b, payloadSuccess, 6, func(b *builder) { addImage(b, p.Compressed, p.Image) })
}

func (p OldBlockDeviceImage) addPayload(b *builder) {
	addIn(b, payloadSuccess, 7, func(b *builder) { addImage(b, p.Compressed, p.Image) })
}

func (p BlockDeviceImage) addPayload(b *builder) {
	addIn(b, payloadSuccess, 10, func(b *builder) { b.AddASN1Boolean(p.Compressed) })
}

func (p Consoles) addPayload(b *builder) {
	addIn(b, payloadSuccess, 12, func(b *builder) {
		addSequence(b, func(b *builder) {
			for _, name := range p.Names {
				addName(b, name)
			}
		})
	})
}

func (p UnikernelInfos) addPayload(b *builder) {
	addIn(b, payloadSuccess, uint8(p.Form), func(b *builder) {
		addSequence(b, func(b *builder) {
			for _, entry := range p.Infos {
				addSequence(b, func(b *builder) {
					addName(b, entry.Name)
					addInfo(b, p.Form, entry.Info)
				})
			}
		})
	})
}

func (p ConsoleLine) addPayload(b *builder) {
	addIn(b, payloadData, 3, func(b *builder) {
		addSequence(b, func(b *builder) {
			addTime(b, p.Time)
			addText(b, p.Line)
		})
	})
}

func (p BlockData) addPayload(b *builder) {
	addIn(b, payloadData, 4, func(b *builder) {
		addExplicit(b, 0, func(b *builder) { b.AddASN1OctetString(p.Data) })
	})
}

func (BlockDataEnd) addPayload(b *builder) {
	addIn(b, payloadData, 4, func(b *builder) { addChoiceNull(b, 1) })
}

// EncodeFrame gives the frame without the length that goes before it.
func EncodeFrame(f Frame) ([]byte, error) {
	var b builder
	addSequence(&b, func(b *builder) {
		addSequence(b, func(b *builder) {
			addInt(b, Version)
			addInt64(b, f.Sequence)
			addName(b, f.Name)
		})
		if f.Payload == nil {
			b.SetError(errors.New("no payload"))
			return
		}
		f.Payload.addPayload(b)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", f.Payload, err)
	}
	return der, nil
}

// DecodeFrame reads a frame without the length before it. Byte slices in the
// result share memory with der.
func DecodeFrame(der []byte) (f Frame, err error) {
	err = decode(der, "frame", func(d *decoder) {
		d.sequence("frame", func(d *decoder) {
			d.sequence("header", func(d *decoder) {
				d.version()
				f.Sequence = d.int64("sequence")
				f.Name = d.name("header name")
			})
			f.Payload = d.payload()
		})
	})
	if err != nil {
		return Frame{}, err
	}
	return f, nil
}

func (d *decoder) payload() (p Payload) {
	d.choice("payload", []alternative{
		{payloadCommand, func(d *decoder) { p = Request{d.command()} }},
		{payloadSuccess, func(d *decoder) { p = d.success() }},
		{payloadFailure, func(d *decoder) { p = Failure{d.text("failure")} }},
		{payloadData, func(d *decoder) { p = d.data() }},
	})
	return p
}

func (d *decoder) success() (p Payload) {
	infos := func(form InfoForm) func(*decoder) {
		return func(d *decoder) { p = UnikernelInfos{form, d.namedInfos(form)} }
	}
	d.choice("reply", []alternative{
		{0, func(d *decoder) { d.null("empty"); p = Empty{} }},
		{1, func(d *decoder) { p = Text{d.text("text")} }},
		{2, func(d *decoder) { p = Policies{d.namedPolicies()} }},
		{4, func(d *decoder) { p = BlockDevices{d.namedBlocks()} }},
		{6, func(d *decoder) {
			compressed, image := d.imageData("unikernel image")
			p = UnikernelImage{compressed, image}
		}},
		{7, func(d *decoder) {
			compressed, image := d.imageData("block device image")
			p = OldBlockDeviceImage{compressed, image}
		}},
		{uint8(InfoForm4), infos(InfoForm4)},
		{10, func(d *decoder) { p = BlockDeviceImage{d.bool("compressed")} }},
		{uint8(InfoForm5), infos(InfoForm5)},
		{12, func(d *decoder) { p = Consoles{d.names()} }},
		{uint8(InfoCurrent), infos(InfoCurrent)},
	})
	return p
}

func (d *decoder) imageData(what string) (compressed bool, data []byte) {
	d.sequence(what, func(d *decoder) {
		compressed = d.bool("compressed")
		data = d.octets("data")
	})
	return compressed, data
}

func (d *decoder) namedPolicies() (all []NamedPolicy) {
	d.sequenceOf("policies", func(d *decoder) {
		d.sequence("policy", func(d *decoder) {
			all = append(all, NamedPolicy{d.name("path"), d.policy()})
		})
	})
	return all
}

func (d *decoder) namedBlocks() (all []NamedBlock) {
	d.sequenceOf("block devices", func(d *decoder) {
		d.sequence("block device", func(d *decoder) {
			all = append(all, NamedBlock{d.name("name"), d.int("size"), d.bool("active")})
		})
	})
	return all
}

func (d *decoder) namedInfos(form InfoForm) (all []NamedInfo) {
	d.sequenceOf("unikernel infos", func(d *decoder) {
		d.sequence("unikernel info", func(d *decoder) {
			all = append(all, NamedInfo{d.name("name"), d.info(form)})
		})
	})
	return all
}

func (d *decoder) names() (all []Name) {
	d.sequenceOf("consoles", func(d *decoder) { all = append(all, d.name("console")) })
	return all
}

func (d *decoder) data() (p Payload) {
	d.choice("data", []alternative{
		{1, func(d *decoder) { p = d.stats() }},
		{2, func(d *decoder) { d.fail("data of logs is no longer part of the protocol") }},
		{3, func(d *decoder) {
			d.sequence("console line", func(d *decoder) {
				p = ConsoleLine{d.time("time of a line"), d.text("line")}
			})
		}},
		{4, func(d *decoder) { p = d.blockData() }},
	})
	return p
}

func (d *decoder) blockData() (p Payload) {
	d.choice("block data", []alternative{
		{0, func(d *decoder) { p = BlockData{d.octets("block data")} }},
		{1, func(d *decoder) { d.null("end of block data"); p = BlockDataEnd{} }},
	})
	return p
}

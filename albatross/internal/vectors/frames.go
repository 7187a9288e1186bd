package vectors

import (
	"fmt"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// Frame is a frame's recorded form.
type Frame struct {
	Header struct {
		Version  int64
		Sequence int64 `json:",string"`
		Name     Name
	}
	Payload Payload
}

// Wire gives the frame as the codec has it.
func (f Frame) Wire() wire.Frame {
	return wire.Frame{Sequence: f.Header.Sequence, Name: f.Header.Name.Wire(), Payload: f.Payload.Wire()}
}

// Payload is a payload's recorded form; Kind, Success and Data say which fields it has.
type Payload struct {
	Kind     string
	Command  Command
	Success  string
	Failure  Text
	Data     string
	String   Text
	Policies []struct {
		Name   string
		Policy Policy
	}
	BlockDevices []struct {
		Name   string
		Size   int64
		Active bool
	} `json:"block_devices"`
	Compressed bool
	Image      Blob
	Names      []string
	Infos      []struct {
		Name string
		Info Info
	}
	Timestamp time.Time
	Line      Text
	Block     *Blob
	Stats
}

// Wire gives the payload as the codec has it.
func (p Payload) Wire() wire.Payload {
	switch p.Kind {
	case "command":
		return wire.Request{Command: p.Command.Wire()}
	case "failure":
		return wire.Failure{Text: string(p.Failure)}
	case "data":
		return p.data()
	}
	return p.success()
}

func (p Payload) data() wire.Payload {
	switch {
	case p.Data == "stats":
		return p.Stats.Wire()
	case p.Data == "console":
		return wire.ConsoleLine{Time: p.Timestamp, Line: string(p.Line)}
	case p.Block != nil:
		return wire.BlockData{Data: p.Block.Data}
	}
	return wire.BlockDataEnd{}
}

func (p Payload) success() wire.Payload {
	switch p.Success {
	case "empty":
		return wire.Empty{}
	case "string":
		return wire.Text{Text: string(p.String)}
	case "unikernel_image":
		return wire.UnikernelImage{Compressed: p.Compressed, Image: p.Image.Data}
	case "old_block_device_image":
		return wire.OldBlockDeviceImage{Compressed: p.Compressed, Image: p.Image.Data}
	case "block_device_image":
		return wire.BlockDeviceImage{Compressed: p.Compressed}
	case "unikernel_info":
		return wire.UnikernelInfos{Form: wire.InfoCurrent, Infos: p.infos()}
	case "old_unikernel_info4":
		return wire.UnikernelInfos{Form: wire.InfoForm4, Infos: p.infos()}
	case "old_unikernel_info5":
		return wire.UnikernelInfos{Form: wire.InfoForm5, Infos: p.infos()}
	}
	return p.list()
}

func (p Payload) list() wire.Payload {
	switch p.Success {
	case "policies":
		var all []wire.NamedPolicy
		for _, e := range p.Policies {
			all = append(all, wire.NamedPolicy{Name: parsed(e.Name), Policy: e.Policy.Wire()})
		}
		return wire.Policies{Policies: all}
	case "block_devices":
		var all []wire.NamedBlock
		for _, e := range p.BlockDevices {
			all = append(all, wire.NamedBlock{Name: parsed(e.Name), Size: e.Size, Active: e.Active})
		}
		return wire.BlockDevices{Devices: all}
	case "consoles":
		var all []wire.Name
		for _, e := range p.Names {
			all = append(all, parsed(e))
		}
		return wire.Consoles{Names: all}
	}
	panic(fmt.Sprintf("recorded reply %q is not known here", p.Success))
}

func (p Payload) infos() []wire.NamedInfo {
	var all []wire.NamedInfo
	for _, e := range p.Infos {
		all = append(all, wire.NamedInfo{Name: parsed(e.Name), Info: e.Info.Wire()})
	}
	return all
}

func parsed(s string) wire.Name {
	n, err := wire.ParseName(s)
	if err != nil {
		panic(fmt.Sprintf("recorded name %q: %v", s, err))
	}
	return n
}

// Timeval is a time's recorded form.
type Timeval struct {
	Seconds      int64 `json:",string"`
	Microseconds int64
}

func (t Timeval) wire() wire.Timeval { return wire.Timeval(t) }

// Stats is the recorded form of a measurement.
type Stats struct {
	RUsage struct {
		UTime, STime                Timeval
		MaxRSS, IXRSS, IDRSS, ISRSS int64 `json:",string"`
		MinFlt, MajFlt, NSwap       int64 `json:",string"`
		InBlock, OutBlock           int64 `json:",string"`
		MsgSnd, MsgRcv, NSignals    int64 `json:",string"`
		NVCSW, NIVCSW               int64 `json:",string"`
	}
	KInfoMem *struct {
		VSize, RSS, TSize, DSize, SSize, Runtime int64 `json:",string"`
		COW                                      int64
		Start                                    Timeval
	} `json:"kinfo_mem"`
	VMM []struct {
		Key   Text
		Value int64 `json:",string"`
	}
	IfData []struct {
		Bridge        Text
		Flags         int32
		SendLength    int32 `json:"send_length"`
		MaxSendLength int32 `json:"max_send_length"`
		SendDrops     int32 `json:"send_drops"`
		MTU           int32
		Baudrate      int64 `json:",string"`
		InputPackets  int64 `json:"input_packets,string"`
		InputErrors   int64 `json:"input_errors,string"`
		OutputPackets int64 `json:"output_packets,string"`
		OutputErrors  int64 `json:"output_errors,string"`
		Collisions    int64 `json:",string"`
		InputBytes    int64 `json:"input_bytes,string"`
		OutputBytes   int64 `json:"output_bytes,string"`
		InputMcast    int64 `json:"input_mcast,string"`
		OutputMcast   int64 `json:"output_mcast,string"`
		InputDropped  int64 `json:"input_dropped,string"`
		OutputDropped int64 `json:"output_dropped,string"`
	}
}

// Wire gives the measurement as the codec has it.
func (s Stats) Wire() wire.Stats {
	u := s.RUsage
	stats := wire.Stats{Usage: wire.Usage{
		UserTime: u.UTime.wire(), SystemTime: u.STime.wire(), MaxRSS: u.MaxRSS, SharedText: u.IXRSS, UnsharedData: u.IDRSS,
		UnsharedStack: u.ISRSS, MinorFaults: u.MinFlt, MajorFaults: u.MajFlt, Swaps: u.NSwap, BlocksIn: u.InBlock, BlocksOut: u.OutBlock,
		MessagesSent: u.MsgSnd, MessagesReceived: u.MsgRcv, Signals: u.NSignals, VoluntaryContextSwitches: u.NVCSW, InvoluntaryContextSwitches: u.NIVCSW,
	}}
	if m := s.KInfoMem; m != nil {
		stats.Memory = &wire.ProcessMemory{
			VirtualSize: m.VSize, RSS: m.RSS, TextSize: m.TSize, DataSize: m.DSize, StackSize: m.SSize,
			Runtime: m.Runtime, CopyOnWriteFaults: m.COW, Start: m.Start.wire(),
		}
	}
	if s.VMM != nil {
		stats.VMM = []wire.VMMCounter{}
	}
	for _, c := range s.VMM {
		stats.VMM = append(stats.VMM, wire.VMMCounter{Key: string(c.Key), Value: c.Value})
	}
	for _, i := range s.IfData {
		stats.Interfaces = append(stats.Interfaces, wire.InterfaceStats{
			Bridge: string(i.Bridge), Flags: i.Flags, SendLength: i.SendLength, MaxSendLength: i.MaxSendLength, SendDrops: i.SendDrops, MTU: i.MTU,
			Baudrate: i.Baudrate, InputPackets: i.InputPackets, InputErrors: i.InputErrors, OutputPackets: i.OutputPackets, OutputErrors: i.OutputErrors,
			Collisions: i.Collisions, InputBytes: i.InputBytes, OutputBytes: i.OutputBytes, InputMulticasts: i.InputMcast, OutputMulticasts: i.OutputMcast,
			InputDropped: i.InputDropped, OutputDropped: i.OutputDropped,
		})
	}
	return stats
}

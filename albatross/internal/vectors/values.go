package vectors

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// Name is a name's recorded form.
type Name struct {
	Path   []string
	Label  *string
	String string
}

// Wire gives the name as the codec has it.
func (n Name) Wire() wire.Name {
	name := wire.Name{}
	if len(n.Path) > 0 {
		name.Path = n.Path
	}
	if n.Label != nil {
		name.Label = *n.Label
	}
	return name
}

// Policy is a policy's recorded form.
type Policy struct {
	Unikernels int64
	CPUIDs     []int64
	Memory     int64
	Block      *int64
	Bridges    []string
}

// Wire gives the policy as the codec has it.
func (p Policy) Wire() wire.Policy {
	return wire.Policy{Unikernels: p.Unikernels, CPUIDs: p.CPUIDs, Memory: p.Memory, Block: p.Block, Bridges: p.Bridges}
}

// FailBehaviour is a fail behaviour's recorded form.
type FailBehaviour struct {
	Kind      string
	ExitCodes []int64 `json:"exit_codes"`
}

func (f FailBehaviour) wire() wire.FailBehaviour {
	return wire.FailBehaviour{Restart: f.Kind == "restart", ExitCodes: f.ExitCodes}
}

// Config is the recorded form of a config, and of arguments, which lack the image.
type Config struct {
	Typ           string
	Compressed    bool
	Image         Blob
	FailBehaviour FailBehaviour `json:"fail_behaviour"`
	Startup       *int64
	AddName       bool `json:"add_name"`
	CPUIDs        []int64
	Memory        int64
	BlockDevices  []struct {
		Name       Text
		HostDevice *Text  `json:"host_device"`
		SectorSize *int64 `json:"sector_size"`
	} `json:"block_devices"`
	Bridges []struct {
		Name   Text
		Bridge *Text
		MAC    *string
	}
	Argv               []Text
	NumCPUs            int64
	LinuxBootPartition *Text `json:"linux_boot_partition"`
}

// Wire gives the config as the codec has it; an image that is only described is left empty.
func (c Config) Wire() wire.Config {
	return wire.Config{Type: unikernelType(c.Typ), Compressed: c.Compressed, Image: c.Image.Data, Arguments: c.Arguments()}
}

// Arguments gives all but the image.
func (c Config) Arguments() wire.Arguments {
	a := wire.Arguments{
		FailBehaviour: c.FailBehaviour.wire(), Startup: c.Startup, AddName: c.AddName, CPUIDs: c.CPUIDs,
		Memory: c.Memory, Argv: plain(c.Argv), NumCPUs: c.NumCPUs, LinuxBootPartition: (*string)(c.LinuxBootPartition),
	}
	for _, b := range c.BlockDevices {
		a.Blocks = append(a.Blocks, wire.BlockDevice{Name: string(b.Name), HostDevice: (*string)(b.HostDevice), SectorSize: b.SectorSize})
	}
	for _, b := range c.Bridges {
		bridge := wire.Bridge{Name: string(b.Name), HostDevice: (*string)(b.Bridge)}
		if b.MAC != nil {
			bridge.MAC = new(MAC(*b.MAC))
		}
		a.Bridges = append(a.Bridges, bridge)
	}
	return a
}

func unikernelType(s string) wire.Type {
	if s == wire.BHyve.String() {
		return wire.BHyve
	}
	return wire.Solo5
}

// plain keeps the difference between no list and an empty one.
func plain(texts []Text) []string {
	if texts == nil {
		return nil
	}
	all := make([]string, len(texts))
	for i, t := range texts {
		all[i] = string(t)
	}
	return all
}

// MAC reads six pairs joined by ':'; the recorded ones are well formed.
func MAC(s string) (m wire.MAC) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != len(m) {
		panic(fmt.Sprintf("recorded MAC %q", s))
	}
	return wire.MAC(b)
}

// Command is a command's recorded form; Cmd says which fields it has.
type Command struct {
	Cmd           string
	Level         int64
	Config        Config
	Args          *Config
	Policy        Policy
	Size          int64
	Compressed    bool
	Data          *Hex
	Since         *time.Time
	Count         int64
	MaxUnikernels int64 `json:"max_unikernels"`
	VMMDev        Text
	PID           int64
	Taps          []struct{ Bridge, Tap Text }
}

// Wire gives the command as the codec has it.
func (c Command) Wire() wire.Command {
	commands := map[string]wire.Command{
		"unikernel_info": wire.UnikernelInfo{}, "old_unikernel_info4": wire.OldUnikernelInfo4{}, "old_unikernel_info5": wire.OldUnikernelInfo5{},
		"unikernel_get": wire.UnikernelGet{Level: c.Level}, "unikernel_create": wire.UnikernelCreate{Config: c.Config.Wire()},
		"unikernel_force_create": wire.UnikernelForceCreate{Config: c.Config.Wire()}, "unikernel_restart": wire.UnikernelRestart{Arguments: c.arguments()},
		"unikernel_destroy": wire.UnikernelDestroy{},
		"policy_info":       wire.PolicyInfo{}, "policy_add": wire.PolicyAdd{Policy: c.Policy.Wire()}, "policy_remove": wire.PolicyRemove{},
		"block_info": wire.BlockList{}, "block_add": wire.BlockAdd{Size: c.Size}, "block_remove": wire.BlockRemove{},
		"block_set": wire.BlockSet{Compressed: c.Compressed}, "block_dump": wire.BlockDump{Level: c.Level},
		"old_block_add": wire.OldBlockAdd{Size: c.Size, Compressed: c.Compressed, Data: c.data()},
		"old_block_set": wire.OldBlockSet{Compressed: c.Compressed, Data: c.data()}, "old_block_dump": wire.OldBlockDump{Level: c.Level},
		"console_add": wire.ConsoleAdd{MaxUnikernels: c.MaxUnikernels}, "console_subscribe": wire.ConsoleSubscribe{Since: c.Since, Count: c.Count},
		"console_list_inactive": wire.ConsoleListInactive{},
		"stats_add":             c.statsAdd(), "stats_remove": wire.StatsRemove{}, "stats_subscribe": wire.StatsSubscribe{}, "stats_initial": wire.StatsInitial{},
	}
	command, ok := commands[c.Cmd]
	if !ok {
		panic(fmt.Sprintf("recorded command %q is not known here", c.Cmd))
	}
	return command
}

func (c Command) arguments() *wire.Arguments {
	if c.Args == nil {
		return nil
	}
	return new(c.Args.Arguments())
}

func (c Command) data() []byte {
	if c.Data == nil {
		return nil
	}
	return *c.Data
}

func (c Command) statsAdd() wire.StatsAdd {
	add := wire.StatsAdd{VMMDevice: string(c.VMMDev), PID: c.PID}
	for _, tap := range c.Taps {
		add.Taps = append(add.Taps, wire.StatsTap{Bridge: string(tap.Bridge), Tap: string(tap.Tap)})
	}
	return add
}

// Info is the recorded form of what is told about a running unikernel.
type Info struct {
	Typ           string
	FailBehaviour FailBehaviour `json:"fail_behaviour"`
	Startup       *int64
	CPUIDs        []int64
	Memory        int64
	BlockDevices  []struct {
		UnikernelDevice Text  `json:"unikernel_device"`
		HostDevice      Text  `json:"host_device"`
		SectorSize      int64 `json:"sector_size"`
		Size            int64
	} `json:"block_devices"`
	Bridges []struct {
		UnikernelDevice Text `json:"unikernel_device"`
		HostDevice      Text `json:"host_device"`
		MAC             string
	}
	Argv               []Text
	Digest             Hex
	Started            time.Time
	NumCPUs            int64
	LinuxBootPartition *Text `json:"linux_boot_partition"`
}

// Wire gives the info as the codec has it.
func (i Info) Wire() wire.Info {
	info := wire.Info{
		Type: unikernelType(i.Typ), FailBehaviour: i.FailBehaviour.wire(), Startup: i.Startup, CPUIDs: i.CPUIDs, Memory: i.Memory,
		Argv: plain(i.Argv), Digest: i.Digest, Started: i.Started, NumCPUs: i.NumCPUs, LinuxBootPartition: (*string)(i.LinuxBootPartition),
	}
	for _, b := range i.BlockDevices {
		info.Blocks = append(info.Blocks, wire.BlockInfo{Device: string(b.UnikernelDevice), HostDevice: string(b.HostDevice), SectorSize: b.SectorSize, Size: b.Size})
	}
	for _, b := range i.Bridges {
		info.Bridges = append(info.Bridges, wire.BridgeInfo{Device: string(b.UnikernelDevice), HostDevice: string(b.HostDevice), MAC: MAC(b.MAC)})
	}
	return info
}

package mollymawk

import (
	"encoding/json"
	"errors"
	"math"

	"k8s.io/apimachinery/pkg/api/resource"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// Bounds of what fits into a specification. What lies between them is checked
// where the object is.
const (
	maxMemory     = math.MaxInt32
	normalStartup = 50
	sectorSize    = 512
)

// The texts of this file are the original's.
var (
	errNotAnObject  = errors.New("not a json assoc")
	errCPUIDs       = errors.New("cpuids must be a list of integers")
	errCPUIDsType   = errors.New("CPUids must be a list of integers")
	errCPUIDsEmpty  = errors.New("CPUids cannot be an empty list")
	errCPUIDElement = errors.New("CPUid is not an int")
	errCPUID        = errors.New("cpuid must be an integer")
	errVCPUs        = errors.New("vcpus must be a positive integer greater than 0")
	errPartition    = errors.New("linux_boot_partition must be a string")
	errMemory       = errors.New("memory must be an integer")
	errNetworks     = errors.New("expected a list of network devices")
	errBlocks       = errors.New("expected a list of block devices")
	errArguments    = errors.New("arguments must be a list of strings")
	errArgument     = errors.New("argument is not a string")
	errStartup      = errors.New("startup must be an integer between 1 and 100, default is 50")
	errTypText      = errors.New("typ must be a string")
	errTyp          = errors.New("only 'solo5' and 'bhyve' supported as typ")
	errFail         = errors.New("fail behaviour must be quit or restart")
	errFailRestart  = errors.New("expected a restart")
	errFailCode     = errors.New("fail_behaviour exit code is not an integer")
	errFailCodes    = errors.New("expected a list of integers as exit_code payload")
	errDeviceName   = errors.New("name must be present in the json")
	errDeviceType   = errors.New("couldn't decode json")
	errDevice       = errors.New("bad json, either string or assoc")
	errMAC          = errors.New("invalid MAC address")
)

// parseConfig reads the description of a unikernel that create, update and
// restart take. The first mistake is told, in the original's order.
func parseConfig(value any) (v1alpha1.UnikernelSpec, error) {
	var spec v1alpha1.UnikernelSpec
	o, ok := value.(*object)
	if !ok {
		return spec, errNotAnObject
	}
	for _, read := range []func(*object, *v1alpha1.UnikernelSpec) error{
		readFailBehaviour, readCPUIDs, readVCPUs, readPartition, readMemory, readNetworks, readBlocks, readArguments, readStartup, readType,
	} {
		if err := read(o, &spec); err != nil {
			return spec, err
		}
	}
	return spec, nil
}

// readFailBehaviour: quit leaves it stopped; a restart is the host's to make. An
// empty list of codes means every code, as on the wire.
func readFailBehaviour(o *object, spec *v1alpha1.UnikernelSpec) error {
	value, given := o.get("fail_behaviour")
	spec.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}
	if !given || value == "quit" {
		return nil
	}
	behaviour, ok := value.(*object)
	if !ok {
		return errFail
	}
	restart, found := behaviour.get("restart")
	if !found {
		return errFailRestart
	}
	spec.RestartPolicy.Type = v1alpha1.RestartOnFailure
	codes, given := behaviour.get("exit_code")
	if nested, isObject := restart.(*object); isObject && !given {
		codes, given = nested.get("exit_code") // as the document shows it
	}
	if !given {
		return nil
	}
	list, ok := codes.([]any)
	if !ok {
		return errFailCodes
	}
	for _, element := range list {
		code, ok := asInteger(element)
		if !ok {
			return errFailCode
		}
		spec.RestartPolicy.ExitCodes = append(spec.RestartPolicy.ExitCodes, v1alpha1.ExitCode(clamp(code)))
	}
	return nil
}

// clamp keeps a number that is out of every range out of it.
func clamp(n int64) int32 { return int32(max(math.MinInt32, min(math.MaxInt32, n))) }

// readCPUIDs takes a list, or one number as the document has it.
func readCPUIDs(o *object, spec *v1alpha1.UnikernelSpec) error {
	if value, given := o.get("cpuids"); given {
		list, ok := value.([]any)
		switch {
		case !ok:
			return errCPUIDsType
		case len(list) == 0:
			return errCPUIDsEmpty
		}
		for _, element := range list {
			id, ok := asInteger(element)
			if !ok {
				return errCPUIDElement
			}
			spec.CPUIDs = append(spec.CPUIDs, v1alpha1.CPUID(clamp(id)))
		}
		return nil
	}
	value, given := o.get("cpuid")
	if !given {
		return errCPUIDs
	}
	id, ok := asInteger(value)
	if !ok {
		return errCPUID
	}
	spec.CPUIDs = []v1alpha1.CPUID{v1alpha1.CPUID(clamp(id))}
	return nil
}

// readVCPUs takes both names: the original writes one and reads the other.
func readVCPUs(o *object, spec *v1alpha1.UnikernelSpec) error {
	value, given := o.get("vcpus")
	if !given {
		value, given = o.get("numcpus")
	}
	if !given {
		return nil
	}
	n, ok := asInteger(value)
	if !ok || n < 1 {
		return errVCPUs
	}
	if n > 1 {
		spec.CPUs = clamp(n)
	}
	return nil
}

func readPartition(o *object, spec *v1alpha1.UnikernelSpec) error {
	value, _ := o.get("linux_boot_partition")
	if value == nil {
		return nil
	}
	partition, ok := value.(string)
	if !ok {
		return errPartition
	}
	spec.LinuxBootPartition = partition
	return nil
}

func readMemory(o *object, spec *v1alpha1.UnikernelSpec) error {
	value, given := o.get("memory")
	if !given {
		return nil
	}
	n, ok := asInteger(value)
	if !ok {
		return errMemory
	}
	// Beyond this an API server refuses it just the same.
	n = max(-maxMemory, min(maxMemory, n))
	spec.Memory = resource.NewQuantity(n<<20, resource.BinarySI)
	return nil
}

// device is an element of a list of devices: a name, or an object with one.
type device struct {
	name, host string
	more       *object
}

func readDevices(o *object, name string, notAList error) ([]device, error) {
	value, given := o.get(name)
	if !given {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, notAList
	}
	devices := make([]device, 0, len(list))
	for _, element := range list {
		d, err := readDevice(element)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func readDevice(element any) (device, error) {
	if name, ok := element.(string); ok {
		return device{name: name, host: name, more: &object{}}, nil
	}
	o, ok := element.(*object)
	if !ok {
		return device{}, errDevice
	}
	value, given := o.get("name")
	if !given {
		return device{}, errDeviceName
	}
	name, ok := value.(string)
	if !ok {
		return device{}, errDeviceType
	}
	host, given, err := optionalText(o, "host_device")
	if !given {
		host = name
	}
	return device{name: name, host: host, more: o}, err
}

func optionalText(o *object, name string) (text string, given bool, err error) {
	value, _ := o.get(name)
	if value == nil {
		return "", false, nil
	}
	text, ok := value.(string)
	if !ok {
		return "", false, errDeviceType
	}
	return text, true, nil
}

func readNetworks(o *object, spec *v1alpha1.UnikernelSpec) error {
	devices, err := readDevices(o, "network_interfaces", errNetworks)
	if err != nil {
		return err
	}
	for _, d := range devices {
		network := v1alpha1.NetworkInterface{Name: d.name}
		if d.host != d.name {
			network.Bridge = v1alpha1.BridgeName(d.host)
		}
		text, given, err := optionalText(d.more, "mac")
		if err != nil {
			return err
		}
		if given {
			mac, ok := albatross.ParseMAC(text)
			if !ok {
				return errMAC
			}
			network.MAC = mac.String()
		}
		spec.NetworkInterfaces = append(spec.NetworkInterfaces, network)
	}
	return nil
}

// readBlocks leaves open whether a volume is an object or something that only
// the host knows: who makes the object finds out.
func readBlocks(o *object, spec *v1alpha1.UnikernelSpec) error {
	devices, err := readDevices(o, "block_devices", errBlocks)
	if err != nil {
		return err
	}
	for _, d := range devices {
		block := v1alpha1.BlockDevice{Name: d.name, HostDevice: d.host}
		if value, _ := d.more.get("sector_size"); value != nil {
			size, ok := asInteger(value)
			if !ok {
				return errDeviceType
			}
			if size != sectorSize {
				block.SectorSize = clamp(size)
			}
		}
		spec.BlockDevices = append(spec.BlockDevices, block)
	}
	return nil
}

func readArguments(o *object, spec *v1alpha1.UnikernelSpec) error {
	value, given := o.get("arguments")
	if !given {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		return errArguments
	}
	for _, element := range list {
		argument, ok := element.(string)
		if !ok {
			return errArgument
		}
		spec.Arguments = append(spec.Arguments, argument)
	}
	return nil
}

func readStartup(o *object, spec *v1alpha1.UnikernelSpec) error {
	value, given := o.get("startup")
	if !given {
		return nil
	}
	priority, ok := asInteger(value)
	if !ok || priority < 1 || priority > 100 {
		return errStartup
	}
	if priority != normalStartup {
		spec.StartupPriority = clamp(priority)
	}
	return nil
}

func readType(o *object, spec *v1alpha1.UnikernelSpec) error {
	value, given := o.get("typ")
	if !given {
		return nil
	}
	typ, ok := value.(string)
	switch {
	case !ok:
		return errTypText
	case typ == "bhyve":
		spec.Type = v1alpha1.UnikernelTypeBhyve
	case typ != "solo5":
		return errTyp
	}
	return nil
}

// failBehaviourOf shows a behaviour: quit, or an object with null under restart.
func failBehaviourOf(f albatross.FailBehaviour) any {
	if !f.Restart {
		return "quit"
	}
	return failBehaviour{ExitCode: listed(f.ExitCodes), AllExitCodes: len(f.ExitCodes) == 0}
}

type failBehaviour struct {
	Restart      json.RawMessage `json:"restart"` // always null
	ExitCode     []int64         `json:"exit_code"`
	AllExitCodes bool            `json:"all_exit_codes"`
}

// listed has an empty list shown as one.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

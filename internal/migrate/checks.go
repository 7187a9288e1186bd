package migrate

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"mollymawk.dev/operator/albatross"
)

// Bounds of the kinds, as their schemas have them.
const (
	maxMemory         = 1 << 20 // MiB
	maxVolume         = 64 << 20
	maxPolicyMemory   = 1 << 30
	maxPolicyCPUs     = 256
	maxPolicyBridges  = 64
	maxUnikernels     = 100_000
	maxTenants        = 256
	maxPath           = 255
	maxPathLabels     = 8
	maxCPUID          = 4095
	maxCPUs           = 64
	maxArguments      = 128
	maxArgument       = 8192
	maxDevices        = 32
	maxDeviceName     = 67
	maxBridgeName     = 63
	maxHostDevice     = 255
	maxExitCodes      = 256
	maxExitCode       = 255
	maxStartup        = 100
	maxBootPartition  = 64
	maxDisplayName    = 128
	smallestSector    = 512
	largestSector     = 65536
	leastPolicyMemory = 17
)

// Forms of the kinds, as their schemas have them.
var (
	deviceForm     = regexp.MustCompile(`^[a-zA-Z0-9]+$`)
	bridgeForm     = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)
	hostDeviceForm = regexp.MustCompile(`^/?[a-zA-Z0-9._:-]+(/[a-zA-Z0-9._:-]+)*$`)
	dotsForm       = regexp.MustCompile(`(^|/)[.][.]?(/|$)`)
	partitionForm  = regexp.MustCompile(`^[a-zA-Z0-9/][a-zA-Z0-9/,._-]*$`)
	hostForm       = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*[.]?$`)
)

// check adds a problem unless it holds.
func (d *Document) check(holds bool, format string, args ...any) {
	if !holds {
		d.problem(format, args...)
	}
}

func within(n, least, most int64) bool { return least <= n && n <= most }

// checkInfo finds what an object cannot declare of what runs.
func (d *Document) checkInfo(info *albatross.Info) {
	d.check(within(info.Memory, 1, maxMemory), "it runs with %d MiB of memory, and 1 MiB to 1 TiB can be declared", info.Memory)
	d.check(len(info.CPUIDs) > 0 && len(info.CPUIDs) <= maxCPUs && !slices.ContainsFunc(info.CPUIDs, notCPUID),
		"it runs on the CPUs %v, and 1 to %d numbers up to %d can be declared", info.CPUIDs, maxCPUs, maxCPUID)
	if info.Startup != nil {
		d.check(within(*info.Startup, 1, maxStartup), "its startup priority is %d, and 1 to 100 can be declared", *info.Startup)
	}
	d.check(len(info.FailBehaviour.ExitCodes) <= maxExitCodes && !slices.ContainsFunc(info.FailBehaviour.ExitCodes, notExitCode),
		"it is restarted after the exit codes %v, and up to %d of 0 to %d can be declared", info.FailBehaviour.ExitCodes, maxExitCodes, maxExitCode)
	d.checkArguments(info.Argv)
	if info.Type == albatross.BHyve {
		d.check(within(info.NumCPUs, 1, maxCPUs), "it has %d CPUs, and 1 to %d can be declared", info.NumCPUs, maxCPUs)
		return
	}
	d.check(info.NumCPUs == 1, "it has %d CPUs, and a Solo5 unikernel has one", info.NumCPUs)
	d.check(len(info.Digest) == 32, "the host tells no SHA-256 of its image but %q", hex.EncodeToString(info.Digest))
	d.check(info.LinuxBootPartition == nil || *info.LinuxBootPartition == "", "it has a boot partition, which goes with type bhyve only")
}

func notCPUID(id int64) bool      { return !within(id, 0, maxCPUID) }
func notExitCode(code int64) bool { return !within(code, 0, maxExitCode) }

func (d *Document) checkArguments(argv []string) {
	d.check(len(argv) <= maxArguments, "it has %d arguments, and %d can be declared", len(argv), maxArguments)
	for i, argument := range argv {
		d.check(utf8.ValidString(argument) && !strings.Contains(argument, "\x00") && utf8.RuneCountInString(argument) <= maxArgument,
			"argument %d is not text of at most %d characters", i+1, maxArgument)
	}
}

// checkDevices finds what an object cannot declare of the names of devices.
func (d *Document) checkDevices(kind string, names []string, bhyve bool) {
	d.check(len(names) <= maxDevices, "it has %d %s devices, and %d can be declared", len(names), kind, maxDevices)
	for i, name := range names {
		d.check(len(name) <= maxDeviceName && deviceForm.MatchString(name) && !slices.Contains(names[:i], name),
			"a %s device is called %q, and names of letters and digits that differ can be declared", kind, name)
		if bhyve {
			number, err := strconv.Atoi(name)
			d.check(err == nil && number >= 0 && number < len(names) && strconv.Itoa(number) == name, "its %s devices are not called 0, 1, 2 and so on", kind)
		}
	}
}

// isUnicast tells whether an address can be that of one device.
func isUnicast(mac albatross.MAC) bool { return mac != albatross.MAC{} && mac[0]&1 == 0 }

func isSectorSize(n int64) bool {
	return within(n, smallestSector, largestSector) && n&(n-1) == 0
}

func isBridge(name string) bool { return len(name) <= maxBridgeName && bridgeForm.MatchString(name) }

// isLabel tells whether text is a label in its normal form that names something.
func isLabel(text string) bool {
	label, err := albatross.ParseLabel(text)
	return err == nil && label == text && text != "."
}

// isHostDevice tells whether a device of the host can be declared.
func isHostDevice(name string, bhyve bool) bool {
	if !bhyve {
		return isLabel(name)
	}
	return len(name) <= maxHostDevice && hostDeviceForm.MatchString(name) && !dotsForm.MatchString(name)
}

// checkPath says why a path cannot be a tenant's.
func checkPath(path albatross.Path) error {
	if len(path) > maxPathLabels || len(path.String()) > maxPath {
		return fmt.Errorf("the path %s is longer than %d labels or %d characters", path, maxPathLabels, maxPath)
	}
	for _, label := range path {
		if !isLabel(label) {
			return fmt.Errorf("the path %s has %q as a step", path, label)
		}
	}
	return nil
}

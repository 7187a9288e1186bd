package wire

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// UnlimitedUnikernels is how a host writes "no limit" in the policy of the root.
const UnlimitedUnikernels = maxInt

// Policy limits what a tenant may use on a host. A path without a policy is
// unlimited; the zero Policy refuses everything.
type Policy struct {
	// Unikernels is how many may run at a time.
	Unikernels int64
	// CPUIDs are the host's CPUs that may be used, a set.
	CPUIDs []int64
	// Memory in MiB for all running unikernels together.
	Memory int64
	// Block is the storage in MiB for all block devices together; nil allows none.
	Block *int64
	// Bridges are the host's networks that may be used, a set.
	Bridges []string
}

func addPolicy(b *builder, p Policy) {
	addSequence(b, func(b *builder) {
		addSequence(b, func(b *builder) {
			for _, id := range sortedSet(p.CPUIDs) {
				addInt(b, id)
			}
		})
		addInt(b, p.Unikernels)
		addInt(b, p.Memory)
		addOptionalInt(b, p.Block)
		addTexts(b, sortedSet(p.Bridges))
	})
}

func (d *decoder) policy() (p Policy) {
	d.sequence("policy", func(d *decoder) {
		p.CPUIDs = d.intSet(asn1.SEQUENCE, "policy CPU ids")
		p.Unikernels = d.int("policy unikernels")
		p.Memory = d.int("policy memory")
		p.Block = d.optionalInt("policy block")
		p.Bridges = sortedSet(d.texts("policy bridges"))
	})
	return p
}

// Equal compares the limits; the order of CPU ids and bridges does not matter.
func (p Policy) Equal(q Policy) bool {
	return p.Unikernels == q.Unikernels && p.Memory == q.Memory && equalOptional(p.Block, q.Block) &&
		slices.Equal(sortedSet(p.CPUIDs), sortedSet(q.CPUIDs)) &&
		slices.Equal(sortedSet(p.Bridges), sortedSet(q.Bridges))
}

func equalOptional(a, b *int64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Usable tells why nothing could ever run under the policy, or gives nil.
// Texts as in policy_checks.json, kind usable.
func (p Policy) Usable() error {
	switch {
	case p.Unikernels <= 0:
		return errors.New("Unusable policy with no unikernels") //nolint:staticcheck // the original's text
	case len(p.CPUIDs) == 0:
		return errors.New("Unusable policy with no CPUids") //nolint:staticcheck // the original's text
	case p.Memory <= 16:
		return fmt.Errorf("Unusable policy with memory %d MB <= 16 MB", p.Memory) //nolint:staticcheck // the original's text
	case p.Block != nil && *p.Block < 0:
		return fmt.Errorf("Unusable policy with block %d MB < 0 MB", *p.Block) //nolint:staticcheck // the original's text
	}
	return nil
}

// Within tells why the policy allows more than the one above it, or gives nil.
// Texts as in policy_checks.json, kind is_smaller.
func (p Policy) Within(above Policy) error {
	if above.Unikernels < p.Unikernels {
		return fmt.Errorf("policy above allows %d unikernels, which is fewer than %d", above.Unikernels, p.Unikernels)
	}
	if above.Memory < p.Memory {
		return fmt.Errorf("policy above allows %d MB memory, which is fewer than %d MB", above.Memory, p.Memory)
	}
	if surplus := missing(above.CPUIDs, p.CPUIDs); len(surplus) > 0 {
		return fmt.Errorf("policy above does not allow CPUids %s", joinInts(surplus))
	}
	if len(missing(above.Bridges, p.Bridges)) > 0 {
		return fmt.Errorf("policy above allows bridge(s) %s, which is not a superset of %s",
			strings.Join(sortedSet(above.Bridges), ", "), strings.Join(sortedSet(p.Bridges), ", "))
	}
	if p.Block != nil && (above.Block == nil || *above.Block < *p.Block) {
		return fmt.Errorf("policy above allows %d MB block storage, which is fewer than %d MB", orZero(above.Block), *p.Block)
	}
	return nil
}

// Allows tells why a unikernel with these arguments could never run under the
// policy, whatever else is running, or gives nil. Texts as in
// policy_checks.json, kind fine_with_policy.
func (p Policy) Allows(a Arguments) error {
	if surplus := missing(p.CPUIDs, a.CPUIDs); len(surplus) > 0 {
		return fmt.Errorf("CPUids %s are not allowed by policy (available: %s)", joinInts(surplus), joinInts(sortedSet(p.CPUIDs)))
	}
	if a.Memory > p.Memory {
		return fmt.Errorf("%d MB memory assigned to unikernel exceeds policy (%dMB)", a.Memory, p.Memory)
	}
	var refused []string
	for _, bridge := range a.Bridges {
		if host := bridge.Host(); !slices.Contains(p.Bridges, host) {
			refused = append(refused, host)
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("Bridge(s) %s not allowed by policy (available: %s)",
			strings.Join(refused, ", "), strings.Join(sortedSet(p.Bridges), ", "))
	}
	return nil
}

// missing gives the members of wanted that are not in available, sorted.
func missing[T int64 | string](available, wanted []T) []T {
	return slices.DeleteFunc(sortedSet(wanted), func(v T) bool { return slices.Contains(available, v) })
}

func orZero(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

func joinInts(ints []int64) string {
	texts := make([]string, len(ints))
	for i, v := range ints {
		texts[i] = strconv.FormatInt(v, 10)
	}
	return strings.Join(texts, ", ")
}

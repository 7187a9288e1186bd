package albatrosstest

import (
	"fmt"
	"slices"
	"strings"

	"mollymawk.dev/operator/albatross/wire"
)

// addPolicy sets the policy of a path, unless it is in force already. The
// original checks the policies above, those below and what runs, in this order;
// that of the root limits nothing below it (policy-*).
func (d *daemon) addPolicy(path wire.Path, p wire.Policy) (text string, err error) {
	if known, ok := d.policies.get(path); ok && known.Equal(p) {
		return "no modification of policy", nil
	}
	for above := path.Parent(); !above.IsRoot(); above = above.Parent() {
		if super, ok := d.policies.get(above); ok {
			if err := p.Within(super); err != nil {
				return "", refusal(err.Error())
			}
		}
	}
	for _, sub := range slices.Backward(d.policies.below(path)) {
		if err := sub.value.Within(p); err != nil {
			return "", refusal(err.Error())
		}
	}
	if err := d.checkUsage(path, p); err != nil {
		return "", err
	}
	if err := d.state.savePolicy(path, p); err != nil {
		return "", err
	}
	d.policies.put(path, p)
	return "added policy", nil
}

// checkUsage tells what of a path's present use a new policy would not allow.
func (d *daemon) checkUsage(path wire.Path, p wire.Policy) error {
	var cpus []int64
	var bridges []string
	for _, m := range d.unikernels.below(path) {
		cpus = append(cpus, m.value.config.CPUIDs...)
		bridges = append(bridges, hostBridges(m.value.config.Arguments)...)
	}
	unikernels, memory := d.usage(path)
	var limit int64
	if p.Block != nil {
		limit = *p.Block
	}
	blocks := d.blockUsage(path)
	switch {
	case len(surplus(cpus, p.CPUIDs)) > 0:
		return refuse("policy does not allow CPUids %s", joined(surplus(cpus, p.CPUIDs)))
	case len(surplus(bridges, p.Bridges)) > 0:
		return refuse("policy allows bridges %s, which is not a superset of %s", joined(sorted(p.Bridges)), joined(sorted(bridges)))
	case unikernels > p.Unikernels:
		return refuse("unikernel would exceed running unikernel limit set by policy to %d, running %d", p.Unikernels, unikernels)
	case memory > p.Memory:
		return refuse("unikernel would exceed running memory limit set by policy to %d MB, used %d MB", p.Memory, memory)
	case blocks > limit:
		return refuse("unikernel would exceed running block storage limit set by policy to %d MB, used %d MB", limit, blocks)
	}
	return nil
}

// usage counts what runs at and below a path, and its memory in MiB.
func (d *daemon) usage(path wire.Path) (unikernels, memory int64) {
	for _, m := range d.unikernels.below(path) {
		unikernels++
		memory += m.value.config.Memory
	}
	return unikernels, memory
}

// blockUsage sums up the block devices at and below a path, in MiB.
func (d *daemon) blockUsage(path wire.Path) (size int64) {
	for _, m := range d.blocks.below(path) {
		size += m.value.size
	}
	return size
}

// checkPolicy tells why a unikernel may not run beside what runs (limits-*).
// Only the policy of its own path counts, not those above.
func (d *daemon) checkPolicy(path wire.Path, a wire.Arguments) error {
	p, ok := d.policies.get(path)
	if !ok {
		return nil
	}
	running, used := d.usage(path)
	var refused []string
	for _, bridge := range hostBridges(a) {
		if !slices.Contains(p.Bridges, bridge) {
			refused = append(refused, bridge)
		}
	}
	switch {
	case running+1 > p.Unikernels:
		return refuse("maximum amount of unikernels (%d) reached", p.Unikernels)
	case a.Memory > p.Memory-used:
		return refuse("maximum allowed memory (%d, used %d) would be exceeded (requesting %d)", p.Memory, used, a.Memory)
	case len(surplus(a.CPUIDs, p.CPUIDs)) > 0:
		return refuse("CPUids %s are not allowed by policy", joined(surplus(a.CPUIDs, p.CPUIDs)))
	case len(refused) > 0:
		return refuse("bridges %s not allowed by policy", strings.Join(refused, ", "))
	}
	return nil
}

// policyInfo answers about a path, whatever the label.
func (d *daemon) policyInfo(name wire.Name) wire.Payload {
	var all []wire.NamedPolicy
	for _, m := range d.policies.list(name.Path) {
		all = append(all, wire.NamedPolicy{Name: wire.Name{Path: m.labels}, Policy: m.value})
	}
	return wire.Policies{Policies: all}
}

func hostBridges(a wire.Arguments) []string {
	var all []string
	for _, bridge := range a.Bridges {
		all = append(all, bridge.Host())
	}
	return all
}

// surplus gives the members of wanted that are not allowed, sorted.
func surplus[T int64 | string](wanted, allowed []T) []T {
	return slices.DeleteFunc(sorted(wanted), func(v T) bool { return slices.Contains(allowed, v) })
}

func sorted[T int64 | string](members []T) []T {
	set := slices.Clone(members)
	slices.Sort(set)
	return slices.Compact(set)
}

func joined[T int64 | string](members []T) string {
	texts := make([]string, len(members))
	for i, v := range members {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

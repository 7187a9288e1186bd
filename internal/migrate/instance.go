package migrate

import (
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// credentialsName gives the name of the Secret with the credential for a host.
func credentialsName(h *Host) string { return objectName(h.Name) + "-credentials" }

func (c *converter) credentials(h *Host) Document {
	return Document{
		Object: &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: credentialsName(h), Namespace: c.in.Namespace},
			Data:       map[string][]byte{"tls.crt": h.Certificate, "tls.key": h.Key, "ca.crt": h.ServerCA},
		},
		Notes: []string{fmt.Sprintf("The credential for the host %s. Who has it has the host.", h.Name)},
	}
}

// instance declares a host with all its tenants.
func (c *converter) instance(h *Host) Document {
	object := &v1alpha1.AlbatrossInstance{
		TypeMeta: typeMeta("AlbatrossInstance"), ObjectMeta: metav1.ObjectMeta{Name: objectName(h.Name)},
		Spec: v1alpha1.AlbatrossInstanceSpec{
			Endpoint:             v1alpha1.Endpoint{Host: v1alpha1.Host(h.Address)},
			CredentialsSecretRef: v1alpha1.SecretReference{Name: credentialsName(h)},
		},
	}
	d := Document{Object: object}
	if h.Port != int(v1alpha1.DefaultPort) {
		object.Spec.Endpoint.Port = int32(min(max(h.Port, 0), 1<<16))
	}
	d.check(within(int64(h.Port), 1, 1<<16-1), "%d is no TCP port", h.Port)
	d.check(net.ParseIP(h.Address) != nil || len(h.Address) <= 253 && hostForm.MatchString(h.Address), "%q is neither an IP address nor a DNS name", h.Address)
	if object.Name != h.Name {
		d.note("Mollymawk calls it %q, which cannot be the name of an object.", h.Name)
	}
	switch {
	case h.Problem != nil:
		d.problem("the host could not be asked (%v), so its tenants are not known, and what it runs is missing. Import again when it answers.", h.Problem)
	case h.Seen == nil:
		d.note("The host was not asked, so what it runs is missing here, and tenants have no policies: those in force stay.")
	case !h.Seen.Path.IsRoot():
		d.note("The credential is for the path %s of the host; all paths begin there.", h.Seen.Path)
	}
	for _, path := range c.tenantPaths(h) {
		if len(object.Spec.Tenants) == maxTenants {
			d.note("There are more than %d tenants; those after %s are missing.", maxTenants, object.Spec.Tenants[maxTenants-1].Namespace)
			break
		}
		c.addTenant(&d, object, h, path)
	}
	return d
}

// tenantPaths gives the paths with something of a tenant: unikernels, volumes, or a
// policy with nothing below.
func (c *converter) tenantPaths(h *Host) []albatross.Path {
	found := map[string]albatross.Path{}
	add := func(path albatross.Path) {
		if !path.IsRoot() {
			found[path.String()] = path
		}
	}
	if h.Seen == nil {
		for _, user := range c.in.Users {
			add(albatross.Path{user.Name})
		}
		return sortedPaths(found)
	}
	for _, u := range h.Seen.Unikernels {
		add(u.Name.Path)
	}
	for _, b := range h.Seen.Blocks {
		add(b.Name.Path)
	}
	var outer []albatross.Path
	for text := range h.Seen.Policies {
		path, err := albatross.ParsePath(text)
		if err != nil {
			continue // a host names only paths
		}
		outer = append(outer, path.Parent())
		add(path)
	}
	for _, path := range outer {
		// A policy that only limits those below is not a tenant's.
		if _, used := c.owners[path.String()]; !used && !h.has(path) {
			delete(found, path.String())
		}
	}
	return sortedPaths(found)
}

// has tells whether there is something just at the path.
func (h *Host) has(path albatross.Path) bool {
	return slices.ContainsFunc(h.Seen.Unikernels, func(u albatross.Unikernel) bool { return u.Name.Path.Equal(path) }) ||
		slices.ContainsFunc(h.Seen.Blocks, func(b albatross.Block) bool { return b.Name.Path.Equal(path) })
}

func sortedPaths(found map[string]albatross.Path) []albatross.Path {
	all := make([]albatross.Path, 0, len(found))
	for _, path := range found {
		all = append(all, path)
	}
	return sortedBy(all, albatross.Path.String)
}

// addTenant admits the namespace of a path, with the policy that is in force.
func (c *converter) addTenant(d *Document, object *v1alpha1.AlbatrossInstance, h *Host, path albatross.Path) {
	namespace, err := c.namespace(path)
	if err != nil {
		d.note("Not admitted: %v.", err)
		return
	}
	tenant := v1alpha1.Tenant{Namespace: namespace}
	if namespace != path.String() {
		tenant.Path = v1alpha1.Path(path.String())
	}
	if h.Seen != nil {
		c.setPolicy(d, &tenant, h.Seen, path)
	}
	object.Spec.Tenants = append(object.Spec.Tenants, tenant)
}

func (c *converter) setPolicy(d *Document, tenant *v1alpha1.Tenant, seen *Seen, path albatross.Path) {
	if _, missing := seen.scope(path); missing != nil {
		d.note("The path %s has no policy on the host, so nothing limits %s: its objects will be Stalled with reason NoPolicy until you decide on one. %s.",
			missing, tenant.Namespace, seen.usage(path))
		return
	}
	policy, problem := declaredPolicy(seen.Policies[path.String()])
	if problem != "" {
		d.note("The policy of %s is not declared here and stays in force: %s.", path, problem)
		return
	}
	tenant.Policy = policy
}

// usage says what is at a path at present.
func (s *Seen) usage(path albatross.Path) string {
	var unikernels, memory, storage int64
	for _, u := range s.Unikernels {
		if u.Name.Path.Equal(path) {
			unikernels, memory = unikernels+1, memory+u.Info.Memory
		}
	}
	for _, b := range s.Blocks {
		if b.Name.Path.Equal(path) {
			storage += b.Size
		}
	}
	return fmt.Sprintf("At present it uses %d unikernels, %d MiB of memory and %d MiB of storage", unikernels, memory, storage)
}

// declaredPolicy declares a policy that is in force, or says why that cannot be.
func declaredPolicy(p albatross.Policy) (policy *v1alpha1.Policy, problem string) {
	switch {
	case !within(p.Unikernels, 1, maxUnikernels):
		return nil, fmt.Sprintf("it allows %d unikernels", p.Unikernels)
	case !within(p.Memory, leastPolicyMemory, maxPolicyMemory):
		return nil, fmt.Sprintf("it allows %d MiB of memory", p.Memory)
	case len(p.CPUIDs) == 0 || len(p.CPUIDs) > maxPolicyCPUs || slices.ContainsFunc(p.CPUIDs, notCPUID):
		return nil, fmt.Sprintf("it allows the CPUs %v", p.CPUIDs)
	case p.Block != nil && !within(*p.Block, 1, maxPolicyMemory):
		return nil, fmt.Sprintf("it allows %d MiB of storage", *p.Block)
	case len(p.Bridges) > maxPolicyBridges || slices.ContainsFunc(p.Bridges, func(name string) bool { return !isBridge(name) }):
		return nil, fmt.Sprintf("it allows the bridges %q", p.Bridges)
	}
	policy = &v1alpha1.Policy{
		Unikernels: int32(p.Unikernels), //nolint:gosec // at most 100000
		CPUIDs:     numbers[v1alpha1.CPUID](p.CPUIDs), Memory: v1alpha1.FromMiB(p.Memory),
	}
	if p.Block != nil {
		policy.Storage = new(v1alpha1.FromMiB(*p.Block))
	}
	for _, bridge := range slices.Sorted(slices.Values(p.Bridges)) {
		policy.Bridges = append(policy.Bridges, v1alpha1.BridgeName(bridge))
	}
	policy.Bridges = slices.Compact(policy.Bridges)
	return policy, ""
}

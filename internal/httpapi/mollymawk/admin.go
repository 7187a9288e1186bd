package mollymawk

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/services"
)

// retry looks at a host again. It changes something though it is a GET, and says
// so in the log; it does no harm that another site could wish for.
func (c *call) retry() reply {
	httpapi.RecordOf(c.ctx()).Changes = true
	query := c.r.URL.Query()
	if !query.Has("instance") {
		return bad("Couldn't find instance in query params")
	}
	name, refusal, fine := queryTexts.instanceName(query.Get("instance"))
	if !fine {
		return refusal
	}
	c.about(name)
	err := c.options().Instances.RetryInstance(c.ctx(), c.id, name)
	if err == nil {
		return ok("Re-initialization successful, instance is back online")
	}
	t := queryTexts
	t.query, t.refused = "Re-initialization failed. See error logs: ", "Re-initialization failed. See error logs: "
	return c.failed(t, err)
}

// instanceRequest reads what an instance is to be.
func (c *call) instanceRequest() (request services.InstanceRequest, refusal reply, fine bool) {
	name, named := c.document.text("name")
	host, placed := c.document.text("server_ip")
	port, numbered := c.document.integer("server_port")
	certificate, certified := c.document.text("certificate")
	key, keyed := c.document.text("private_key")
	if !named || !placed || !numbered || !certified || !keyed {
		return request, bad("configuration: unexpected types, got " + echo(c.document)), false
	}
	normal, err := label(name)
	if err != nil {
		return request, bad(err.Error()), false
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if _, err := label(host); err != nil {
			return request, bad("server_ip must be an IP address or a host name"), false
		}
	}
	if port < 1 || port > math.MaxUint16 {
		return request, bad("server_port must be between 1 and 65535"), false
	}
	c.about(normal)
	return services.InstanceRequest{Name: normal, Host: host, Port: int32(port), Certificate: certificate, Key: key}, reply{}, true
}

func (c *call) createInstance() reply {
	request, refusal, fine := c.instanceRequest()
	if !fine {
		return refusal
	}
	err := c.options().Instances.CreateInstance(c.ctx(), c.id, request)
	var conflict *services.Conflict
	if errors.As(err, &conflict) && len(conflict.Owners) == 0 {
		return refuse(http.StatusInternalServerError, "configuration "+request.Name+" already exists")
	}
	return c.instanceSaved("configuration "+request.Name+" not found", err)
}

func (c *call) updateInstance() reply {
	request, refusal, fine := c.instanceRequest()
	if !fine {
		return refusal
	}
	return c.instanceSaved("configuration "+request.Name+" not found", c.options().Instances.UpdateInstance(c.ctx(), c.id, request))
}

func (c *call) instanceSaved(absent string, err error) reply {
	var notFound *services.NotFound
	switch {
	case err == nil:
		return ok("Configuration updated successfully")
	case errors.As(err, &notFound):
		return refuse(http.StatusInternalServerError, absent)
	}
	return c.failed(texts{query: "Initialisation error: ", refused: "Initialisation error: "}, err)
}

func (c *call) deleteInstance() reply {
	name, named := c.document.text("name")
	if !named {
		return bad("Delete albatross config: Unexpected fields. Got " + echo(c.document))
	}
	name, err := label(name)
	if err != nil {
		return bad(err.Error())
	}
	c.about(name)
	err = c.options().Instances.DeleteInstance(c.ctx(), c.id, name)
	if err == nil {
		return ok("Configuration delete successfully")
	}
	return c.instanceSaved("configuration '"+name+"' not found", err)
}

// user finds the account that a call is about by the UID of its User.
func (c *call) user(member, absent string) (profile accounts.Profile, refusal reply, fine bool) {
	uid, given := c.document.text(member)
	if !given {
		return profile, bad(absent), false
	}
	all, err := c.options().Users.Users(c.ctx())
	if err != nil {
		return profile, c.storageError(err), false
	}
	for _, p := range all {
		if string(p.UID) == uid {
			c.about(p.Name)
			return p, reply{}, true
		}
	}
	return profile, refuse(http.StatusNotFound, "Account not found"), false
}

func (c *call) toggleActive() reply {
	profile, refusal, fine := c.user("uuid", "Couldn't find a UUID in the JSON.")
	if !fine {
		return refusal
	}
	return c.userChanged(c.options().Users.SetActive(c.ctx(), profile.Name, !profile.Active), "Updated user successfully")
}

func (c *call) toggleAdmin() reply {
	profile, refusal, fine := c.user("uuid", "Couldn't find a UUID in the JSON.")
	if !fine {
		return refusal
	}
	return c.userChanged(c.options().Users.SetSuperUser(c.ctx(), profile.Name, !profile.SuperUser), "Updated user successfully")
}

// deleteUser leaves what the user runs where it is.
func (c *call) deleteUser() reply {
	profile, refusal, fine := c.user("uuid", "delete-user: Couldn't find a UUID in the JSON.")
	if !fine {
		return refusal
	}
	return c.userChanged(c.options().Users.DeleteUser(c.ctx(), profile.Name), "Deleted user successfully")
}

func (c *call) userChanged(err error, done string) reply {
	switch {
	case err == nil:
		return ok(done)
	case errors.Is(err, accounts.ErrLastActive):
		return refuse(http.StatusForbidden, "Cannot deactivate last active user")
	case errors.Is(err, accounts.ErrLastAdmin):
		return refuse(http.StatusForbidden, "Cannot remove last administrator")
	case errors.Is(err, accounts.ErrUnknownAccount):
		return refuse(http.StatusNotFound, "Account not found")
	}
	return c.storageError(err)
}

// policyView is a policy as the API shows it.
type policyView struct {
	Name       string   `json:"name"`
	Unikernels int64    `json:"allowed_unikernels"`
	CPUIDs     []int64  `json:"allowed_cpuids"`
	Memory     int64    `json:"allowed_memory"`
	BlockSize  int64    `json:"allowed_block_size"`
	Bridges    []string `json:"allowed_bridges"`
}

func showPolicy(p services.Policy) policyView {
	view := policyView{
		Name: p.User + ":", Unikernels: p.Unikernels, CPUIDs: listed(p.CPUIDs), Memory: p.Memory, Bridges: listed(p.Bridges),
	}
	if p.Block != nil {
		view.BlockSize = *p.Block
	}
	return view
}

// updatePolicy says what a user may use of an instance.
func (c *call) updatePolicy() reply {
	instance, placed := c.document.text("albatross_instance")
	if _, given := c.document.text("user_uuid"); !given || !placed {
		return bad("Update policy: Unexpected fields. Got " + echo(c.document))
	}
	profile, refusal, fine := c.user("user_uuid", "")
	if refusal.status == http.StatusNotFound {
		return refuse(http.StatusNotFound, "User not found")
	}
	if !fine {
		return refusal
	}
	name, refusal, fine := policyTexts.instanceName(instance)
	if !fine {
		return refusal
	}
	c.about(name + "/" + profile.Name)
	policy, refusal, fine := c.policy()
	if !fine {
		return refusal
	}
	policy.Instance, policy.User, policy.Namespace = name, profile.Name, profile.Namespace
	err := c.options().Policies.SetPolicy(c.ctx(), c.id, policy)
	var refused *services.Refused
	switch {
	case err == nil:
		return ok(showPolicy(policy))
	case errors.As(err, &refused) && refused.Reason == v1alpha1.ReasonPolicyRefused:
		return bad("Policy is not smaller than root policy: " + refused.Text)
	}
	return c.failed(policyTexts, err)
}

// minMemory is less than a unikernel needs.
const minMemory = 16

// policy reads and checks the bounds in the original's order.
func (c *call) policy() (policy services.Policy, refusal reply, fine bool) {
	unikernels, given := c.document.integer("unikernels")
	memory, memoryGiven := c.document.integer("memory")
	block, blockGiven := c.document.integer("block")
	cpus, cpusGiven := c.document.text("cpuids")
	bridges, bridgesGiven := c.document.text("bridges")
	if !given || !memoryGiven || !blockGiven || !cpusGiven || !bridgesGiven {
		return policy, bad("policy: unexpected types, got " + echo(c.document)), false
	}
	policy.Unikernels, policy.Memory, policy.CPUIDs, policy.Bridges = unikernels, memory, numbers(cpus), words(bridges)
	if block != 0 {
		policy.Block = &block
	}
	text := ""
	switch {
	case unikernels <= 0:
		text = "Unusable policy with no unikernels"
	case len(policy.CPUIDs) == 0:
		text = "Unusable policy with no CPUids"
	case memory <= minMemory:
		text = fmt.Sprintf("Unusable policy with memory %d MB <= %d MB", memory, minMemory)
	case block < 0:
		text = fmt.Sprintf("Unusable policy with block %d MB < 0 MB", block)
	}
	return policy, bad(text), text == ""
}

// words splits a list at its commas; an empty text has none.
func words(text string) (all []string) {
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// numbers leaves out what is none, as the original does.
func numbers(text string) (all []int64) {
	for _, word := range words(text) {
		if n, err := strconv.ParseInt(word, 10, 32); err == nil && n >= 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

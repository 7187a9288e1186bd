package panel

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/services"
)

const missingText = "Missing required parameters"

// deploy declares a unikernel for somebody and answers at once.
func (c *call) deploy() reply {
	_, hasPrimary := c.body["primary"]
	if !hasPrimary || !c.body.has("image", "memory", "cpu", "ports", "nodeId", "name", "user") {
		return bad(missingText)
	}
	nodeID, _ := c.body.text("nodeId")
	node, refusal, fine := c.node(nodeID)
	if !fine {
		return refusal
	}
	if node == nil {
		return c.refusedWhen(nodeUnknown, "Invalid node")
	}
	entry, refusal, fine := c.image()
	if !fine {
		return refusal
	}
	userID, _ := c.body.text("user")
	owner, refusal, fine := c.owner(userID, ownerUnknown)
	if !fine {
		return refusal
	}
	if owner, refusal, fine = c.withNamespace(owner); !fine {
		return refusal
	}
	deployment, refusal, fine := c.deployment(entry)
	if !fine {
		return refusal
	}
	deployment.Instance, deployment.Namespace = node.Name, owner.Namespace
	c.about(owner.Namespace + "/" + deployment.Name)
	uk, err := c.options().Unikernels.DeployUnikernel(c.ctx(), c.admin, deployment)
	if err != nil {
		return c.refused(err)
	}
	return reply{status: http.StatusCreated, body: struct {
		Message  string `json:"message"`
		VolumeID string `json:"volumeId"`
		State    string `json:"state"`
	}{"Container creation initiated. State will be updated asynchronously.", idOf(uk), installing}}
}

// image finds the entry of the catalogue that is to run.
func (c *call) image() (entry *v1alpha1.UnikernelImage, refusal reply, fine bool) {
	all, err := c.options().Images.CatalogImages(c.ctx(), c.admin)
	if err != nil {
		return nil, c.failed(err), false
	}
	image, _ := c.body.text("image")
	name, _ := c.body.text("imagename")
	if entry = findImage(all, image, name); entry == nil {
		return nil, bad("Invalid image"), false
	}
	return entry, reply{}, true
}

// owner finds the user of an id; who is not there is answered as the outcome says.
func (c *call) owner(id string, absent outcome) (profile accounts.Profile, refusal reply, fine bool) {
	profile, err := c.options().Users.ProfileByExternalID(c.ctx(), id)
	switch {
	case errors.Is(err, accounts.ErrUnknownAccount):
		return profile, c.refusedWhen(absent, unknownUserText), false
	case err != nil:
		return profile, c.failed(err), false
	}
	return profile, reply{}, true
}

// withNamespace waits a moment for the namespace of a user who was made just now.
func (c *call) withNamespace(owner accounts.Profile) (with accounts.Profile, refusal reply, fine bool) {
	if owner.Namespace != "" {
		return owner, reply{}, true
	}
	with, err := c.options().Namespaces.AwaitNamespace(c.ctx(), owner.Name)
	switch {
	case err != nil:
		return with, c.failed(err), false
	case with.Namespace == "":
		return with, detailed("The user has no namespace", "it is made when an administrator has it made"), false
	}
	return with, reply{}, true
}

// Bounds of what a unikernel may be given.
const (
	mostMemory = 1 << 20
	mostCPUs   = 64
)

// deployment reads what is to run.
func (c *call) deployment(entry *v1alpha1.UnikernelImage) (d services.Deployment, refusal reply, fine bool) {
	memory, isNumber := c.body.integer("memory")
	if !isNumber || memory < 1 || memory > mostMemory {
		return d, bad("Invalid memory"), false
	}
	cpus, isNumber := c.body.integer("cpu")
	if !isNumber || cpus < 1 || cpus > mostCPUs {
		return d, bad("Invalid cpu"), false
	}
	ports, _ := c.body.text("ports")
	mappings, err := parsePorts(ports)
	if err != nil {
		return d, bad("Invalid ports"), false
	}
	text, _ := c.body.text("primary")
	shown, err := primary(mappings, text)
	if err != nil {
		return d, bad("Invalid primary"), false
	}
	said, err := c.body.variables()
	if err != nil {
		return d, detailed("Invalid variables", err.Error()), false
	}
	args, values, err := arguments(&entry.Spec, said, shown)
	switch {
	case errors.Is(err, errMissing):
		return d, detailed(missingText, err.Error()), false
	case err != nil:
		return d, detailed("Invalid variables", err.Error()), false
	}
	name, _ := c.body.text("name")
	image, _ := c.body.text("image")
	d = services.Deployment{Name: objectName(name, "instance"), CPUs: int(cpus), Annotations: map[string]string{
		v1alpha1.AnnotationPanelName: name, v1alpha1.AnnotationPanelPorts: ports, v1alpha1.AnnotationPanelImage: image,
		v1alpha1.AnnotationPanelPrimary: strconv.Itoa(shown.external),
	}}
	d.Spec.Memory = new(v1alpha1.FromMiB(memory))
	d.Spec.Image = &v1alpha1.ImageSource{Catalog: &v1alpha1.CatalogReference{Name: entry.Name}}
	d.Spec.Arguments = args
	for _, device := range entry.Spec.NetworkInterfaces {
		d.Spec.NetworkInterfaces = append(d.Spec.NetworkInterfaces, v1alpha1.NetworkInterface{Name: device.Name, Bridge: device.Bridge})
	}
	if len(values) > 0 {
		encoded, _ := json.Marshal(values) // a map of texts can be encoded
		d.Annotations[v1alpha1.AnnotationPanelVariables] = string(encoded)
	}
	return d, reply{}, true
}

// stemLength leaves room for what makes the name of an object unique.
const stemLength = 54

// stem makes what the name of an object begins with of any text.
func stem(name, otherwise string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	text := b.String()
	text = strings.Trim(text[:min(len(text), stemLength)], "-")
	if text == "" {
		return otherwise
	}
	return text
}

// objectName makes a name that no other object has.
func objectName(name, otherwise string) string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // it never fails
	return stem(name, otherwise) + "-" + hex.EncodeToString(random[:])
}

package mollymawk

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

const (
	textMissing       = "One or more required fields are missing."
	textUnikernelName = "Couldn't find unikernel name in json"
	textForce         = "unikernel_force_create must be true or false"
)

// unikernelView is what runs, as the API shows it: what the document has, and
// after it what the original has come to add.
type unikernelView struct {
	Name               string        `json:"name"`
	FailBehaviour      any           `json:"fail_behaviour"`
	CPUID              *int64        `json:"cpuid,omitempty"`
	CPUIDs             []int64       `json:"cpuids"`
	Memory             int64         `json:"memory"`
	BlockDevices       []blockView   `json:"block_devices"`
	NetworkInterfaces  []networkView `json:"network_interfaces"`
	Arguments          []string      `json:"arguments"`
	NumCPUs            int64         `json:"numcpus"`
	LinuxBootPartition *string       `json:"linux_boot_partition"`
}

type blockView struct {
	Name       string `json:"name"`
	HostDevice string `json:"host_device"`
	SectorSize int64  `json:"sector_size"`
	Size       int64  `json:"size"`
}

type networkView struct {
	Name       string `json:"name"`
	HostDevice string `json:"host_device"`
}

// listing is what lists over all instances have: what was found, and which
// instances could not say.
type listing struct {
	Data   any             `json:"data"`
	Errors []instanceError `json:"errors"`
}

type instanceError struct {
	Instance string `json:"instance"`
	Error    string `json:"error"`
}

// listUnikernels gives a list for each instance, in the original's order: by
// name, the last one first.
func (c *call) listUnikernels() reply {
	if c.id.Namespace == "" {
		return ok(listing{[][]unikernelView{}, []instanceError{}}).titled("Unikernel Information")
	}
	found, failed, err := c.options().Unikernels.Unikernels(c.ctx(), c.id)
	if err != nil {
		return c.failed(texts{}, err)
	}
	slices.SortFunc(found, func(a, b services.InstanceUnikernels) int { return compare(b.Instance, a.Instance) })
	lists := make([][]byte, 0, len(found))
	for _, instance := range found {
		lists = append(lists, c.face.rendered.list(c.id.Namespace, instance))
	}
	return ok(listingOf(lists, showErrors(failed))).titled("Unikernel Information")
}

// listingOf is a listing of lists that are JSON already.
func listingOf(lists [][]byte, failed []instanceError) inParts {
	before, after, _ := bytes.Cut(encode(listing{[]any{}, failed}), []byte("]"))
	parts := inParts{before}
	for i, list := range lists {
		if i > 0 {
			parts = append(parts, []byte(","))
		}
		parts = append(parts, list)
	}
	return append(parts, []byte("]"), after)
}

func showErrors(failed []services.InstanceError) []instanceError {
	all := make([]instanceError, 0, len(failed))
	for _, f := range failed {
		all = append(all, instanceError{f.Instance, f.Text})
	}
	slices.SortFunc(all, func(a, b instanceError) int { return compare(b.Instance, a.Instance) })
	return all
}

func showUnikernel(u albatross.Unikernel) unikernelView {
	info := u.Info
	view := unikernelView{
		Name: u.Name.Label, FailBehaviour: failBehaviourOf(info.FailBehaviour), CPUIDs: listed(info.CPUIDs), Memory: info.Memory,
		BlockDevices: []blockView{}, NetworkInterfaces: []networkView{}, Arguments: listed(info.Argv), NumCPUs: info.NumCPUs,
		LinuxBootPartition: info.LinuxBootPartition,
	}
	if len(info.CPUIDs) == 1 {
		view.CPUID = &info.CPUIDs[0]
	}
	for _, b := range info.Blocks {
		view.BlockDevices = append(view.BlockDevices, blockView{b.Device, b.HostDevice, b.SectorSize, b.Size})
	}
	for _, n := range info.Bridges {
		view.NetworkInterfaces = append(view.NetworkInterfaces, networkView{n.Device, n.HostDevice})
	}
	return view
}

// createUnikernel takes the parts of its form in any order. The image goes to
// the store while it arrives, and what is known to be wrong by then is told
// before it does.
func (c *call) createUnikernel() reply {
	f, refusal, fine := c.openForm("binary")
	if !fine {
		return refusal
	}
	file, err := f.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return c.unreadableForm(err)
	}
	digest := ""
	if err == nil {
		if f.has(createFields...) {
			if _, refusal, fine := c.creation(f.fields); !fine {
				return refusal
			}
		}
		if digest, refusal, fine = c.storeImage(file); !fine {
			return refusal
		}
		if err := f.finish(); err != nil {
			return c.unreadableForm(err)
		}
	}
	if !f.has(createFields...) || digest == "" && f.fields["deploy_mode"] != "builder" {
		return bad(textMissing)
	}
	request, refusal, fine := c.creation(f.fields)
	if !fine {
		return refusal
	}
	if request.Spec.Image == nil {
		request.Digest = digest
	}
	if err := c.options().Unikernels.CreateUnikernel(c.ctx(), c.id, request); err != nil {
		return c.failed(createTexts, err)
	}
	return ok("created unikernel")
}

// createFields must be there, though molly_csrf may be empty.
var createFields = []string{"albatross_instance", "unikernel_name", "unikernel_config", csrfField}

// storeImage keeps the image and gives its digest; without an image it gives none.
func (c *call) storeImage(file *content) (digest string, refusal reply, fine bool) {
	nothing, err := file.isNothing()
	if err != nil {
		return "", c.unreadableForm(err), false
	}
	if nothing && !file.named {
		return "", reply{}, true
	}
	from := &sensitive{from: file}
	digest, _, err = c.options().Unikernels.Upload(c.ctx(), c.id, from, c.options().Limits.Image)
	switch {
	case from.err != nil:
		return "", c.unreadableForm(from.err), false
	case err != nil:
		return "", c.failed(createTexts, err), false
	}
	return digest, reply{}, true
}

// sensitive remembers that the client's side failed, so that nobody else is
// blamed for it.
type sensitive struct {
	from io.Reader
	err  error
}

func (s *sensitive) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// creation checks the fields in the original's order.
func (c *call) creation(fields map[string]string) (request services.CreateRequest, refusal reply, fine bool) {
	instance, name, refusal, fine := createTexts.names(fields["albatross_instance"], fields["unikernel_name"])
	if !fine {
		return request, refusal, false
	}
	c.about(instance + "/" + name)
	if refusal, refused := c.checkCSRF(fields[csrfField], true); refused {
		return request, refusal, false
	}
	value, err := parse([]byte(fields["unikernel_config"]))
	if err == nil {
		request.Spec, err = parseConfig(value)
	}
	if err != nil {
		return request, bad(createTexts.invalid + err.Error()), false
	}
	switch fields["unikernel_force_create"] {
	case "", "false":
	case "true":
		request.Force = true
	default:
		return request, bad(textForce), false
	}
	switch fields["deploy_mode"] {
	case "", "manual":
	case "builder":
		if fields["builder_job"] == "" {
			return request, bad("Missing builder job or uuid"), false
		}
		request.Spec.Image = c.build(fields["builder_job"], "latest")
	default:
		return request, bad("Invalid deploy mode"), false
	}
	request.Instance, request.Name = instance, name
	return request, reply{}, true
}

// build is an image of the build server.
func (c *call) build(job, build string) *v1alpha1.ImageSource {
	image := &v1alpha1.ImageSource{}
	image.Build = &v1alpha1.BuildSource{Server: c.options().BuildServer, Job: job, UUID: build}
	return image
}

// target reads which unikernel a JSON call is about.
func (c *call) target(t texts) (instance, name string, refusal reply, fine bool) {
	name, named := c.document.text("name")
	instance, given := c.document.text("albatross_instance")
	if !named || !given {
		return "", "", bad(textUnikernelName), false
	}
	instance, name, refusal, fine = t.names(instance, name)
	if fine {
		c.about(instance + "/" + name)
	}
	return instance, name, refusal, fine
}

func (c *call) destroyUnikernel() reply {
	instance, name, refusal, fine := c.target(destroyTexts)
	if !fine {
		return refusal
	}
	if err := c.options().Unikernels.DestroyUnikernel(c.ctx(), c.id, instance, name); err != nil {
		return c.failed(destroyTexts, err)
	}
	return ok("destroyed unikernel")
}

// restartUnikernel takes the names from the body, as documented, or from the
// query, as the original has come to do. With arguments it also changes what the
// unikernel runs with.
func (c *call) restartUnikernel() reply {
	t := restartTexts
	var instance, name string
	var refusal reply
	var fine bool
	if query := c.r.URL.Query(); query.Has("instance") || query.Has("unikernel") {
		t = queryTexts
		t.invalid, t.absent = restartTexts.invalid, restartTexts.absent
		instance, name, refusal, fine = c.queried()
	} else {
		instance, name, refusal, fine = c.target(t)
	}
	if !fine {
		return refusal
	}
	request := services.RestartRequest{Instance: instance, Name: name}
	if value, given := c.document.get("arguments"); given {
		text, isText := value.(string)
		if !isText {
			return bad("Arguments is expected to be a string")
		}
		arguments, err := parse([]byte(text))
		if err != nil {
			return bad(t.invalid + err.Error())
		}
		spec, err := parseConfig(arguments)
		if err != nil {
			return bad(t.invalid + err.Error())
		}
		request.Spec = &spec
	}
	if err := c.options().Unikernels.RestartUnikernel(c.ctx(), c.id, request); err != nil {
		return c.failed(t, err)
	}
	return ok("created unikernel")
}

// queried reads which unikernel a call is about from the query.
func (c *call) queried() (instance, name string, refusal reply, fine bool) {
	query := c.r.URL.Query()
	for _, parameter := range []string{"instance", "unikernel"} {
		if !query.Has(parameter) {
			return "", "", bad("Couldn't find " + parameter + " in query params"), false
		}
	}
	instance, name, refusal, fine = queryTexts.names(query.Get("instance"), query.Get("unikernel"))
	if fine {
		c.about(instance + "/" + name)
	}
	return instance, name, refusal, fine
}

package panel

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/services"
)

// instanceView is a unikernel as the API shows it, with the names and in the order
// of the original.
type instanceView struct {
	Name          string     `json:"Name"`
	ID            string     `json:"Id"`
	Node          *nodeView  `json:"Node"`
	User          string     `json:"User"`
	InternalState string     `json:"InternalState"`
	VolumeID      string     `json:"VolumeId"`
	Memory        int64      `json:"Memory"`
	CPU           int        `json:"Cpu"`
	Ports         string     `json:"Ports"`
	Primary       string     `json:"Primary"`
	Image         string     `json:"Image"`
	AltImages     []string   `json:"AltImages"`
	ImageData     *imageView `json:"imageData,omitempty"`
	Env           []string   `json:"Env"`
	Suspended     bool       `json:"suspended"`
	ContainerID   string     `json:"ContainerId,omitempty"`
	Success       string     `json:"success,omitempty"`
}

// surroundings are what unikernels are shown with.
type surroundings struct {
	call   *call
	nodes  map[string]*nodeView
	images map[string]*imageView
	// owners has the ids of users by their namespaces.
	owners map[string]string
}

func (c *call) surroundings() (*surroundings, error) {
	nodes, err := c.options().Nodes.DeclaredInstances(c.ctx(), c.admin)
	if err != nil {
		return nil, err
	}
	images, err := c.options().Images.CatalogImages(c.ctx(), c.admin)
	if err != nil {
		return nil, err
	}
	known := &surroundings{call: c, nodes: map[string]*nodeView{}, images: map[string]*imageView{}, owners: map[string]string{}}
	for i := range nodes {
		known.nodes[nodes[i].Name] = new(showNode(nodes[i]))
	}
	for i := range images {
		known.images[images[i].Name] = new(showImage(&images[i]))
	}
	return known, nil
}

// owner gives the id of the user to whom a namespace belongs; it is empty when it
// is nobody's.
func (s *surroundings) owner(namespace string) (string, error) {
	if id, known := s.owners[namespace]; known {
		return id, nil
	}
	profile, err := s.call.options().Namespaces.ProfileByNamespace(s.call.ctx(), namespace)
	if err != nil && !errors.Is(err, accounts.ErrUnknownAccount) {
		return "", err
	}
	s.owners[namespace] = profile.ExternalID
	return profile.ExternalID, nil
}

// show gives a unikernel, whoever made it.
func (s *surroundings) show(uk *v1alpha1.Unikernel) (instanceView, error) {
	owner, err := s.owner(uk.Namespace)
	if err != nil {
		return instanceView{}, err
	}
	said := uk.Annotations
	id := idOf(uk)
	view := instanceView{
		Name: cmp.Or(said[v1alpha1.AnnotationPanelName], uk.Name), ID: id, Node: s.nodes[uk.Spec.InstanceRef.Name], User: owner,
		InternalState: stateOf(uk), VolumeID: id, Memory: uk.Spec.MemoryMiB(), CPU: max(len(uk.Spec.CPUIDs), int(uk.Spec.CPUsOrDefault())),
		Ports: said[v1alpha1.AnnotationPanelPorts], Primary: said[v1alpha1.AnnotationPanelPrimary],
		Image: cmp.Or(said[v1alpha1.AnnotationPanelImage], sourceOf(uk.Spec.Image)), AltImages: []string{},
		Env: envOf(said[v1alpha1.AnnotationPanelVariables]), Suspended: uk.Spec.Suspended,
	}
	if uk.Spec.Image != nil && uk.Spec.Image.Catalog != nil {
		view.ImageData = s.images[uk.Spec.Image.Catalog.Name]
	}
	if wasDeployed(uk) {
		sum := sha256.Sum256([]byte(uk.UID))
		view.ContainerID = hex.EncodeToString(sum[:])
	}
	return view, nil
}

// sourceOf says in a word where an image comes from.
func sourceOf(image *v1alpha1.ImageSource) string {
	switch {
	case image == nil:
		return ""
	case image.Catalog != nil:
		return image.Catalog.Name
	case image.OCI != nil:
		return image.OCI.Reference
	case image.Build != nil:
		return image.Build.Job
	case image.Stored != nil:
		return "sha256:" + string(image.Stored.SHA256)
	}
	return image.URL
}

// envOf gives the values of variables as NAME=VALUE, by name.
func envOf(variables string) []string {
	all := map[string]string{}
	_ = json.Unmarshal([]byte(variables), &all) // what somebody wrote otherwise is none
	env := []string{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return env
}

// nodeView is a host as the API shows it. Its keys are nowhere.
type nodeView struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	Tags          json.RawMessage `json:"tags"`
	RAM           string          `json:"ram"`
	Disk          string          `json:"disk"`
	Processor     string          `json:"processor"`
	Address       string          `json:"address"`
	Port          string          `json:"port"`
	Status        string          `json:"status"`
	VersionFamily int             `json:"versionFamily"`
}

// showNode says of a host that was made otherwise what the host tells of itself.
func showNode(o services.DeclaredInstance) nodeView {
	said := o.Annotations
	ram, disk, processor := capacityOf(o.Status.Capacity)
	view := nodeView{
		ID: string(o.UID), Name: cmp.Or(said[v1alpha1.AnnotationPanelName], o.Name), Tags: json.RawMessage(said[v1alpha1.AnnotationPanelTags]),
		RAM: cmp.Or(said[v1alpha1.AnnotationPanelRAM], ram), Disk: cmp.Or(said[v1alpha1.AnnotationPanelDisk], disk),
		Processor: cmp.Or(said[v1alpha1.AnnotationPanelProcessor], processor),
		Address:   string(o.Spec.Endpoint.Host), Port: strconv.Itoa(int(o.Spec.Endpoint.PortOrDefault())), Status: nodeStatus(o), VersionFamily: 1,
	}
	if !json.Valid(view.Tags) {
		view.Tags = json.RawMessage(`""`)
	}
	return view
}

func capacityOf(c *v1alpha1.Capacity) (ram, disk, processor string) {
	if c == nil {
		return "", "", ""
	}
	if c.Memory != nil {
		ram = c.Memory.String()
	}
	if c.Storage != nil {
		disk = c.Storage.String()
	}
	if n := len(c.CPUIDs); n > 0 {
		processor = strconv.Itoa(n) + " CPUs"
	}
	return ram, disk, processor
}

// imageView is an entry of the catalogue as the API shows it. Image is what a
// deployment names it by.
type imageView struct {
	ID          string                  `json:"Id"`
	Name        string                  `json:"Name"`
	Image       string                  `json:"Image"`
	AltImages   []string                `json:"AltImages"`
	Cmd         string                  `json:"Cmd"`
	Env         []string                `json:"Env"`
	Variables   map[string]variableView `json:"Variables"`
	Description string                  `json:"Description"`
}

type variableView struct {
	Type        string `json:"type"`
	Default     string `json:"default"`
	Required    bool   `json:"required"`
	Description string `json:"description,omitempty"`
}

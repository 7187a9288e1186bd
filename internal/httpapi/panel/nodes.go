package panel

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

func (c *call) listNodes() reply {
	all, err := c.options().Nodes.DeclaredInstances(c.ctx(), c.admin)
	if err != nil {
		return c.failed(err)
	}
	views := make([]nodeView, 0, len(all))
	for _, o := range all {
		views = append(views, showNode(o))
	}
	return ok(views)
}

// node finds a host by its uid or its name; nil when there is none.
func (c *call) node(id string) (node *services.DeclaredInstance, refusal reply, fine bool) {
	all, err := c.options().Nodes.DeclaredInstances(c.ctx(), c.admin)
	if err != nil {
		return nil, c.failed(err), false
	}
	for _, is := range []func(services.DeclaredInstance) bool{
		func(o services.DeclaredInstance) bool { return string(o.UID) == id },
		func(o services.DeclaredInstance) bool { return o.Name == id },
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return &all[i], reply{}, true
		}
	}
	return nil, reply{}, true
}

// createNode declares a host, whether it answers or not.
func (c *call) createNode() reply {
	const missing = "Missing parameters"
	if !c.body.has("name", "tags", "ram", "disk", "processor", "address", "port") {
		return bad(missing)
	}
	said := map[string]string{}
	for _, name := range []string{"name", "ram", "disk", "processor", "address", "port"} {
		text, plain := c.body.text(name)
		if !plain {
			return bad(missing)
		}
		said[name] = text
	}
	number := port(said["port"])
	if number == 0 {
		return bad("Invalid port")
	}
	node := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
		v1alpha1.AnnotationPanelName: said["name"], v1alpha1.AnnotationPanelTags: encode(c.body["tags"]),
		v1alpha1.AnnotationPanelRAM: said["ram"], v1alpha1.AnnotationPanelDisk: said["disk"], v1alpha1.AnnotationPanelProcessor: said["processor"],
	}}}
	node.Spec.Endpoint = v1alpha1.Endpoint{Host: v1alpha1.Host(said["address"]), Port: int32(number)} //nolint:gosec // of 16 bits
	made, err := c.declareNode(node, said["name"])
	if err != nil {
		return c.refused(err)
	}
	return reply{status: http.StatusCreated, body: map[string]nodeView{"Message": showNode(made)}}
}

// declareNode calls the object as the node if nothing else is called so: then its
// credentials can be where they will be looked for before it is made.
func (c *call) declareNode(node *v1alpha1.AlbatrossInstance, name string) (services.DeclaredInstance, error) {
	node.Name = stem(name, "node")
	c.about(node.Name)
	made, err := c.options().Nodes.DeclareInstance(c.ctx(), c.admin, node, c.options().NodeCredentials)
	var conflict *services.Conflict
	if !errors.As(err, &conflict) {
		return made, err
	}
	node.Name = objectName(name, "node")
	c.about(node.Name)
	return c.options().Nodes.DeclareInstance(c.ctx(), c.admin, node, c.options().NodeCredentials)
}

func encode(value any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // it came out of a document
	return string(bytes.TrimSpace(b.Bytes()))
}

// deleteNode removes a host on which nothing is declared, or with ?deleteinstances=true
// one on which no volume is: that is what the panel's own pages ask with.
func (c *call) deleteNode() reply {
	const invalid, done = "The node ID was invalid", "The node has successfully deleted."
	id, given := c.named("nodeId")
	if !given {
		return c.refusedWhen(nodeIDMissing, invalid)
	}
	node, refusal, fine := c.node(id)
	if !fine {
		return refusal
	}
	if node == nil {
		return c.withoutNode(invalid, done)
	}
	c.about(node.Name)
	remove := c.options().Nodes.DeleteInstance
	if c.r.URL.Query().Get("deleteinstances") == "true" {
		remove = c.options().Nodes.DeleteInstanceWithUnikernels
	}
	err := remove(c.ctx(), c.admin, node.Name)
	var inUse *services.Refused
	switch {
	case errors.As(err, &inUse):
		return detailed("There are instances on the node", inUse.Error())
	case isNotFound(err):
		return c.withoutNode(invalid, done)
	case err != nil:
		return c.refused(err)
	}
	return reply{status: http.StatusCreated, body: map[string]string{"Message": done}}
}

// withoutNode is for a node that is not there: the source takes it for deleted.
func (c *call) withoutNode(invalid, done string) reply {
	if c.options().Profile == Source {
		return c.when(nodeIDUnknown, map[string]string{"Message": done})
	}
	return c.refusedWhen(nodeIDUnknown, invalid)
}

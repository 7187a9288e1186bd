package migrate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// Input is everything that the manifests depend on.
type Input struct {
	Users []StoredUser
	Hosts []Host
	// Namespace is the operator's.
	Namespace string
	// Existing are the User objects of the cluster, or nil when they are not known:
	// what belongs to an account is named by their UIDs.
	Existing []v1alpha1.User
	// PasswordHashes are those of new passwords, by the name of the User.
	PasswordHashes map[string]string
	// Images say where the binary of a digest is now.
	Images map[string]string
	Now    time.Time
}

// Convert gives the manifests in the order in which they are to be applied.
func Convert(in Input) []Document {
	c := newConverter(in)
	var users, accounts, credentials, instances, volumes, unikernels []Document
	for i := range c.in.Users {
		user := c.user(&c.in.Users[i])
		if account, known := c.account(&user, &c.in.Users[i]); known {
			accounts = append(accounts, account)
		}
		users = append(users, user)
	}
	for i := range c.in.Hosts {
		h := &c.in.Hosts[i]
		credentials, instances = append(credentials, c.credentials(h)), append(instances, c.instance(h))
		if h.Seen == nil {
			continue
		}
		for _, b := range sortedBy(h.Seen.Blocks, func(b albatross.Block) string { return b.Name.String() }) {
			volumes = append(volumes, c.volume(h, &b))
		}
		for _, u := range sortedBy(h.Seen.Unikernels, func(u albatross.Unikernel) string { return u.Name.String() }) {
			unikernels = append(unikernels, c.unikernel(h, &u))
		}
	}
	return slices.Concat(users, c.namespaces(instances), credentials, accounts, instances, volumes, unikernels)
}

// onHost is a full name on a host.
type onHost struct{ host, name string }

type converter struct {
	in Input
	// owners are the users by their path.
	owners map[string]StoredUser
	// paths are all that there are, on whichever host.
	paths map[string]bool
	// foreign are the namespaces that users would have and do not get.
	foreign map[string]bool
	// taken has the instance on which an object of that kind, namespace and name is.
	taken map[string]string
	// volumes are those that have an object.
	volumes map[onHost]bool
	// tokens are those that some account has.
	tokens map[string]bool
}

func newConverter(in Input) *converter {
	c := &converter{
		in: in, owners: map[string]StoredUser{}, paths: map[string]bool{}, foreign: map[string]bool{},
		taken: map[string]string{}, volumes: map[onHost]bool{}, tokens: map[string]bool{},
	}
	c.in.Users = sortedBy(c.in.Users, func(u StoredUser) string { return u.Name })
	c.in.Hosts = sortedBy(c.in.Hosts, func(h Host) string { return h.Name })
	for _, user := range c.in.Users {
		if _, twice := c.owners[user.Name]; !twice {
			c.owners[user.Name] = user
		}
		c.paths[user.Name] = true
	}
	c.findForeign()
	for i := range c.in.Hosts {
		for _, path := range c.tenantPaths(&c.in.Hosts[i]) {
			c.paths[path.String()] = true
		}
	}
	return c
}

// findForeign finds the namespaces of Users that are nobody's in Mollymawk, and those
// that a User would have if they were not somebody else's.
func (c *converter) findForeign() {
	known := map[string]bool{}
	for i := range c.in.Users {
		if found, err := findOwner(c.in.Existing, &c.in.Users[i]); err == nil {
			known[found.Name] = true
		}
	}
	for i := range c.in.Existing {
		user := &c.in.Existing[i]
		if !known[user.Name] || reasonOf(user) == v1alpha1.ReasonNamespaceTaken {
			c.foreign[user.NamespaceOrDefault()] = true
		}
	}
}

// namespace gives the namespace of a path, or says why there is none.
func (c *converter) namespace(path albatross.Path) (string, error) {
	if path.IsRoot() {
		return "", errors.New("it is at the path of the credential itself, and tenants are below it")
	}
	if err := checkPath(path); err != nil {
		return "", err
	}
	namespace := namespaceFor(path, c.in.Namespace)
	if namespace != path.String() && c.paths[namespace] {
		return "", fmt.Errorf("the path %s would have the namespace of the path %s", path, namespace)
	}
	if c.foreign[namespace] {
		return "", fmt.Errorf("the namespace %s of the cluster belongs to somebody else; decide whose it is, and import again", namespace)
	}
	return namespace, nil
}

func (c *converter) objectMeta(name albatross.Name) metav1.ObjectMeta {
	namespace, _ := c.namespace(name.Path) // checkPlace tells
	return metav1.ObjectMeta{Name: name.Label, Namespace: namespace}
}

// checkPlace finds why something on a host cannot be an object of its name.
func (c *converter) checkPlace(d *Document, name albatross.Name) {
	label := name.Label
	if _, err := c.namespace(name.Path); err != nil {
		d.problem("%v.", err)
		return
	}
	if !validObjectName(label) || !isLabel(label) {
		d.problem("%q cannot be the name of an object, which begins and ends with a letter or digit. It stays as it is; to declare it, make it anew under another name.", label)
		return
	}
	if at, twice := c.taken[keyOf(d)]; twice {
		d.problem("the namespace %s has an object of this kind and name already, for the one on %s. It stays as it is; to declare it, make it anew under another name.",
			d.Object.GetNamespace(), at)
	}
}

// take has an object that can be applied keep its name from others.
func (c *converter) take(d *Document, h *Host) {
	if d.Applicable() {
		c.taken[keyOf(d)] = h.Name
	}
}

func keyOf(d *Document) string {
	return d.Object.GetObjectKind().GroupVersionKind().Kind + "/" + d.Object.GetNamespace() + "/" + d.Object.GetName()
}

// volume declares a block device, which is adopted with its data.
func (c *converter) volume(h *Host, b *albatross.Block) Document {
	object := &v1alpha1.Volume{
		TypeMeta: typeMeta("Volume"), ObjectMeta: c.objectMeta(b.Name),
		Spec: v1alpha1.VolumeSpec{
			InstanceRef: v1alpha1.InstanceReference{Name: objectName(h.Name)}, Size: v1alpha1.FromMiB(min(b.Size, maxVolume)),
			DeletionPolicy: v1alpha1.DeletionPolicyOrphan,
		},
	}
	d := Document{Object: object}
	c.checkPlace(&d, b.Name)
	d.check(within(b.Size, 1, maxVolume), "it has %d MiB, and 1 MiB to 64 TiB can be declared", b.Size)
	if c.take(&d, h); d.Applicable() {
		c.volumes[onHost{h.Name, b.Name.String()}] = true
	}
	return d
}

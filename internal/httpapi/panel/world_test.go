package panel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/services"
)

// The keys of an administrator and of a user.
const (
	adminKey = "11111111-2222-4333-8444-555555555555"
	userKey  = "99999999-2222-4333-8444-555555555555"
)

// world stands in for the accounts and the services.
type world struct {
	mu         sync.Mutex
	users      []accounts.Profile
	made       []accounts.NewUser
	unikernels []v1alpha1.Unikernel
	nodes      []services.DeclaredInstance
	images     []v1alpha1.UnikernelImage
	deployed   []services.Deployment
	fallbacks  []string
	// namespaces come with a moment's delay for users who are waited for.
	late map[string]string
	// failure is what every call but authentication fails with, if it is set, and
	// gate what that fails with.
	failure, gate error
	count         int
}

func newWorld() *world { return &world{late: map[string]string{}} }

func (w *world) uid() types.UID {
	w.count++
	return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", 0xabc00000+w.count, w.count))
}

// lock has calls come one after another, and gives what they are to fail with.
func (w *world) lock() (unlock func(), err error) {
	w.mu.Lock()
	return w.mu.Unlock, w.failure
}

func (w *world) Authenticate(_ context.Context, c accounts.Credential) (accounts.Identity, error) {
	switch {
	case w.gate != nil:
		return accounts.Identity{}, w.gate
	case c.Bearer == adminKey:
		return accounts.Identity{Name: "root", UID: "root", SuperUser: true, Via: accounts.ViaBearer}, nil
	case c.Bearer == userKey:
		return accounts.Identity{Name: "user", UID: "user", Namespace: "user", Via: accounts.ViaBearer}, nil
	}
	return accounts.Identity{}, accounts.ErrUnknownToken
}

func (w *world) Users(context.Context) ([]accounts.Profile, error) {
	unlock, err := w.lock()
	defer unlock()
	return slices.Clone(w.users), err
}

func (w *world) first(is func(accounts.Profile) bool) (accounts.Profile, error) {
	unlock, err := w.lock()
	defer unlock()
	i := slices.IndexFunc(w.users, is)
	if err == nil && i < 0 {
		return accounts.Profile{}, accounts.ErrUnknownAccount
	}
	if err != nil {
		return accounts.Profile{}, err
	}
	return w.users[i], nil
}

func (w *world) ProfileByEmail(_ context.Context, email string) (accounts.Profile, error) {
	return w.first(func(p accounts.Profile) bool { return strings.EqualFold(p.Email, email) })
}

func (w *world) ProfileByDisplayName(_ context.Context, name string) (accounts.Profile, error) {
	return w.first(func(p accounts.Profile) bool { return p.DisplayName == name })
}

func (w *world) ProfileByExternalID(_ context.Context, id string) (accounts.Profile, error) {
	return w.first(func(p accounts.Profile) bool { return p.ExternalID == id })
}

func (w *world) ProfileByNamespace(_ context.Context, namespace string) (accounts.Profile, error) {
	return w.first(func(p accounts.Profile) bool { return p.Namespace == namespace })
}

func (w *world) AwaitNamespace(_ context.Context, name string) (accounts.Profile, error) {
	w.mu.Lock()
	for i := range w.users {
		if w.users[i].Name == name {
			w.users[i].Namespace = w.late[name]
		}
	}
	w.mu.Unlock()
	return w.first(func(p accounts.Profile) bool { return p.Name == name })
}

func (w *world) CreateUser(_ context.Context, wanted accounts.NewUser) (accounts.Profile, error) {
	unlock, err := w.lock()
	defer unlock()
	if err != nil {
		return accounts.Profile{}, err
	}
	for _, p := range w.users {
		switch {
		case strings.EqualFold(p.Email, wanted.Email):
			return accounts.Profile{}, accounts.ErrEmailTaken
		case wanted.Distinct && p.DisplayName == wanted.DisplayName:
			return accounts.Profile{}, accounts.ErrDisplayNameTaken
		case p.ExternalID == wanted.ExternalID:
			return accounts.Profile{}, accounts.ErrExternalIDTaken
		}
	}
	switch {
	case !strings.Contains(wanted.Email, "@"):
		return accounts.Profile{}, accounts.ErrInvalidEmail
	case len(wanted.Password) > 1024:
		return accounts.Profile{}, accounts.ErrLongPassword
	case strings.ContainsAny(wanted.DisplayName+wanted.ExternalID, "\n\x00"):
		return accounts.Profile{}, accounts.ErrInvalidText
	}
	name := fmt.Sprintf("user-%d", len(w.users)+1)
	p := accounts.Profile{
		Name: name, UID: w.uid(), Email: wanted.Email, DisplayName: wanted.DisplayName, ExternalID: wanted.ExternalID,
		Namespace: name, Active: wanted.Active, SuperUser: wanted.SuperUser,
	}
	w.users, w.made = append(w.users, p), append(w.made, wanted)
	return p, nil
}

func (w *world) DeclaredUnikernels(_ context.Context, id accounts.Identity, namespace string) (all []v1alpha1.Unikernel, err error) {
	unlock, err := w.lock()
	defer unlock()
	if !id.SuperUser {
		return nil, services.ErrForbidden
	}
	for _, uk := range w.unikernels {
		if namespace == "" || uk.Namespace == namespace {
			all = append(all, uk)
		}
	}
	return all, err
}

// policyCPUs is how many CPUs everybody's policy has.
const policyCPUs = 2

func (w *world) DeployUnikernel(_ context.Context, _ accounts.Identity, d services.Deployment) (*v1alpha1.Unikernel, error) {
	unlock, err := w.lock()
	defer unlock()
	switch {
	case err != nil:
		return nil, err
	case strings.HasPrefix(d.Instance, "closed"):
		return nil, &services.NotAdmitted{Instance: d.Instance, Namespace: d.Namespace}
	case d.CPUs > policyCPUs:
		return nil, &services.Invalid{Field: "cpus", Message: "the policy allows 2"}
	}
	uk := v1alpha1.Unikernel{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, UID: w.uid(), Annotations: d.Annotations}, Spec: d.Spec}
	uk.Spec.InstanceRef.Name = d.Instance
	for i := range d.CPUs {
		uk.Spec.CPUIDs = append(uk.Spec.CPUIDs, v1alpha1.CPUID(i))
	}
	w.unikernels, w.deployed = append(w.unikernels, uk), append(w.deployed, d)
	return &uk, nil
}

func (w *world) SuspendUnikernel(_ context.Context, _ accounts.Identity, uk *v1alpha1.Unikernel, suspended bool) (*v1alpha1.Unikernel, error) {
	unlock, err := w.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	if uk.Annotations["owner"] != "" && uk.Spec.Suspended != suspended {
		return nil, &services.Conflict{Owners: []string{uk.Annotations["owner"]}, Fields: []string{"spec.suspended"}}
	}
	for i := range w.unikernels {
		if w.unikernels[i].UID == uk.UID {
			w.unikernels[i].Spec.Suspended = suspended
			return w.unikernels[i].DeepCopy(), nil
		}
	}
	return nil, &services.NotFound{What: "unikernel", Name: uk.Name}
}

func (w *world) RemoveUnikernel(_ context.Context, _ accounts.Identity, uk *v1alpha1.Unikernel) error {
	unlock, err := w.lock()
	defer unlock()
	w.unikernels = slices.DeleteFunc(w.unikernels, func(u v1alpha1.Unikernel) bool { return u.UID == uk.UID })
	return err
}

func (w *world) DeclaredInstances(context.Context, accounts.Identity) ([]services.DeclaredInstance, error) {
	unlock, err := w.lock()
	defer unlock()
	return slices.Clone(w.nodes), err
}

func (w *world) DeclareInstance(_ context.Context, _ accounts.Identity, wanted *v1alpha1.AlbatrossInstance, fallback string) (services.DeclaredInstance, error) {
	unlock, err := w.lock()
	defer unlock()
	switch {
	case err != nil:
		return services.DeclaredInstance{}, err
	case slices.ContainsFunc(w.nodes, func(o services.DeclaredInstance) bool { return o.Name == wanted.Name }):
		return services.DeclaredInstance{}, &services.Conflict{Text: "albatross instance exists already"}
	case strings.ContainsAny(string(wanted.Spec.Endpoint.Host), ":/ "):
		return services.DeclaredInstance{}, &services.Invalid{Field: "spec.endpoint.host", Message: "must be a DNS name or an IP address"}
	}
	made := wanted.DeepCopy()
	made.UID = w.uid()
	w.nodes, w.fallbacks = append(w.nodes, services.DeclaredInstance{AlbatrossInstance: made}), append(w.fallbacks, fallback)
	return w.nodes[len(w.nodes)-1], nil
}

func (w *world) DeleteInstance(_ context.Context, _ accounts.Identity, name string) error {
	unlock, err := w.lock()
	defer unlock()
	if err != nil {
		return err
	}
	for _, uk := range w.unikernels {
		if uk.Spec.InstanceRef.Name == name {
			return &services.Refused{Reason: v1alpha1.ReasonInUse, Text: "Unikernel " + uk.Namespace + "/" + uk.Name + " is declared on it"}
		}
	}
	w.nodes = slices.DeleteFunc(w.nodes, func(o services.DeclaredInstance) bool { return o.Name == name })
	return nil
}

func (w *world) DeleteInstanceWithUnikernels(ctx context.Context, id accounts.Identity, name string) error {
	unlock, err := w.lock()
	if err == nil {
		w.unikernels = slices.DeleteFunc(w.unikernels, func(uk v1alpha1.Unikernel) bool { return uk.Spec.InstanceRef.Name == name })
	}
	unlock()
	return errors.Join(err, w.DeleteInstance(ctx, id, name))
}

func (w *world) CatalogImages(context.Context, accounts.Identity) ([]v1alpha1.UnikernelImage, error) {
	unlock, err := w.lock()
	defer unlock()
	return slices.Clone(w.images), err
}

// addNode has a host of that name, as kubectl makes it.
func (w *world) addNode(name string) string {
	uid := w.uid()
	node := &v1alpha1.AlbatrossInstance{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}
	node.Spec.Endpoint.Host = "192.0.2.1"
	w.nodes = append(w.nodes, services.DeclaredInstance{AlbatrossInstance: node, Configured: true})
	return string(uid)
}

// addImage has an entry of the catalogue with variables.
func (w *world) addImage(name, reference string, variables ...v1alpha1.ImageVariable) string {
	entry := v1alpha1.UnikernelImage{ObjectMeta: metav1.ObjectMeta{Name: name, UID: w.uid()}}
	entry.Spec.Image.OCI = &v1alpha1.OCISource{Reference: reference}
	entry.Spec.Variables = variables
	w.images = append(w.images, entry)
	return string(entry.UID)
}

// addUser has a user of that id, with a namespace of the same name.
func (w *world) addUser(id string) {
	w.users = append(w.users, accounts.Profile{Name: id, UID: w.uid(), Email: id + "@example.org", DisplayName: id, ExternalID: id, Namespace: id, Active: true})
}

package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

// entry names something that an outsider could reach.
type entry struct{ owner, what string }

// imageStore owns the images that were uploaded or fetched.
const imageStore = "images"

// state is all that calls can change, and how it is.
type state map[entry]string

// lists gives all objects that calls can change.
func (w *world) lists(ctx context.Context) []client.ObjectList {
	w.Helper()
	all := []client.ObjectList{
		&v1alpha1.UnikernelList{}, &v1alpha1.VolumeList{}, &v1alpha1.AlbatrossInstanceList{}, &v1alpha1.UserList{}, &v1alpha1.UnikernelImageList{},
	}
	for _, list := range all {
		if err := w.List(ctx, list); err != nil {
			w.Fatal(err)
		}
	}
	secrets := &corev1.SecretList{}
	if err := w.List(ctx, secrets, client.InNamespace(w.system)); err != nil {
		w.Fatal(err)
	}
	return append(all, secrets)
}

// state looks at the host and at the API server, past everything that could be asked.
func (w *world) state() state {
	w.Helper()
	s := state{}
	w.addHost(s)
	for _, list := range append(w.lists(w.Context()), w.bindings()) {
		err := apimeta.EachListItem(list, func(o runtime.Object) error { return s.addObject(o.(client.Object)) })
		if err != nil {
			w.Fatal(err)
		}
	}
	err := filepath.WalkDir(w.images, func(path string, entryAt fs.DirEntry, err error) error {
		if err == nil && !entryAt.IsDir() {
			s[entry{imageStore, "stored " + strings.TrimPrefix(path, w.images)}] = ""
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// bindings are those that give users rights.
func (w *world) bindings() *rbacv1.RoleBindingList {
	w.Helper()
	all, ours := &rbacv1.RoleBindingList{}, &rbacv1.RoleBindingList{}
	if err := w.List(w.Context(), all); err != nil {
		w.Fatal(err)
	}
	for i := range all.Items {
		if all.Items[i].Name == "mollymawk-user" {
			ours.Items = append(ours.Items, all.Items[i])
		}
	}
	return ours
}

func (w *world) addHost(s state) {
	w.Helper()
	for _, u := range w.host.Unikernels("") {
		name := u.Name.String()
		s[entry{ownerOf(name), "unikernel " + name}] = toJSON(u.Info) + strings.Join(w.host.Console(name), "\n") + fmt.Sprint(w.host.Received("", name))
	}
	for _, b := range w.host.Blocks("") {
		name := b.Name.String()
		content, err := w.host.BlockContent(name)
		if err != nil {
			w.Fatal(err)
		}
		s[entry{ownerOf(name), "block " + name}] = fmt.Sprintf("%d %t %x %d", b.Size, b.Active, sha256.Sum256(content), w.host.Received("", name))
	}
	for _, p := range w.host.Policies() {
		s[entry{ownerOf(p.Name.String()), "policy"}] = toJSON(p.Policy)
	}
}

// ownerOf gives the path of a name on a host.
func ownerOf(name string) string {
	path, _, _ := strings.Cut(name, ":")
	return path
}

func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// addObject keeps what callers may have an influence on: not how often tokens are used, and not what the controllers found out.
func (s state) addObject(o client.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	u.SetManagedFields(nil)
	u.SetResourceVersion("")
	owner := o.GetNamespace()
	switch of := o.(type) {
	case *v1alpha1.User:
		owner = o.GetName()
	case *corev1.Secret:
		owner = o.GetLabels()[v1alpha1.LabelUser]
		if of, kept := o.GetAnnotations()["mollymawk.dev/unikernel"]; kept {
			owner, _, _ = strings.Cut(of, "/")
		}
		data := maps.Clone(of.Data)
		maps.DeleteFunc(data, func(key string, _ []byte) bool { return strings.HasPrefix(key, "usage.") })
		content["data"] = data
	}
	s[entry{owner, fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())}] = toJSON(content)
	return nil
}

// differences says what is another than before, apart from what belongs to the owners.
func (s state) differences(before state, but ...string) (all []string) {
	keys := maps.Clone(s)
	maps.Copy(keys, before)
	for key := range keys {
		was, had := before[key]
		is, has := s[key]
		if (was != is || had != has) && !slices.Contains(but, key.owner) {
			all = append(all, fmt.Sprintf("%s of %q: %t, %t\n  %s\n  %s", key.what, key.owner, had, has, was, is))
		}
	}
	slices.Sort(all)
	return all
}

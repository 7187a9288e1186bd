package services

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	lru "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"mollymawk.dev/operator/api/v1alpha1"
)

// FieldManager is the name under which callers' writes own fields.
const FieldManager = "mollymawk-api"

// impersonationPrefix marks the users of Kubernetes that accounts stand for.
const impersonationPrefix = "mollymawk:"

// AdminGroup is the group of Kubernetes that administrators are impersonated in,
// besides as themselves.
const AdminGroup = impersonationPrefix + "admins"

// writers has the clients that write as callers, of whom those of late are kept.
type writers struct {
	config *rest.Config
	http   *http.Client
	mapper apimeta.RESTMapper
	scheme *runtime.Scheme
	kept   *lru.LRUExpireCache
}

const (
	keptWriters = 1024
	writerLife  = time.Hour
)

// The API server cannot restrict impersonation to names that begin with a prefix,
// so [writers.as] does. The group is restricted by name: see
// config/rbac/api_role.yaml.

func newWriters(config *rest.Config, scheme *runtime.Scheme) (*writers, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the API server is fair between users by itself
	plain, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, plain)
	if err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	return &writers{config: config, http: plain, mapper: mapper, scheme: scheme, kept: lru.NewLRUExpireCache(keptWriters)}, nil
}

// as gives a client that writes as the caller.
func (w *writers) as(id Identity) (client.Client, error) {
	if err := checkIdentity(id); err != nil {
		return nil, err
	}
	user := id.Impersonate()
	if !strings.HasPrefix(user, impersonationPrefix) {
		return nil, ErrForbidden
	}
	impersonate := rest.ImpersonationConfig{UserName: user}
	if id.SuperUser {
		impersonate.Groups = []string{AdminGroup}
	}
	key := fmt.Sprintf("%s %v", user, id.SuperUser)
	if kept, ok := w.kept.Get(key); ok {
		return kept.(client.Client), nil
	}
	config := rest.CopyConfig(w.config)
	config.Impersonate = impersonate
	made, err := client.New(config, client.Options{Scheme: w.scheme, Mapper: w.mapper})
	if err != nil {
		return nil, fmt.Errorf("write as %s: %w", user, err)
	}
	w.kept.Add(key, made, writerLife)
	return made, nil
}

// absentVersion is a resource version that no object has. Applying with it works
// only for an object that does not exist, so of two who create one the later is
// told.
const absentVersion = "1"

// declaration is what we apply of an object.
type declaration struct {
	object client.Object
	// version is the resource version that the object must have; empty means any.
	version string
	// before is the object as it was read past the cache, if there is one: what
	// others declare just so stays theirs alone.
	before client.Object
}

// apply declares fields of an object as the caller and fills object in with what
// the API server made of it. Fields that others declare are not taken from them.
func apply(ctx context.Context, c client.Client, d declaration) error {
	u, err := declared(c, d.object)
	if err != nil {
		return err
	}
	if d.before != nil {
		if err := leaveToOthers(c, u, d.before); err != nil {
			return err
		}
	}
	u.SetResourceVersion(d.version)
	return applyContent(ctx, c, u, d.object)
}

// leaveToOthers drops what is wanted of a specification where it is so already, and
// not because we declared it. If we declared it too, who does now could neither
// change it without force nor take it away.
func leaveToOthers(c client.Client, u *unstructured.Unstructured, before client.Object) error {
	was, err := declared(c, before)
	if err != nil {
		return err
	}
	ours, err := appliedFields(before)
	if err != nil {
		return err
	}
	of, _ := ours["f:spec"].(map[string]any)
	wanted, _ := u.Object["spec"].(map[string]any)
	present, _ := was.Object["spec"].(map[string]any)
	for name, value := range wanted {
		if _, isOurs := of["f:"+name]; !isOurs && equality.Semantic.DeepEqual(value, present[name]) {
			delete(wanted, name)
		}
	}
	return nil
}

// applyContent applies what u has and gives what the API server made of it.
func applyContent(ctx context.Context, c client.Client, u *unstructured.Unstructured, result client.Object) error {
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager)); err != nil {
		return writeError(err)
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, result)
}

// declared keeps of an object what a declaration may have.
func declared(c client.Client, o client.Object) (*unstructured.Unstructured, error) {
	gvk, err := c.GroupVersionKindFor(o)
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	metadata := map[string]any{"name": o.GetName()}
	if o.GetNamespace() != "" {
		metadata["namespace"] = o.GetNamespace()
	}
	for field, values := range map[string]map[string]string{"annotations": o.GetAnnotations(), "labels": o.GetLabels()} {
		if len(values) > 0 {
			of := map[string]any{}
			for k, v := range values {
				of[k] = v
			}
			metadata[field] = of
		}
	}
	content["metadata"] = metadata
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// restore declares again what we declared of an object before, and nothing else:
// fields that were somebody else's are not ours afterwards either. It fails when
// the object is another than of that version meanwhile.
func restore(ctx context.Context, c client.Client, before client.Object, version string) error {
	return annotate(ctx, c, before, version, nil)
}

// annotate declares annotations besides what we declared of an object before. The
// next declaration without them takes them away.
func annotate(ctx context.Context, c client.Client, before client.Object, version string, annotations map[string]string) error {
	return redeclare(ctx, c, before, version, func(u *unstructured.Unstructured) error {
		all := u.GetAnnotations()
		for name, value := range annotations {
			if all == nil {
				all = map[string]string{}
			}
			all[name] = value
		}
		u.SetAnnotations(all)
		return nil
	}, empty(before))
}

// redeclare declares again what we declared of an object before, as it is after a
// change, and fills result in with what the API server made of it.
func redeclare(ctx context.Context, c client.Client, before client.Object, version string, change func(*unstructured.Unstructured) error, result client.Object) error {
	u, err := declared(c, before)
	if err != nil {
		return err
	}
	ours, err := appliedFields(before)
	if err != nil {
		return err
	}
	keepFields(u.Object, ours, "spec")
	metadata, _ := u.Object["metadata"].(map[string]any)
	of, _ := ours["f:metadata"].(map[string]any)
	keepFields(metadata, of, "annotations")
	keepFields(metadata, of, "labels")
	if err := change(u); err != nil {
		return err
	}
	u.SetResourceVersion(version)
	return applyContent(ctx, c, u, result)
}

// panelAnnotations gives what callers of the Panel API said of an object, which
// stays when it is declared anew.
func panelAnnotations(o client.Object) map[string]string {
	kept := map[string]string{}
	for name, value := range o.GetAnnotations() {
		if strings.HasPrefix(name, v1alpha1.PanelAnnotationPrefix) {
			kept[name] = value
		}
	}
	return kept
}

// appliedFields gives the fields that we declared, as the API server keeps them:
// each name after "f:". The object must have been read past the cache, which has
// no managed fields.
func appliedFields(o client.Object) (map[string]any, error) {
	ours := map[string]any{}
	for _, entry := range o.GetManagedFields() {
		if entry.Manager != FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.FieldsV1 == nil || entry.Subresource != "" {
			continue
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &ours); err != nil {
			return nil, fmt.Errorf("managed fields of %s: %w", o.GetName(), err)
		}
	}
	return ours, nil
}

// othersOf gives the managers besides us that declare something of a field of the
// specification.
func othersOf(o client.Object, field string) (all []string, err error) {
	for _, entry := range o.GetManagedFields() {
		if entry.Manager == FieldManager || entry.FieldsV1 == nil || entry.Subresource != "" {
			continue
		}
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			return nil, fmt.Errorf("managed fields of %s: %w", o.GetName(), err)
		}
		if fields.Spec["f:"+field] != nil {
			all = append(all, entry.Manager)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// keepFields drops of object[field] what ours does not name.
func keepFields(object, ours map[string]any, field string) {
	values, _ := object[field].(map[string]any)
	names, _ := ours["f:"+field].(map[string]any)
	for name := range values {
		if _, ok := names["f:"+name]; !ok {
			delete(values, name)
		}
	}
	if len(values) == 0 {
		delete(object, field)
	}
}

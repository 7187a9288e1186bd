// Package install puts onto an API server what the operator needs there.
package install

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/config/crd"
	"mollymawk.dev/operator/config/rbac"
)

// FieldManager is who owns what is installed.
const FieldManager = "mollymawk-standalone"

const (
	establishLimit = time.Minute
	establishPoll  = 20 * time.Millisecond
)

// CRDs applies the CustomResourceDefinitions and waits until they are served.
func CRDs(ctx context.Context, c client.Client) error {
	files, err := fs.Glob(crd.Files, "bases/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		manifest, err := crd.Files.ReadFile(file)
		if err != nil {
			return err
		}
		var object unstructured.Unstructured
		if err := yaml.Unmarshal(manifest, &object.Object); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := Apply(ctx, c, &object); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := established(ctx, c, object.GetName()); err != nil {
			return fmt.Errorf("%s is not served: %w", object.GetName(), err)
		}
	}
	return nil
}

// TenantRole applies the ClusterRole that users of the HTTP API have in their
// namespaces.
func TenantRole(ctx context.Context, c client.Client) error {
	var object unstructured.Unstructured
	if err := yaml.Unmarshal(rbac.TenantRole, &object.Object); err != nil {
		return fmt.Errorf("role of tenants: %w", err)
	}
	object.SetName(rbac.NamePrefix + object.GetName())
	if err := Apply(ctx, c, &object); err != nil {
		return fmt.Errorf("role of tenants: %w", err)
	}
	return nil
}

func established(ctx context.Context, c client.Client, name string) error {
	return wait.PollUntilContextTimeout(ctx, establishPoll, establishLimit, true, func(ctx context.Context) (bool, error) {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
		if err := c.Get(ctx, client.ObjectKey{Name: name}, u); err != nil {
			return false, err
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &definition); err != nil {
			return false, err
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
}

// Apply makes an object as it is given, and leaves alone what others own of it.
func Apply(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(FieldManager), client.ForceOwnership)
}

// Namespace makes a namespace if it does not exist.
func Namespace(ctx context.Context, c client.Client, name string) error {
	err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

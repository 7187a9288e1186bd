package install

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/config/rbac"
)

// AdminRole applies what administrators of the HTTP API may do, and says who they
// are.
func AdminRole(ctx context.Context, c client.Client) error {
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(rbac.AdminRole))); ; {
		manifest, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = applyRole(ctx, c, manifest)
		}
		if err != nil {
			return fmt.Errorf("role of administrators: %w", err)
		}
	}
}

// applyRole gives the names the prefix that they have in a cluster.
func applyRole(ctx context.Context, c client.Client, manifest []byte) error {
	var object unstructured.Unstructured
	if err := yaml.Unmarshal(manifest, &object.Object); err != nil {
		return err
	}
	object.SetName(rbac.NamePrefix + object.GetName())
	role, bound, err := unstructured.NestedString(object.Object, "roleRef", "name")
	if err != nil {
		return err
	}
	if bound {
		if err := unstructured.SetNestedField(object.Object, rbac.NamePrefix+role, "roleRef", "name"); err != nil {
			return err
		}
	}
	return Apply(ctx, c, &object)
}

package install

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/config/rbac"
)

// Roles applies what users and administrators of the HTTP API may do.
func Roles(ctx context.Context, c client.Client) error {
	return fs.WalkDir(rbac.Files, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		manifests, err := rbac.Files.ReadFile(file)
		if err != nil {
			return err
		}
		for reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests))); ; {
			manifest, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = applyRole(ctx, c, manifest)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	})
}

// applyRole gives the names the prefix that they have in a cluster.
func applyRole(ctx context.Context, c client.Client, manifest []byte) error {
	var object unstructured.Unstructured
	if err := yaml.Unmarshal(manifest, &object.Object); err != nil {
		return err
	}
	object.SetName(rbac.Prefix + object.GetName())
	role, found, err := unstructured.NestedString(object.Object, "roleRef", "name")
	if err != nil {
		return err
	}
	if found {
		if err := unstructured.SetNestedField(object.Object, rbac.Prefix+role, "roleRef", "name"); err != nil {
			return err
		}
	}
	return Apply(ctx, c, &object)
}

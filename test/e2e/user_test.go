package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/api/v1alpha1"
)

// user does what people do with kubectl.
type user interface {
	// apply makes or changes an object.
	apply(t *testing.T, manifest string)
	// remove deletes an object and waits until it is gone.
	remove(t *testing.T, o client.Object)
	// table is what "kubectl get" shows of all objects of a kind.
	table(t *testing.T, resource string) string
	// explain is what "kubectl explain" says about a field, such as unikernel.spec.image.
	explain(t *testing.T, field string) string
}

// users are all ways there are on this machine.
func users(t *testing.T, c *cluster) map[string]user {
	t.Helper()
	all := map[string]user{"client-go": clientUser{c}}
	if path, err := exec.LookPath("kubectl"); err == nil {
		all["kubectl"] = kubectlUser{path, c.kubeconfig, t.TempDir()}
	} else {
		t.Log("kubectl is not on this machine: client-go only")
	}
	return all
}

// kubectlUser runs the program kubectl, with a cache of its own.
type kubectlUser struct{ program, kubeconfig, cache string }

func (u kubectlUser) run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), u.program, append([]string{"--kubeconfig", u.kubeconfig, "--cache-dir", u.cache}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

func (u kubectlUser) apply(t *testing.T, manifest string) {
	t.Helper()
	u.run(t, manifest, "apply", "-f", "-")
}

func (u kubectlUser) remove(t *testing.T, o client.Object) {
	t.Helper()
	args := []string{"delete", resourceOf(o), o.GetName(), "--timeout", patience.String()}
	if o.GetNamespace() != "" {
		args = append(args, "--namespace", o.GetNamespace())
	}
	u.run(t, "", args...)
}

func (u kubectlUser) table(t *testing.T, resource string) string {
	t.Helper()
	return u.run(t, "", "get", resource, "--all-namespaces")
}

func (u kubectlUser) explain(t *testing.T, field string) string {
	t.Helper()
	return u.run(t, "", "explain", field)
}

// clientUser asks the API server as kubectl does.
type clientUser struct{ *cluster }

func (u clientUser) apply(t *testing.T, manifest string) {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(manifest), &o.Object); err != nil {
		t.Fatal(err)
	}
	if err := u.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("e2e")); err != nil {
		t.Fatal(err)
	}
}

func (u clientUser) remove(t *testing.T, o client.Object) {
	t.Helper()
	if err := u.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	eventually(t, o.GetName()+" is gone", func() error {
		err := u.Get(t.Context(), client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object))
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
}

func (u clientUser) table(t *testing.T, resource string) string {
	t.Helper()
	config := rest.CopyConfig(u.config)
	config.GroupVersion, config.APIPath = &v1alpha1.GroupVersion, "/apis"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.Get().Resource(resource).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, column := range table.ColumnDefinitions {
		fmt.Fprint(&text, strings.ToUpper(column.Name), "   ")
	}
	for _, row := range table.Rows {
		fmt.Fprint(&text, "\n")
		for _, cell := range row.Cells {
			fmt.Fprint(&text, cell, "   ")
		}
	}
	return text.String()
}

// explain follows the field through the OpenAPI document that kubectl reads.
func (u clientUser) explain(t *testing.T, field string) string {
	t.Helper()
	c, err := discovery.NewDiscoveryClientForConfig(u.config)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := c.OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := paths["apis/"+v1alpha1.GroupVersion.String()].Schema("application/json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		t.Fatal(err)
	}
	steps := strings.Split(field, ".")
	for name, s := range document.Components.Schemas {
		if strings.EqualFold(name[strings.LastIndex(name, ".")+1:], steps[0]) {
			return s.at(steps[1:]).Description
		}
	}
	t.Fatal("no schema for", field)
	return ""
}

// schema is the part of an OpenAPI schema that descriptions are in.
type schema struct {
	Description string            `json:"description"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
}

func (s schema) at(steps []string) schema {
	for _, step := range steps {
		if s.Items != nil {
			s = *s.Items
		}
		s = s.Properties[step]
	}
	return s
}

// resourceOf is the name of the object's kind as kubectl takes it.
func resourceOf(o client.Object) string {
	return strings.ToLower(fmt.Sprintf("%T", o)[strings.LastIndex(fmt.Sprintf("%T", o), ".")+1:])
}

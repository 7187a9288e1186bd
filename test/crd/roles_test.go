package crd_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/api/v1alpha1"
)

// role is what a Role and a ClusterRole have in common.
type role struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Rules []rbacv1.PolicyRule `json:"rules"`
}

func loadRoles(t *testing.T, file string) []role {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "config/rbac", file))
	if err != nil {
		t.Fatal(err)
	}
	var out []role
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		var r role
		if err := yaml.Unmarshal(doc, &r); err != nil {
			t.Fatal(err)
		}
		if r.Kind != "" {
			out = append(out, r)
		}
	}
}

// TestOperatorRole demands that the operator can neither write the objects of users as a whole nor read Secrets everywhere.
func TestOperatorRole(t *testing.T) {
	for _, r := range loadRoles(t, "role.yaml") {
		for _, rule := range r.Rules {
			if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.APIGroups, "*") {
				t.Errorf("%s: a rule for everything: %v", r.Kind, rule)
			}
			if r.Kind == "ClusterRole" && slices.Contains(rule.Resources, "secrets") &&
				(slices.Contains(rule.Verbs, "list") || slices.Contains(rule.Verbs, "watch")) {
				t.Errorf("Secrets of all namespaces can be listed: %v", rule)
			}
			for _, plural := range []string{"albatrossinstances", "unikernels", "volumes", "unikernelimages"} {
				for _, verb := range []string{"create", "update", "delete", "deletecollection"} {
					if slices.Contains(rule.Resources, plural) && slices.Contains(rule.Verbs, verb) {
						t.Errorf("the operator may %s %s", verb, plural)
					}
				}
			}
		}
	}
}

// TestRolesForPeople demands three roles a kind. Those of namespaced kinds are part of the cluster's own roles.
func TestRolesForPeople(t *testing.T) {
	parts := map[string]string{"viewer": "view", "editor": "edit", "admin": "admin"}
	for kind, plural := range map[string]string{"albatrossinstance": "albatrossinstances", "unikernel": "unikernels", "volume": "volumes", "unikernelimage": "unikernelimages", "user": "users"} {
		for name, part := range parts {
			roles := loadRoles(t, kind+"_"+name+"_role.yaml")
			if len(roles) != 1 || roles[0].Kind != "ClusterRole" || roles[0].Metadata.Name != kind+"-"+name+"-role" {
				t.Fatalf("%s %s: %v", kind, name, roles)
			}
			aggregated := roles[0].Metadata.Labels["rbac.authorization.k8s.io/aggregate-to-"+part] == "true"
			// Everybody may look at the catalogue, which is for all namespaces.
			want := kind == "unikernel" || kind == "volume" || kind == "unikernelimage" && name == "viewer"
			if aggregated != want {
				t.Errorf("%s %s: part of the role %s: %v", kind, name, part, aggregated)
			}
			for _, rule := range roles[0].Rules {
				if !slices.Equal(rule.APIGroups, []string{v1alpha1.GroupName}) ||
					(!slices.Equal(rule.Resources, []string{plural}) && !slices.Equal(rule.Resources, []string{plural + "/status"})) {
					t.Errorf("%s %s: %v", kind, name, rule)
				}
				writes := slices.ContainsFunc(rule.Verbs, func(v string) bool { return v != "get" && v != "list" && v != "watch" })
				if writes && (name == "viewer" || rule.Resources[0] != plural) {
					t.Errorf("%s %s may write: %v", kind, name, rule)
				}
			}
		}
	}
}

// TestNamespacedRoles demands the same rights in the roles of config/namespaced as in the generated ones, but those for namespaces and Users,
// and in the whole cluster only those for kinds that are in no namespace.
func TestNamespacedRoles(t *testing.T) {
	inNoNamespace := func(right string) bool {
		return slices.ContainsFunc([]string{"albatrossinstances", "unikernelimages"}, func(plural string) bool {
			return strings.HasPrefix(right, "mollymawk.dev "+plural)
		})
	}
	all := rightsOf(loadRoles(t, "role.yaml")[:1])
	cluster, tenant := rightsOf(loadRoles(t, "../namespaced/cluster_role_patch.yaml")), rightsOf(loadRoles(t, "../namespaced/tenant/role.yaml")[:1])
	for _, right := range all {
		where := tenant
		if inNoNamespace(right) {
			where = cluster
		}
		notThere := strings.Contains(right, " namespaces ") || strings.HasPrefix(right, "mollymawk.dev users")
		if !notThere && !slices.Contains(where, right) {
			t.Errorf("%q is missing", right)
		}
	}
	for _, right := range append(slices.Clone(cluster), tenant...) {
		if !slices.Contains(all, right) {
			t.Errorf("%q is too much", right)
		}
	}
	for _, right := range cluster {
		if !inNoNamespace(right) {
			t.Errorf("%q in the whole cluster", right)
		}
	}
	if len(cluster) < 6 || len(tenant) < 14 {
		t.Errorf("only %d and %d rights", len(cluster), len(tenant))
	}
}

// rightsOf gives group, resource and verb of each right.
func rightsOf(roles []role) (all []string) {
	for _, r := range roles {
		for _, rule := range r.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						all = append(all, group+" "+resource+" "+verb)
					}
				}
			}
		}
	}
	return all
}

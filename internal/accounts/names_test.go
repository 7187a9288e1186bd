package accounts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/api/v1alpha1"
)

func TestCheckName(t *testing.T) {
	for given, want := range map[string]string{
		"alice": "alice", "Alice": "alice", "a": "a", "0": "0", "a.b-c": "a.b-c", strings.Repeat("a", 63): strings.Repeat("a", 63),
		"": "", ".": "", "..": "", "a..b": "", "-a": "", "a-": "", "a.": "", ".a": "", "a_b": "", "a:b": "", "a/b": "", "../a": "", "a b": "", "ä": "", "a\n": "",
		"\u212a": "", strings.Repeat("a", 64): "",
	} {
		got, err := checkName(given)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
}

// TestCheckEmail agrees with the examples of the CustomResourceDefinition.
func TestCheckEmail(t *testing.T) {
	checked := 0
	for pattern, want := range map[string]bool{"../../hack/valid-examples/user-*.yaml": true, "../../hack/invalid-examples/user-email-*.yaml": false} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var user v1alpha1.User
			if err := yaml.Unmarshal(content, &user); err != nil {
				t.Fatal(file, err)
			}
			checked++
			if err := checkEmail(string(user.Spec.Email)); (err == nil) != want {
				t.Errorf("%s: %q: %v", file, user.Spec.Email, err)
			}
		}
	}
	if checked < 10 {
		t.Error("only", checked, "examples")
	}
}

func FuzzNamespaceFor(f *testing.F) {
	for _, name := range []string{"alice", "a.b", "a-b", strings.Repeat("a.", 31) + "a", "0.-"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		name, err := checkName(name)
		if err != nil {
			return
		}
		namespace := namespaceFor(name)
		if (namespace == "") != !strings.Contains(name, ".") {
			t.Errorf("%q: %q", name, namespace)
		}
		if namespace == "" {
			namespace = name
		}
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			t.Errorf("%q: %q: %v", name, namespace, problems)
		}
	})
}

func TestNamespacesDiffer(t *testing.T) {
	var all []string
	for _, name := range []string{"a.b.c", "a-b.c", "a.b-c", strings.Repeat("a", 55) + ".b", strings.Repeat("a", 55) + ".c"} {
		all = append(all, namespaceFor(name))
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Error(all)
	}
}

func FuzzCheckEmail(f *testing.F) {
	f.Add("alice@example.org")
	f.Add("O'Brien+`x`@a")
	f.Fuzz(func(t *testing.T, email string) {
		if checkEmail(email) != nil {
			return
		}
		if strings.Count(email, "@") != 1 || strings.ContainsAny(email, " \t\r\n<>\"\\,;:()[]") || len(email) > maxEmail || !sameEmail(email, strings.ToUpper(email)) {
			t.Errorf("%q is accepted", email)
		}
	})
}

func TestAdminName(t *testing.T) {
	for email, want := range map[string]string{
		"admin@localhost": "admin", "Jane.Doe+ops@example.org": "jane-doe-ops", "!!!@example.org": "admin", strings.Repeat("x", 64) + "@a": strings.Repeat("x", 63),
	} {
		got := adminName(email)
		if _, err := checkName(got); got != want || err != nil {
			t.Errorf("%q: %q, %v", email, got, err)
		}
	}
}

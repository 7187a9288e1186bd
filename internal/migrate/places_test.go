package migrate

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"mollymawk.dev/operator/albatross"
)

func TestNamespaceFor(t *testing.T) {
	seen := map[string]string{}
	for path, want := range map[string]string{
		"alice":                               "alice",
		"a-1":                                 "a-1",
		"default":                             "default-*",
		"system":                              "system-*",
		"kube-system":                         "tenant-kube-system-*",
		"kube.system":                         "tenant-kube-system-*",
		"kube:system":                         "tenant-kube-system-*",
		"bob.smith":                           "bob-smith-*",
		"bob:smith":                           "bob-smith-*",
		"ends-":                               "ends-*",
		"...":                                 "unnamed-*",
		"-.-":                                 "unnamed-*",
		strings.Repeat("x", 63):               strings.Repeat("x", 63),
		strings.Repeat("x.y", 21):             strings.Repeat("x-y", 18) + "-*",
		"a:" + strings.Repeat("x", 60) + ":b": "a-" + strings.Repeat("x", 52) + "-*",
	} {
		got := namespaceFor(albatross.Path(strings.Split(path, ":")), "system")
		begin, isDerived := strings.CutSuffix(want, "*")
		if !isDerived && got != want || isDerived && (!strings.HasPrefix(got, begin) || len(got) != len(begin)+8) {
			t.Errorf("%s: %s, not %s", path, got, want)
		}
		if problems := validation.IsDNS1123Label(got); len(problems) > 0 {
			t.Errorf("%s: %s is no namespace: %v", path, got, problems)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%s and %s have the namespace %s", path, other, got)
		}
		seen[got] = path
		if again := namespaceFor(albatross.Path(strings.Split(path, ":")), "system"); again != got {
			t.Errorf("%s: %s, then %s", path, got, again)
		}
	}
}

func TestObjectName(t *testing.T) {
	for label, same := range map[string]bool{"rack1": true, "rack.1": true, "rack-": false, ".rack": false, "r..1": false, strings.Repeat("r", 63): true} {
		got := objectName(label)
		if (got == label) != same || !validObjectName(got) {
			t.Errorf("%s: %s", label, got)
		}
	}
}

func TestCheckPath(t *testing.T) {
	long := strings.Repeat("x", 63)
	for text, ok := range map[string]bool{
		"alice": true, "a:b:c:d:e:f:g:h": true, "a:b:c:d:e:f:g:h:i": false, long + ":" + long + ":" + long + ":" + long: true,
		long + ":" + long + ":" + long + ":" + long + ":x": false, "a:.": false, "a:-b": false, "a:B": false, "a:.b": true,
	} {
		if err := checkPath(albatross.Path(strings.Split(text, ":"))); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestScope(t *testing.T) {
	seen := Seen{Policies: map[string]albatross.Policy{"a": {Unikernels: 1}, "a:b": {Unikernels: 2}, "c:d": {Unikernels: 3}}}
	for text, missing := range map[string]string{"a": "", "a:b": "", "a:b:c": "a:b:c", "c:d": "c", "d": "d"} {
		path := albatross.Path(strings.Split(text, ":"))
		scope, gap := seen.scope(path)
		if gap.String() != missing {
			t.Errorf("%s: %s is missing, not %s", text, gap, missing)
		}
		if missing == "" && (!scope.Path().Equal(path) || scope[len(scope)-1].Policy.Unikernels != int64(len(path))) {
			t.Errorf("%s: %v", text, scope)
		}
		if missing != "" && scope != nil {
			t.Errorf("%s: a command would set a policy that nobody has decided on: %v", text, scope)
		}
	}
}

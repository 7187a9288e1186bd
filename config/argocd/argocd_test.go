package argocd_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/config/argocd"
	"mollymawk.dev/operator/internal/status"
	"mollymawk.dev/operator/internal/status/statusrules"
)

var update = flag.Bool("update", false, "write argocd-cm.yaml anew")

// folder is laid out as in Argo CD's repository.
const folder = "resource_customizations/" + v1alpha1.GroupName

var kinds = []string{"AlbatrossInstance", "Unikernel", "Volume"}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// healthTests is what Argo CD's own test reads from a file health_test.yaml.
type healthTests struct {
	Tests []struct {
		HealthStatus struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"healthStatus"`
		InputPath string `json:"inputPath"`
	} `json:"tests"`
}

// TestHealth does what Argo CD's test does with these folders.
func TestHealth(t *testing.T) {
	for _, kind := range kinds {
		script := string(read(t, folder, kind, "health.lua"))
		if script != argocd.HealthLua {
			t.Errorf("%s: its health.lua is not that of Unikernel", kind)
		}
		var all healthTests
		if err := yaml.UnmarshalStrict(read(t, folder, kind, "health_test.yaml"), &all); err != nil {
			t.Fatal(err)
		}
		used := map[string]bool{}
		for _, tt := range all.Tests {
			used[filepath.Join(folder, kind, tt.InputPath)] = true
			var content map[string]any
			if err := yaml.Unmarshal(read(t, folder, kind, tt.InputPath), &content); err != nil {
				t.Fatal(err)
			}
			if content["kind"] != kind {
				t.Errorf("%s: %s is a %v", kind, tt.InputPath, content["kind"])
			}
			got, err := statusrules.ArgoHealth(script, content)
			if err != nil || got != (statusrules.Health{Status: tt.HealthStatus.Status, Message: tt.HealthStatus.Message}) {
				t.Errorf("%s: %s: %+v, %v", kind, tt.InputPath, got, err)
			}
		}
		files, err := filepath.Glob(filepath.Join(folder, kind, "testdata", "*.yaml"))
		if err != nil || len(files) < 6 {
			t.Errorf("%s: %d files, %v", kind, len(files), err)
		}
		for _, file := range files {
			if !used[file] {
				t.Errorf("%s is not used", file)
			}
		}
	}
}

// reasons gives all reasons that there are.
func reasons(t *testing.T) (all []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, reason)
		}
		return true
	})
	if len(all) < 30 {
		t.Fatal("only", len(all), "reasons found")
	}
	return all
}

// objects are one of each kind, with conditions that were observed.
func objects(conditions []metav1.Condition) []client.Object {
	meta := metav1.ObjectMeta{Name: "it", Generation: 3}
	instance, uk, v := &v1alpha1.AlbatrossInstance{ObjectMeta: meta}, &v1alpha1.Unikernel{ObjectMeta: meta}, &v1alpha1.Volume{ObjectMeta: meta}
	instance.Status.ObservedGeneration, uk.Status.ObservedGeneration, v.Status.ObservedGeneration = 3, 3, 3
	instance.Status.Conditions, uk.Status.Conditions, v.Status.Conditions = conditions, conditions, conditions
	return []client.Object{instance, uk, v}
}

// TestEveryReason has each reason in each of the ways in which a reconcile can end;
// the rules of conditions compare with kstatus.
func TestEveryReason(t *testing.T) {
	verdicts := map[string]func(reason, message string) status.Verdict{
		"Healthy": status.Ready, "Progressing": status.Working, "Progressing, as nobody knows": status.Lost, "Degraded": status.Stalled,
	}
	for _, reason := range reasons(t) {
		for want, verdict := range verdicts {
			if want == "Healthy" && (reason == v1alpha1.ReasonSuspended || reason == v1alpha1.ReasonPaused) {
				want = "Suspended"
			}
			want, _, _ = strings.Cut(want, ",")
			conditions := status.Merge(nil, verdict(reason, `what "is"`).Conditions(), nil, 3, metav1.NewTime(time.Unix(1, 0)))
			for _, o := range objects(conditions) {
				if broken := statusrules.Check(o); broken != nil {
					t.Errorf("%s: %q", reason, broken)
				}
				content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
				if err != nil {
					t.Fatal(err)
				}
				got, err := statusrules.ArgoHealth(argocd.HealthLua, content)
				if err != nil || got != (statusrules.Health{Status: want, Message: reason + `: what "is"`}) {
					t.Errorf("%T %s: %+v, %v; want %s", o, reason, got, err, want)
				}
			}
		}
	}
}

// TestConfigMap compares what people apply with the script.
func TestConfigMap(t *testing.T) {
	var want strings.Builder
	want.WriteString(`# The health checks, for those who run Argo CD; made from health.lua. Add them to what is there:
#   kubectl patch configmap argocd-cm -n argocd --patch-file config/argocd/argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
`)
	for _, kind := range kinds {
		want.WriteString("  resource.customizations.health." + v1alpha1.GroupName + "_" + kind + ": |\n    ")
		want.WriteString(strings.ReplaceAll(strings.TrimSuffix(argocd.HealthLua, "\n"), "\n", "\n    ") + "\n")
	}
	if *update {
		if err := os.WriteFile("argocd-cm.yaml", []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content := read(t, "argocd-cm.yaml")
	if string(content) != want.String() {
		t.Error("not as it should be; mend it with: go test ./config/argocd -run TestConfigMap -update")
	}
	var parsed struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(content, &parsed); err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if parsed.Data["resource.customizations.health.mollymawk.dev_"+kind] != argocd.HealthLua {
			t.Errorf("%s: another script", kind)
		}
	}
}

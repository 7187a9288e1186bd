package statusrules_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/config/argocd"
	"mollymawk.dev/operator/internal/status/statusrules"
)

// TestArgoHealth has a script see all that an object may have, and little else.
func TestArgoHealth(t *testing.T) {
	content := map[string]any{
		"text": "a", "whole": int64(7), "half": 0.5, "yes": true, "none": nil, "list": []any{"x", "y"}, "table": map[string]any{"in": "side"},
	}
	for script, want := range map[string]string{
		`return {status = obj.text, message = obj.table["in"]}`:                                "a side",
		`return {status = obj.whole + obj.half}`:                                               "7.5 ",
		`if obj.yes and obj.none == nil then return {status = obj.list[2]} end`:                "y ",
		`local n = 0 for _, x in ipairs(obj.list) do n = n + 1 end return {status = "n" .. n}`: "n2 ",
		`if io == nil and os == nil and string == nil then return {status = "confined"} end`:   "confined ",
		`return 7`:                  "error: the health check gives a number",
		`return`:                    "error: the health check gives a nil",
		`not lua`:                   "error: ",
		`return {status = nil..""}`: "error: ",
	} {
		health, err := statusrules.ArgoHealth(script, content)
		got := health.Status + " " + health.Message
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want && (!strings.HasPrefix(want, "error: ") || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}

// TestArgoAgrees has a check for Argo CD be wrong.
func TestArgoAgrees(t *testing.T) {
	right := argocd.HealthLua
	defer func() { argocd.HealthLua = right }()
	for script, want := range map[string]string{
		right:                           "",
		`return {status = "Degraded"}`:  "says Degraded",
		`return {status = "Suspended"}`: "says Suspended",
		`no script`:                     "fails",
	} {
		argocd.HealthLua = script
		broken := strings.Join(statusrules.Check(unikernel(ready(metav1.ConditionTrue))), "; ")
		if (want == "") != (broken == "") || !strings.Contains(broken, want) {
			t.Errorf("%s: %q, want %q", script, broken, want)
		}
	}
}

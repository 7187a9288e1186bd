package panel_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/api/v1alpha1"
)

var manySpaces = regexp.MustCompile(` +`)

// kubectl runs a line of the document, or does the same without the program.
func (d *reader) kubectl(s step) {
	d.Helper()
	line, want, output := d.local(s.line), d.local(strings.TrimSpace(s.shows)), ""
	if d.program != "" {
		output = d.realKubectl(line)
	} else {
		output = d.insteadOfKubectl(line)
	}
	if want == "" {
		return
	}
	if err := d.known.match(manySpaces.ReplaceAllString(want, " "), manySpaces.ReplaceAllString(strings.TrimSpace(output), " ")); err != nil {
		d.Errorf("%s: %v", line, err)
	}
}

func (d *reader) realKubectl(line string) string {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), "bash", "-c", line)
	cmd.Dir, cmd.Env = d.Work, append(cmd.Environ(), "KUBECONFIG="+d.Kubeconfig(), "HOME="+d.Work)
	output, err := cmd.CombinedOutput()
	if err != nil {
		d.Fatalf("%s: %v\n%s", line, err, output)
	}
	return string(output)
}

var (
	createSecret = regexp.MustCompile(`^kubectl -n (\S+) create secret generic (\S+) `)
	fromFile     = regexp.MustCompile(`--from-file=(\S+?)=(\S+)`)
	patchNode    = regexp.MustCompile(`(?s)^kubectl patch albi (\S+) --type merge -p '(.*)'$`)
	applyHere    = regexp.MustCompile(`(?s)^kubectl apply -f - <<EOF\n(.*)\nEOF$`)
)

// insteadOfKubectl does what the lines of the document do.
func (d *reader) insteadOfKubectl(line string) string {
	d.Helper()
	if m := createSecret.FindStringSubmatch(line); m != nil {
		secret := &corev1.Secret{Data: map[string][]byte{}}
		secret.Namespace, secret.Name = m[1], m[2]
		for _, file := range fromFile.FindAllStringSubmatch(line, -1) {
			secret.Data[file[1]] = d.Read(filepath.Join(d.Work, file[2]))
		}
		d.must(d.Client().Create(d.Context(), secret))
		return ""
	}
	if m := patchNode.FindStringSubmatch(line); m != nil {
		node := &v1alpha1.AlbatrossInstance{}
		node.Name = m[1]
		d.must(d.Client().Patch(d.Context(), node, client.RawPatch(types.MergePatchType, []byte(m[2]))))
		return ""
	}
	if m := applyHere.FindStringSubmatch(line); m != nil {
		d.apply(m[1])
		return ""
	}
	if strings.HasPrefix(line, "kubectl get uk -A ") {
		var all v1alpha1.UnikernelList
		d.must(d.Client().List(d.Context(), &all))
		table := "NAME NODE IMAGE SUSPENDED\n"
		for _, uk := range all.Items {
			table += fmt.Sprintf("%s %s %s %v\n", uk.Name, uk.Spec.InstanceRef.Name, uk.Spec.Image.Catalog.Name, uk.Spec.Suspended)
		}
		return table
	}
	d.Fatalf("nothing is known instead of %s", line)
	return ""
}

func (d *reader) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

package migrate_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/internal/migrate"
	"mollymawk.dev/operator/internal/operator"
	"mollymawk.dev/operator/internal/testenv"
)

// limit is how long something may take that normally takes milliseconds.
const limit = 2 * time.Minute

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme := must(operator.Scheme())(t)
	return must(client.New(testenv.Config(t), client.Options{Scheme: scheme}))(t)
}

// eventually waits until try succeeds.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// imported runs the command and gives what it says.
func imported(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, log bytes.Buffer
	cmd := migrate.NewCommand("manager")
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err = cmd.ExecuteContext(ctx)
	return out.String(), log.String(), err
}

// objectsIn gives the objects of a stream of YAML documents, without those that are
// comments.
func objectsIn(t *testing.T, text string) (all []*unstructured.Unstructured) {
	t.Helper()
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		object := &unstructured.Unstructured{}
		if err := errors.Join(err, yaml.UnmarshalStrict(document, &object.Object)); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if len(object.Object) > 0 {
			all = append(all, object)
		}
	}
}

// objectsOf gives the objects of a folder in the order of its files.
func objectsOf(t *testing.T, dir string) (all []*unstructured.Unstructured) {
	t.Helper()
	for _, name := range must(filepath.Glob(filepath.Join(dir, "*.yaml")))(t) {
		all = append(all, objectsIn(t, read(t, name))...)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	return string(must(os.ReadFile(name))(t))
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// named finds an object by kind and name.
func named(all []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	for _, o := range all {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	return nil
}

// hostClient is somebody who works with a host as Mollymawk does.
type hostClient struct {
	*testing.T
	*albatross.Client
	host *albatrosstest.Host
}

func newHost(t *testing.T) *hostClient {
	t.Helper()
	host := albatrosstest.Start(t, albatrosstest.Options{Bridges: []string{"service", "management"}})
	credentials := host.Credentials()
	credential := must(albatross.ParseCredential(credentials.Cert, credentials.Key))(t)
	c := must(albatross.New(albatross.Options{
		Addr: host.Addr(), Credential: credential, ServerCAs: must(albatross.ParseServerCA(credentials.ServerCA))(t),
	}))(t)
	return &hostClient{t, c, host}
}

// policy is large enough for what tests run.
func policy() albatross.Policy {
	return albatross.Policy{Unikernels: 10, CPUIDs: []int64{0, 1}, Memory: 1024, Block: new(int64(64)), Bridges: []string{"service", "management"}}
}

// scope gives a path the same policy on all levels.
func scope(path ...string) (all albatross.Scope) {
	for _, label := range path {
		all = append(all, albatross.Level{Label: label, Policy: policy()})
	}
	return all
}

// run starts a unikernel whose image has the devices of its configuration.
func (h *hostClient) run(at albatross.Scope, label string, arguments albatross.Arguments) []byte {
	h.Helper()
	image := solo5.Image{Target: solo5.HVT, ABIVersion: 2}
	for _, b := range arguments.Bridges {
		image.Devices = append(image.Devices, solo5.Device{Name: b.Name, Type: solo5.Network})
	}
	for _, b := range arguments.Blocks {
		image.Devices = append(image.Devices, solo5.Device{Name: b.Name, Type: solo5.Block})
	}
	content := must(solo5.Build(image, []byte(label)))(h.T)
	arguments.NumCPUs = 1
	// As Mollymawk does.
	arguments.AddName = true
	config := albatross.Config{Arguments: arguments}
	if _, err := h.Create(h.Context(), at, label, config, albatross.Image{Reader: bytes.NewReader(content), Size: int64(len(content))}); err != nil {
		h.Fatalf("%s: %v", label, err)
	}
	return content
}

// block makes a block device with data.
func (h *hostClient) block(at albatross.Scope, label, content string) {
	h.Helper()
	if _, err := h.AddBlock(h.Context(), at, label, 2); err != nil {
		h.Fatal(err)
	}
	if _, err := h.SetBlock(h.Context(), at, label, albatross.BlockContent{Reader: strings.NewReader(content)}); err != nil {
		h.Fatal(err)
	}
}

// asStored is the host as Mollymawk stores it.
func (h *hostClient) asStored(name string) map[string]any {
	credentials := h.host.Credentials()
	address, port, _ := strings.Cut(h.host.Addr(), ":")
	return map[string]any{
		"name": name, "certificate": string(credentials.Cert), "private_key": string(credentials.Key), "server_ip": address,
		"server_port": json.Number(port), "updated_at": "2026-01-20 10:00:00-00:00",
	}
}

// flags are those that name the host.
func (h *hostClient) flags(name string) []string {
	h.Helper()
	credentials, dir := h.host.Credentials(), h.TempDir()
	return []string{
		"--instance", name, "--address", h.host.Addr(),
		"--tls-cert", writeFile(h.T, filepath.Join(dir, "cacert.pem"), string(credentials.Cert)),
		"--tls-key", writeFile(h.T, filepath.Join(dir, "ca.key"), string(credentials.Key)),
	}
}

// state is everything on a host that must stay as it is.
func (h *hostClient) state() map[string]any {
	h.Helper()
	all := map[string]any{"commands that change something": h.host.Mutations("")}
	for _, u := range h.host.Unikernels("") {
		all["unikernel "+u.Name.String()] = u.Info
	}
	for _, b := range h.host.Blocks("") {
		content, err := h.host.BlockContent(b.Name.String())
		if err != nil {
			h.Fatal(err)
		}
		all["block "+b.Name.String()] = b
		all["content "+b.Name.String()] = string(content)
	}
	for _, p := range h.host.Policies() {
		all["policy "+p.Name.String()] = p.Policy
	}
	return all
}

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func storage(t *testing.T, users, instances []any) string {
	t.Helper()
	return string(must(json.Marshal(map[string]any{"version": 10, "users": users, "configuration": instances, "email": nil}))(t))
}

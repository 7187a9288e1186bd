package albatrosstest_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient makes a client with the host's own credential.
func newClient(t testing.TB, h *albatrosstest.Host) *albatross.Client {
	t.Helper()
	credentials := h.Credentials()
	credential, err := albatross.ParseCredential(credentials.Cert, credentials.Key)
	if err != nil {
		t.Fatal(err)
	}
	cas, err := albatross.ParseServerCA(credentials.ServerCA)
	if err != nil {
		t.Fatal(err)
	}
	c, err := albatross.New(albatross.Options{Addr: h.Addr(), Credential: credential, ServerCAs: cas, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var mib10 = int64(10)

// alice is a tenant with the policy of the recorded scenarios.
var alice = albatross.Scope{{Label: "alice", Policy: wire.Policy{Unikernels: 5, CPUIDs: []int64{0}, Memory: 128, Block: &mib10, Bridges: []string{"service"}}}}

func standIn(t testing.TB, program string, size int, devices ...solo5.Device) []byte {
	t.Helper()
	b, err := albatrosstest.StandIn(program, solo5.Image{Devices: devices}, size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func small(argv ...string) wire.Config {
	return wire.Config{Arguments: wire.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1, Argv: argv}}
}

func create(t testing.TB, c *albatross.Client, label string, config wire.Config, image []byte) {
	t.Helper()
	text, err := c.Create(t.Context(), alice, label, config, albatross.Image{Reader: bytes.NewReader(image), Size: int64(len(image))})
	if err != nil || text != "created unikernel" {
		t.Fatalf("create %s: %q, %v", label, text, err)
	}
}

func TestLife(t *testing.T) {
	h := albatrosstest.Start(t, albatrosstest.Options{})
	c := newClient(t, h)
	create(t, c, "web", small("hello"), standIn(t, "test_tick", 131504))
	infos, err := c.Unikernels(t.Context(), alice)
	if err != nil || len(infos) != 1 || infos[0].Name.String() != "alice:web" {
		t.Fatalf("%+v, %v", infos, err)
	}
	if text, err := c.Destroy(t.Context(), alice, "web"); err != nil || text != "destroyed unikernel" {
		t.Fatalf("%q, %v", text, err)
	}
	if got := h.Unikernels(""); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := strings.Join(h.Console("alice:web"), "\n"); !strings.Contains(got, "cmdline: 'hello'") || !strings.Contains(got, "signal 15") {
		t.Errorf("console:\n%s", got)
	}
}

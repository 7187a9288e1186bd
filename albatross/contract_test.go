package albatross_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/solo5"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The environment that names a real host to try the contract on, instead of a
// simulated one.
const (
	envAddr        = "ALBATROSS_ADDR"
	envCredentials = "ALBATROSS_CREDENTIALS"
	envImages      = "ALBATROSS_IMAGES"
)

// target is the host that the contract is tried on.
type target struct {
	addr string
	// caCert and caKey are those of the host's CA, in PEM.
	caCert, caKey []byte
	// images is the folder of the recorded images; empty means stand-ins.
	images string
	// bridge is one that the host has, cpu an id that it allows.
	bridge string
	cpu    int64
}

// contract lists the cases. Each has a tenant of its own.
var contract = []struct {
	name string
	run  func(t *testing.T, p *place)
}{
	{"Create", testCreate},
	{"CreateTaken", testCreateTaken},
	{"CreateCompressed", testCreateCompressed},
	{"CreateTwiceAtOnce", testCreateTwiceAtOnce},
	{"CreateNoImage", testCreateNoImage},
	{"Network", testNetwork},
	{"ForceCreate", testForceCreate},
	{"RestartSame", testRestartSame},
	{"RestartArguments", testRestartArguments},
	{"RestartRefused", testRestartRefused},
	{"Destroy", testDestroy},
	{"Names", testNames},
	{"UnknownNames", testUnknownNames},
	{"Manifest", testManifest},
	{"GetImage", testGetImage},
	{"UploadCut", testUploadCut},
	{"Blocks", testBlocks},
	{"BlockSizeZero", testBlockSizeZero},
	{"BlocksNotAllowed", testBlocksNotAllowed},
	{"BlockContent", testBlockContent},
	{"BlockTooSmall", testBlockTooSmall},
	{"BlockAttached", testBlockAttached},
	{"Console", testConsole},
	{"ConsoleSince", testConsoleSince},
	{"ConsoleEnds", testConsoleEnds},
	{"ConsoleWaits", testConsoleWaits},
	{"InactiveConsoles", testInactiveConsoles},
	{"Statistics", testStatistics},
	{"PolicyByChain", testPolicyByChain},
	{"PolicyAbove", testPolicyAbove},
	{"PolicyInUse", testPolicyInUse},
	{"Limits", testLimits},
	{"Delegation", testDelegation},
}

// TestContract is what users of the client may rely on, whatever host they talk
// to. It leaves policies behind, which cannot be lifted over TLS, and consoles.
func TestContract(t *testing.T) {
	host := findTarget(t)
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, newPlace(t, host, strings.ToLower(c.name)))
		})
	}
}

func findTarget(t *testing.T) *target {
	t.Helper()
	addr, credentials, images := os.Getenv(envAddr), os.Getenv(envCredentials), os.Getenv(envImages)
	var host *target
	switch {
	case addr == "" && credentials == "" && images == "":
		simulated := albatrosstest.Start(t, albatrosstest.Options{StatsPeriod: 100 * time.Millisecond})
		c := simulated.Credentials()
		host = &target{addr: simulated.Addr(), caCert: c.Cert, caKey: c.Key}
	case addr == "" || credentials == "" || images == "":
		t.Fatalf("%s, %s and %s must be set together", envAddr, envCredentials, envImages)
	default:
		host = &target{
			addr: addr, images: images,
			caCert: readFile(t, filepath.Join(credentials, albatrosstest.CACertFile)),
			caKey:  readFile(t, filepath.Join(credentials, albatrosstest.CAKeyFile)),
		}
	}
	host.look(t)
	return host
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// look asks the host for what tenants may be given.
func (h *target) look(t *testing.T) {
	t.Helper()
	policies, err := h.client(t, h.caCert, h.caKey).Policies(t.Context(), nil)
	if err != nil {
		t.Fatalf("policy of the host itself: %v", err)
	}
	i := slices.IndexFunc(policies, func(p albatross.PathPolicy) bool { return p.Name.Path.IsRoot() })
	if i < 0 {
		t.Fatal("the host tells no policy of its own")
	}
	root := policies[i].Policy
	if len(root.Bridges) == 0 || len(root.CPUIDs) == 0 {
		t.Fatalf("the host has no bridge or no CPU to try with: %+v", root)
	}
	h.bridge, h.cpu = root.Bridges[0], root.CPUIDs[0]
}

// client makes one with a credential of the host.
func (h *target) client(t testing.TB, certPEM, keyPEM []byte) *albatross.Client {
	t.Helper()
	return newClient(t, albatross.Options{Addr: h.addr, Timeout: time.Minute}, certPEM, keyPEM, h.caCert)
}

func newClient(t testing.TB, options albatross.Options, certPEM, keyPEM, serverCA []byte) *albatross.Client {
	t.Helper()
	var err error
	if options.Credential, err = albatross.ParseCredential(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	if options.ServerCAs, err = albatross.ParseServerCA(serverCA); err != nil {
		t.Fatal(err)
	}
	c, err := albatross.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// place is where a case may do what it likes: a tenant that nobody else uses.
type place struct {
	host   *target
	client *albatross.Client
	tenant string
	policy albatross.Policy
	scope  albatross.Scope
}

func newPlace(t *testing.T, host *target, name string) *place {
	t.Helper()
	p := &place{host: host, client: host.client(t, host.caCert, host.caKey), tenant: "contract-" + name + "-" + unique()}
	p.policy = albatross.Policy{Unikernels: 5, CPUIDs: []int64{host.cpu}, Memory: 128, Block: new(int64(10)), Bridges: []string{host.bridge}}
	p.scope = albatross.Scope{{Label: p.tenant, Policy: p.policy}}
	t.Cleanup(func() { p.cleanUp(t) })
	return p
}

func unique() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// cleanUp removes what is left, in sub paths too, with a scope whose policy is in
// force.
func (p *place) cleanUp(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	policies := map[string]albatross.Policy{}
	known, err := p.client.Policies(ctx, nil)
	if err != nil {
		t.Errorf("clean up: %v", err)
	}
	for _, k := range known {
		policies[k.Name.Path.String()] = k.Policy
	}
	scope := func(path albatross.Path) (s albatross.Scope) {
		for i := range path {
			s = append(s, albatross.Level{Label: path[i], Policy: policies[path[:i+1].String()]})
		}
		return s
	}
	all, err := p.client.Unikernels(ctx, nil)
	if err != nil {
		t.Errorf("clean up: %v", err)
	}
	for _, u := range all {
		if u.Name.Path.HasPrefix(albatross.Path{p.tenant}) {
			if _, err := p.client.Destroy(ctx, scope(u.Name.Path), u.Name.Label); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
	}
	blocks, err := p.client.Blocks(ctx, nil)
	if err != nil {
		t.Errorf("clean up: %v", err)
	}
	for _, b := range blocks {
		if b.Name.Path.HasPrefix(albatross.Path{p.tenant}) {
			eventually(t, "block device removed", func() bool {
				_, err := p.client.RemoveBlock(ctx, scope(b.Name.Path), b.Name.Label)
				return err == nil
			})
		}
	}
}

// image gives the file that images.json names, or a stand-in for it.
func (h *target) image(t testing.TB, file string) []byte {
	t.Helper()
	if h.images != "" {
		return readFile(t, filepath.Join(h.images, file))
	}
	for _, recorded := range vectors.TestImages(t) {
		if recorded.File != file {
			continue
		}
		var notes solo5.Image
		for _, d := range recorded.Devices {
			kind := solo5.Block
			if d.Type == "NET_BASIC" {
				kind = solo5.Network
			}
			notes.Devices = append(notes.Devices, solo5.Device{Name: d.Name, Type: kind})
		}
		made, err := albatrosstest.StandIn(strings.TrimSuffix(file, filepath.Ext(file)), notes, int(recorded.Length))
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	t.Fatalf("images.json knows no %s", file)
	return nil
}

// config is a small unikernel without devices.
func (p *place) config(argv ...string) albatross.Config {
	return albatross.Config{Arguments: albatross.Arguments{CPUIDs: []int64{p.host.cpu}, Memory: 16, NumCPUs: 1, Argv: argv}}
}

func imageOf(data []byte) albatross.Image {
	return albatross.Image{Reader: bytes.NewReader(data), Size: int64(len(data))}
}

// create starts a unikernel of the image test_tick.hvt, which runs until it is ended.
func (p *place) create(t *testing.T, label string, config albatross.Config) {
	t.Helper()
	text, err := p.client.Create(t.Context(), p.scope, label, config, imageOf(p.host.image(t, "test_tick.hvt")))
	wantText(t, text, err, "created unikernel")
}

func (p *place) destroy(t *testing.T, label string) {
	t.Helper()
	text, err := p.client.Destroy(t.Context(), p.scope, label)
	wantText(t, text, err, "destroyed unikernel")
}

// runs demands that a unikernel runs.
func (p *place) runs(t *testing.T, label string) albatross.Unikernel {
	t.Helper()
	u, found, err := p.client.Unikernel(t.Context(), p.scope, label)
	if err != nil || !found {
		t.Fatalf("%s does not run: %v", label, err)
	}
	return u
}

func (p *place) addBlock(t *testing.T, label string, size int64) {
	t.Helper()
	text, err := p.client.AddBlock(t.Context(), p.scope, label, size)
	wantText(t, text, err, "added block device")
}

// dump reads a block device.
func (p *place) dump(t *testing.T, label string, level int64) []byte {
	t.Helper()
	var data bytes.Buffer
	n, err := p.client.DumpBlock(t.Context(), p.scope, label, level, &data)
	if err != nil || n != int64(data.Len()) {
		t.Fatalf("dump of %s: %d of %d bytes, %v", label, n, data.Len(), err)
	}
	return data.Bytes()
}

func wantText(t *testing.T, text string, err error, want string) {
	t.Helper()
	if err != nil || text != want {
		t.Fatalf("got %q, %v; want %q", text, err, want)
	}
}

// wantRefusal demands the host's exact words.
func wantRefusal(t *testing.T, err error, text string) {
	t.Helper()
	var e *albatross.Error
	if !errors.Is(err, albatross.ErrRefused) || !errors.As(err, &e) || e.Text != text {
		t.Fatalf("got %v; want the refusal %q", err, text)
	}
}

func wantKind(t *testing.T, err, kind error) *albatross.Error {
	t.Helper()
	var e *albatross.Error
	if !errors.Is(err, kind) || !errors.As(err, &e) {
		t.Fatalf("got %v; want %v", err, kind)
	}
	return e
}

// patience is how long an event may take that needs no time worth mentioning.
const patience = time.Minute

func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func sum(data []byte) []byte {
	s := sha256.Sum256(data)
	return s[:]
}

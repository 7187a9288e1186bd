package albatross_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"mollymawk.dev/operator/albatross"
)

func testCreate(t *testing.T, p *place) {
	config := p.config("first", "", "ü")
	config.FailBehaviour = albatross.FailBehaviour{Restart: true, ExitCodes: []int64{2, 3}}
	config.Startup = new(int64(7))
	p.create(t, "web", config)
	u := p.runs(t, "web")
	if got, want := u.Name.String(), p.tenant+":web"; got != want {
		t.Errorf("name %s, want %s", got, want)
	}
	if want := sum(p.host.image(t, "test_tick.hvt")); !bytes.Equal(u.Info.Digest, want) {
		t.Errorf("digest %x, want %x", u.Info.Digest, want)
	}
	if u.Info.Started.IsZero() || u.Info.Memory != 16 || !slices.Equal(u.Info.Argv, config.Argv) || !slices.Equal(u.Info.CPUIDs, config.CPUIDs) ||
		u.Info.Startup == nil || *u.Info.Startup != 7 || !u.Info.FailBehaviour.Restart || !slices.Equal(u.Info.FailBehaviour.ExitCodes, []int64{2, 3}) {
		t.Errorf("created %+v, the host tells %+v", config, u.Info)
	}
}

func testCreateTaken(t *testing.T, p *place) {
	p.create(t, "web", p.config())
	before := p.runs(t, "web")
	_, err := p.client.Create(t.Context(), p.scope, "web", p.config("other"), imageOf(p.host.image(t, "test_tick.hvt")))
	wantRefusal(t, err, "Unikernel with same name is already running")
	if after := p.runs(t, "web"); !after.Info.Started.Equal(before.Info.Started) || after.Info.Argv != nil {
		t.Errorf("the one that runs was touched: %+v", after.Info)
	}
}

func compressed(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testCreateCompressed(t *testing.T, p *place) {
	plain := p.host.image(t, "test_tick.hvt")
	image := imageOf(compressed(t, plain))
	image.Compressed = true
	text, err := p.client.Create(t.Context(), p.scope, "web", p.config(), image)
	wantText(t, text, err, "created unikernel")
	if u := p.runs(t, "web"); !bytes.Equal(u.Info.Digest, sum(plain)) {
		t.Errorf("digest %x is not that of the plain image", u.Info.Digest)
	}
}

func testCreateTwiceAtOnce(t *testing.T, p *place) {
	data := p.host.image(t, "test_tick.hvt")
	errs := make(chan error, 2)
	for range cap(errs) {
		go func() {
			_, err := p.client.Create(t.Context(), p.scope, "web", p.config(), imageOf(data))
			errs <- err
		}()
	}
	first, second := <-errs, <-errs
	if first != nil {
		first, second = second, first
	}
	if first != nil {
		t.Fatalf("both failed: %v; %v", first, second)
	}
	wantRefusal(t, second, "Unikernel with same name is already running")
	p.destroy(t, "web")
}

func testCreateNoImage(t *testing.T, p *place) {
	_, err := p.client.Create(t.Context(), p.scope, "web", p.config(), imageOf([]byte("junk")))
	wantRefusal(t, err, "error during ELF parsing")
	for _, image := range []albatross.Image{{}, {Reader: strings.NewReader("")}, {Reader: strings.NewReader("x"), Size: -1}} {
		_, err := p.client.Create(t.Context(), p.scope, "web", p.config(), image)
		if e := wantKind(t, err, albatross.ErrInvalid); e.Sent {
			t.Errorf("sent: %v", err)
		}
	}
}

func testNetwork(t *testing.T, p *place) {
	own, ok := albatross.ParseMAC("02:00:00:12:34:56")
	if !ok {
		t.Fatal("no address")
	}
	config := p.config()
	config.Bridges = []albatross.Bridge{{Name: "service0", HostDevice: &p.host.bridge}, {Name: "service1", HostDevice: &p.host.bridge, MAC: &own}}
	text, err := p.client.Create(t.Context(), p.scope, "net", config, imageOf(p.host.image(t, "test_net_2if.hvt")))
	wantText(t, text, err, "created unikernel")
	u := p.runs(t, "net")
	want := []albatross.BridgeInfo{
		{Device: "service0", HostDevice: p.host.bridge, MAC: albatross.DeriveMAC(u.Name, "service0")},
		{Device: "service1", HostDevice: p.host.bridge, MAC: own},
	}
	got := slices.SortedFunc(slices.Values(u.Info.Bridges), func(a, b albatross.BridgeInfo) int { return strings.Compare(a.Device, b.Device) })
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func testForceCreate(t *testing.T, p *place) {
	tick := p.host.image(t, "test_tick.hvt")
	text, err := p.client.ForceCreate(t.Context(), p.scope, "web", p.config(), imageOf(tick))
	wantText(t, text, err, "created unikernel")
	before := p.runs(t, "web")
	config := p.config("again")
	config.Memory = 20
	text, err = p.client.ForceCreate(t.Context(), p.scope, "web", config, imageOf(tick))
	wantText(t, text, err, "created unikernel")
	after := p.runs(t, "web")
	if after.Info.Memory != 20 || !slices.Equal(after.Info.Argv, []string{"again"}) || after.Info.Started.Equal(before.Info.Started) {
		t.Errorf("not replaced: %+v", after.Info)
	}
	config.Memory = 500
	_, err = p.client.ForceCreate(t.Context(), p.scope, "web", config, imageOf(tick))
	wantRefusal(t, err, "maximum allowed memory (128, used 0) would be exceeded (requesting 500)")
	if u := p.runs(t, "web"); !u.Info.Started.Equal(after.Info.Started) {
		t.Errorf("a refusal by policy ended the old one")
	}
}

func testRestartSame(t *testing.T, p *place) {
	p.create(t, "web", p.config("stay"))
	before := p.runs(t, "web")
	text, err := p.client.Restart(t.Context(), p.scope, "web", nil)
	wantText(t, text, err, "created unikernel")
	after := p.runs(t, "web")
	if after.Info.Started.Equal(before.Info.Started) || !slices.Equal(after.Info.Argv, before.Info.Argv) || !bytes.Equal(after.Info.Digest, before.Info.Digest) {
		t.Errorf("before %+v, after %+v", before.Info, after.Info)
	}
}

func testRestartArguments(t *testing.T, p *place) {
	p.create(t, "web", p.config("old"))
	before := p.runs(t, "web")
	arguments := p.config("new", "words").Arguments
	arguments.Memory = 24
	arguments.FailBehaviour.Restart = true
	text, err := p.client.Restart(t.Context(), p.scope, "web", &arguments)
	wantText(t, text, err, "created unikernel")
	after := p.runs(t, "web").Info
	if after.Memory != 24 || !slices.Equal(after.Argv, arguments.Argv) || !after.FailBehaviour.Restart || len(after.FailBehaviour.ExitCodes) != 0 ||
		!bytes.Equal(after.Digest, before.Info.Digest) {
		t.Errorf("asked for %+v, got %+v", arguments, after)
	}
}

func testRestartRefused(t *testing.T, p *place) {
	p.create(t, "web", p.config())
	arguments := p.config().Arguments
	arguments.Bridges = []albatross.Bridge{{Name: p.host.bridge}}
	_, err := p.client.Restart(t.Context(), p.scope, "web", &arguments)
	wantRefusal(t, err, "specified bridge(s) does not match with the manifest. Devices present in manifest: ")
	p.runs(t, "web")
	arguments = p.config().Arguments
	arguments.Memory = 500
	_, err = p.client.Restart(t.Context(), p.scope, "web", &arguments)
	wantRefusal(t, err, "maximum allowed memory (128, used 0) would be exceeded (requesting 500)")
	if _, found, err := p.client.Unikernel(t.Context(), p.scope, "web"); err != nil || found {
		t.Errorf("a restart beyond the policy ends the old one: found %t, %v", found, err)
	}
}

func testDestroy(t *testing.T, p *place) {
	p.create(t, "web", p.config())
	p.destroy(t, "web")
	if _, found, err := p.client.Unikernel(t.Context(), p.scope, "web"); err != nil || found {
		t.Errorf("found %t, %v", found, err)
	}
	text, err := p.client.Destroy(t.Context(), p.scope, "web")
	wantText(t, text, err, "destroyed: removed from restarting")
	_, err = p.client.Destroy(t.Context(), p.scope, "web")
	wantRefusal(t, err, "destroy: not found")
}

// sub is a scope below the place's own.
func (p *place) sub(label string) albatross.Scope {
	policy := albatross.Policy{Unikernels: 2, CPUIDs: p.policy.CPUIDs, Memory: 40, Block: new(int64(3))}
	return append(slices.Clone(p.scope), albatross.Level{Label: label, Policy: policy})
}

func testNames(t *testing.T, p *place) {
	sub := p.sub("Sub")
	p.create(t, "WEB.One", p.config())
	text, err := p.client.Create(t.Context(), sub, "web", p.config(), imageOf(p.host.image(t, "test_tick.hvt")))
	wantText(t, text, err, "created unikernel")
	text, err = p.client.AddBlock(t.Context(), sub, "data", 1)
	wantText(t, text, err, "added block device")
	upper, inner := p.tenant+":web.one", p.tenant+":sub:web"
	for _, c := range []struct {
		scope albatross.Scope
		want  []string
	}{{p.scope, []string{inner, upper}}, {sub, []string{inner}}} {
		all, err := p.client.Unikernels(t.Context(), c.scope)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, u := range all {
			names = append(names, u.Name.String())
		}
		if slices.Sort(names); !slices.Equal(names, c.want) {
			t.Errorf("in %s: %q, want %q", c.scope.Path(), names, c.want)
		}
		blocks, err := p.client.Blocks(t.Context(), c.scope)
		if err != nil || len(blocks) != 1 || blocks[0].Name.String() != p.tenant+":sub:data" {
			t.Errorf("in %s: %+v, %v", c.scope.Path(), blocks, err)
		}
	}
	for label, scope := range map[string]albatross.Scope{"web.ONE": p.scope, "web": sub} {
		if u, found, err := p.client.Unikernel(t.Context(), scope, label); err != nil || !found || u.Name.Label != strings.ToLower(label) {
			t.Errorf("%s: %+v, found %t, %v", label, u.Name, found, err)
		}
	}
	if b, found, err := p.client.Block(t.Context(), sub, "data"); err != nil || !found || b.Name.String() != p.tenant+":sub:data" {
		t.Errorf("%+v, found %t, %v", b, found, err)
	}
	if _, found, err := p.client.Unikernel(t.Context(), p.scope, "web"); err != nil || found {
		t.Errorf("what runs below is not in the path itself: found %t, %v", found, err)
	}
	for _, label := range []string{"", ".", "a_b", "-a", strings.Repeat("a", 64), "a:b"} {
		_, err := p.client.Destroy(t.Context(), p.scope, label)
		if e := wantKind(t, err, albatross.ErrInvalid); e.Sent {
			t.Errorf("%q was sent: %v", label, err)
		}
	}
}

func testUnknownNames(t *testing.T, p *place) {
	ctx := t.Context()
	if _, found, err := p.client.Unikernel(ctx, p.scope, "web"); err != nil || found {
		t.Errorf("unikernel: found %t, %v", found, err)
	}
	if _, found, err := p.client.Block(ctx, p.scope, "web"); err != nil || found {
		t.Errorf("block device: found %t, %v", found, err)
	}
	_, err := p.client.Restart(ctx, p.scope, "web", nil)
	wantRefusal(t, err, "destroy: not found")
	_, err = p.client.Destroy(ctx, p.scope, "web")
	wantRefusal(t, err, "destroy: not found")
	_, err = p.client.RemoveBlock(ctx, p.scope, "web")
	wantRefusal(t, err, "remove block: not found")
	_, err = p.client.DumpBlock(ctx, p.scope, "web", 0, io.Discard)
	wantRefusal(t, err, "dump block: not found")
	_, err = p.client.SetBlock(ctx, p.scope, "web", albatross.BlockContent{Reader: strings.NewReader("data")})
	wantRefusal(t, err, "set block: not found")
	_, _, err = p.client.GetImage(ctx, p.scope, "web", 0)
	_ = wantKind(t, err, albatross.ErrRefused)
}

func testManifest(t *testing.T, p *place) {
	config := p.config()
	config.Bridges = []albatross.Bridge{{Name: "extra", HostDevice: &p.host.bridge}}
	_, err := p.client.Create(t.Context(), p.scope, "web", config, imageOf(p.host.image(t, "test_tick.hvt")))
	wantRefusal(t, err, "specified bridge(s) does not match with the manifest. Devices present in manifest: ")
	_, err = p.client.Create(t.Context(), p.scope, "web", p.config(), imageOf(p.host.image(t, "test_net.hvt")))
	e := wantKind(t, err, albatross.ErrRefused)
	if !strings.HasPrefix(e.Text, "specified bridge(s) does not match with the manifest. Devices present in manifest: ") || !strings.Contains(e.Text, "service0") {
		t.Errorf("the host says %q", e.Text)
	}
	if all, err := p.client.Unikernels(t.Context(), p.scope); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func testGetImage(t *testing.T, p *place) {
	p.create(t, "web", p.config())
	plain := p.host.image(t, "test_tick.hvt")
	for _, level := range []int64{0, 1, 9} {
		data, isCompressed, err := p.client.GetImage(t.Context(), p.scope, "web", level)
		if err != nil || isCompressed != (level > 0) {
			t.Fatalf("level %d: compressed %t, %v", level, isCompressed, err)
		}
		if isCompressed {
			z, err := zlib.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(data, plain) {
			t.Errorf("level %d: another image of %d bytes", level, len(data))
		}
	}
	for _, level := range []int64{-1, 10} {
		_, _, err := p.client.GetImage(t.Context(), p.scope, "web", level)
		_ = wantKind(t, err, albatross.ErrInvalid)
	}
}

// endsWith calls a function before the reader's end.
type endsWith func()

func (f endsWith) Read([]byte) (int, error) { f(); return 0, io.EOF }

func testUploadCut(t *testing.T, p *place) {
	data := p.host.image(t, "test_tick.hvt")
	size := int64(len(data))
	broken := errors.New("the disk is gone")
	canceled, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		reader io.Reader
		kind   error
	}{
		"reader fails": {t.Context(), io.MultiReader(bytes.NewReader(data[:size-1]), iotest.ErrReader(broken)), albatross.ErrLocal},
		"too short":    {t.Context(), bytes.NewReader(data[:size-1]), albatross.ErrInvalid},
		"too long":     {t.Context(), io.MultiReader(bytes.NewReader(data), strings.NewReader("x")), albatross.ErrInvalid},
		"canceled":     {canceled, io.MultiReader(bytes.NewReader(data[:size-1]), endsWith(cancel), bytes.NewReader(data[size-1:])), albatross.ErrTimeout},
	} {
		_, err := p.client.Create(c.ctx, p.scope, "web", p.config(), albatross.Image{Reader: c.reader, Size: size})
		if e := wantKind(t, err, c.kind); !e.Sent {
			t.Errorf("%s: the command was sent: %v", name, err)
		}
		if c.kind == albatross.ErrLocal && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := p.client.Unikernels(t.Context(), p.scope); err != nil || len(all) != 0 {
		t.Errorf("left behind: %+v, %v", all, err)
	}
	p.create(t, "web", p.config())
	p.destroy(t, "web")
}

func testDelegation(t *testing.T, p *place) {
	certPEM, keyPEM := delegate(t, p.host.caCert, p.host.caKey, p.tenant, p.policy)
	mine := &place{host: p.host, client: p.host.client(t, certPEM, keyPEM), policy: p.policy}
	mine.create(t, "web", mine.config())
	sub := mine.sub("sub")
	text, err := mine.client.AddBlock(t.Context(), sub, "data", 1)
	wantText(t, text, err, "added block device")
	mine.addBlock(t, "data", 1)

	all, err := mine.client.Unikernels(t.Context(), nil)
	if err != nil || len(all) != 1 || all[0].Name.String() != ":web" {
		t.Errorf("%+v, %v", all, err)
	}
	if u := mine.runs(t, "web"); u.Name.String() != ":web" {
		t.Errorf("%s", u.Name)
	}
	if u := p.runs(t, "web"); u.Name.String() != p.tenant+":web" {
		t.Errorf("seen with the host's CA it is %s", u.Name)
	}
	blocks, err := mine.client.Blocks(t.Context(), nil)
	if got := fmt.Sprint(blockNames(blocks)); err != nil || got != "[:data sub:data]" {
		t.Errorf("%s, %v", got, err)
	}
	if b, found, err := mine.client.Block(t.Context(), sub, "data"); err != nil || !found || b.Name.String() != "sub:data" {
		t.Errorf("%+v, %t, %v", b, found, err)
	}
	policies, err := mine.client.Policies(t.Context(), nil)
	if err != nil || len(policies) != 2 || policies[0].Name.String() != ":" || policies[1].Name.String() != "sub:" {
		t.Errorf("%+v, %v", policies, err)
	}
	if line := nextLine(t, mine, "web", 100, "test_tick cmdline"); line.Time.IsZero() {
		t.Errorf("%+v", line)
	}
	tooMuch := mine.sub("larger")
	tooMuch[0].Policy.Memory = 129
	_, err = mine.client.Unikernels(t.Context(), tooMuch)
	if e := wantKind(t, err, albatross.ErrInvalid); e.Sent || !strings.Contains(err.Error(), "policy above allows 128 MB memory, which is fewer than 129 MB") {
		t.Errorf("sent %t, %v", e.Sent, err)
	}
	mine.destroy(t, "web")
	eventually(t, "console of the destroyed unikernel is listed", func() bool {
		names, err := mine.client.InactiveConsoles(t.Context(), nil)
		return err == nil && slices.ContainsFunc(names, func(n albatross.Name) bool { return n.String() == ":web" })
	})
}

func blockNames(blocks []albatross.Block) (names []string) {
	for _, b := range blocks {
		names = append(names, b.Name.String())
	}
	slices.Sort(names)
	return names
}

package albatrosstest_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

// firstRead is what a client sees of its certificates: the handshake is complete
// before the host has looked at them.
func firstRead(t *testing.T, addr string, config *tls.Config) error {
	t.Helper()
	config.InsecureSkipVerify = true
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return err
}

func TestAlerts(t *testing.T) {
	var skew time.Duration
	now := func() time.Time { return time.Now().Add(skew) }
	r := newRig(t, albatrosstest.Options{Now: now})
	pair := func(request vectors.Request) *tls.Config {
		pair, err := r.chain(request, wire.UnikernelInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	other := newRig(t, albatrosstest.Options{})
	stranger, err := other.chain(r.request("web"), wire.UnikernelInfo{})
	if err != nil {
		t.Fatal(err)
	}
	broken := pair(r.request("web"))
	broken.Certificates[0].Certificate = broken.Certificates[0].Certificate[:1]
	old := pair(r.request("web"))
	old.MaxVersion = tls.VersionTLS12
	for _, tt := range []struct {
		what   string
		skew   time.Duration
		config *tls.Config
		want   string
	}{
		{"expired", time.Hour, pair(r.request("web")), "expired certificate"},
		{"not yet valid", -time.Hour, pair(r.request("web")), "expired certificate"},
		{"of another CA", 0, &tls.Config{Certificates: []tls.Certificate{stranger}}, "bad certificate"},
		{"without its intermediate", 0, broken, "bad certificate"},
		{"no certificate", 0, &tls.Config{}, "certificate required"},
		{"TLS 1.2", 0, old, "protocol version"},
	} {
		skew = tt.skew
		if err := firstRead(t, r.Addr(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.what, err, tt.want)
		}
	}
	skew = 0
	if got := r.Received("", ""); got != 0 {
		t.Errorf("%d commands were received", got)
	}
}

// TestRejected gets a close and no frame.
func TestRejected(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	none := r.request("")
	none.CN = nil
	long := r.request("web")
	long.Domain = "a:b:c:d:e:f:g:h:i"
	for what, tt := range map[string]struct {
		request vectors.Request
		command wire.Command
	}{
		"bad label":           {r.request("a_b"), wire.UnikernelInfo{}},
		"label of 64":         {r.request(strings.Repeat("a", 64)), wire.UnikernelInfo{}},
		"no name for a block": {none, wire.BlockAdd{Size: 1}},
		"policy in the leaf":  {r.request("web"), wire.PolicyAdd{}},
		"policy removal":      {r.request("web"), wire.PolicyRemove{}},
		"internal command":    {r.request("web"), wire.StatsInitial{}},
		"no extension":        {r.request("web"), nil},
		"ten certificates":    {long, wire.UnikernelInfo{}},
	} {
		pair, err := r.chain(tt.request, tt.command)
		if err != nil {
			t.Fatal(err)
		}
		if err := firstRead(t, r.Addr(), &tls.Config{Certificates: []tls.Certificate{pair}}); err != io.EOF { //nolint:errorlint // a close_notify is just that
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := r.Received("", ""); got != 0 {
		t.Errorf("%d commands were received", got)
	}
	if got := r.Policies(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestServerCertificate(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	conn, err := r.dial(r.request("."), wire.UnikernelInfo{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	leaf := state.PeerCertificates[0]
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.Credentials().ServerCA)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		t.Error(err)
	}
	if state.Version != tls.VersionTLS13 || leaf.Subject.CommonName != "server" || len(leaf.DNSNames)+len(leaf.IPAddresses) != 0 {
		t.Errorf("%x %v", state.Version, leaf)
	}
}

// TestPolicyOrder applies the deepest first, and only for commands to the daemon.
func TestPolicyOrder(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.domain = "alice:sub"
	request := r.request("web")
	request.Policies[1].Policy.Memory = 256
	ask := func(c wire.Command) seen {
		conn, err := r.dial(request, c)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var got seen
		got.gather(conn, vectors.Reply{FrameCount: 1, Connection: "still open"})
		return got
	}
	if got := ask(wire.ConsoleSubscribe{}); say(got.frames[0].Payload) != "waiting for VM" {
		t.Errorf("%+v", got)
	}
	if got := r.Policies(); len(got) != 1 {
		t.Errorf("a console set policies: %+v", got)
	}
	const want = "expected success when adding policy, got: host [unikernel: alice:]: command failed policy above allows 128 MB memory, which is fewer than 256 MB"
	if got := ask(wire.UnikernelInfo{}); say(got.frames[0].Payload) != want {
		t.Errorf("%+v", got)
	}
	if _, ok := r.Policy("alice:sub"); !ok {
		t.Error("the deeper policy is not kept")
	}
	if err := r.SetPolicy("alice", wire.Policy{Unikernels: 9, CPUIDs: []int64{0}, Memory: 1000, Block: new(int64(10)), Bridges: []string{"service"}}); err != nil {
		t.Error(err)
	}
	if err := r.SetPolicy("alice", wire.Policy{}); err == nil {
		t.Error("a policy below what is below it")
	}
}

// TestUsageLimitsPolicy has the texts about what runs that were not recorded.
func TestUsageLimitsPolicy(t *testing.T) {
	r := newRig(t, albatrosstest.Options{Bridges: []string{"service", "other"}})
	c := config(standIn(t, "test_net", netDevice("service")))
	c.Bridges = []wire.Bridge{{Name: "service"}}
	r.expect("created unikernel", "web", wire.UnikernelCreate{Config: c})
	r.policy.Bridges = []string{"other"}
	r.expect("expected success when adding policy, got: host [unikernel: alice:]: command failed policy allows bridges other, which is not a superset of service", ".", wire.UnikernelInfo{})
}

func TestJournal(t *testing.T) {
	r := newRig(t, albatrosstest.Options{Latency: 30 * time.Millisecond})
	begin := time.Now()
	r.create("web")
	r.ask(".", wire.UnikernelInfo{})
	r.expect("destroy: not found", "nobody", wire.UnikernelDestroy{})
	if took := time.Since(begin); took < 90*time.Millisecond {
		t.Errorf("three commands in %s", took)
	}
	eventually(t, "the last command is complete", func() bool { return r.Log()[2].Outcome != "" })
	log := r.Log()
	for i, want := range []struct{ command, name, outcome string }{
		{"unikernel create", "alice:web", "created unikernel"}, {"unikernel info", "alice:", "data"}, {"unikernel destroy", "alice:nobody", "destroy: not found"},
	} {
		if e := log[i]; e.Command != want.command || e.Name.String() != want.name || e.Outcome != want.outcome || e.Mutates() != (i != 1) {
			t.Errorf("%d: %+v, want %+v", i, e, want)
		}
	}
	for _, tt := range []struct {
		command, name string
		want          int
	}{{"", "", 3}, {"unikernel info", "", 1}, {"", "alice:web", 1}, {"unikernel create", "alice:nobody", 0}} {
		if got := r.Received(tt.command, tt.name); got != tt.want {
			t.Errorf("%q %q: %d, want %d", tt.command, tt.name, got, tt.want)
		}
	}
}

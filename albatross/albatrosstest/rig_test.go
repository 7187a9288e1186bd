package albatrosstest_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a simulated host and a sender of commands for its tenant alice.
type rig struct {
	*albatrosstest.Host
	*target
	t testing.TB
	// domain and policy are of the tenant that asks.
	domain string
	policy vectors.Policy
}

func newRig(t testing.TB, options albatrosstest.Options) *rig {
	t.Helper()
	h := albatrosstest.Start(t, options)
	credentials := h.Credentials()
	target := newTarget(t, h.Addr(), credentials.Cert, credentials.Key, nil, 10*time.Second)
	return &rig{Host: h, target: target, t: t, domain: "alice", policy: vectors.Policy{
		Unikernels: 5, CPUIDs: []int64{0}, Memory: 128, Block: new(int64(10)), Bridges: []string{"service"},
	}}
}

func (r *rig) request(cn string) vectors.Request {
	request := vectors.Request{Domain: r.domain, CN: &cn}
	path := ""
	for _, label := range strings.Split(r.domain, ":") {
		path = strings.TrimPrefix(path+":"+label, ":")
		request.Policies = append(request.Policies, struct {
			Path   string
			Policy vectors.Policy
		}{path, r.policy})
	}
	return request
}

// upload is what follows a command.
type upload struct {
	data []byte
	// chunk is its size in bytes; 0 means 4096. unfinished leaves the end out.
	chunk      int
	unfinished bool
}

// send gives all that comes back up to the end of the connection, or up to count
// frames if that is not 0.
func (r *rig) send(cn string, command wire.Command, count int, uploads ...upload) seen {
	r.t.Helper()
	conn, err := r.dial(r.request(cn), command)
	if err != nil {
		r.t.Fatalf("%T %s: %v", command, cn, err)
	}
	defer conn.Close()
	for _, u := range uploads {
		if u.chunk == 0 {
			u.chunk = 4096
		}
		sendChunks(conn, u.data, u.chunk, !u.unfinished)
	}
	want := vectors.Reply{FrameCount: count}
	if count > 0 {
		want.Connection = "still open after the wait"
	}
	var got seen
	got.gather(conn, want)
	return got
}

// ask gives the only answer to a command.
func (r *rig) ask(cn string, command wire.Command, uploads ...upload) wire.Payload {
	r.t.Helper()
	got := r.send(cn, command, 0, uploads...)
	if len(got.frames) != 1 || got.closing != nil {
		r.t.Fatalf("%T %s: %+v, ended with %v, want one answer and a proper end", command, cn, got.frames, got.closing)
	}
	return got.frames[0].Payload
}

// expect asks and wants a text, of success or of failure.
func (r *rig) expect(text, cn string, command wire.Command, uploads ...upload) {
	r.t.Helper()
	if got := say(r.ask(cn, command, uploads...)); got != text {
		r.t.Errorf("%T %s: %q, want %q", command, cn, got, text)
	}
}

// say gives the text of a payload.
func say(p wire.Payload) string {
	switch p := p.(type) {
	case wire.Text:
		return p.Text
	case wire.Failure:
		return p.Text
	}
	return ""
}

func standIn(t testing.TB, program string, devices ...solo5.Device) []byte {
	t.Helper()
	b, err := albatrosstest.StandIn(program, solo5.Image{Devices: devices}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// config is a small unikernel's.
func config(image []byte, argv ...string) wire.Config {
	return wire.Config{Image: image, Arguments: wire.Arguments{CPUIDs: []int64{0}, Memory: 16, NumCPUs: 1, Argv: argv}}
}

// create starts a small unikernel.
func (r *rig) create(cn string, argv ...string) {
	r.t.Helper()
	r.expect("created unikernel", cn, wire.UnikernelCreate{Config: config(standIn(r.t, "test"), argv...)})
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func netDevice(name string) solo5.Device { return solo5.Device{Name: name, Type: solo5.Network} }

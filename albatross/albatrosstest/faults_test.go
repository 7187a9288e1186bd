package albatrosstest_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// outcome is what one command comes to.
func (r *rig) outcome(cn string, command wire.Command, uploads ...upload) (string, error) {
	conn, err := r.dial(r.request(cn), command)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	for _, u := range uploads {
		sendChunks(conn, u.data, 4096, true)
	}
	frame, err := readFrame(conn)
	if err != nil {
		return "", err
	}
	return say(frame.Payload), nil
}

func TestConnectionFaults(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.patience = 300 * time.Millisecond
	for _, tt := range []struct {
		kind albatrosstest.FaultKind
		want func(error) bool
	}{
		{albatrosstest.Refuse, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		{albatrosstest.Reset, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) }},
		{albatrosstest.Stall, func(err error) bool { var timeout net.Error; return errors.As(err, &timeout) && timeout.Timeout() }},
		{albatrosstest.NotTLS, func(err error) bool { var header tls.RecordHeaderError; return errors.As(err, &header) }},
	} {
		lift := r.Inject(albatrosstest.Fault{Kind: tt.kind})
		for range 2 {
			if text, err := r.outcome("web", wire.UnikernelDestroy{}); err == nil || !tt.want(err) {
				t.Errorf("fault %d: %q, %v", tt.kind, text, err)
			}
		}
		lift()
		lift()
		if text, err := r.outcome("web", wire.UnikernelDestroy{}); err != nil || text != "destroy: not found" {
			t.Errorf("fault %d is lifted: %q, %v", tt.kind, text, err)
		}
	}
}

func TestWrongCertificates(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	cas, err := cert.ParseServerCA(r.Credentials().ServerCA)
	if err != nil {
		t.Fatal(err)
	}
	check := func() error {
		conn, err := r.dial(r.request("."), wire.UnikernelInfo{})
		if err != nil {
			return err
		}
		defer conn.Close()
		return cert.VerifyServer(cas, time.Now)(conn.ConnectionState())
	}
	for _, kind := range []albatrosstest.FaultKind{albatrosstest.WrongCertificate, albatrosstest.ClientCertificate} {
		r.Inject(albatrosstest.Fault{Kind: kind, Times: 1})
		if err := check(); err == nil {
			t.Errorf("fault %d: the certificate is trusted", kind)
		}
		if err := check(); err != nil {
			t.Errorf("after fault %d: %v", kind, err)
		}
	}
}

// TestCommandFaults tells what was carried out.
func TestCommandFaults(t *testing.T) {
	for _, tt := range []struct {
		fault   albatrosstest.Fault
		text    string
		fails   bool
		created bool
		outcome string
	}{
		{albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "not today"}, "not today", false, false, "not today"},
		{albatrosstest.Fault{Kind: albatrosstest.Unreachable}, "couldn't reach service", false, false, "couldn't reach service"},
		{albatrosstest.Fault{Kind: albatrosstest.NoReply}, "", true, true, "created unikernel"},
		{albatrosstest.Fault{Kind: albatrosstest.CutReply}, "", true, true, "reply cut"},
		{albatrosstest.Fault{Kind: albatrosstest.CutReply, Bytes: 10}, "", true, true, "reply cut"},
		{albatrosstest.Fault{Kind: albatrosstest.CutUpload}, "", true, false, "upload cut"},
		{albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: 300}, "", true, false, "upload cut"},
		{albatrosstest.Fault{Kind: albatrosstest.Garbage}, "", true, true, "garbage"},
		{albatrosstest.Fault{Kind: albatrosstest.Slow, Delay: 100 * time.Millisecond}, "created unikernel", false, true, "created unikernel"},
	} {
		r := newRig(t, albatrosstest.Options{})
		r.patience = 500 * time.Millisecond
		tt.fault.Command, tt.fault.Name, tt.fault.Times = "unikernel create", "alice:web", 1
		r.Inject(tt.fault)
		begin := time.Now()
		text, err := r.outcome("web", wire.UnikernelCreate{Config: config(nil)}, upload{data: standIn(t, "test")})
		if text != tt.text || (err != nil) != tt.fails {
			t.Errorf("%+v: %q, %v", tt.fault, text, err)
		}
		if took := time.Since(begin); took < tt.fault.Delay {
			t.Errorf("%+v: took %s", tt.fault, took)
		}
		eventually(t, "the command is complete", func() bool { return r.Log()[0].Outcome != "" })
		if got := r.Log()[0].Outcome; !strings.HasPrefix(got, tt.outcome) && got != "no reply" {
			t.Errorf("%+v: outcome %q", tt.fault, got)
		}
		if _, created := r.Unikernel("alice:web"); created != tt.created {
			t.Errorf("%+v: created %v", tt.fault, created)
		}
		// Others are not struck.
		if text, err := r.outcome("other", wire.UnikernelDestroy{}); err != nil || text != "destroy: not found" {
			t.Errorf("%+v: another command: %q, %v", tt.fault, text, err)
		}
	}
}

func TestFaultsOfOtherCommands(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	for what, tt := range map[string]struct {
		command wire.Command
		fault   albatrosstest.Fault
		uploads []upload
		left    int
	}{
		"set refused":       {wire.BlockSet{}, albatrosstest.Fault{Kind: albatrosstest.Fail, Text: "no"}, []upload{{data: noise(100_000)}}, 0},
		"cut before remove": {wire.BlockRemove{}, albatrosstest.Fault{Kind: albatrosstest.CutUpload}, nil, 0},
		"set cut":           {wire.BlockSet{}, albatrosstest.Fault{Kind: albatrosstest.CutUpload, Bytes: 4100}, []upload{{data: noise(100_000)}}, 4096},
	} {
		tt.fault.Times = 1
		lift := r.Inject(tt.fault)
		text, err := r.outcome("data", tt.command, tt.uploads...)
		if text != tt.fault.Text || (err == nil) != (tt.fault.Kind == albatrosstest.Fail) {
			t.Errorf("%s: %q, %v", what, text, err)
		}
		lift()
		eventually(t, what+" is over", func() bool { return !r.Blocks("")[0].Active })
		if got, _ := r.content("alice:data"); len(got) != tt.left && len(got) != 4096 {
			t.Errorf("%s: %d bytes of data", what, len(got))
		}
	}
}

// TestSlow moves 40 kB with 200 kB a second.
func TestSlow(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.expect("added block device", "data", wire.BlockAdd{Size: 1})
	r.Inject(albatrosstest.Fault{Kind: albatrosstest.Slow, BytesPerSecond: 200_000, Command: "block set"})
	begin := time.Now()
	r.expect("set block device", "data", wire.BlockSet{}, upload{data: noise(40_000)})
	if took := time.Since(begin); took < 150*time.Millisecond || took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestDown cuts what is connected and comes back at the same address with its state.
func TestDown(t *testing.T) {
	r := newRig(t, albatrosstest.Options{})
	r.create("web")
	watching := r.subscribe("web", wire.ConsoleSubscribe{})
	watching.next()
	addr := r.Addr()
	first := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	second := r.Inject(albatrosstest.Fault{Kind: albatrosstest.Refuse})
	if _, err := readFrame(watching.Conn); err == nil {
		t.Error("the subscription stands")
	}
	first()
	if _, err := r.outcome("web", wire.UnikernelInfo{}); err == nil {
		t.Error("the host is back too early")
	}
	second()
	if got := r.ask("web", wire.UnikernelInfo{}).(wire.UnikernelInfos); len(got.Infos) != 1 || r.Addr() != addr {
		t.Errorf("%+v at %s, was at %s", got, r.Addr(), addr)
	}
}

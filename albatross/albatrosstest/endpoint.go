package albatrosstest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// Texts of the TLS endpoint itself, for what happens between it and the daemons.
const (
	textUnreachable = "couldn't reach service"
	textNoAnswer    = "error reading from fd"
	textStreamEnd   = "exception while reading from fd"
	textWriting     = "writing block data"
)

// serve handles one connection, which carries one command.
func (h *Host) serve(raw net.Conn) {
	fault := h.faults.strike(func(f *Fault) bool { return f.Kind.ofConnection() })
	switch fault.Kind {
	case Reset:
		abort(raw)
		return
	case Stall:
		_, _ = io.Copy(io.Discard, raw) // until the client has enough
		return
	case NotTLS:
		_, _ = raw.Write([]byte("220 this is not what you are looking for\r\n")) // the client may be gone
		return
	}
	conn, path, err := h.handshake(raw, fault.Kind)
	if err != nil {
		h.options.Log.Warn("error establishing TLS connection", "error", err)
		return
	}
	defer conn.Close() // with close_notify
	request, err := cert.Handle(path)
	if err != nil {
		h.options.Log.Warn("failed to handle TLS connection", "error", err)
		return
	}
	h.answer(conn, request)
}

// handshake gives the verified path of the client's certificates.
func (h *Host) handshake(raw net.Conn, fault FaultKind) (*tls.Conn, []*x509.Certificate, error) {
	server, err := h.presented(fault)
	if err != nil {
		return nil, nil, err
	}
	var keys bytes.Buffer
	var path []*x509.Certificate
	var verifyErr error
	conn := tls.Server(raw, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*server},
		ClientAuth:   tls.RequireAnyClientCert,
		// A ticket would let a client come again without its certificate.
		SessionTicketsDisabled: true,
		KeyLogWriter:           &keys, // see sendAlert
		VerifyPeerCertificate: func(der [][]byte, _ [][]*x509.Certificate) error {
			path, verifyErr = h.verify(der)
			if errors.Is(verifyErr, cert.ErrExpired) {
				return nil // for another alert than an error would give
			}
			return verifyErr
		},
	})
	ctx, cancel := context.WithTimeout(h.ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	if verifyErr != nil {
		return nil, nil, errors.Join(verifyErr, sendAlert(raw, conn.ConnectionState(), keys.Bytes(), alertCertificateExpired))
	}
	return conn, path, nil
}

// presented is the host's certificate, or a wrong one.
func (h *Host) presented(fault FaultKind) (*tls.Certificate, error) {
	switch fault {
	case WrongCertificate:
		other, err := newAuthority(h.options.Now())
		if err != nil {
			return nil, err
		}
		return other.server(h.options.Now())
	case ClientCertificate:
		template := *h.server.Leaf
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		return h.ca.issue(&template)
	}
	return h.server, nil
}

func (h *Host) verify(der [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(der))
	for i := range der {
		parsed, err := x509.ParseCertificate(der[i])
		if err != nil {
			return nil, err
		}
		chain[i] = parsed
	}
	return cert.VerifyChain(chain, h.ca.cert, h.options.Now())
}

// answer carries a command out, with whatever goes wrong for it.
func (h *Host) answer(conn *tls.Conn, request cert.Request) {
	h.mu.Lock()
	if h.rewrite != nil {
		request.Command = h.rewrite(request.Command)
	}
	h.mu.Unlock()
	name, command := request.Name, request.Command
	number := h.journal.add(Entry{Time: h.options.Now(), Command: wire.CommandName(command), Name: name})
	l := &link{host: h, conn: conn, name: name, fault: h.faults.strike(func(f *Fault) bool {
		return !f.Kind.ofConnection() && f.matches(command, name)
	})}
	l.ctx, l.cancel = context.WithCancel(h.ctx)
	defer l.cancel()
	defer func() {
		h.journal.finish(number, l.outcome)
		h.options.Log.Info(wire.CommandName(command), "name", name.String(), "outcome", l.outcome)
	}()
	l.pause(h.options.Latency + l.fault.Delay)
	if err := h.carryOut(l, request); err != nil && l.outcome == "" {
		l.outcome = "no answer: " + err.Error()
	}
}

// carryOut runs a command and answers. An error is a connection that is lost.
func (h *Host) carryOut(l *link, request cert.Request) error {
	image, err := h.receiveImage(l, request.Command)
	if err != nil {
		return err
	}
	if image.image != nil {
		defer h.images.release(image.image)
	}
	switch l.fault.Kind {
	case Fail:
		return h.insteadOf(l, request.Command, l.fault.Text)
	case Unreachable:
		return h.insteadOf(l, request.Command, textUnreachable)
	case CutUpload:
		if !uploads(request.Command) {
			return l.cut("cut before")
		}
	}
	switch c := request.Command.(type) {
	case wire.ConsoleSubscribe:
		return h.console(l, c)
	case wire.ConsoleListInactive:
		return l.reply(wire.Consoles{Names: h.consoles.inactive(l.name)})
	case wire.StatsSubscribe:
		return h.statistics(l)
	}
	if !h.daemon.alive() {
		return l.reply(wire.Failure{Text: textUnreachable})
	}
	if err := h.applyPolicies(request); err != nil {
		return l.reply(wire.Failure{Text: err.Error()})
	}
	switch c := request.Command.(type) {
	case wire.BlockSet:
		return h.blockSet(l, c)
	case wire.BlockDump:
		return h.blockDump(l, c)
	}
	h.sequence.Add(1)
	l.watch()
	return l.outcomeOf(h.daemon.do(l.ctx, l.name, request.Command, image))
}

// uploads tells whether something follows the command's handshake.
func uploads(command wire.Command) bool {
	switch c := command.(type) {
	case wire.UnikernelCreate:
		return len(c.Config.Image) == 0
	case wire.UnikernelForceCreate:
		return len(c.Config.Image) == 0
	case wire.BlockSet:
		return true
	}
	return false
}

// receiveImage takes the image of a create from the command or from what
// follows. The endpoint does so before it looks at anything else.
func (h *Host) receiveImage(l *link, command wire.Command) (prepared, error) {
	var config wire.Config
	switch c := command.(type) {
	case wire.UnikernelCreate:
		config = c.Config
	case wire.UnikernelForceCreate:
		config = c.Config
	default:
		return prepared{}, nil
	}
	var from io.Reader = bytes.NewReader(config.Image)
	if uploads(command) {
		from = &uploadReader{from: l}
	}
	image, err := h.images.add(from, config.Compressed)
	var refused refusal
	if err != nil && !errors.As(err, &refused) {
		return prepared{}, err
	}
	return prepared{image: image, err: err}, nil
}

// insteadOf answers a failure without carrying the command out. What is uploaded
// is taken nevertheless.
func (h *Host) insteadOf(l *link, command wire.Command, text string) error {
	if _, isSet := command.(wire.BlockSet); isSet {
		if _, err := io.Copy(io.Discard, &uploadReader{from: l}); err != nil {
			return err
		}
	}
	return l.reply(wire.Failure{Text: text})
}

// applyPolicies adds the policies of the chain, the deepest first.
func (h *Host) applyPolicies(request cert.Request) error {
	for _, p := range request.Policies {
		h.sequence.Add(1)
		_, err := h.daemon.locked(func() (wire.Payload, error) { return text(h.daemon.addPolicy(p.Path, p.Policy)) })
		if errors.Is(err, errNoAnswer) {
			return errors.New("read error after writing policy")
		}
		if err != nil {
			return fmt.Errorf("expected success when adding policy, got: host [unikernel: %s]: command failed %w", wire.Name{Path: p.Path}, err)
		}
	}
	return nil
}

// reply sends the single answer to a command.
func (l *link) reply(payload wire.Payload) error {
	l.note(payload)
	return l.send(0, l.name, payload)
}

func (l *link) note(payload wire.Payload) {
	switch p := payload.(type) {
	case wire.Text:
		l.outcome = p.Text
	case wire.Failure:
		l.outcome = p.Text
	default:
		l.outcome = "data"
	}
}

// outcomeOf answers with what the daemon gave, if the client is still there.
func (l *link) outcomeOf(payload wire.Payload, err error) error {
	var refused refusal
	switch {
	case err == nil:
		return l.reply(payload)
	case l.ctx.Err() != nil:
		return err
	case errors.Is(err, errNoAnswer):
		return l.reply(wire.Failure{Text: textNoAnswer})
	case !errors.As(err, &refused):
		l.host.options.Log.Error("command failed in the simulation", "name", l.name.String(), "error", err)
	}
	return l.reply(wire.Failure{Text: err.Error()})
}

// drainAtMost is how much of an upload still fits between endpoint and daemon
// after the daemon has refused it.
const drainAtMost = 64 << 10

// queuedChunks is how many chunks the daemon takes after it has failed; then it
// waits for itself.
const queuedChunks = 2

// blockSet writes a block device. A daemon that refuses does not read: the
// client gets its text only when the rest of the upload is short, else the
// endpoint's own error and, most often, a reset (block-attached, step 7).
func (h *Host) blockSet(l *link, c wire.BlockSet) error {
	h.sequence.Add(1)
	upload := &uploadReader{from: l}
	b, done, err := h.daemon.beginSet(l.name)
	if err != nil {
		if _, readErr := io.Copy(io.Discard, io.LimitReader(upload, drainAtMost)); readErr != nil {
			return readErr
		}
		if !upload.finished {
			return l.reply(wire.Failure{Text: textWriting})
		}
		return l.outcomeOf(nil, err)
	}
	text, err := b.fill(c.Compressed, upload)
	before := upload.chunks
	for !upload.finished {
		if _, readErr := io.CopyN(io.Discard, upload, 32<<10); readErr != nil && !errors.Is(readErr, io.EOF) {
			done()
			return readErr
		}
		if err != nil && h.options.Quirks.Deadlocks && upload.chunks > before+queuedChunks {
			return l.hang(err) // and the block device stays in use
		}
	}
	done()
	return l.outcomeOf(wire.Text{Text: text}, err)
}

// blockDump sends a block device in frames. A failure comes twice, in the
// daemon's words and in the endpoint's.
func (h *Host) blockDump(l *link, c wire.BlockDump) error {
	sequence := h.sequence.Add(1)
	file, err := h.daemon.beginDump(l.name)
	if err != nil {
		if !errors.Is(err, errNoAnswer) {
			l.note(wire.Failure{Text: err.Error()})
			if err := l.send(sequence, l.name, wire.Failure{Text: err.Error()}); err != nil {
				return err
			}
		}
		return l.send(0, l.name, wire.Failure{Text: textStreamEnd})
	}
	defer file.Close()
	l.note(wire.BlockDeviceImage{})
	if err := l.send(sequence, l.name, wire.BlockDeviceImage{Compressed: c.Level > 0}); err != nil {
		return err
	}
	if err := dump(file, c.Level, func(data []byte) error { return l.send(sequence, l.name, wire.BlockData{Data: data}) }); err != nil {
		return err
	}
	return l.send(sequence, l.name, wire.BlockDataEnd{})
}

// console sends lines until the client goes or is evicted.
func (h *Host) console(l *link, c wire.ConsoleSubscribe) error {
	s, text := h.consoles.subscribe(l.name, c)
	defer h.consoles.unsubscribe(s)
	l.note(wire.Text{Text: text})
	if err := l.send(h.sequence.Add(1), l.name, wire.Text{Text: text}); err != nil {
		return err
	}
	l.watch()
	for {
		select {
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-s.evicted:
			return l.send(0, l.name, wire.Failure{Text: textStreamEnd})
		case <-s.wake:
			for _, line := range h.consoles.read(s) {
				if err := l.send(0, l.name, line); err != nil {
					return err
				}
			}
		}
	}
}

package albatross

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// DefaultPort is where a host's TLS endpoint listens unless told otherwise.
const DefaultPort = 1025

// Defaults of [Options].
const (
	DefaultTimeout = 10 * time.Second
	// DefaultMinRate in bytes per second.
	DefaultMinRate = 1 << 20
	// DefaultMaxReply in bytes.
	DefaultMaxReply = 64 << 20
)

// Options say where a host is and how to talk to it. Addr, Credential and
// ServerCAs must be given.
type Options struct {
	// Addr is host:port.
	Addr       string
	Credential *Credential
	// ServerCAs are what the host's certificate must chain to; see [ParseServerCA].
	ServerCAs *x509.CertPool
	// Timeout of a query from dialling to the answer; also how long a host may
	// be silent in the middle of an upload or download.
	Timeout time.Duration
	// MinRate in bytes per second is the slowest upload that is waited for: its
	// deadline is Timeout and its size divided by MinRate.
	MinRate int64
	// MaxReply is the largest frame that is accepted, in bytes.
	MaxReply int64
	// Dial opens connections; the default is that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock for certificates; the default is time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MinRate == 0 {
		o.MinRate = DefaultMinRate
	}
	if o.MaxReply == 0 {
		o.MaxReply = DefaultMaxReply
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Client talks to one host with one credential.
type Client struct {
	options Options
	minter  *cert.Minter
	// prefix is where the credential's names begin on the host.
	prefix   wire.Path
	sessions *tls.Config
}

// New makes a client; it opens no connection.
func New(options Options) (*Client, error) {
	if options.Addr == "" || options.Credential == nil || options.ServerCAs == nil {
		return nil, errors.New("albatross: address, credential and server CAs must be given")
	}
	options.setDefaults()
	minter, err := cert.NewMinter(options.Credential)
	if err != nil {
		return nil, err
	}
	return &Client{
		options: options,
		minter:  minter,
		prefix:  options.Credential.Path(),
		sessions: &tls.Config{
			MinVersion: tls.VersionTLS13,
			// A host's certificate has no names to compare; VerifyConnection does
			// what remains, in full.
			InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
			VerifyConnection:   cert.VerifyServer(options.ServerCAs, options.Now),
			// A ticket would let the host take a later command for this one.
			SessionTicketsDisabled: true,
		},
	}, nil
}

// Addr is the host's address.
func (c *Client) Addr() string { return c.options.Addr }

// session is one command's connection.
type session struct {
	client *Client
	ctx    context.Context
	conn   *tls.Conn
	// request is for error messages.
	command, name string
	sent          bool
	stop          func() bool
}

// open mints the certificates for a command, dials and shakes hands. The
// session ends with the context, whatever it is waiting for.
func (c *Client) open(ctx context.Context, scope Scope, label string, command wire.Command) (*session, error) {
	s := &session{client: c, ctx: ctx, command: wire.CommandName(command), name: wire.Name{Path: scope.Path(), Label: label}.String()}
	if err := ctx.Err(); err != nil {
		return nil, s.fail(ErrTimeout, context.Cause(ctx))
	}
	pair, err := c.minter.Mint(scope, label, command, c.options.Now())
	if err != nil {
		return nil, s.fail(ErrInvalid, err)
	}
	dialCtx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	raw, err := c.options.Dial(dialCtx, "tcp", c.options.Addr)
	if err != nil {
		return nil, s.broken(dialCtx, err)
	}
	config := c.sessions.Clone()
	config.Certificates = []tls.Certificate{pair}
	s.conn = tls.Client(raw, config)
	if err := s.conn.HandshakeContext(dialCtx); err != nil {
		raw.Close()
		return nil, s.broken(dialCtx, err)
	}
	s.sent = true // with the last flight of the handshake
	s.stop = context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	return s, nil
}

// close ends the connection. The host reads to the end of what it wants by
// itself, so there is nothing to wait for.
func (s *session) close() {
	s.stop()
	_ = s.conn.NetConn().Close()
}

// wait gives the host some time for its next answer or for taking what is sent.
func (s *session) wait(d time.Duration) {
	_ = s.conn.SetDeadline(time.Now().Add(d))
	if s.ctx.Err() != nil { // the context's own deadline must not be overwritten
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	}
}

func (s *session) fail(kind, cause error) *Error {
	return &Error{Kind: kind, Command: s.command, Name: s.name, Sent: s.sent, Err: cause}
}

func (s *session) broken(ctx context.Context, err error) *Error {
	kind, cause := connectionError(ctx, err)
	return s.fail(kind, cause)
}

// refuse makes the error of a failure frame.
func (s *session) refuse(text string) *Error {
	e := s.fail(ErrRefused, nil)
	e.Text = text
	return e
}

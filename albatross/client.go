package albatross

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
	// MinRate in bytes per second is the slowest upload that is waited for: it may
	// take Timeout and its size divided by MinRate, and the host as long again to
	// answer it.
	MinRate int64
	// MaxReply is the largest frame that is accepted, in bytes.
	MaxReply int64
	// Dial opens connections; the default is that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock for certificates; the default is time.Now.
	Now func() time.Time
}

func (o *Options) check() error {
	if o.Addr == "" || o.Credential == nil || o.ServerCAs == nil {
		return errors.New("albatross: address, credential and server CAs must be given")
	}
	if o.Timeout < 0 || o.MinRate < 0 || o.MaxReply < 0 {
		return errors.New("albatross: timeout, rate and size limit must not be negative")
	}
	return nil
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
	// prefix is where the credential's names begin on the host, and above the
	// policy there, which limits all scopes; nil for a host's CA.
	prefix   wire.Path
	above    *wire.Policy
	sessions *tls.Config
}

// New makes a client; it opens no connection.
func New(options Options) (*Client, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	options.setDefaults()
	minter, err := cert.NewMinter(options.Credential)
	if err != nil {
		return nil, err
	}
	c := &Client{
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
			// Large records from the beginning: nothing here is read in parts.
			DynamicRecordSizingDisabled: true,
		},
	}
	c.above, err = c.delegatedPolicy()
	return c, err
}

// delegatedPolicy reads the credential's own policy the way a host does: from
// the chain of a command.
func (c *Client) delegatedPolicy() (*wire.Policy, error) {
	pair, err := c.minter.Mint(nil, "", wire.PolicyInfo{}, c.options.Now())
	if err != nil {
		return nil, fmt.Errorf("albatross: credential: %w", err)
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("albatross: credential: %w", err)
		}
		chain = append(chain, parsed)
	}
	request, err := cert.Handle(chain)
	if err != nil {
		return nil, fmt.Errorf("albatross: credential: %w", err)
	}
	if len(request.Policies) == 0 {
		return nil, nil //nolint:nilnil // a host's CA has none
	}
	return &request.Policies[0].Policy, nil
}

// Addr is the host's address.
func (c *Client) Addr() string { return c.options.Addr }

// longest bounds deadlines, against overflow.
const longest = 365 * 24 * time.Hour

// allowance is how long moving n bytes may take.
func (c *Client) allowance(n int64) time.Duration {
	seconds := float64(n) / float64(c.options.MinRate)
	return c.options.Timeout + time.Duration(min(seconds, longest.Seconds())*float64(time.Second))
}

// session is one command's connection.
type session struct {
	client *Client
	ctx    context.Context
	conn   *tls.Conn
	link   *link
	// command and name are for error messages.
	command, name string
	// sent says that the certificates with the command may have left.
	sent bool
	// closed is the kind of failure that the connection's end means at present:
	// before an answer it is a rejection, later it is none.
	closed error
	// started and allowed bound the whole session, unless allowed is 0.
	started time.Time
	allowed time.Duration
	// patience is how long the host may be silent at present.
	patience time.Duration
	stop     func() bool
}

// open mints the certificates for a command, dials and shakes hands. The
// session ends with the context, whatever it is waiting for.
func (c *Client) open(ctx context.Context, scope Scope, label string, command wire.Command) (*session, error) {
	s := &session{
		client: c, ctx: ctx, command: wire.CommandName(command), name: wire.Name{Path: scope.Path(), Label: label}.String(),
		closed: ErrRejected, started: time.Now(), patience: c.options.Timeout,
	}
	if ctx.Err() != nil {
		return nil, s.fail(ErrTimeout, ended(ctx))
	}
	if err := scope.check(c.above); err != nil {
		return nil, s.fail(ErrInvalid, err)
	}
	pair, err := c.minter.Mint(scope, label, command, c.options.Now())
	if err != nil {
		return nil, s.fail(ErrInvalid, err)
	}
	if err := s.connect(pair); err != nil {
		return nil, s.broken(err)
	}
	if !s.sent {
		s.conn.NetConn().Close()
		return nil, s.fail(ErrProtocol, errors.New("the host asked for no certificate, so it is no Albatross"))
	}
	s.stop = context.AfterFunc(ctx, s.expire)
	return s, nil
}

// connect dials and shakes hands, in one timeout.
func (s *session) connect(pair tls.Certificate) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.client.options.Timeout)
	defer cancel()
	raw, err := s.client.options.Dial(ctx, "tcp", s.client.options.Addr)
	if err != nil {
		return err
	}
	config := s.client.sessions.Clone()
	// Called when the certificates are about to leave, the host's own being
	// trusted; and unlike a list of certificates it sends them whatever the host
	// says about the CAs that it likes.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		s.sent = true
		return &pair, nil
	}
	s.link = &link{Conn: raw}
	s.conn = tls.Client(s.link, config)
	if err := s.conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return fmt.Errorf("TLS handshake: %w", err)
	}
	return nil
}

// link is the connection below TLS. It remembers its end: TLS gives the same
// io.EOF for one that the host announced and for one that just came.
type link struct {
	net.Conn
	over bool
	// held is what was written while gathering.
	gathering bool
	held      []byte
}

// Read implements net.Conn.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.over = l.over || err != nil
	return n, err
}

// Write implements net.Conn.
func (l *link) Write(p []byte) (int, error) {
	if l.gathering {
		l.held = append(l.held, p...)
		return len(p), nil
	}
	return l.Conn.Write(p)
}

// gather sends all that is written meanwhile at once. By itself TLS sends each of
// its records of 16 KiB, and a host that waits would be woken by each.
func (l *link) gather(write func() error) error {
	l.gathering, l.held = true, l.held[:0]
	err := write()
	l.gathering = false
	if err != nil {
		return err
	}
	_, err = l.Write(l.held)
	return err
}

// close ends the connection. The host reads to the end of what it wants by
// itself, so there is nothing to wait for; and an upload that is cut must not
// look like one that ended in good order.
func (s *session) close() {
	s.stop()
	s.conn.NetConn().Close()
}

// past is a deadline that ends every wait at once.
var past = time.Unix(1, 0)

func (s *session) expire() { _ = s.conn.SetDeadline(past) }

// wait gives the host some time for its next answer or for taking what is sent.
func (s *session) wait(d time.Duration) {
	s.patience = d
	at := time.Now().Add(d)
	if end := s.started.Add(s.allowed); s.allowed > 0 && end.Before(at) {
		at = end
	}
	s.setDeadline(at)
}

// waitForEver leaves only the context to end a wait, for streams that may be silent.
func (s *session) waitForEver() { s.setDeadline(time.Time{}) }

func (s *session) setDeadline(at time.Time) {
	_ = s.conn.SetDeadline(at)
	if s.ctx.Err() != nil { // the end of the context must not be overwritten
		s.expire()
	}
}

func (s *session) fail(kind, cause error) *Error {
	return &Error{Kind: kind, Command: s.command, Name: s.name, Sent: s.sent, Err: cause}
}

// broken makes the error of a failure of the network or of TLS. The context's
// end wins, since it shows as some failure of the connection.
func (s *session) broken(err error) *Error {
	if s.ctx.Err() != nil {
		return s.fail(ErrTimeout, ended(s.ctx))
	}
	kind := connectionError(err, s.sent, s.link != nil && !s.link.over)
	switch kind {
	case ErrTimeout:
		err = s.overdue(err)
	case ErrRejected:
		kind = s.closed
	}
	return s.fail(kind, err)
}

// ended says why a context is no more.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// overdue says which of our own limits has passed.
func (s *session) overdue(err error) error {
	if s.allowed > 0 && time.Since(s.started) >= s.allowed {
		return fmt.Errorf("not done within %v: %w", s.allowed.Round(time.Millisecond), err)
	}
	return fmt.Errorf("no sign of the host for %v: %w", s.patience.Round(time.Millisecond), err)
}

// refuse makes the error of a failure frame.
func (s *session) refuse(text string) *Error {
	e := s.fail(ErrRefused, nil)
	if s.closed == ErrEnded { //nolint:errorlint // a kind, not an error
		e.Kind = ErrEnded
	}
	e.Text = text
	return e
}

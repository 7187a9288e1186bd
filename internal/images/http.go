package images

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

const (
	maxRedirects  = 5
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
	// maxHeader is how large the header of an answer may be, in bytes.
	maxHeader = 64 << 10
)

// newHTTPClient makes a client for addresses that tenants name: it follows few
// redirects, keeps no cookies, and connects to no address that allowed refuses,
// which is asked after the name was resolved and for every redirect.
func newHTTPClient(allowed func(netip.Addr) error) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: not an address", ErrForbidden)
		}
		return allowed(at.Addr())
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // the digest is of what the server has
			MaxIdleConns:           16,
			IdleConnTimeout:        dialTimeout,
		},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			// The address that led here may have a token in it.
			request.Header.Del("Referer")
			if len(via) > maxRedirects {
				return fmt.Errorf("%w: more than %d redirects", ErrForbidden, maxRedirects)
			}
			return checkScheme(request.URL)
		},
	}
}

func checkScheme(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: only http and https are followed", ErrForbidden)
	}
	return nil
}

// metadataIPv6 is where a large cloud tells machines their secrets; its IPv4
// address is a link-local one.
var metadataIPv6 = netip.MustParseAddr("fd00:ec2::254")

// refuseInternal refuses addresses that are the operator's own surroundings
// rather than somebody's server. The text does not name the address, which would
// tell tenants what names mean in the operator's network.
func refuseInternal(allowLoopback bool) func(netip.Addr) error {
	return func(a netip.Addr) error {
		a = a.Unmap().WithZone("")
		if a.IsLoopback() && allowLoopback {
			return nil
		}
		if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a == metadataIPv6 {
			return fmt.Errorf("%w: the server has a loopback, link-local or multicast address", ErrForbidden)
		}
		return nil
	}
}

// errIdle ends a download that gives nothing for [Options].IdleTimeout.
var errIdle = errors.New("the server stopped sending")

// download opens an http or https address. Its body fails when nothing comes for
// idle; what promises to be larger than limit bytes is not opened.
func download(ctx context.Context, client *http.Client, address string, limit int64, idle time.Duration) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body, err := open(ctx, client, address, limit)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("%s: %w", withoutQuery(address), err)
	}
	timer := time.AfterFunc(idle, func() { cancel(errIdle) })
	timer.Stop()
	return &idleReader{body: body, timer: timer, idle: idle, cancel: cancel, ctx: ctx, address: withoutQuery(address)}, nil
}

func open(ctx context.Context, client *http.Client, address string, limit int64) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || request.URL.Host == "" {
		return nil, fmt.Errorf("%w: not an address", ErrNotFound)
	}
	if err := checkScheme(request.URL); err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "mollymawk-operator")
	response, err := client.Do(request)
	if err != nil {
		return nil, networkError(ctx, err)
	}
	err = statusError(response.StatusCode)
	if err == nil && response.ContentLength > limit {
		err = tooLarge(limit)
	}
	if err != nil {
		response.Body.Close()
		return nil, err
	}
	return response.Body, nil
}

// statusError never tells what the body says, which is a stranger's text.
func statusError(status int) error {
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w (status %d)", ErrNotFound, status)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w (status %d)", ErrForbidden, status)
	}
	return fmt.Errorf("the server answered with status %d", status)
}

// withoutQuery drops the parts of an address that may hold a secret.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// networkError says what is wrong in words of this package or of the operating
// system. The errors of net/http quote the whole address, ports that differ from
// one attempt to the next, and what the server sent.
func networkError(ctx context.Context, err error) error {
	var name *net.DNSError
	var timeout net.Error
	var code syscall.Errno
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrForbidden):
		return forbidden(err)
	case errors.As(err, &name) && name.IsNotFound:
		return errors.New("the server's name is unknown (no such host)")
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the server does not answer in time")
	case errors.As(err, &name):
		return errors.New("the server's name cannot be resolved")
	case errors.As(err, &certificate):
		return fmt.Errorf("the server's certificate is not trusted: %w", certificateProblem(certificate.Err))
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection broke off")
	case errors.As(err, &code):
		return code // connection refused, no route to host, …
	}
	return errors.New("the server's answer is not understood")
}

// forbidden gives what this package said, without what was wrapped around it.
func forbidden(err error) error {
	for {
		switch wrapping := err.(type) { //nolint:errorlint // the chain is walked
		case *url.Error:
			err = wrapping.Err
		case *net.OpError:
			err = wrapping.Err
		default:
			return err
		}
	}
}

// certificateProblem keeps the texts that do not depend on the time.
func certificateProblem(err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return errors.New("it has expired or is not yet valid")
	}
	return err
}

// idleReader is the body of a download.
type idleReader struct {
	body    io.ReadCloser
	address string
	// timer runs only during a read: what the reader does in between is not the
	// server's idleness.
	timer  *time.Timer
	idle   time.Duration
	cancel context.CancelCauseFunc
	ctx    context.Context
}

// Read implements io.Reader.
func (r *idleReader) Read(p []byte) (int, error) {
	r.timer.Reset(r.idle)
	n, err := r.body.Read(p)
	r.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%s: %w", r.address, networkError(r.ctx, err))
	}
	return n, err
}

// Close implements io.Closer.
func (r *idleReader) Close() error {
	r.timer.Stop()
	r.cancel(nil)
	return r.body.Close()
}

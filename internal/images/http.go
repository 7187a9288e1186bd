package images

import (
	"context"
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
	// idleTimeout ends a download that gives nothing for so long.
	idleTimeout = 30 * time.Second
)

// newHTTPClient makes a client for addresses that tenants name: it follows few
// redirects, keeps no cookies, and connects to no address that allowed refuses,
// which is asked after the name was resolved and for every redirect.
func newHTTPClient(allowed func(netip.Addr) error) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: address %q", ErrForbidden, address)
		}
		return allowed(at.Addr().Unmap())
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: headerTimeout,
			DisableCompression:    true, // the digest is of what the server has
			MaxIdleConns:          16,
			IdleConnTimeout:       idleTimeout,
		},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("%w: more than %d redirects", ErrForbidden, maxRedirects)
			}
			return nil
		},
	}
}

// refuseInternal refuses addresses that are the operator's own surroundings
// rather than somebody's server.
func refuseInternal(allowLoopback bool) func(netip.Addr) error {
	return func(a netip.Addr) error {
		if a.IsLoopback() && allowLoopback {
			return nil
		}
		if a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
			return fmt.Errorf("%w: %s is a loopback, link-local or multicast address", ErrForbidden, a)
		}
		return nil
	}
}

// download opens an http or https address. The body gives an error when nothing
// comes for [idleTimeout].
func download(ctx context.Context, client *http.Client, address string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is no address", ErrNotFound, withoutQuery(address))
	}
	request.Header.Set("User-Agent", "mollymawk-operator")
	ctx, cancel := context.WithCancelCause(ctx)
	response, err := client.Do(request.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("%s: %w", withoutQuery(address), withoutAddress(err))
	}
	if err := statusError(response.StatusCode); err != nil {
		cancel(nil)
		response.Body.Close()
		return nil, fmt.Errorf("%s: %w", withoutQuery(address), err)
	}
	return &idleReader{body: response.Body, timer: time.AfterFunc(idleTimeout, func() { cancel(errIdle) }), cancel: cancel, ctx: ctx}, nil
}

// statusError never tells what the body says, which is a stranger's text.
func statusError(status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotFound || status == http.StatusGone:
		return fmt.Errorf("%w (status %d)", ErrNotFound, status)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("%w (status %d)", ErrForbidden, status)
	}
	return fmt.Errorf("the server answered with status %d", status)
}

// withoutQuery drops the part of an address that may hold a token.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// withoutAddress drops the whole address, query and all, that net/http puts into
// its errors, and the ports that differ from one attempt to the next.
func withoutAddress(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

var errIdle = fmt.Errorf("the server gave nothing for %s", idleTimeout)

type idleReader struct {
	body   io.ReadCloser
	timer  *time.Timer
	cancel context.CancelCauseFunc
	ctx    context.Context
}

func (r *idleReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if n > 0 {
		r.timer.Reset(idleTimeout)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(r.ctx); cause != nil {
			return n, cause
		}
		return n, fmt.Errorf("download broke off: %w", withoutAddress(err))
	}
	return n, err
}

func (r *idleReader) Close() error {
	r.timer.Stop()
	r.cancel(nil)
	return r.body.Close()
}

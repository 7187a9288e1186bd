package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	maxRedirects = 5
	// maxHeader is how large the header of an answer may be, in bytes.
	maxHeader = 64 << 10
)

// http asks a web address with GET and looks at the status of the answer, of
// which the body is not read. Redirects are followed within the host that spec
// names: where a unikernel sends others to is not what it is asked for, and must
// not make the operator ask there.
func (c *checker) http(ctx context.Context, spec *HTTP) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, spec.URL, nil)
	if err != nil || request.URL.Host == "" || !isWeb(request.URL) {
		return failure("not an http or https address")
	}
	request.URL.User = nil
	request.Header.Set("User-Agent", "mollymawk-operator")
	response, err := c.client(ctx, spec).Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if !spec.expects(response.StatusCode) {
		return failure(fmt.Sprintf("status %d, expected %s", response.StatusCode, spec.expected()))
	}
	return nil
}

// client makes one for a single probe.
func (c *checker) client(ctx context.Context, spec *HTTP) *http.Client {
	return &http.Client{
		Transport: roundTripper(func(request *http.Request) (*http.Response, error) { return c.roundTrip(ctx, request) }),
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if len(spec.Statuses) > 0 && spec.expects(request.Response.StatusCode) {
				return http.ErrUseLastResponse
			}
			// The address that led here may have a token in it.
			request.Header.Del("Referer")
			request.URL.User = nil
			if len(via) > maxRedirects {
				return failure(fmt.Sprintf("more than %d redirects", maxRedirects))
			}
			return checkRedirect(via[0].URL, request.URL)
		},
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// roundTrip asks once, over a connection that is closed when the header of the
// answer is there. That of net/http does more than a probe needs and not all of
// what it must: it goes on dialing when a request has ended, and writes to the log
// what a server sends unasked.
func (c *checker) roundTrip(ctx context.Context, request *http.Request) (*http.Response, error) {
	conn, err := c.open(ctx, "tcp", dialAddress(request.URL))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if request.URL.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: request.URL.Hostname(), MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	request = request.Clone(ctx)
	request.Close = true
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	return readHeader(conn, request)
}

// readHeader gives an answer without its body.
func readHeader(conn io.Reader, request *http.Request) (*http.Response, error) {
	limited := &io.LimitedReader{R: conn, N: maxHeader}
	reader := bufio.NewReader(limited)
	for {
		response, err := http.ReadResponse(reader, request)
		switch {
		case err != nil && limited.N <= 0:
			return nil, errGarbled
		case err != nil:
			return nil, err
		case response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols:
			response.Body = http.NoBody
			return response, nil
		}
		// What is below 200 announces an answer.
	}
}

// dialAddress gives host:port of an address.
func dialAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// checkRedirect refuses to be led away.
func checkRedirect(from, to *url.URL) error {
	if !isWeb(to) {
		return failure("redirected to what is neither http nor https")
	}
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return failure("redirected to another host")
	}
	return nil
}

func isWeb(u *url.URL) bool { return u.Scheme == "http" || u.Scheme == "https" }

// expects tells whether a status counts as success.
func (h *HTTP) expects(status int) bool {
	if len(h.Statuses) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.Contains(h.Statuses, status)
}

// expected says which statuses count as success.
func (h *HTTP) expected() string {
	if len(h.Statuses) == 0 {
		return "200 to 299"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(h.Statuses), " ", ", "), "[]")
}

package probe

import (
	"context"
	"fmt"
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

// client makes one for a single probe. That keeps its connections within the
// context: a transport that is shared goes on dialing when the request has ended.
func (c *checker) client(ctx context.Context, spec *HTTP) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
				return c.open(ctx, network, address)
			},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
		},
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

package egress

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	maxRedirects  = 5
	headerTimeout = 30 * time.Second
	// maxHeader is how large the header of an answer may be, in bytes.
	maxHeader = 64 << 10
)

// Client makes a client for addresses that tenants name. It follows few
// redirects, takes no credentials to another server, keeps no cookies, tells
// nobody where it comes from, and connects to nothing that the policy refuses. A
// nil config means that certificates are verified as the system does.
func (p Policy) Client(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            p.DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // digests are of what the server has
			MaxIdleConns:           16,
			IdleConnTimeout:        dialTimeout,
		},
		CheckRedirect: checkRedirect,
	}
}

func checkRedirect(request *http.Request, via []*http.Request) error {
	// The address that led here may have a token in it.
	request.Header.Del("Referer")
	if len(via) > maxRedirects {
		return &RefusedError{fmt.Sprintf("more than %d redirects", maxRedirects)}
	}
	if left(request, via) {
		for _, header := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			request.Header.Del(header)
		}
	}
	return CheckScheme(request.URL)
}

// left tells whether redirects have led away from the first server, be it only
// to another port. One that was led away and back does not count as there again.
func left(request *http.Request, via []*http.Request) bool {
	for _, r := range append(via[1:len(via):len(via)], request) {
		if r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host {
			return true
		}
	}
	return false
}

// CheckScheme refuses what is neither http nor https.
func CheckScheme(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return &RefusedError{"only http and https are followed"}
	}
	return nil
}

package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mollymawk.dev/operator/internal/egress"
)

// loopback lets sources be the servers of tests.
var loopback = egress.Policy{AllowLoopback: true}

func at(address, digest string) Source { return Source{URL: address, SHA256: digest} }

// serve starts a server that is silent about what clients do to it.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// answer serves one content.
func answer(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, content) }
}

// fetch downloads into a new store. The limit is 1 MiB unless options have one.
func fetch(t *testing.T, source Source, options Options) (Blob, error) {
	t.Helper()
	if options.MaxSize == 0 {
		options.MaxSize = 1 << 20
	}
	dir := t.TempDir()
	f := startFetcher(t, newStore(t, dir), options)
	blob, err := f.Get(t.Context(), "key", source, time.Minute)
	if errors.Is(err, ErrInProgress) {
		t.Fatal("not done within a minute")
	}
	if err != nil {
		tellsNothing(t, err)
		kept(t, dir)
	}
	return blob, err
}

func TestStatuses(t *testing.T) {
	for status, want := range map[int]error{
		200: nil, 404: ErrNotFound, 410: ErrNotFound, 401: ErrForbidden, 403: ErrForbidden,
		201: nil, 204: nil, 206: nil, 304: nil, 400: nil, 408: nil, 418: nil, 429: nil, 500: nil, 502: nil, 503: nil, 504: nil,
	} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "content")
		})
		_, err := fetch(t, at(server.URL+"/image", digestOf("content")), Options{Egress: loopback})
		switch {
		case status == 200:
			if err != nil {
				t.Errorf("200: %v", err)
			}
		case want != nil:
			if !errors.Is(err, want) || !Permanent(err) || !strings.Contains(err.Error(), fmt.Sprint(status)) {
				t.Errorf("%d: %v, want %v", status, err, want)
			}
		default:
			if err == nil || Permanent(err) || err.Error() != fmt.Sprintf("%s/image: the server answered with status %d", server.URL, status) {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		answer("content")(w, r)
	})
	address := strings.Replace(server.URL, "http://", "http://user:word@", 1) + "/a/b?token=1"
	if _, err := fetch(t, at(address, digestOf("content")), Options{Egress: loopback}); err != nil {
		t.Fatal(err)
	}
	name, password, _ := got.BasicAuth()
	if got.Method != http.MethodGet || got.URL.String() != "/a/b?token=1" || name != "user" || password != "word" {
		t.Errorf("asked %s %s as %s", got.Method, got.URL, name)
	}
	if got.UserAgent() != "mollymawk-operator" || got.Header.Get("Accept-Encoding") != "" || len(got.Cookies()) != 0 {
		t.Errorf("asked with %v", got.Header)
	}
}

func TestRedirects(t *testing.T) {
	var referers, cookies []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Referer() != "" {
			referers = append(referers, r.Referer())
		}
		if c := r.Header.Get("Cookie"); c != "" {
			cookies = append(cookies, c)
		}
		var left int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &left); err != nil || left == 0 {
			answer("content")(w, r)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "track", Value: "me"})
		http.Redirect(w, r, fmt.Sprintf("/%d?token=1", left-1), http.StatusFound)
	})
	for redirects, want := range map[int]error{0: nil, 1: nil, 5: nil, 6: ErrForbidden, 100: ErrForbidden} {
		_, err := fetch(t, at(fmt.Sprintf("%s/%d?token=1", server.URL, redirects), digestOf("content")), Options{Egress: loopback})
		if !errors.Is(err, want) {
			t.Errorf("%d redirects: %v, want %v", redirects, err, want)
		}
	}
	if referers != nil || cookies != nil {
		t.Errorf("told others %v and %v", referers, cookies)
	}
}

func TestRedirectsToForbiddenPlaces(t *testing.T) {
	for _, to := range []string{
		"http://169.254.169.254/latest/meta-data?canary", "http://[fe80::1]/", "http://[fd00:ec2::254]/", "http://0.0.0.0/", "http://[::]/",
		"http://224.0.0.1/", "http://[ff02::1]/", "http://[::ffff:169.254.169.254]/",
		"ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1/",
	} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
		_, err := fetch(t, at(server.URL, digestOf("content")), Options{Egress: loopback})
		if !errors.Is(err, ErrForbidden) || !Permanent(err) || strings.Contains(err.Error(), "canary") {
			t.Errorf("redirect to %s: %v", to, err)
		}
	}
}

func TestLoopbackIsRefusedUnlessAllowed(t *testing.T) {
	var requests atomic.Int32
	server := serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	port := server.Listener.Addr().(*net.TCPAddr).Port
	for _, host := range []string{"127.0.0.1", "localhost", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]"} {
		_, err := fetch(t, at(fmt.Sprintf("http://%s:%d/image", host, port), digestOf("")), Options{})
		want := fmt.Sprintf("http://%s:%d/image: forbidden: the server has a loopback, link-local, multicast or metadata address", host, port)
		if !errors.Is(err, ErrForbidden) || err.Error() != want {
			t.Errorf("%s: %v", host, err)
		}
	}
	if requests.Load() != 0 {
		t.Error("it was asked nevertheless")
	}
}

func TestBadAddresses(t *testing.T) {
	for address, want := range map[string]error{
		"":                        ErrNotFound,
		"http://":                 ErrNotFound,
		"http:///image?canary":    ErrNotFound,
		"://canary":               ErrNotFound,
		"http://h/%zz?canary":     ErrNotFound,
		"http://h\x7f/?canary":    ErrNotFound,
		"image":                   ErrNotFound,
		"ftp://h/image?canary":    ErrForbidden,
		"file://h/etc?canary":     ErrForbidden,
		"http://[::1%25lo]:1/x#y": ErrForbidden,
	} {
		_, err := fetch(t, at(address, digestOf("")), Options{})
		if !errors.Is(err, want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want %v", address, err, want)
		}
	}
}

// Neither what is secret in an address nor what a stranger says gets into texts.
func TestNothingSecretInErrors(t *testing.T) {
	const canary = "canary"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var answers sync.WaitGroup
	defer answers.Wait()
	defer listener.Close()
	answers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 canary speaks something else\r\n")
			conn.Close()
		}
	})
	status := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, canary, http.StatusTeapot)
	})
	location := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://[canary")
		w.WriteHeader(http.StatusFound)
	})
	length := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Transfer-Encoding", "canary")
	})
	untrusted := httptest.NewUnstartedServer(answer(""))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, tt := range []struct{ what, address, want string }{
		{"not HTTP", "http://" + listener.Addr().String(), "the server's answer is not understood"},
		{"a status", status.URL, "the server answered with status 418"},
		{"a bad redirect", location.URL, "the server's answer is not understood"},
		{"an odd header", length.URL, "the server's answer is not understood"},
		{"not trusted", untrusted.URL, "the server's certificate is not trusted: it is signed by an unknown authority"},
		{"nobody there", closed.URL, "connection refused"},
		{"other content", serve(t, answer(canary)).URL, "digest mismatch: the content has SHA-256 " + digestOf(canary)},
	} {
		u, err := url.Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("user-canary", "word-canary")
		u.Path, u.RawQuery, u.Fragment = "/a b", "token=canary", "canary"
		_, err = fetch(t, at(u.String(), digestOf("content")), Options{Egress: loopback})
		if err == nil {
			t.Errorf("%s: no error", tt.what)
			continue
		}
		where := u.Scheme + "://" + u.Host + "/a%20b: "
		if got := strings.TrimPrefix(err.Error(), where); got != tt.want || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %q, want %q", tt.what, err, tt.want)
		}
	}
}

func TestNetworkErrors(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errIdle)
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "http://h/?canary", Err: &net.OpError{
			Op: "dial", Source: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 41023}, Err: err,
		}}
	}
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{ended, errors.New("context canceled"), "the server stopped sending"},
		{t.Context(), dial(&net.DNSError{Err: "no such host", Name: "h", Server: "192.0.2.53:53", IsNotFound: true}), "the server's name is unknown (no such host)"},
		{t.Context(), dial(&net.DNSError{Err: "i/o timeout", Name: "h", IsTimeout: true}), "the server does not answer in time"},
		{t.Context(), dial(&net.DNSError{Err: "read udp 192.0.2.1:4711", Name: "h"}), "the server's name cannot be resolved"},
		{t.Context(), dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to host"},
		{t.Context(), dial(os.NewSyscallError("read", syscall.ECONNRESET)), "the connection broke off"},
		{t.Context(), dial(io.ErrUnexpectedEOF), "the connection broke off"},
		{t.Context(), dial(os.ErrDeadlineExceeded), "the server does not answer in time"},
		{t.Context(), dial(egress.CheckScheme(&url.URL{Scheme: "ftp"})), "forbidden: only http and https are followed"},
		{t.Context(), &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 12:00"}},
			"the server's certificate is not trusted: it has expired or is not yet valid"},
		{t.Context(), &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
			"the server's certificate is not trusted: it is signed by an unknown authority"},
		{t.Context(), errors.New("canary"), "the server's answer is not understood"},
	} {
		if got := networkError(tt.ctx, tt.err); got.Error() != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
		if permanent := strings.HasPrefix(tt.want, "forbidden"); Permanent(networkError(tt.ctx, tt.err)) != permanent {
			t.Errorf("%v: permanent: %v", tt.err, !permanent)
		}
	}
}

func TestIdleServer(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "a little")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	_, err := fetch(t, at(server.URL, digestOf("content")), Options{Egress: loopback, IdleTimeout: 20 * time.Millisecond})
	if err == nil || err.Error() != server.URL+": the server stopped sending" || Permanent(err) {
		t.Errorf("%v", err)
	}
}

func TestSilentServer(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := fetch(t, at(server.URL, digestOf("content")), Options{Egress: loopback, Deadline: 20 * time.Millisecond})
	if err == nil || err.Error() != server.URL+": not complete after 20ms" || Permanent(err) {
		t.Errorf("%v", err)
	}
}

// A disk that is slow is not a server that is idle.
func TestOnlyReadsCount(t *testing.T) {
	server := serve(t, answer(strings.Repeat("content", 1000)))
	f := NewFetcher(newStore(t, t.TempDir()), Options{Egress: loopback}, nil)
	defer f.client.CloseIdleConnections()
	body, err := f.open(t.Context(), content{client: f.client, address: server.URL, size: unknownSize})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	buffer := make([]byte, 10)
	for range 3 {
		if _, err := body.Read(buffer); err != nil {
			t.Fatal(err)
		}
		if body.part.timer.Stop() {
			t.Fatal("the time runs between reads")
		}
	}
}

func TestBrokenDownloads(t *testing.T) {
	for what, length := range map[string]string{"of known length": "Content-Length: 100\r\n", "in chunks": "Transfer-Encoding: chunked\r\n"} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\n" + length + "\r\n10\r\nhalf of it")
			buffered.Flush()
			conn.Close()
		})
		_, err := fetch(t, at(server.URL, digestOf("content")), Options{Egress: loopback})
		if err == nil || err.Error() != server.URL+": the connection broke off" || Permanent(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The digest is of the bytes that the server has, not of what they stand for.
func TestContentEncodingIsLeftAlone(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.WriteString(w, "content"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	blob, err := fetch(t, at(server.URL, digestOf(packed.String())), Options{Egress: loopback})
	if err != nil || contentOf(t, blob) != packed.String() {
		t.Errorf("%v", err)
	}
}

func TestHugeContent(t *testing.T) {
	var sent atomic.Int64
	for what, promise := range map[string]string{"as promised": "1000000000000", "by surprise": ""} {
		sent.Store(0)
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if promise != "" {
				w.Header().Set("Content-Length", promise)
			}
			block := make([]byte, 64<<10)
			for {
				n, err := w.Write(block)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		_, err := fetch(t, at(server.URL, digestOf("content")), Options{Egress: loopback, MaxSize: 1 << 20})
		if !errors.Is(err, ErrTooLarge) || !Permanent(err) || !strings.HasSuffix(err.Error(), "too large: more than 1048576 bytes") {
			t.Errorf("%s: %v", what, err)
		}
		server.Close()
		if sent.Load() > 64<<20 {
			t.Errorf("%s: %d bytes were taken", what, sent.Load())
		}
	}
}

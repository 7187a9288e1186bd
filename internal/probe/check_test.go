package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is the deadline of probes that get an answer.
const patience = time.Minute

// impatience is that of probes that get none.
const impatience = 100 * time.Millisecond

// dials is a dial function that counts.
type dials struct {
	mu   sync.Mutex
	made []string
	// err is what all fail with, when it is set.
	err error
}

func (d *dials) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.made = append(d.made, network+" "+address)
	d.mu.Unlock()
	if d.err != nil {
		return nil, d.err
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// expect asks once over the loopback and compares what is wrong.
func expect(t *testing.T, spec Spec, timeout time.Duration, want string) (made []string) {
	t.Helper()
	var d dials
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	got, conclusive := (&checker{dial: d.dial}).check(ctx, &spec)
	if got != want || !conclusive {
		t.Errorf("%q (conclusive: %t), want %q", got, conclusive, want)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.made
}

// webServer starts one and gives its address.
func webServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// secureServer starts one with a certificate and gives its address.
func secureServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = discardLog()
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// rawServer sends each that connects the same bytes and hangs up.
func rawServer(t *testing.T, answer string) string {
	t.Helper()
	return acceptAll(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write([]byte(answer))
	})
}

// acceptAll starts a TCP server that serves each connection and closes it, and
// gives its address.
func acceptAll(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		work.Wait()
	})
	return listener.Addr().String()
}

// untilClosed keeps a connection and says nothing.
func untilClosed(conn net.Conn) {
	for {
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return
		}
	}
}

// closedPort gives an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	return listener.Addr().String()
}

// fullPort gives an address where the queue of connections is full and nobody
// takes any: who connects is not answered.
func fullPort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
}

func TestTCP(t *testing.T) {
	tcp := func(address string) Spec { return Spec{TCP: &TCP{Address: address}} }
	expect(t, tcp(acceptAll(t, untilClosed)), patience, "")
	expect(t, tcp(acceptAll(t, func(net.Conn) {})), patience, "")
	expect(t, tcp(closedPort(t)), patience, "tcp: connection refused")
	expect(t, tcp(fullPort(t)), impatience, "tcp: no answer in time")
	expect(t, tcp("web.invalid:80"), patience, "tcp: unknown host")
}

func TestHTTPStatuses(t *testing.T) {
	base := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		if status/100 == 3 {
			w.Header().Set("Location", "/200")
		}
		w.WriteHeader(status)
		fmt.Fprint(w, "a secret of the server")
	})
	for _, c := range []struct {
		path     string
		expected []int
		want     string
	}{
		{"/200", nil, ""},
		{"/204", nil, ""},
		{"/299", nil, ""},
		{"/302", nil, ""},
		{"/503", nil, "http: status 503, expected 200 to 299"},
		{"/404", []int{404}, ""},
		{"/404", []int{200, 404}, ""},
		{"/204", []int{200, 404}, "http: status 204, expected 200, 404"},
		{"/302", []int{302}, ""},
		{"/302", []int{301}, "http: status 200, expected 301"},
		{"/304", []int{304}, ""},
	} {
		t.Run(fmt.Sprintf("%s %v", c.path, c.expected), func(t *testing.T) {
			expect(t, Spec{HTTP: &HTTP{URL: base + c.path, Statuses: c.expected}}, patience, c.want)
		})
	}
}

func TestHTTPRedirects(t *testing.T) {
	elsewhere := webServer(t, func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") })
	var asked []*http.Request
	var mu sync.Mutex
	base := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r)
		mu.Unlock()
		var left int
		switch n, _ := fmt.Sscanf(r.URL.Path, "/hops/%d", &left); {
		case n == 1 && left > 0:
			http.Redirect(w, r, fmt.Sprintf("//somebody:password@%s/hops/%d", r.Host, left-1), http.StatusFound)
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusMovedPermanently)
		case r.URL.Path == "/away":
			http.Redirect(w, r, strings.Replace(elsewhere, "127.0.0.1", "localhost", 1), http.StatusFound)
		case r.URL.Path == "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case r.URL.Path == "/garbage":
			w.Header().Set("Location", "http://%zz")
			w.WriteHeader(http.StatusFound)
		case r.URL.Path == "/nowhere":
			w.WriteHeader(http.StatusFound)
		}
	})
	for path, want := range map[string]string{
		"/hops/5?token=secret": "",
		"/hops/6":              "http: more than 5 redirects",
		"/loop":                "http: more than 5 redirects",
		"/away":                "http: redirected to another host",
		"/file":                "http: redirected to what is neither http nor https",
		"/garbage":             "http: answer not understood",
		"/nowhere":             "http: status 302, expected 200 to 299",
	} {
		t.Run(path, func(t *testing.T) {
			withPassword := strings.Replace(base, "http://", "http://somebody:password@", 1)
			made := expect(t, Spec{HTTP: &HTTP{URL: withPassword + path}}, patience, want)
			if len(made) > 6 {
				t.Errorf("%d connections", len(made))
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for _, r := range asked {
		if r.Method != http.MethodGet {
			t.Errorf("asked with %s", r.Method)
		}
		for _, header := range []string{"Referer", "Authorization", "Cookie"} {
			if value := r.Header.Get(header); value != "" {
				t.Errorf("%s is told %s: %q", r.URL, header, value)
			}
		}
	}
}

func TestHTTPS(t *testing.T) {
	secure := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Proto != "HTTP/1.1" || r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	expect(t, Spec{HTTP: &HTTP{URL: secure}}, patience, "")
	expect(t, Spec{HTTP: &HTTP{URL: secure + "/bad"}}, patience, "http: status 500, expected 200 to 299")
	plain := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, secure+"/good", http.StatusPermanentRedirect)
	})
	expect(t, Spec{HTTP: &HTTP{URL: plain}}, patience, "")
}

func TestHTTPBodyIsNotRead(t *testing.T) {
	broken := make(chan struct{})
	base := webServer(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for {
			if _, err := w.Write(chunk); err != nil {
				close(broken)
				return
			}
		}
	})
	expect(t, Spec{HTTP: &HTTP{URL: base}}, patience, "")
	select {
	case <-broken:
	case <-time.After(time.Minute):
		t.Error("the connection stays open")
	}
}

func TestHTTPBadServers(t *testing.T) {
	// Its certificate is for 127.0.0.1, and not for localhost.
	untrusted := strings.Replace(secureServer(t, func(http.ResponseWriter, *http.Request) {}), "127.0.0.1", "localhost", 1)
	plain := webServer(t, func(http.ResponseWriter, *http.Request) {})
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = discardLog()
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	t.Cleanup(old.Close)
	for _, c := range []struct {
		what, url string
		timeout   time.Duration
		want      string
	}{
		{"nobody", "http://" + closedPort(t), patience, "http: connection refused"},
		{"a full queue", "http://" + fullPort(t), impatience, "http: no answer in time"},
		{"no answer", "http://" + acceptAll(t, untilClosed), impatience, "http: no answer in time"},
		{"no handshake", "https://" + acceptAll(t, untilClosed), impatience, "http: no answer in time"},
		{"hangs up", "http://" + rawServer(t, ""), patience, "http: the connection broke off"},
		{"garbage", "http://" + rawServer(t, "garbage of 10.1.2.3\r\n\r\n"), patience, "http: answer not understood"},
		{"half a header", "http://" + rawServer(t, "HTTP/1.1 200 OK\r\nA: b\r\n"), patience, "http: the connection broke off"},
		{"endless header", "http://" + acceptAll(t, endlessHeader), patience, "http: answer not understood"},
		{"announcements", "http://" + rawServer(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), patience, ""},
		{"an announcement only", "http://" + rawServer(t, "HTTP/1.1 100 Continue\r\n\r\n"), patience, "http: the connection broke off"},
		{"another protocol", "http://" + rawServer(t, "HTTP/1.1 101 Switching Protocols\r\n\r\n"), patience, "http: status 101, expected 200 to 299"},
		{"a short body", "http://" + rawServer(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"), patience, ""},
		{"an unknown host", "http://web.invalid/", patience, "http: unknown host"},
		{"an untrusted certificate", untrusted, patience, "http: certificate not trusted"},
		{"no TLS", strings.Replace(plain, "http:", "https:", 1), patience, "http: the server does not speak TLS"},
		{"old TLS", old.URL, patience, "http: no common version or cipher of TLS"},
		{"no address", "http://", patience, "http: not an http or https address"},
		{"another scheme", "file:///etc/passwd", patience, "http: not an http or https address"},
		{"no URL", "http://a b", patience, "http: not an http or https address"},
	} {
		t.Run(c.what, func(t *testing.T) {
			expect(t, Spec{HTTP: &HTTP{URL: c.url}}, c.timeout, c.want)
		})
	}
}

func endlessHeader(conn net.Conn) {
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n"))
	line := []byte("A: " + strings.Repeat("a", 1000) + "\r\n")
	for {
		if _, err := conn.Write(line); err != nil {
			return
		}
	}
}

// TestOneAfterAnother has all kinds asked, and none after one that fails.
func TestOneAfterAnother(t *testing.T) {
	web, server := webServer(t, func(http.ResponseWriter, *http.Request) {}), startNameServer(t, zone)
	all := Spec{HTTP: &HTTP{URL: web}, TCP: &TCP{Address: acceptAll(t, untilClosed)}, DNS: &DNS{Server: server, Name: "www.example.org"}}
	got := expect(t, all, patience, "")
	want := []string{"tcp " + strings.TrimPrefix(web, "http://"), "tcp " + all.TCP.Address, "udp " + server}
	if !slices.Equal(got, want) {
		t.Errorf("connections: %q, want %q", got, want)
	}
	all.TCP.Address = closedPort(t)
	if got := expect(t, all, patience, "tcp: connection refused"); len(got) != 2 {
		t.Errorf("connections: %q", got)
	}
	all.HTTP.URL = "http://" + closedPort(t)
	if got := expect(t, all, patience, "http: connection refused"); len(got) != 1 {
		t.Errorf("connections: %q", got)
	}
}

// TestDialProblems has connections fail in ways that hardly happen on the loopback.
func TestDialProblems(t *testing.T) {
	forbidden := errors.New("egress: 169.254.169.254 is forbidden")
	in := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err  error
		want string
		ours bool
	}{
		{in(fmt.Errorf("for you: %w", forbidden)), "address not allowed", false},
		{in(&net.DNSError{Name: "secret.internal", IsNotFound: true}), "unknown host", false},
		{in(&net.DNSError{Name: "secret.internal", Server: "10.0.0.1:53"}), "the host's name cannot be resolved", false},
		{in(&net.DNSError{Name: "secret.internal", IsTimeout: true}), "no answer in time", false},
		{in(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to host", false},
		{in(os.NewSyscallError("connect", syscall.ENETUNREACH)), "network is unreachable", false},
		{in(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "no answer in time", false},
		{in(os.ErrDeadlineExceeded), "no answer in time", false},
		{errors.New("10.1.2.3 is strange"), "no connection", false},
		{in(os.NewSyscallError("socket", syscall.EMFILE)), "", true},
		{in(os.NewSyscallError("socket", syscall.ENFILE)), "", true},
		{in(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)), "", true},
	} {
		d := dials{err: c.err}
		prober := checker{dial: d.dial, forbidden: forbidden}
		for kind, spec := range map[string]Spec{
			"http": {HTTP: &HTTP{URL: "https://web.example.org"}},
			"tcp":  {TCP: &TCP{Address: "web.example.org:80"}},
			"dns":  {DNS: &DNS{Server: "web.example.org:53", Name: "a"}},
		} {
			want := ""
			if !c.ours {
				want = kind + ": " + c.want
			}
			if got, conclusive := prober.check(t.Context(), &spec); got != want || conclusive == c.ours {
				t.Errorf("%v: %q (conclusive: %t), want %q", c.err, got, conclusive, want)
			}
		}
	}
}

// TestWithdrawn has a probe end that is not wanted any more.
func TestWithdrawn(t *testing.T) {
	reached := make(chan struct{}, 3)
	silent := acceptAll(t, func(conn net.Conn) {
		reached <- struct{}{}
		untilClosed(conn)
	})
	for kind, spec := range map[string]Spec{
		"http":  {HTTP: &HTTP{URL: "http://" + silent}},
		"https": {HTTP: &HTTP{URL: "https://" + silent}},
		"dns":   {DNS: &DNS{Server: truncating(t, silent), Name: "www.example.org"}},
	} {
		t.Run(kind, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-reached
				cancel()
			}()
			if problem, conclusive := (&checker{dial: new(dials).dial}).check(ctx, &spec); problem != "" || conclusive {
				t.Errorf("%q (conclusive: %t)", problem, conclusive)
			}
		})
	}
}

// TestOverTheNetwork has a prober watch a server that comes and goes.
func TestOverTheNetwork(t *testing.T) {
	var mu sync.Mutex
	status := http.StatusOK
	base := webServer(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
	})
	woken := make(chan State, 100)
	var p *Prober
	p = New(Options{}, func(key string) { woken <- p.State(key) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Start(ctx) }()
	p.Set("default/web", Spec{HTTP: &HTTP{URL: base}, Period: 10 * time.Millisecond, Timeout: patience, FailureThreshold: 2}, "1")
	for _, c := range []struct {
		answers int
		health  Health
		message string
	}{
		{http.StatusOK, Healthy, ""},
		{http.StatusBadGateway, Unhealthy, "http: status 502, expected 200 to 299"},
		{http.StatusInternalServerError, Unhealthy, "http: status 500, expected 200 to 299"},
		{http.StatusNoContent, Healthy, ""},
	} {
		mu.Lock()
		status = c.answers
		mu.Unlock()
		select {
		case got := <-woken:
			if got.Health != c.health || got.Message != c.message {
				t.Errorf("status %d: %s %q", c.answers, got.Health, got.Message)
			}
		case <-time.After(time.Minute):
			t.Fatalf("status %d was not noticed", c.answers)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDialAddress(t *testing.T) {
	for address, want := range map[string]string{
		"http://web.example.org":        "web.example.org:80",
		"https://web.example.org/a":     "web.example.org:443",
		"http://web.example.org:8080/a": "web.example.org:8080",
		"https://[2001:db8::1]":         "[2001:db8::1]:443",
		"http://[2001:db8::1]:81":       "[2001:db8::1]:81",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := dialAddress(u); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

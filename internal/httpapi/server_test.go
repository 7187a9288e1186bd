package httpapi_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"

	"mollymawk.dev/operator/internal/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what normally takes milliseconds.
const patience = time.Minute

// running is a server under test.
type running struct {
	*httpapi.Server
	client *http.Client
	end    context.CancelFunc
	ended  chan error
}

// serve runs a server until the test ends, which must end well.
func serve(t *testing.T, o httpapi.Options, answer http.HandlerFunc) *running {
	t.Helper()
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	o.Handler = answer
	server, err := httpapi.Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if server.NeedLeaderElection() {
		t.Error("only the leader would answer")
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{server, &http.Client{Transport: &http.Transport{}}, cancel, make(chan error, 1)}
	go func() { r.ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		r.client.CloseIdleConnections()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		close(r.ended)
	})
	return r
}

func (r *running) get(t *testing.T, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Addr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	return r.do(t, request)
}

func (r *running) do(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	response, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// TestOrigin believes only trusted proxies, and those as far as they can be.
func TestOrigin(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for name, tt := range map[string]struct {
		trusted []netip.Prefix
		headers []string
		client  string
		secure  bool
		id      string
	}{
		"nobody in front":     {trusted, nil, "127.0.0.1", false, ""},
		"one proxy":           {trusted, []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https"}, "192.0.2.7", true, ""},
		"two proxies":         {trusted, []string{"X-Forwarded-For", "192.0.2.7, 10.1.1.1"}, "192.0.2.7", false, ""},
		"two headers":         {trusted, []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-For", "10.1.1.1"}, "192.0.2.7", false, ""},
		"a lie":               {trusted, []string{"X-Forwarded-For", "198.51.100.1, 192.0.2.7"}, "192.0.2.7", false, ""},
		"with a port":         {trusted, []string{"X-Forwarded-For", "192.0.2.7:1234"}, "192.0.2.7", false, ""},
		"IPv6":                {trusted, []string{"X-Forwarded-For", "[2001:db8::1]:80"}, "2001:db8::1", false, ""},
		"nonsense":            {trusted, []string{"X-Forwarded-For", "unknown"}, "127.0.0.1", false, ""},
		"not trusted":         {nil, []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https", "X-Request-Id", "mine"}, "127.0.0.1", false, ""},
		"a request's id":      {trusted, []string{"X-Request-Id", "abc-123"}, "127.0.0.1", false, "abc-123"},
		"an id with a break":  {trusted, []string{"X-Request-Id", "abc 123"}, "127.0.0.1", false, ""},
		"an id that is large": {trusted, []string{"X-Request-Id", strings.Repeat("a", 65)}, "127.0.0.1", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got httpapi.Origin
			s := serve(t, httpapi.Options{TrustedProxies: tt.trusted}, func(_ http.ResponseWriter, r *http.Request) { got = httpapi.OriginOf(r.Context()) })
			response, _ := s.get(t, tt.headers...)
			if got.Client != tt.client || got.Secure != tt.secure {
				t.Errorf("%+v", got)
			}
			if id := response.Header.Get("X-Request-Id"); id != got.Request || tt.id != "" && id != tt.id || tt.id == "" && len(id) != 36 {
				t.Errorf("request %q, told %q", got.Request, id)
			}
			if hsts := response.Header.Get("Strict-Transport-Security"); (hsts != "") != tt.secure {
				t.Errorf("HSTS %q", hsts)
			}
		})
	}
	if httpapi.OriginOf(t.Context()) != (httpapi.Origin{}) || httpapi.Stopping(t.Context()) != nil {
		t.Error("something is known of what is no request")
	}
}

func TestSecurityHeaders(t *testing.T) {
	s := serve(t, httpapi.Options{}, func(http.ResponseWriter, *http.Request) {})
	response, _ := s.get(t)
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestAudit has a line for each write, however it ends, and for nothing else.
func TestAudit(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	log := funcr.NewJSON(func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}, funcr.Options{})
	s := serve(t, httpapi.Options{Log: log}, func(w http.ResponseWriter, r *http.Request) {
		record := httpapi.RecordOf(r.Context())
		record.User, record.Via, record.Object = "alice", "Bearer", "eu-west-2/web"
		switch r.URL.Path {
		case "/refused":
			record.Reason = "Not Found"
			w.WriteHeader(http.StatusNotFound)
		case "/panics":
			panic("on purpose")
		case "/late":
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			panic("on purpose")
		case "/changes":
			record.Changes = true
		}
	})
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/", ""},
		{"HEAD", "/", ""},
		{"GET", "/changes", `"path":"/changes","object":"eu-west-2/web","status":0`},
		{"POST", "/done", `"user":"alice","via":"Bearer","method":"POST","path":"/done","object":"eu-west-2/web"`},
		{"DELETE", "/refused", `"status":404,"reason":"Not Found"`},
		{"POST", "/panics", `"status":500`},
		{"POST", "/late", `"status":200`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+s.Addr()+tt.path+"?token=secret", strings.NewReader("secret"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := s.client.Do(request)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		if (err != nil) != (tt.path == "/late") {
			t.Errorf("%s: %v", tt.path, err)
		}
		mu.Lock()
		said := strings.Join(lines, "\n")
		audits := strings.Count(said, `"logger":"audit"`)
		lines = nil
		mu.Unlock()
		if want := tt.want != ""; (strings.Count(said, `"msg":"write"`) == 1) != want || !strings.Contains(said, tt.want) {
			t.Errorf("%s %s (%d): %s", tt.method, tt.path, audits, said)
		}
		if strings.Contains(said, "secret") {
			t.Errorf("a secret: %s", said)
		}
	}
	if httpapi.RecordOf(t.Context()) == nil {
		t.Error("no record without a server")
	}
}

// TestStalledBody cuts off who stops in the middle, and lets who is slow go on.
func TestStalledBody(t *testing.T) {
	read := make(chan error, 4)
	s := serve(t, httpapi.Options{StallTimeout: 200 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
		if err == nil {
			// What takes long on our side has nothing to do with the client.
			select {
			case <-r.Context().Done():
				read <- context.Cause(r.Context())
			case <-time.After(500 * time.Millisecond):
				read <- nil
			}
		}
	})
	body, feed := io.Pipe()
	go func() {
		for range 8 {
			_, _ = feed.Write([]byte("slow"))
			time.Sleep(50 * time.Millisecond)
		}
		feed.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr(), body)
	if err != nil {
		t.Fatal(err)
	}
	s.do(t, request)
	if err := errors.Join(<-read, <-read); err != nil {
		t.Errorf("a slow body: %v", err)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a body that stops: %v", err)
	}
}

// TestStalledReader cuts off who does not take the answer.
func TestStalledReader(t *testing.T) {
	written := make(chan error, 1)
	s := serve(t, httpapi.Options{StallTimeout: 200 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for range 1000 {
			if _, err := w.Write(piece); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	})
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := <-written; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote to nobody: %v", err)
	}
}

// TestShutdown tells streams to end and waits for what is under way.
func TestShutdown(t *testing.T) {
	begun := make(chan struct{}, 2)
	s := serve(t, httpapi.Options{ShutdownTimeout: patience}, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-httpapi.Stopping(r.Context())
		_, _ = io.WriteString(w, "the end")
	})
	said := make(chan string, 2)
	for range 2 {
		go func() {
			_, body := s.get(t)
			said <- body
		}()
		<-begun
	}
	s.end()
	if first, second := <-said, <-said; first != "the end" || second != "the end" {
		t.Errorf("%q, %q", first, second)
	}
}

// TestShutdownCutsOff does not wait for ever.
func TestShutdownCutsOff(t *testing.T) {
	begun, cut := make(chan struct{}), make(chan struct{})
	s := serve(t, httpapi.Options{ShutdownTimeout: 50 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(cut)
	})
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	s.end()
	<-cut
	if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
		t.Error("an answer")
	}
}

func TestHeadersAreBounded(t *testing.T) {
	s := serve(t, httpapi.Options{MaxHeaderBytes: 4 << 10, HeaderTimeout: 200 * time.Millisecond}, func(http.ResponseWriter, *http.Request) {})
	if response, _ := s.get(t, "X-Large", strings.Repeat("x", 16<<10)); response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("headers without end: %v", err)
	}
}

// TestTLS has a certificate that is read again, over HTTP/2.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, "first")
	s := serve(t, httpapi.Options{TLSCertDir: dir}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, httpapi.OriginOf(r.Context()).Secure)
	})
	ask := func() (name, body string) {
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		defer client.CloseIdleConnections()
		response, err := client.Get("https://" + s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, _ := io.ReadAll(response.Body)
		return response.TLS.PeerCertificates[0].Subject.CommonName, string(content)
	}
	if name, body := ask(); name != "first" || body != "HTTP/2.0true" {
		t.Errorf("%s, %s", name, body)
	}
	writeCertificate(t, dir, "second")
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if name, _ := ask(); name == "second" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the certificate is not read again")
		}
	}
	if _, err := tls.Dial("tcp", s.Addr(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func writeCertificate(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	template.Subject.CommonName = name
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"tls.key": {Type: "PRIVATE KEY", Bytes: private}, "tls.crt": {Type: "CERTIFICATE", Bytes: certificate}} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImpossibleServers(t *testing.T) {
	s := serve(t, httpapi.Options{}, func(http.ResponseWriter, *http.Request) {})
	if _, err := httpapi.Listen(t.Context(), httpapi.Options{Address: s.Addr()}); err == nil || !strings.Contains(err.Error(), "HTTP API") {
		t.Errorf("a taken address: %v", err)
	}
	server, err := httpapi.Listen(t.Context(), httpapi.Options{Address: "127.0.0.1:0", TLSCertDir: t.TempDir(), Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("no certificate: %v", err)
	}
	server, err = httpapi.Listen(t.Context(), httpapi.Options{Address: "127.0.0.1:0", Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Start(t.Context()); err == nil {
		t.Error("a closed one serves")
	}
}

func TestCredentials(t *testing.T) {
	type credential struct {
		Bearer, Session string
		Found           bool
	}
	s := serve(t, httpapi.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, func(w http.ResponseWriter, r *http.Request) {
		token, found := httpapi.Bearer(r)
		httpapi.SetSession(w, r, "value", time.Hour)
		httpapi.ClearSession(w, r)
		_ = json.NewEncoder(w).Encode(credential{token, httpapi.Session(r), found})
	})
	for name, tt := range map[string]struct {
		headers []string
		want    credential
	}{
		"none":           {nil, credential{}},
		"bearer":         {[]string{"Authorization", "Bearer abc"}, credential{Bearer: "abc", Found: true}},
		"lower case":     {[]string{"Authorization", "bearer abc"}, credential{}},
		"empty":          {[]string{"Authorization", "Bearer "}, credential{}},
		"basic":          {[]string{"Authorization", "Basic abc"}, credential{}},
		"cookie":         {[]string{"Cookie", "a=b; molly_session=xyz"}, credential{Session: "xyz"}},
		"broken cookie":  {[]string{"Cookie", "=;;molly_session"}, credential{}},
		"another cookie": {[]string{"Cookie", "session=xyz"}, credential{}},
	} {
		t.Run(name, func(t *testing.T) {
			response, body := s.get(t, append(tt.headers, "X-Forwarded-Proto", "https")...)
			var got credential
			if err := json.Unmarshal([]byte(body), &got); err != nil || got != tt.want {
				t.Errorf("%+v, %v", got, err)
			}
			set := response.Header["Set-Cookie"]
			if len(set) != 2 || set[0] != "molly_session=value; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax" || !strings.Contains(set[1], "Max-Age=0") {
				t.Errorf("cookies %q", set)
			}
		})
	}
}

func TestLimiter(t *testing.T) {
	now := time.Now()
	l := httpapi.NewLimiter(2, 3, func() time.Time { return now })
	allowed := func(caller string) (n int) {
		for range 10 {
			if _, ok := l.Allow(caller); ok {
				n++
			}
		}
		return n
	}
	if a, b := allowed("a"), allowed("b"); a != 3 || b != 3 {
		t.Errorf("at once: %d and %d", a, b)
	}
	if after, ok := l.Allow("a"); ok || after <= 0 || after > time.Second/2 {
		t.Errorf("again after %v", after)
	}
	now = now.Add(time.Second)
	if a := allowed("a"); a != 2 {
		t.Errorf("a second later: %d", a)
	}
	now = now.Add(time.Hour)
	if a := allowed("a"); a != 3 {
		t.Errorf("an hour later: %d", a)
	}
	if l.Callers() != 1 {
		t.Errorf("%d callers are remembered", l.Callers())
	}
	free := httpapi.NewLimiter(0, 0, nil)
	for range 1000 {
		if _, ok := free.Allow("a"); !ok {
			t.Fatal("refused without a bound")
		}
	}
}

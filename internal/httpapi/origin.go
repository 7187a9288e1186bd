package httpapi

import (
	"context"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
)

// Origin says where a request came from.
type Origin struct {
	// Request identifies it in the log and in the header X-Request-Id.
	Request string
	// Client is the address of who asks, behind trusted proxies.
	Client string
	// Secure tells whether the client speaks TLS, to us or to a trusted proxy.
	Secure bool
}

type originKey struct{}

// OriginOf gives what is known about where a request came from.
func OriginOf(ctx context.Context) Origin {
	origin, _ := ctx.Value(originKey{}).(Origin)
	return origin
}

// withOrigin finds out where each request came from and gives it an identifier.
func withOrigin(next http.Handler, trusted []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := originOf(r, trusted)
		w.Header().Set("X-Request-Id", origin.Request)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), originKey{}, origin)))
	})
}

func originOf(r *http.Request, trusted []netip.Prefix) Origin {
	origin := Origin{Request: uuid.NewString(), Client: r.RemoteAddr, Secure: r.TLS != nil}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return origin
	}
	client := peer.Addr().Unmap()
	if isTrusted(client, trusted) {
		if id := r.Header.Get("X-Request-Id"); isRequestID(id) {
			origin.Request = id
		}
		origin.Secure = origin.Secure || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
		client = forwardedFor(r.Header.Values("X-Forwarded-For"), client, trusted)
	}
	origin.Client = client.String()
	return origin
}

// forwardedFor goes from the nearest hop outwards as long as it trusts who told.
func forwardedFor(headers []string, nearest netip.Addr, trusted []netip.Prefix) netip.Addr {
	hops := strings.Split(strings.Join(headers, ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(nearest, trusted); i-- {
		hop := strings.TrimSpace(hops[i])
		if host, _, err := net.SplitHostPort(hop); err == nil {
			hop = host
		}
		addr, err := netip.ParseAddr(strings.Trim(hop, "[]"))
		if err != nil {
			return nearest
		}
		nearest = addr.Unmap()
	}
	return nearest
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, prefix := range trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// isRequestID accepts what is safe in a log and in a header.
func isRequestID(id string) bool {
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

// withSecurityHeaders forbids browsers to frame, guess and remember replies.
func withSecurityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if OriginOf(r.Context()).Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

type stoppingKey struct{}

func withStopping(ctx context.Context, stopping <-chan struct{}) context.Context {
	return context.WithValue(ctx, stoppingKey{}, stopping)
}

// Stopping is closed when the server is about to end. Streams that would go on
// for ever end then.
func Stopping(ctx context.Context) <-chan struct{} {
	stopping, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return stopping
}

// quiet has what net/http complains about, such as failed handshakes, in the log
// only when somebody wants details.
func quiet(to logr.Logger) *log.Logger { return log.New(complaints{to}, "", 0) }

type complaints struct{ log logr.Logger }

func (c complaints) Write(text []byte) (int, error) {
	c.log.V(1).Info(strings.TrimSpace(string(text)))
	return len(text), nil
}

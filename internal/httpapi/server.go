// Package httpapi is the HTTP server of the operator: the listener with its
// certificate, limits and deadlines, and what all its faces share: who asks,
// from where, how often, and the line in the log about each write.
package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// Options are the settings of the server.
type Options struct {
	// Address is host:port. The server can say which port it got if it is 0.
	Address string
	// TLSCertDir has tls.crt and tls.key, which are read again when they change.
	// Without it the server speaks plain HTTP, for a proxy in front of it.
	TLSCertDir string
	// TrustedProxies may say in X-Forwarded-For and X-Forwarded-Proto whom they
	// speak for.
	TrustedProxies []netip.Prefix
	// MaxHeaderBytes bounds the headers of a request.
	MaxHeaderBytes int
	// HeaderTimeout is how long the headers of a request may take, IdleTimeout
	// how long a connection may wait for the next one.
	HeaderTimeout, IdleTimeout time.Duration
	// StallTimeout is how long a read or a write may make no progress. A stream
	// that moves may take as long as it likes.
	StallTimeout time.Duration
	// ShutdownTimeout is how long the end waits for requests that are under way.
	ShutdownTimeout time.Duration
	// Handler answers.
	Handler http.Handler
	Log     logr.Logger
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&o.HeaderTimeout, 10 * time.Second}, {&o.IdleTimeout, 2 * time.Minute},
		{&o.StallTimeout, time.Minute}, {&o.ShutdownTimeout, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	if o.MaxHeaderBytes == 0 {
		o.MaxHeaderBytes = 32 << 10
	}
}

// Server is a part of the manager that every replica runs.
type Server struct {
	options  Options
	listener net.Listener
}

// Listen takes the address, so that a clash is known at the start.
func Listen(ctx context.Context, options Options) (*Server, error) {
	options.setDefaults()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", options.Address)
	if err != nil {
		return nil, fmt.Errorf("HTTP API: %w", err)
	}
	return &Server{options: options, listener: listener}, nil
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close gives the address back if Start is never called.
func (s *Server) Close() error { return s.listener.Close() }

// NeedLeaderElection is false: every replica answers.
func (*Server) NeedLeaderElection() bool { return false }

// Start answers until the context ends. Then streams are told to end, and
// requests that are under way get some time.
func (s *Server) Start(ctx context.Context) error {
	defer s.listener.Close()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: s.options.HeaderTimeout,
		IdleTimeout:       s.options.IdleTimeout,
		MaxHeaderBytes:    s.options.MaxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return withStopping(serving, ctx.Done()) },
		ErrorLog:          quiet(s.options.Log),
	}
	serve, err := s.serveFunc(serving, server)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	s.options.Log.Info("The HTTP API listens", "address", s.Addr(), "tls", s.options.TLSCertDir != "")
	select {
	case err := <-ended:
		return fmt.Errorf("HTTP API: %w", err)
	case <-ctx.Done():
	}
	patience, done := context.WithTimeout(serving, s.options.ShutdownTimeout)
	defer done()
	if err := server.Shutdown(patience); err != nil {
		s.options.Log.Info("Requests were cut off at the end", "after", s.options.ShutdownTimeout.String())
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("HTTP API: %w", err)
	}
	return nil
}

// serveFunc gives what serves: plain or with a certificate that is read again
// when it changes.
func (s *Server) serveFunc(ctx context.Context, server *http.Server) (func() error, error) {
	if s.options.TLSCertDir == "" {
		return func() error { return server.Serve(s.listener) }, nil
	}
	watcher, err := certwatcher.New(filepath.Join(s.options.TLSCertDir, "tls.crt"), filepath.Join(s.options.TLSCertDir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("HTTP API: certificate: %w", err)
	}
	watching, cancel := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- watcher.Start(watching) }()
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: watcher.GetCertificate}
	return func() error {
		err := server.ServeTLS(s.listener, "", "")
		cancel()
		return errors.Join(err, <-watched)
	}, nil
}

// handler is what all faces stand behind, outermost first.
func (s *Server) handler() http.Handler {
	h := withDeadlines(s.options.Handler, s.options.StallTimeout)
	h = withAudit(h, s.options.Log.WithName("audit"))
	h = withSecurityHeaders(h)
	return withOrigin(h, s.options.TrustedProxies)
}

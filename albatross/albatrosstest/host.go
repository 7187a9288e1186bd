package albatrosstest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"mollymawk.dev/operator/albatross/wire"
)

// Host is a simulated host that listens.
type Host struct {
	options Options
	dir     string
	// temporary says that dir is deleted at the end.
	temporary bool
	lock      *os.File
	ca        *authority
	server    *tls.Certificate
	daemon    *daemon
	images    *images
	consoles  *consoles
	stats     statistics
	timers    scheduler
	faults    faults
	journal   journal
	sequence  atomic.Int64

	// ctx ends when the host closes.
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu          sync.Mutex
	addr        string
	listener    net.Listener
	downs       int
	connections map[net.Conn]struct{}
	// rewrite is set by tests of this package only, for commands that are larger
	// than crypto/tls lets a certificate be.
	rewrite func(wire.Command) wire.Command
}

// New starts a host. Close it when it is no longer needed.
func New(options Options) (*Host, error) {
	options.setDefaults()
	h := &Host{options: options, dir: options.Dir, connections: map[net.Conn]struct{}{}, addr: options.Listen}
	h.timers.start = options.After
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if err := h.start(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Host) start() (err error) {
	if err := h.openFolder(); err != nil {
		return err
	}
	if h.ca, h.server, err = loadCertificates(h.dir, h.options.Now()); err != nil {
		return err
	}
	state := stateFolder(h.dir)
	if err := state.make(); err != nil {
		return err
	}
	h.images = &images{dir: filepath.Join(h.dir, imageFolder)}
	h.consoles = &consoles{now: h.options.Now}
	h.daemon = &daemon{
		options: &h.options, images: h.images, consoles: h.consoles, timers: &h.timers, state: state,
		waiters: map[string]*waiter{}, restarting: map[string]bool{},
	}
	if err := h.daemon.start(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listen()
}

// ErrInUse says that another host runs with the same folder.
var ErrInUse = errors.New("another host uses the folder")

func (h *Host) openFolder() (err error) {
	if h.dir == "" {
		h.temporary = true
		if h.dir, err = os.MkdirTemp("", "albatross-*"); err != nil {
			return fmt.Errorf("folder of the host: %w", err)
		}
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return fmt.Errorf("folder of the host: %w", err)
	}
	if h.lock, err = os.OpenFile(filepath.Join(h.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("folder of the host: %w", err)
	}
	if err := unix.Flock(int(h.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s: %w", h.dir, ErrInUse)
	}
	return nil
}

// listen must be called with the lock held.
func (h *Host) listen() error {
	listener, err := (&net.ListenConfig{}).Listen(h.ctx, "tcp", h.addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	h.listener, h.addr = listener, listener.Addr().String()
	h.done.Add(1)
	go h.accept(listener)
	return nil
}

func (h *Host) accept(listener net.Listener) {
	defer h.done.Done()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			h.options.Log.Error("accept", "error", err)
			time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		if !h.track(conn) {
			conn.Close()
			continue
		}
		go func() {
			defer h.done.Done()
			defer h.forget(conn)
			h.serve(conn)
		}()
	}
}

// track registers a connection, unless the host is closing or down.
func (h *Host) track(conn net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.downs > 0 {
		return false
	}
	h.connections[conn] = struct{}{}
	h.done.Add(1)
	return true
}

func (h *Host) forget(conn net.Conn) {
	conn.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.connections, conn)
}

// hangUp cuts all connections and stops listening; the lock must be held.
func (h *Host) hangUp() {
	if h.listener != nil {
		h.listener.Close()
		h.listener = nil
	}
	for conn := range h.connections {
		conn.Close()
	}
}

// goDown stops listening until the returned function is called.
func (h *Host) goDown() (lift func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.downs++
	h.hangUp()
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.downs--; h.downs > 0 || h.ctx.Err() != nil {
			return
		}
		// Another program may have taken the port meanwhile; give it some time.
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			err := h.listen()
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				h.options.Log.Error("the host stays down", "error", err)
				return
			}
		}
	})
}

// Addr is where the host listens, host:port.
func (h *Host) Addr() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

// HostPort is the same in its parts.
func (h *Host) HostPort() (host string, port int32) {
	at := netip.MustParseAddrPort(h.Addr())
	return at.Addr().String(), int32(at.Port())
}

// Dir is the folder of the host's files.
func (h *Host) Dir() string { return h.dir }

// Close ends all connections and unikernels and waits for them. What the host's
// folder keeps is not changed by it. A second Close does nothing.
func (h *Host) Close() {
	h.mu.Lock()
	h.cancel()
	h.hangUp()
	h.mu.Unlock()
	h.done.Wait()
	if h.daemon != nil {
		h.daemon.close()
	}
	h.timers.close()
	if h.lock != nil {
		h.lock.Close()
	}
	if h.temporary {
		_ = os.RemoveAll(h.dir) // a temporary folder that stays harms nobody
	}
}

// TB is the part of testing.TB that [Start] needs; this package does not import
// testing because programs use it too.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Start starts a host that is closed at the end of the test.
func Start(t TB, options Options) *Host {
	t.Helper()
	h, err := New(options)
	if err != nil {
		t.Fatalf("start simulated host: %v", err)
	}
	t.Cleanup(h.Close)
	return h
}

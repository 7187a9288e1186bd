package controlplane

import (
	"net"
	"sync"
)

// trackingListener knows the connections it has accepted, to close those that
// are left when the API server has ended: it does not see connections that are
// made at that moment, and clients would keep them for a minute and a half.
type trackingListener struct {
	net.Listener
	mu    sync.Mutex
	conns map[*trackedConn]struct{}
}

// trackedConn leaves its listener's list when it is closed.
type trackedConn struct {
	net.Conn
	listener *trackingListener
}

func track(listener net.Listener) *trackingListener {
	return &trackingListener{Listener: listener, conns: map[*trackedConn]struct{}{}}
}

// Accept waits for the next connection.
func (l *trackingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[tracked] = struct{}{}
	return tracked, nil
}

// closeConnections closes the connections that are still open.
func (l *trackingListener) closeConnections() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		// Whoever uses the connection gets to know of its end by reading.
		_ = conn.Conn.Close()
	}
	clear(l.conns)
}

// Close closes the connection.
func (c *trackedConn) Close() error {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	delete(c.listener.conns, c)
	return c.Conn.Close()
}

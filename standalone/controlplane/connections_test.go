package controlplane

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

func TestTrackingListenerClosesWhatIsLeft(t *testing.T) {
	opened, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := track(opened)
	var clients, servers [2]net.Conn
	for i := range clients {
		if clients[i], err = net.Dial("tcp", listener.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
		if servers[i], err = listener.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if err := servers[0].Close(); err != nil {
		t.Error(err)
	}
	if len(listener.conns) != 1 {
		t.Errorf("%d connections are tracked, want 1", len(listener.conns))
	}
	listener.closeConnections()
	for i, client := range clients {
		if err := client.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("client %d reads %v, want the end", i, err)
		}
	}
	if err := servers[1].Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing what is closed: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting after the end: %v", err)
	}
}

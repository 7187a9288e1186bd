package perf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/wire"
)

// relayBuffer is how much a relay copies at a time.
const relayBuffer = 64 << 10

// hostConn opens a connection to the host with nothing but crypto/tls, for a command about something of the user's.
func (a *api) hostConn(label string, command wire.Command) (*tls.Conn, error) {
	credentials := a.hosts[0].Credentials()
	credential, err := albatross.ParseCredential(credentials.Cert, credentials.Key)
	if err != nil {
		return nil, err
	}
	minter, err := cert.NewMinter(credential)
	if err != nil {
		return nil, err
	}
	_, scope := a.direct()
	pair, err := minter.Mint(scope, label, command, time.Now())
	if err != nil {
		return nil, err
	}
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(credentials.ServerCA)
	return tls.Dial("tcp", a.hosts[0].Addr(), &tls.Config{
		MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		InsecureSkipVerify:   true, VerifyConnection: cert.VerifyServer(cas, time.Now),
	})
}

// relay takes one connection over TLS and has it served; what that ended with comes from the channel.
func (a *api) relay(serve func(net.Conn) error) (address string, ended <-chan error) {
	a.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.pair}})
	a.must(err)
	result := make(chan error, 1)
	go func() {
		defer listener.Close()
		conn, err := listener.Accept()
		if err == nil {
			err = errors.Join(serve(conn), conn.Close())
		}
		result <- err
	}()
	return listener.Addr().String(), result
}

// dialTLS is the client of a relay, or of the API.
func (a *api) dialTLS(address string) *tls.Conn {
	a.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.trusted})
	a.must(err)
	return conn
}

// sendChunk sends all of an upload to a host in one chunk, and reads the answer.
func sendChunk(host net.Conn, from io.Reader, size int64) error {
	_, err1 := host.Write(binary.BigEndian.AppendUint32(nil, uint32(size)))
	_, err2 := copyPlain(host, io.LimitReader(from, size))
	_, err3 := host.Write(make([]byte, 4))
	_, err4 := readFrame(host)
	return errors.Join(err1, err2, err3, err4)
}

func readFrame(host net.Conn) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(host, length[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(host, frame)
	return frame, err
}

// copyPlain copies by read and write alone.
func copyPlain(to io.Writer, from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, relayBuffer))
}

package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkProbe measures one probe of each kind over the loopback, that of the
// server included.
func BenchmarkProbe(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { server.Close() })
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { packets.Close() })
	go (&nameServer{answer: zone}).serveDatagrams(packets)
	for kind, spec := range map[string]Spec{
		"http": {HTTP: &HTTP{URL: "http://" + listener.Addr().String()}},
		"tcp":  {TCP: &TCP{Address: listener.Addr().String()}},
		"dns":  {DNS: &DNS{Server: packets.LocalAddr().String(), Name: "www.example.org"}},
	} {
		b.Run(kind, func(b *testing.B) {
			asking := checker{dial: lingerless}
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(b.Context(), patience)
				if problem, _ := asking.check(ctx, &spec); problem != "" {
					b.Fatal(problem)
				}
				cancel()
			}
		})
	}
}

// lingerless opens connections that leave no trace when they are closed, so that
// a benchmark does not run out of ports.
func lingerless(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if tcp, is := conn.(*net.TCPConn); is {
		_ = tcp.SetLinger(0)
	}
	return conn, err
}

// BenchmarkThousands probes 10,000 unikernels every 10 s over HTTP for half a
// minute, in a network that costs nothing, and of which one in a hundred is
// silent. It tells what that takes of one processor.
func BenchmarkThousands(b *testing.B) {
	const count, period, span = 10000, 10 * time.Second, 30 * time.Second
	var probes atomic.Int64
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		probes.Add(1)
		if strings.HasPrefix(address, "silent") {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return &answered{reader: strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}, nil
	}
	for b.Loop() {
		p := New(Options{Dial: dial}, func(string) {})
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Start(ctx) }()
		for i := range count {
			host := "web"
			if i%100 == 0 {
				host = "silent"
			}
			spec := Spec{HTTP: &HTTP{URL: fmt.Sprintf("http://%s%d/healthz", host, i)}, Period: period, Timeout: 5 * time.Second}
			p.Set(fmt.Sprintf("n%d/web%d", i%100, i), spec, "1")
		}
		time.Sleep(period)
		before, used, most := probes.Load(), cpu(b), 0
		for began := time.Now(); time.Since(began) < span; time.Sleep(50 * time.Millisecond) {
			most = max(most, runtime.NumGoroutine())
		}
		made := float64(probes.Load() - before)
		b.ReportMetric(made/span.Seconds(), "probes/s")
		b.ReportMetric(float64((cpu(b)-used).Microseconds())/made, "cpu-µs/probe")
		b.ReportMetric(100*(cpu(b)-used).Seconds()/span.Seconds(), "%cpu")
		b.ReportMetric(float64(most), "goroutines")
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
}

// answered is a connection over which an answer is there already.
type answered struct {
	net.Conn
	reader *strings.Reader
}

func (a *answered) Read(p []byte) (int, error)  { return a.reader.Read(p) }
func (a *answered) Write(p []byte) (int, error) { return len(p), nil }
func (a *answered) Close() error                { return nil }

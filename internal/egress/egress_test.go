package egress

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		addresses string
		// zero and loopback are whether they may be connected to without and with
		// AllowLoopback.
		zero, loopback bool
	}{
		{"192.0.2.1 10.1.2.3 192.168.1.1 172.16.0.1 2001:db8::1 fd12::1 ::ffff:192.0.2.1", true, true},
		{"127.0.0.1 127.255.0.1 ::1 ::ffff:127.0.0.1", false, true},
		{"169.254.169.254 169.254.0.1 ::ffff:169.254.169.254 fe80::1 fe80::1%eth0", false, false},
		{"224.0.0.1 239.1.2.3 ff02::1 ff01::1 ::ffff:224.0.0.1 255.255.255.255", false, false},
		{"0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0", false, false},
		{"fd00:ec2::254 fd20:ce::254 168.63.129.16 100.100.100.200 192.0.0.192", false, false},
		// The same, by way of a gateway.
		{"64:ff9b::169.254.169.254 64:ff9b::127.0.0.1 64:ff9b:1::169.254.169.254 2002:a9fe:a9fe::1 2002:7f00:1::1 ::169.254.169.254", false, false},
		{"64:ff9b::192.0.2.1 2002:c000:201::1 64:ff9b:2::169.254.169.254", true, true},
	} {
		for address := range strings.FieldsSeq(tt.addresses) {
			a := netip.MustParseAddr(address)
			for allow, want := range map[bool]bool{false: tt.zero, true: tt.loopback} {
				err := Policy{AllowLoopback: allow}.check(a)
				var refused *RefusedError
				if (err == nil) != want || err != nil && !errors.As(err, &refused) {
					t.Errorf("%s, loopback allowed %v: %v", a, allow, err)
				}
				if err != nil && strings.Contains(err.Error(), address) {
					t.Errorf("%s is named: %v", address, err)
				}
			}
		}
	}
}

func TestExceptions(t *testing.T) {
	p, err := Parse([]string{"169.254.7.0/24", "127.0.0.2", "fe80::/10", "::ffff:224.0.0.9"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"169.254.7.1": true, "::ffff:169.254.7.1": true, "169.254.8.1": false, "127.0.0.2": true, "127.0.0.1": false,
		"fe80::1": true, "fe80::1%eth0": true, "ff02::1": false, "224.0.0.9": true, "224.0.0.8": false, "192.0.2.1": true,
	} {
		if err := p.check(netip.MustParseAddr(address)); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestParse(t *testing.T) {
	got, err := Parse([]string{"10.1.2.3/8", "192.0.2.1", "2001:db8::/32", "Registry.Example.org.", "localhost", "a_b"})
	want := Policy{
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")},
		AllowHosts:    []string{"registry.example.org", "localhost", "a_b"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Parse(nil); err != nil || !reflect.DeepEqual(got, Policy{}) {
		t.Errorf("nothing: %+v, %v", got, err)
	}
	for _, bad := range []string{
		"", ".", "a..b", "10.0.0.0/33", "10.0.0", "10.0.0.256", "host:80", "http://host", "*.example.org", "a b", "é.org",
		strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a",
	} {
		if got, err := Parse([]string{"example.org", bad}); err == nil || !strings.Contains(err.Error(), "neither a network") {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

// listen accepts connections until the end of the test.
func listen(t *testing.T) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	_, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestDial(t *testing.T) {
	port := listen(t)
	for _, tt := range []struct {
		what    string
		policy  Policy
		host    string
		refused string
	}{
		{"refused by its address", Policy{}, "127.0.0.1", "loopback"},
		{"refused by what its name means", Policy{}, "localhost", "loopback"},
		{"loopback", Policy{AllowLoopback: true}, "127.0.0.1", ""},
		{"its network", Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}}, "127.0.0.1", ""},
		{"its name", Policy{AllowHosts: []string{"localhost"}}, "LocalHost", ""},
		{"another name for it", Policy{AllowHosts: []string{"localhost"}}, "127.0.0.1", "loopback"},
	} {
		conn, err := tt.policy.DialContext(t.Context(), "tcp4", net.JoinHostPort(tt.host, port))
		if tt.refused == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
				continue
			}
			conn.Close()
			continue
		}
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(refused.Error(), tt.refused) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

// A probe asks name servers too, which is not a matter of TCP alone.
func TestDialOthers(t *testing.T) {
	var refused *RefusedError
	if _, err := (Policy{}).DialContext(t.Context(), "udp", "127.0.0.1:53"); !errors.As(err, &refused) {
		t.Errorf("udp: %v", err)
	}
	conn, err := Policy{AllowLoopback: true}.DialContext(t.Context(), "udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for _, address := range []string{"", "127.0.0.1", "/run/socket"} {
		if _, err := (Policy{AllowLoopback: true}).DialContext(t.Context(), "unix", address); !errors.As(err, &refused) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := (Policy{AllowLoopback: true}).DialContext(t.Context(), "unix", "/run/a:1"); err == nil {
		t.Error("a socket in the file system was connected to")
	}
}

// Package egress decides what the operator connects to on behalf of tenants.
// They name the addresses of images and probes, so what is around the operator,
// such as its own machine or the metadata of a cloud, must not be reached by
// naming it. The decision is made about the address that a name was resolved to,
// at every connection, so neither a redirect nor a name that changes gets around
// it.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Policy says what may be connected to. The zero value refuses loopback,
// link-local, multicast, broadcast and unspecified addresses and those where
// clouds keep the metadata of machines; all else is allowed. The fields are
// exceptions to that refusal.
type Policy struct {
	// AllowLoopback allows the operator's own machine.
	AllowLoopback bool
	// AllowNetworks allows addresses that would be refused.
	AllowNetworks []netip.Prefix
	// AllowHosts allows names, in lower case, whatever they are resolved to.
	AllowHosts []string
}

// Parse makes a policy with exceptions, each a network such as 169.254.7.0/24,
// an address, or the name of a host.
func Parse(exceptions []string) (Policy, error) {
	var p Policy
	for _, exception := range exceptions {
		if network, err := netip.ParsePrefix(exception); err == nil {
			p.AllowNetworks = append(p.AllowNetworks, network.Masked())
			continue
		}
		if address, err := netip.ParseAddr(exception); err == nil {
			address = plain(address)
			p.AllowNetworks = append(p.AllowNetworks, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		if !validHost(exception) {
			return Policy{}, fmt.Errorf("%q is neither a network (such as 192.0.2.0/24), nor an address, nor the name of a host", exception)
		}
		p.AllowHosts = append(p.AllowHosts, canonicalHost(exception))
	}
	return p, nil
}

// validHost tells whether a text can be a host's name. What looks like a wrong
// address is none: it would allow nothing, and nobody would notice.
func validHost(name string) bool {
	name = canonicalHost(name)
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(name) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func canonicalHost(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// ErrRefused is what every [RefusedError] is, for errors.Is.
var ErrRefused = errors.New("not allowed")

// RefusedError says that the policy does not allow something. Its text never
// names an address, which would tell tenants what names mean in the operator's
// network.
type RefusedError struct{ why string }

// Error implements error.
func (e *RefusedError) Error() string { return e.why }

// Is implements what errors.Is asks for.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// dialTimeout is for connecting and for the TLS handshake, each.
const dialTimeout = 10 * time.Second

// DialContext connects to address, which is host:port, unless the policy refuses
// what the host turns out to be; then it fails with a [RefusedError].
func (p Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &RefusedError{"the server's address is not a host and a port"}
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	if !slices.Contains(p.AllowHosts, canonicalHost(host)) {
		dialer.Control = p.control
	}
	return dialer.DialContext(ctx, network, address)
}

// control is called with the address that is really connected to.
func (p Policy) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return &RefusedError{"the server's address is not an IP address"}
	}
	return p.check(at.Addr())
}

func (p Policy) check(address netip.Addr) error {
	address = plain(address)
	if p.AllowLoopback && address.IsLoopback() {
		return nil
	}
	for _, network := range p.AllowNetworks {
		if network.Contains(address) {
			return nil
		}
	}
	if internal(address) || internal(embedded(address)) {
		return &RefusedError{"the server has a loopback, link-local, multicast or metadata address"}
	}
	return nil
}

// plain gives the address without the ways of writing it.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

// metadata are the addresses, other than link-local ones, at which clouds tell
// their machines who they are and what they may do.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	broadcast   = netip.MustParseAddr("255.255.255.255")
)

// internal tells whether an address is the operator's own surroundings rather
// than somebody's server.
func internal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() ||
		thisNetwork.Contains(a) || a == broadcast || slices.Contains(metadata, a)
}

// Gateways turn addresses of these networks into the IPv4 address that is in
// them, at the given byte.
var embeddings = []struct {
	network netip.Prefix
	at      int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},   // NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12}, // NAT64, local use
	{netip.MustParsePrefix("2002::/16"), 2},       // 6to4
	{netip.MustParsePrefix("::/96"), 12},          // IPv4-compatible
}

// embedded gives the IPv4 address in an IPv6 one, or the zero address, which is
// in no network.
func embedded(address netip.Addr) netip.Addr {
	for _, e := range embeddings {
		if e.network.Contains(address) {
			raw := address.As16()
			return netip.AddrFrom4([4]byte(raw[e.at:]))
		}
	}
	return netip.Addr{}
}

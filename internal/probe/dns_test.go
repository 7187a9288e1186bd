package probe

import (
	"bytes"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// reply makes the messages that a name server sends for a question.
type reply func(asked dnsmessage.Message, network string) [][]byte

// nameServer is a name server on UDP and TCP, at the same port of the loopback.
type nameServer struct {
	answer reply

	mu    sync.Mutex
	asked []string
}

// startNameServer gives its address.
func startNameServer(t *testing.T, answer reply) string {
	t.Helper()
	_, address := newNameServer(t, answer)
	return address
}

func newNameServer(t *testing.T, answer reply) (*nameServer, string) {
	t.Helper()
	s := &nameServer{answer: answer}
	// TCP first: acceptAll chooses a port that is free there, and UDP has many more.
	address := acceptAll(t, s.serveStream)
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { s.serveDatagrams(packets) })
	t.Cleanup(func() {
		packets.Close()
		work.Wait()
	})
	return s, address
}

func (s *nameServer) serveDatagrams(packets net.PacketConn) {
	buffer := make([]byte, 4096)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		for _, message := range s.replies(buffer[:n], "udp") {
			_, _ = packets.WriteTo(message, from)
		}
	}
}

func (s *nameServer) serveStream(conn net.Conn) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return
	}
	for _, message := range s.replies(message, "tcp") {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	}
}

func (s *nameServer) replies(packed []byte, network string) [][]byte {
	var asked dnsmessage.Message
	if asked.Unpack(packed) != nil || len(asked.Questions) != 1 {
		return nil
	}
	q := asked.Questions[0]
	s.mu.Lock()
	s.asked = append(s.asked, network+" "+q.Type.String()+" "+q.Name.String())
	s.mu.Unlock()
	return s.answer(asked, network)
}

// respond makes the beginning of an answer.
func respond(asked dnsmessage.Message, code dnsmessage.RCode) dnsmessage.Message {
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, RCode: code, RecursionDesired: asked.RecursionDesired},
		Questions: asked.Questions,
	}
}

func pack(m dnsmessage.Message) []byte {
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

func resource(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 60}, Body: body}
}

func a(name, address string) dnsmessage.Resource {
	return resource(name, &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()})
}

func aaaa(name, address string) dnsmessage.Resource {
	return resource(name, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(address).As16()})
}

// large is the answer for a name with more addresses than a datagram may hold.
func large(asked dnsmessage.Message, network string) dnsmessage.Message {
	m := respond(asked, dnsmessage.RCodeSuccess)
	if network == "udp" {
		m.Truncated = true
		return m
	}
	for i := range 100 {
		m.Answers = append(m.Answers, a("large.example.org.", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()))
	}
	return m
}

// zone is what a good name server knows.
func zone(asked dnsmessage.Message, network string) [][]byte {
	name, kind := strings.ToLower(asked.Questions[0].Name.String()), asked.Questions[0].Type
	m := respond(asked, dnsmessage.RCodeSuccess)
	switch {
	case name == "large.example.org.":
		m = large(asked, network)
	case name == "refused.example.org.":
		m = respond(asked, dnsmessage.RCodeRefused)
	case name == "failed.example.org.":
		m = respond(asked, dnsmessage.RCodeServerFailure)
	case name == "strict.example.org.":
		m = respond(asked, dnsmessage.RCodeFormatError)
		m.Questions = nil
	case name == "capitals.example.org.":
		m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("CAPITALS.example.ORG."), Type: kind, Class: dnsmessage.ClassINET}}
		m.Answers = []dnsmessage.Resource{a(name, "192.0.2.1")}
	case name == "alias.example.org." && kind == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{
			resource(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("www.example.org.")}), a("www.example.org.", "192.0.2.1"),
		}
	case name == "www.example.org." && kind == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{a(name, "192.0.2.1"), a(name, "192.0.2.2")}
	case name == "www.example.org." && kind == dnsmessage.TypeAAAA:
		m.Answers = []dnsmessage.Resource{aaaa(name, "2001:db8::1")}
	case name == "text.example.org.":
		m.Answers = []dnsmessage.Resource{resource(name, &dnsmessage.TXTResource{TXT: []string{"192.0.2.1"}})}
	default:
		m = respond(asked, dnsmessage.RCodeNameError)
	}
	return [][]byte{pack(m)}
}

// truncating gives a name server whose answers over UDP are cut, and whose TCP
// is at another address, to which everything goes.
func truncating(t *testing.T, address string) string {
	t.Helper()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{answer: func(asked dnsmessage.Message, network string) [][]byte { return [][]byte{pack(large(asked, network))} }}
	var work sync.WaitGroup
	work.Go(func() { s.serveDatagrams(packets) })
	t.Cleanup(func() {
		packets.Close()
		work.Wait()
	})
	return address
}

func TestDNS(t *testing.T) {
	s, address := newNameServer(t, zone)
	for _, c := range []struct {
		name    string
		ipv6    bool
		answers []string
		want    string
	}{
		{"www.example.org", false, nil, ""},
		{"www.example.org.", false, nil, ""},
		{"WWW.Example.org", false, nil, ""},
		{"www.example.org", true, nil, ""},
		{"www.example.org", false, []string{"192.0.2.2"}, ""},
		{"www.example.org", false, []string{"198.51.100.1", "192.0.2.1"}, ""},
		{"www.example.org", false, []string{"198.51.100.1"}, "dns: none of the expected answers"},
		{"www.example.org", true, []string{"2001:db8::1"}, ""},
		{"www.example.org", true, []string{"2001:db8::2"}, "dns: none of the expected answers"},
		{"alias.example.org", false, []string{"192.0.2.1"}, ""},
		{"alias.example.org", true, nil, "dns: no such name"},
		{"capitals.example.org", false, nil, ""},
		{"large.example.org", false, []string{"192.0.2.99"}, ""},
		{"text.example.org", false, nil, "dns: no record of type A"},
		{"text.example.org", true, nil, "dns: no record of type AAAA"},
		{"nowhere.example.org", false, nil, "dns: no such name"},
		{"failed.example.org", false, nil, "dns: the server has failed"},
		{"refused.example.org", false, nil, "dns: the server refuses to answer"},
		{"strict.example.org", false, nil, "dns: the server does not accept the question"},
		{"", false, nil, "dns: no such name"},
		{strings.Repeat("a", 64) + ".example.org", false, nil, "dns: not a name"},
		{strings.Repeat("a.", 200), false, nil, "dns: not a name"},
	} {
		spec := DNS{Server: address, Name: c.name, IPv6: c.ipv6}
		for _, answer := range c.answers {
			spec.Answers = append(spec.Answers, netip.MustParseAddr(answer))
		}
		t.Run(c.name+strings.Join(c.answers, ","), func(t *testing.T) {
			expect(t, Spec{DNS: &spec}, patience, c.want)
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, want := range []string{"udp TypeA large.example.org.", "tcp TypeA large.example.org.", "udp TypeAAAA www.example.org."} {
		if !slices.Contains(s.asked, want) {
			t.Errorf("not asked: %s", want)
		}
	}
	if slices.Contains(s.asked, "tcp TypeA www.example.org.") {
		t.Error("asked over TCP though the answer was not cut")
	}
}

// TestDNSStrays has a name server send what is no answer to the question: it is
// passed over, and the answer counts when it comes.
func TestDNSStrays(t *testing.T) {
	good := func(asked dnsmessage.Message) dnsmessage.Message {
		m := respond(asked, dnsmessage.RCodeSuccess)
		m.Answers = []dnsmessage.Resource{a("www.example.org.", "192.0.2.1")}
		return m
	}
	for what, stray := range map[string]func(asked dnsmessage.Message) []byte{
		"garbage": func(dnsmessage.Message) []byte { return []byte("garbage") },
		"nothing": func(dnsmessage.Message) []byte { return nil },
		"another question's id": func(asked dnsmessage.Message) []byte {
			m := good(asked)
			m.ID++
			return pack(m)
		},
		"another name": func(asked dnsmessage.Message) []byte {
			m := good(asked)
			m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("other.example.org."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}
			return pack(m)
		},
		"another type": func(asked dnsmessage.Message) []byte {
			m := good(asked)
			m.Questions = []dnsmessage.Question{{Name: asked.Questions[0].Name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}}
			return pack(m)
		},
		"no question": func(asked dnsmessage.Message) []byte {
			m := good(asked)
			m.Questions = nil
			return pack(m)
		},
		"the question itself": func(asked dnsmessage.Message) []byte { return pack(asked) },
		"half an answer": func(asked dnsmessage.Message) []byte {
			packed := pack(good(asked))
			return packed[:len(packed)-3]
		},
	} {
		t.Run(what, func(t *testing.T) {
			then := startNameServer(t, func(asked dnsmessage.Message, _ string) [][]byte { return [][]byte{stray(asked), pack(good(asked))} })
			expect(t, Spec{DNS: &DNS{Server: then, Name: "www.example.org"}}, patience, "")

			only := startNameServer(t, func(asked dnsmessage.Message, _ string) [][]byte { return [][]byte{stray(asked)} })
			expect(t, Spec{DNS: &DNS{Server: only, Name: "www.example.org"}}, impatience, "dns: answer not understood")

			overTCP := startNameServer(t, func(asked dnsmessage.Message, network string) [][]byte {
				if network == "udp" {
					return [][]byte{pack(large(asked, network))}
				}
				return [][]byte{stray(asked)}
			})
			expect(t, Spec{DNS: &DNS{Server: overTCP, Name: "www.example.org"}}, patience, "dns: answer not understood")
		})
	}
}

func TestDNSFlood(t *testing.T) {
	flooding := startNameServer(t, func(dnsmessage.Message, string) [][]byte {
		return slices.Repeat([][]byte{[]byte("garbage")}, 2*maxStrays)
	})
	expect(t, Spec{DNS: &DNS{Server: flooding, Name: "www.example.org"}}, patience, "dns: answer not understood")
}

func TestDNSBadServers(t *testing.T) {
	silent := startNameServer(t, func(dnsmessage.Message, string) [][]byte { return nil })
	for _, c := range []struct {
		what, server string
		timeout      time.Duration
		want         string
	}{
		{"silence", silent, impatience, "dns: no answer in time"},
		{"nobody", closedPort(t), patience, "dns: connection refused"},
		{"no TCP", truncating(t, closedPort(t)), patience, "dns: connection refused"},
		{"silence over TCP", truncating(t, acceptAll(t, untilClosed)), impatience, "dns: no answer in time"},
		{"hangs up", truncating(t, rawServer(t, "")), patience, "dns: the connection broke off"},
		{"half a length", truncating(t, rawServer(t, "\x00")), patience, "dns: the connection broke off"},
		{"half a message", truncating(t, rawServer(t, "\xff\xffgarbage")), patience, "dns: the connection broke off"},
		{"an unknown host", "ns.invalid:53", patience, "dns: unknown host"},
	} {
		t.Run(c.what, func(t *testing.T) {
			expect(t, Spec{DNS: &DNS{Server: c.server, Name: "www.example.org"}}, c.timeout, c.want)
		})
	}
}

// TestDNSQuestionsDiffer has the number of a question not be foretold.
func TestDNSQuestionsDiffer(t *testing.T) {
	ids := map[uint16]bool{}
	for range 1000 {
		q, err := newQuery(&DNS{Name: "example.org"})
		if err != nil {
			t.Fatal(err)
		}
		ids[q.id] = true
	}
	if len(ids) < 900 {
		t.Errorf("1000 questions have %d numbers", len(ids))
	}
}

// FuzzReadAnswer has any bytes be read without harm, and none taken for the
// answer that do not answer the question.
func FuzzReadAnswer(f *testing.F) {
	query, err := newQuery(&DNS{Name: "www.example.org"})
	if err != nil {
		f.Fatal(err)
	}
	query.id = 4711
	var asked dnsmessage.Message
	if err := asked.Unpack(query.packed); err != nil {
		f.Fatal(err)
	}
	asked.ID = query.id
	for _, answer := range zone(asked, "udp") {
		f.Add(answer)
		f.Add(answer[:len(answer)-5])
	}
	f.Add(pack(large(asked, "udp")))
	f.Add(pack(large(asked, "tcp")))
	f.Add(pack(respond(asked, dnsmessage.RCodeNameError)))
	f.Add(query.packed)
	f.Fuzz(func(t *testing.T, message []byte) {
		answer, err := query.read(message)
		if err != nil {
			if len(answer.addresses) != 0 || err != errGarbled {
				t.Errorf("%v and %v", answer.addresses, err)
			}
			return
		}
		if !bytes.Equal(message[:2], []byte{4711 >> 8, 4711 & 0xff}) || message[2]&0x80 == 0 {
			t.Error("not an answer to the question")
		}
		if most := (len(message) - 12) / 14; len(answer.addresses) > most {
			t.Errorf("%d addresses in %d bytes", len(answer.addresses), len(message))
		}
	})
}

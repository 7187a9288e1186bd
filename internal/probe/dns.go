package probe

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxDatagram is the largest answer over UDP that is read.
	maxDatagram = 4096
	// maxStrays is how many datagrams that are no answer are passed over.
	maxStrays = 16
)

// dnsAnswer is what a name server said.
type dnsAnswer struct {
	truncated bool
	code      dnsmessage.RCode
	addresses []netip.Addr
}

// dns asks a name server over UDP, and over TCP when the answer does not fit.
func (c *checker) dns(ctx context.Context, spec *DNS) error {
	query, err := newQuery(spec)
	if err != nil {
		return err
	}
	answer, err := c.exchange(ctx, "udp", spec.Server, query)
	if err == nil && answer.truncated {
		answer, err = c.exchange(ctx, "tcp", spec.Server, query)
	}
	if err != nil {
		return err
	}
	return spec.judge(answer)
}

// judge says what is wrong with an answer.
func (d *DNS) judge(answer dnsAnswer) error {
	switch answer.code {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return failure("no such name")
	case dnsmessage.RCodeServerFailure:
		return failure("the server has failed")
	case dnsmessage.RCodeRefused:
		return failure("the server refuses to answer")
	default:
		return failure("the server does not accept the question")
	}
	switch {
	case len(answer.addresses) == 0 && d.IPv6:
		return failure("no record of type AAAA")
	case len(answer.addresses) == 0:
		return failure("no record of type A")
	case len(d.Answers) > 0 && !slices.ContainsFunc(answer.addresses, func(a netip.Addr) bool { return slices.Contains(d.Answers, a) }):
		return failure("none of the expected answers")
	}
	return nil
}

// exchange asks over one network.
func (c *checker) exchange(ctx context.Context, network, server string, query dnsQuery) (dnsAnswer, error) {
	conn, err := c.open(ctx, network, server)
	if err != nil {
		return dnsAnswer{}, err
	}
	defer conn.Close()
	if network == "tcp" {
		return query.overStream(conn)
	}
	return query.overDatagrams(conn)
}

// dnsQuery is a question and its bytes.
type dnsQuery struct {
	id       uint16
	question dnsmessage.Question
	packed   []byte
}

func newQuery(spec *DNS) (dnsQuery, error) {
	kind := dnsmessage.TypeA
	if spec.IPv6 {
		kind = dnsmessage.TypeAAAA
	}
	name, err := dnsmessage.NewName(strings.TrimSuffix(spec.Name, ".") + ".")
	if err != nil {
		return dnsQuery{}, failure("not a name")
	}
	query := dnsQuery{
		id:       uint16(rand.Uint32()), //nolint:gosec // any 16 bits; math/rand/v2 cannot be foretold
		question: dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET},
	}
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.id, RecursionDesired: true},
		Questions: []dnsmessage.Question{query.question},
	}
	if query.packed, err = message.Pack(); err != nil {
		return dnsQuery{}, failure("not a name")
	}
	return query, nil
}

// overDatagrams passes over what is no answer to the question, which anybody may
// have sent.
func (q *dnsQuery) overDatagrams(conn net.Conn) (dnsAnswer, error) {
	if _, err := conn.Write(q.packed); err != nil {
		return dnsAnswer{}, err
	}
	buffer := make([]byte, maxDatagram)
	var strange error
	for range maxStrays {
		n, err := conn.Read(buffer)
		if err != nil && strange != nil {
			return dnsAnswer{}, strange
		}
		if err != nil {
			return dnsAnswer{}, err
		}
		var answer dnsAnswer
		if answer, strange = q.read(buffer[:n]); strange == nil {
			return answer, nil
		}
	}
	return dnsAnswer{}, strange
}

// overStream has two bytes with the length before each message.
func (q *dnsQuery) overStream(conn net.Conn) (dnsAnswer, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(q.packed))) //nolint:gosec // a question has some hundred bytes at most
	if _, err := conn.Write(append(framed, q.packed...)); err != nil {
		return dnsAnswer{}, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return dnsAnswer{}, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return dnsAnswer{}, err
	}
	answer, err := q.read(message)
	answer.truncated = false
	return answer, err
}

// read gives the answer that a message has, or [errGarbled] when it has none to
// this question. An answer that was cut is not read further.
func (q *dnsQuery) read(message []byte) (dnsAnswer, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(message)
	if err != nil || !header.Response || header.ID != q.id {
		return dnsAnswer{}, errGarbled
	}
	answer := dnsAnswer{truncated: header.Truncated, code: header.RCode}
	questions, err := parser.AllQuestions()
	switch {
	case err != nil:
		return dnsAnswer{}, errGarbled
	case len(questions) == 0 && header.RCode != dnsmessage.RCodeSuccess:
		return answer, nil // a server that could not read the question need not repeat it
	case len(questions) != 1 || !q.asks(questions[0]):
		return dnsAnswer{}, errGarbled
	case header.Truncated:
		return answer, nil
	}
	answer.addresses, err = addresses(&parser, q.question.Type)
	return answer, err
}

// asks tells whether a question is the one that was asked; names are the same in
// capitals too.
func (q *dnsQuery) asks(other dnsmessage.Question) bool {
	return other.Type == q.question.Type && other.Class == q.question.Class &&
		strings.EqualFold(other.Name.String(), q.question.Name.String())
}

// addresses gives those among the answers, of which others may say by which
// other names they were found.
func addresses(parser *dnsmessage.Parser, kind dnsmessage.Type) (found []netip.Addr, err error) {
	for {
		header, err := parser.AnswerHeader()
		if err == dnsmessage.ErrSectionDone { //nolint:errorlint // the package gives it as it is
			return found, nil
		}
		if err != nil {
			return nil, errGarbled
		}
		switch {
		case header.Class != dnsmessage.ClassINET || header.Type != kind:
			err = parser.SkipAnswer()
		case kind == dnsmessage.TypeA:
			var record dnsmessage.AResource
			record, err = parser.AResource()
			found = append(found, netip.AddrFrom4(record.A))
		default:
			var record dnsmessage.AAAAResource
			record, err = parser.AAAAResource()
			found = append(found, netip.AddrFrom16(record.AAAA).Unmap())
		}
		if err != nil {
			return nil, errGarbled
		}
	}
}

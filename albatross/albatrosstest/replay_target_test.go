package albatrosstest_test

import (
	"bytes"
	"compress/zlib"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mollymawk.dev/operator/albatross/cert"
	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/albatross/wire"
)

// target is a host to which requests are sent exactly as recorded, also those
// that the client would refuse to send.
type target struct {
	addr   string
	ca     *x509.Certificate
	key    any
	images map[string][]byte
	// patience is how long an answer may take.
	patience time.Duration
	// clock is the time of a simulated host's unikernels; nil for a real one.
	clock *clock
	// enlarge, if set, has a simulated host take a command for the one that it
	// receives under an id: crypto/tls reads no certificates of more than 256 KiB.
	enlarge func(id string, command wire.Command)
}

// maxCertificates is how much certificates may have to be read by crypto/tls,
// with some room for their frame.
const maxCertificates = 250 << 10

// seen is what came back.
type seen struct {
	count  int
	frames []wire.Frame
	// data are the frames with the content of a block device, end whether their
	// end came, and lastEnd whether nothing came after it.
	data    [][]byte
	end     bool
	lastEnd bool
	// closing is nil after a close_notify, errOpen when the connection stood at
	// the end.
	closing error
	// sent is what was uploaded, before any compression.
	sent []byte
}

var errOpen = errors.New("still open after the wait")

func solo5Image(i vectors.TestImage) solo5.Image {
	image := solo5.Image{Target: map[string]solo5.Target{"hvt": solo5.HVT, "spt": solo5.SPT}[i.ABI.Target], ABIVersion: i.ABI.Version}
	for _, d := range i.Devices {
		image.Devices = append(image.Devices, solo5.Device{Name: d.Name, Type: map[string]solo5.DeviceType{"BLOCK_BASIC": solo5.Block, "NET_BASIC": solo5.Network}[d.Type]})
	}
	return image
}

// issue makes a certificate with a new key; issuer nil makes it sign itself.
func issue(cn *string, ca bool, command wire.Command, issuer *x509.Certificate, signer any) (*x509.Certificate, crypto.Signer, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		NotBefore: time.Now().Add(-cert.ValidBefore), NotAfter: time.Now().Add(cert.ValidAfter),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if cn != nil {
		template.Subject = pkix.Name{CommonName: *cn}
	}
	if ca {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if command != nil {
		der, err := wire.EncodeExtension(command)
		if err != nil {
			return nil, nil, err
		}
		template.ExtraExtensions = []pkix.Extension{{Id: cert.OID, Value: der}}
	}
	if issuer == nil {
		issuer, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, signer)
	if err != nil {
		return nil, nil, err
	}
	made, err := x509.ParseCertificate(der)
	return made, key, err
}

// chain makes the certificates of a request.
func (t *target) chain(r vectors.Request, command wire.Command) (tls.Certificate, error) {
	issuer, signer := t.ca, t.key
	var chain [][]byte
	var path []string
	for _, cn := range strings.Split(r.Domain, ":") {
		if cn == "" {
			continue
		}
		path = append(path, cn)
		var add wire.Command
		for _, p := range r.Policies {
			if p.Path == strings.Join(path, ":") {
				add = wire.PolicyAdd{Policy: p.Policy.Wire()}
			}
		}
		made, key, err := issue(&cn, true, add, issuer, signer)
		if err != nil {
			return tls.Certificate{}, err
		}
		issuer, signer = made, key
		chain = append([][]byte{made.Raw}, chain...)
	}
	leaf, key, err := issue(r.CN, false, t.shortened(command), issuer, signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	chain = append([][]byte{leaf.Raw}, chain...)
	if r.ExtraCertificates != "" {
		cn := "victim"
		extra, _, err := issue(&cn, true, wire.PolicyAdd{Policy: wire.Policy{Unikernels: 7, CPUIDs: []int64{0}, Memory: 64}}, nil, nil)
		if err != nil {
			return tls.Certificate{}, err
		}
		chain = append(chain, extra.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key}, nil
}

// shortened gives a command that stands for one that is too large.
func (t *target) shortened(command wire.Command) wire.Command {
	der, err := wire.EncodeExtension(command)
	if t.enlarge == nil || err != nil || len(der) < maxCertificates {
		return command
	}
	id := rand.Text()
	t.enlarge(id, command)
	return wire.OldBlockSet{Data: []byte(id)}
}

func (t *target) dial(r vectors.Request, command wire.Command) (*tls.Conn, error) {
	pair, err := t.chain(r, command)
	if err != nil {
		return nil, err
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: t.patience}, "tcp", t.addr, &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, Certificates: []tls.Certificate{pair},
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, conn.SetDeadline(time.Now().Add(t.patience))
}

// wait lets time pass for unikernels.
func (t *target) wait(d time.Duration) {
	if t.clock == nil {
		time.Sleep(d)
		return
	}
	t.clock.advance(d)
}

// perform sends a request and gathers what comes back.
func (t *target) perform(r vectors.Request, want vectors.Reply) (got seen, err error) {
	conn, err := t.dial(r, t.command(r))
	if err != nil {
		return got, err
	}
	defer conn.Close()
	if r.Upload != nil {
		got.sent = t.upload(conn, r)
		if !strings.Contains(r.Upload.End, "zero") && cuts.MatchString(r.Upload.End) {
			got.closing = conn.NetConn().Close()
			return got, nil
		}
	}
	if t.clock != nil {
		// Ends of unikernels take some milliseconds; a console's ticks are seconds.
		step := time.Millisecond
		if _, isConsole := r.Command.Wire().(wire.ConsoleSubscribe); isConsole && want.FrameCount > 2 {
			step = 50 * time.Millisecond
		}
		defer t.clock.flow(step)()
	}
	got.gather(conn, want)
	return got, nil
}

var cuts = regexp.MustCompile(`(?i)cut|clos|disconnect|abort|reset`)

func (t *target) sendAndLeave(r vectors.Request, command wire.Command, upload []byte) error {
	conn, err := t.dial(r, command)
	if err != nil {
		return err
	}
	defer conn.NetConn().Close()
	if len(upload) == 0 {
		return nil
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(upload))), upload...))
	return err
}

// upload sends what a request uploads, and gives the data before compression.
func (t *target) upload(conn *tls.Conn, r vectors.Request) (content []byte) {
	content, data := described(r.Upload)
	if image := t.image(r.ImageFile); image != nil {
		content = image[:min(int64(len(image)), r.Upload.Bytes)]
		data = content
	}
	sendChunks(conn, data, r.Upload.Chunk, strings.Contains(r.Upload.End, "zero"))
	return content
}

// sendChunks uploads data. A host that does not take it all still answers, so
// errors do not matter.
func sendChunks(conn *tls.Conn, data []byte, size int, end bool) {
	for chunk := range slices.Chunk(data, max(size, 1)) {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(chunk))), chunk...)); err != nil {
			return
		}
	}
	if end {
		_, _ = conn.Write([]byte{0, 0, 0, 0})
	}
}

var (
	zlibOf = regexp.MustCompile(`^zlib level (\d+) of (.+)$`)
	sizeOf = regexp.MustCompile(`^([\d.]+) ?(B|kB|MB|GB)`)
)

// described makes an upload of the recorded kind: the bytes themselves are not
// recorded. content is what a block device gets of it.
func described(u *vectors.Upload) (content, data []byte) {
	m := zlibOf.FindStringSubmatch(u.Description)
	if m == nil {
		data = noise(int(u.Bytes))
		return data, data
	}
	size := 0
	if s := sizeOf.FindStringSubmatch(m[2]); s != nil {
		n, _ := strconv.ParseFloat(s[1], 64)
		size = int(n * map[string]float64{"B": 1, "kB": 1000, "MB": 1 << 20, "GB": 1 << 30}[s[2]])
	}
	level, _ := strconv.Atoi(m[1])
	content = noise(size)
	return content, deflate(content, level)
}

// noise is reproducible, never a zlib stream, and compresses to about a half.
func noise(n int) []byte {
	b := make([]byte, n)
	source := mathrand.New(mathrand.NewPCG(uint64(n), 7))
	for i := range b {
		b[i] = "no zlib stream, "[source.IntN(16)]
	}
	if n > 0 {
		b[0] = 'n'
	}
	return b
}

func deflate(data []byte, level int) []byte {
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, level)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(data)
	_ = w.Close()
	return out.Bytes()
}

// image gives what an image_file names, or nil.
func (t *target) image(file string) []byte {
	if m := zlibOf.FindStringSubmatch(file); m != nil {
		level, _ := strconv.Atoi(m[1])
		if inner := t.image(m[2]); inner != nil {
			return deflate(inner, level)
		}
	}
	return t.images[file]
}

// command completes a recorded command with what was only described.
func (t *target) command(r vectors.Request) wire.Command {
	complete := func(c *wire.Config) {
		if blob := r.Command.Config.Image; !blob.Known() {
			if c.Image = t.image(r.ImageFile); c.Image == nil {
				c.Image = noise(int(blob.Length))
			}
		}
	}
	switch c := r.Command.Wire().(type) {
	case wire.UnikernelCreate:
		complete(&c.Config)
		return c
	case wire.UnikernelForceCreate:
		complete(&c.Config)
		return c
	case wire.OldBlockAdd:
		if r.Command.Described != nil {
			c.Data = noise(int(r.Command.Described.Length))
		}
		return c
	case wire.OldBlockSet:
		if r.Command.Described != nil {
			c.Data = noise(int(r.Command.Described.Length))
		}
		return c
	default:
		return c
	}
}

// gather reads frames up to the end of the connection, or up to the recorded
// number when the connection was left open.
func (s *seen) gather(conn *tls.Conn, want vectors.Reply) {
	stays := strings.Contains(want.Connection, "still open")
	for !stays || s.count < want.FrameCount {
		frame, err := readFrame(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errOpen
		}
		if err != nil {
			s.closing = err
			if errors.Is(err, io.EOF) {
				s.closing = nil
			}
			return
		}
		s.add(frame)
	}
	// Nothing that ends the connection may come.
	_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	for {
		if _, err := readFrame(conn); err != nil {
			s.closing = err
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.closing = errOpen
			}
			return
		}
	}
}

func (s *seen) add(f wire.Frame) {
	s.count++
	s.lastEnd = false
	switch p := f.Payload.(type) {
	case wire.BlockData:
		s.data = append(s.data, p.Data)
	case wire.BlockDataEnd:
		s.end, s.lastEnd = true, true
	default:
		s.frames = append(s.frames, f)
	}
}

func readFrame(conn *tls.Conn) (wire.Frame, error) {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return wire.Frame{}, err
	}
	der := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(conn, der); err != nil {
		return wire.Frame{}, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return wire.DecodeFrame(der)
}

package albatrosstest_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

// differences compares what came back with the record, but for what the
// vectors' README says differs from run to run.
func (r *replay) differences(e vectors.Exchange, got seen) (all []string) {
	differ := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	switch want := e.Reply.Connection; {
	case strings.Contains(want, "close_notify") && got.closing != nil:
		differ("the connection ended with %v, want a close_notify", got.closing)
	case strings.Contains(want, "still open") && got.closing != errOpen: //nolint:errorlint // set by this test
		differ("the connection ended with %v, want it %s", got.closing, want)
	}
	if len(got.frames) != len(e.Reply.Frames) {
		differ("%d frames %+v, want %d", len(got.frames), got.frames, len(e.Reply.Frames))
		return all
	}
	for i, want := range e.Reply.Frames {
		if d := r.frameDifference(e, want, got.frames[i]); d != "" {
			differ("frame %d: %s", i, d)
		}
	}
	if e.Reply.BlockData != nil {
		all = append(all, r.dataDifferences(e, got)...)
	}
	return all
}

func (r *replay) frameDifference(e vectors.Exchange, want vectors.SeenFrame, got wire.Frame) string {
	switch p := got.Payload.(type) {
	case wire.UnikernelImage:
		return r.imageDifference(want.Payload, p.Compressed, p.Image, nil)
	case wire.OldBlockDeviceImage:
		return r.imageDifference(want.Payload, p.Compressed, p.Image, r.blocks[got.Name.String()])
	}
	expected := want.Wire()
	if r.wholeServer(e) {
		expected.Payload, got.Payload = r.own(expected.Payload), r.own(got.Payload)
	}
	expected.Payload, got.Payload = r.substituted(expected.Payload), stable(got.Payload)
	expected.Sequence, got.Sequence = 0, 0
	expectedDER, err1 := wire.EncodeFrame(expected)
	gotDER, err2 := wire.EncodeFrame(got)
	if err1 != nil || err2 != nil || !bytes.Equal(expectedDER, gotDER) {
		return fmt.Sprintf("%+v, want %+v", got, expected)
	}
	return ""
}

// wholeServer tells whether the answer lists other scenarios' domains too.
func (r *replay) wholeServer(e vectors.Exchange) bool {
	return e.Request.Domain == "" && (e.Request.CN == nil || *e.Request.CN == ".")
}

// own leaves of a listing what belongs to the scenario, and the root.
func (r *replay) own(p wire.Payload) wire.Payload {
	domains := map[string]bool{}
	for _, step := range r.scenario.Steps {
		if step.Request != nil {
			top, _, _ := strings.Cut(strings.ToLower(step.Request.Domain), ":")
			domains[top] = true
		}
	}
	foreign := func(n wire.Name) bool { return len(n.Path) > 0 && !domains[n.Path[0]] }
	switch p := p.(type) {
	case wire.UnikernelInfos:
		p.Infos = slices.DeleteFunc(p.Infos, func(i wire.NamedInfo) bool { return foreign(i.Name) })
		return p
	case wire.Policies:
		p.Policies = slices.DeleteFunc(p.Policies, func(i wire.NamedPolicy) bool { return foreign(i.Name) })
		return p
	case wire.BlockDevices:
		p.Devices = slices.DeleteFunc(p.Devices, func(i wire.NamedBlock) bool { return foreign(i.Name) })
		return p
	}
	return p
}

var epoch = time.Unix(0, 0).UTC()

var tick = regexp.MustCompile(`^tick \d+$`)

// stable replaces what differs from run to run.
func stable(p wire.Payload) wire.Payload {
	switch p := p.(type) {
	case wire.UnikernelInfos:
		p.Infos = slices.Clone(p.Infos)
		for i := range p.Infos {
			p.Infos[i].Info.Started = epoch
		}
		return p
	case wire.ConsoleLine:
		return wire.ConsoleLine{Time: epoch, Line: tick.ReplaceAllString(p.Line, "tick N")}
	case wire.Stats:
		var names wire.Stats
		for _, i := range p.Interfaces {
			names.Interfaces = append(names.Interfaces, wire.InterfaceStats{Bridge: i.Bridge, MTU: i.MTU, Flags: i.Flags})
		}
		if p.Memory != nil {
			names.Memory = &wire.ProcessMemory{VirtualSize: p.Memory.VirtualSize}
		}
		names.VMM = p.VMM
		return names
	}
	return p
}

// substituted is a recorded payload with the digests of stand-ins.
func (r *replay) substituted(p wire.Payload) wire.Payload {
	p = stable(p)
	if infos, ok := p.(wire.UnikernelInfos); ok {
		for i := range infos.Infos {
			infos.Infos[i].Info.Digest = r.digest(infos.Infos[i].Info.Digest)
		}
	}
	return p
}

func (r *replay) digest(recorded []byte) []byte {
	if file, ok := recordedFiles[hex.EncodeToString(recorded)]; ok {
		sum := sha256.Sum256(r.target.images[file])
		return sum[:]
	}
	return recorded
}

// recordedFiles names the recorded images by their digests.
var recordedFiles = map[string]string{
	"71ae936fa0e67d77416360c03b0631426da0777e4976db3f96d8f24769829037": "test_blk.hvt",
	"fccaff442034e95ecb31aae58f1f3574ff6673353f71f5bd2ad645604d7de747": "test_blktick.hvt",
	"e33104604608961292f5ad5cbfbd29ecfbff151fd2a5a8267c6a9910571db09e": "test_net.hvt",
	"bcef018242f86a12c28e32dd126b6e2cf599ad7794b162313a5c0a496cc61a98": "test_net_2if.hvt",
	"01734043d37375c1f2c4731a3300fa48c5f691b6c15cea000521fdf7c25ba87a": "test_tick.hvt",
	"ed43982905d78690f3188eb72823b434fa35e84ebe628b32ccdf60f9ebd0d28e": "test_tick.spt",
}

// imageDifference compares an image with the recorded digest, or a block
// device's content with what it must be. Compressed sizes differ.
func (r *replay) imageDifference(want vectors.Payload, compressed bool, got, content []byte) string {
	if compressed != want.Compressed {
		return fmt.Sprintf("compressed: %v, want %v", compressed, want.Compressed)
	}
	if compressed {
		var err error
		if got, err = inflate(got); err != nil {
			return err.Error()
		}
	} else if int64(len(got)) != want.Image.Length {
		return fmt.Sprintf("%d bytes, want %d", len(got), want.Image.Length)
	}
	if content != nil {
		return contentDifference(got, content)
	}
	recorded, _ := hex.DecodeString(want.Image.SHA256)
	if sum := sha256.Sum256(got); !compressed && !bytes.Equal(sum[:], r.digest(recorded)) {
		return fmt.Sprintf("digest %x, want %x", sum, r.digest(recorded))
	}
	return ""
}

func contentDifference(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Sprintf("byte %d is %#x, want %#x", i, got[i], want[i])
		}
	}
	return ""
}

func inflate(data []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func blockName(e vectors.Exchange) string {
	return strings.ToLower(e.Request.Domain + ":" + deref(e.Request.CN))
}

// dataDifferences compares the frames of a block device's content.
func (r *replay) dataDifferences(e vectors.Exchange, got seen) (all []string) {
	differ := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	want := e.Reply.BlockData
	content := bytes.Join(got.data, nil)
	compressed := false
	if image, ok := got.frames[0].Payload.(wire.BlockDeviceImage); ok && image.Compressed {
		compressed = true
		var err error
		if content, err = inflate(content); err != nil {
			differ("%v", err)
		}
	}
	if got.end != want.EndedByEnd || got.lastEnd != want.LastIsEnd {
		differ("end of data: %v, as the last frame: %v; want %v and %v", got.end, got.lastEnd, want.EndedByEnd, want.LastIsEnd)
	}
	if int64(len(content)) != want.Bytes {
		differ("%d bytes of data, want %d", len(content), want.Bytes)
	}
	if !compressed {
		largest := 0
		for _, data := range got.data {
			largest = max(largest, len(data))
		}
		if len(got.data) != want.Frames || largest != want.LargestFrame {
			differ("%d frames of data of at most %d bytes, want %d of %d", len(got.data), largest, want.Frames, want.LargestFrame)
		}
	}
	if must, ok := r.blocks[blockName(e)]; ok && len(must) == len(content) {
		if d := contentDifference(content, must); d != "" {
			differ("%s", d)
		}
	}
	// The same content was recorded with the same digest, another with another.
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	for recorded, own := range r.known {
		if (recorded == want.SHA256) != (own == sum) {
			differ("content %s stands for the recorded %s, not %s", sum, recorded, want.SHA256)
		}
	}
	r.known[want.SHA256] = sum
	return all
}

// remember keeps what later steps build upon.
func (r *replay) remember(e vectors.Exchange, got seen) {
	if _, isSet := r.target.command(*e.Request).(wire.BlockSet); isSet && (len(got.frames) == 0 || got.frames[0].Payload != (wire.Text{Text: "set block device"})) {
		delete(r.blocks, blockName(e)) // it may contain anything by now
	}
	for _, f := range got.frames {
		if infos, ok := f.Payload.(wire.UnikernelInfos); ok {
			r.infos = [2][]wire.NamedInfo{r.infos[1], infos.Infos}
		}
		if _, ok := f.Payload.(wire.Text); ok {
			r.rememberBlock(f.Name.String(), r.target.command(*e.Request), got.sent)
		}
	}
}

func plain(compressed bool, data []byte) []byte {
	if compressed {
		data, _ = inflate(data) // the host took it, so it can be expanded
	}
	return data
}

func (r *replay) rememberBlock(name string, command wire.Command, sent []byte) {
	padded := func(data []byte, size int) []byte { return append(bytes.Clone(data), make([]byte, size-len(data))...) }
	switch c := command.(type) {
	case wire.BlockAdd:
		r.blocks[name] = padded(nil, int(c.Size)<<20)
	case wire.OldBlockAdd:
		r.blocks[name] = padded(plain(c.Compressed, c.Data), int(c.Size)<<20)
	case wire.OldBlockSet:
		r.blocks[name] = padded(plain(c.Compressed, c.Data), len(r.blocks[name]))
	case wire.BlockSet:
		if must, ok := r.blocks[name]; ok {
			r.blocks[name] = padded(sent, len(must))
		}
	case wire.BlockRemove:
		delete(r.blocks, name)
	}
}

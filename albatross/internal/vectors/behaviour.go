package vectors

import (
	"encoding/json"
	"testing"

	"mollymawk.dev/operator/albatross/wire"
)

// Scenario is an entry of behaviour.json: what clients asked of a host, in order,
// and what they saw.
type Scenario struct {
	Name, Class string
	// FreshServer says that the host is broken afterwards.
	FreshServer bool `json:"fresh_server"`
	Steps       []Step
}

// Step is a request, two at the same time, a wait or an observation.
type Step struct {
	Exchange
	AtTheSameTime []Exchange `json:"at_the_same_time"`
	WaitMS        int        `json:"wait_ms"`
	Observation   string
	Value         any
	Note          string
}

// Exchange is a request and what came back.
type Exchange struct {
	Request *Request
	Reply   Reply
}

// Request is what a client sent, over a connection of its own.
type Request struct {
	// Domain are the common names of the intermediates, joined by ':'.
	Domain   string
	Policies []struct {
		Path   string
		Policy Policy
	}
	// CN of the leaf; nil is none.
	CN      *string
	Command SentCommand
	// ImageFile names the image that the command carries or that is uploaded.
	ImageFile string `json:"image_file"`
	Upload    *Upload
	// ExtraCertificates describes certificates sent after the chain.
	ExtraCertificates string `json:"extra_certificates"`
}

// SentCommand is a command whose data may be only described.
type SentCommand struct {
	Command
	// Described is set instead of Data.
	Described *Blob
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *SentCommand) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	var blob Blob
	if raw, ok := fields["data"]; ok && json.Unmarshal(raw, &blob) == nil && !blob.Known() {
		c.Described = &blob
		delete(fields, "data")
		var err error
		if data, err = json.Marshal(fields); err != nil {
			return err
		}
	}
	return json.Unmarshal(data, &c.Command)
}

// Upload is what was sent in chunks after the handshake.
type Upload struct {
	Bytes       int64
	SHA256      string
	Chunk       int
	Description string
	// End says how it ended: "zero-length chunk" is as it should be.
	End     string
	Outcome string
}

// Reply is what a client saw.
type Reply struct {
	Frames     []SeenFrame
	FrameCount int        `json:"frame_count"`
	BlockData  *BlockData `json:"block_data"`
	// Connection says how it ended, or that it did not.
	Connection string
}

// SeenFrame is a frame of a reply.
type SeenFrame struct {
	HeaderName string `json:"header_name"`
	Payload    Payload
}

// Wire gives the frame as the codec has it, without its sequence number.
func (f SeenFrame) Wire() wire.Frame {
	return wire.Frame{Name: parsed(f.HeaderName), Payload: f.Payload.Wire()}
}

// BlockData sums up the frames with the content of a block device.
type BlockData struct {
	Frames       int
	EndedByEnd   bool   `json:"ended_by_no_data_frame"`
	LastIsEnd    bool   `json:"last_frame_is_no_data"`
	Bytes        int64  `json:"bytes_uncompressed"`
	SHA256       string `json:"sha256_uncompressed"`
	LargestFrame int    `json:"largest_frame"`
}

// Behaviour gives all scenarios.
func Behaviour(t testing.TB) []Scenario {
	t.Helper()
	return Load[[]Scenario](t, "behaviour.json")
}

// TestImage is an entry of images.json: a Solo5 image that scenarios name.
type TestImage struct {
	File   string
	Length int64
	SHA256 string
	ABI    struct {
		Target  string
		Version uint32
	}
	Devices []struct{ Name, Type string }
	// Manifest and ABINote are the notes of the image.
	Manifest Hex `json:"note_solo5_manifest"`
	ABINote  Hex `json:"note_solo5_abi"`
}

// TestImages gives all images.
func TestImages(t testing.TB) []TestImage {
	t.Helper()
	return Load[[]TestImage](t, "images.json")
}

package albatrosstest

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"mollymawk.dev/operator/albatross/solo5"
)

// refusal is a failure with the text that the host answers.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// maxImage bounds an image after decompression, in bytes.
const maxImage = 1 << 30

// image is one that unikernels use; equal images are kept once.
type image struct {
	digest []byte
	path   string
	size   int64
	// manifest is valid unless damage says why the image cannot run.
	manifest solo5.Image
	damage   error
	// program is which of the recorded test images this stands for, or empty.
	program string
	users   int
}

// images keeps images in files of a folder, named by their SHA-256.
type images struct {
	dir string
	mu  sync.Mutex
	all map[string]*image
}

// add reads an image to its end, in constant memory. A refusal comes only after
// all was read, as with the original.
func (s *images) add(from io.Reader, compressed bool) (*image, error) {
	file, err := os.CreateTemp(s.dir, "incoming-*")
	if err != nil {
		return nil, fmt.Errorf("keep image: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	digest := sha256.New()
	source := &remembering{from: from}
	err = expand(io.MultiWriter(file, digest), source, compressed)
	if _, drainErr := io.Copy(io.Discard, source); drainErr != nil {
		return nil, drainErr
	}
	if err != nil {
		return nil, refuse("failed to uncompress: %s", err)
	}
	return s.keep(file, digest.Sum(nil))
}

// expand copies from, which may be a zlib stream. An error is worded as the
// original's library does (image-compressed-flag-wrong).
func expand(to io.Writer, from io.Reader, compressed bool) error {
	if compressed {
		inflated, err := zlib.NewReader(from)
		if err != nil {
			return zlibError(err)
		}
		from = inflated
	}
	n, err := io.Copy(to, io.LimitReader(from, maxImage+1))
	if n > maxImage {
		return errors.New("image is too large")
	}
	return zlibError(err)
}

func zlibError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, zlib.ErrHeader):
		return errors.New("Invalid Zlib header") //nolint:staticcheck // the original's text
	case errors.Is(err, zlib.ErrChecksum):
		return errors.New("Invalid checksum") //nolint:staticcheck // the original's text
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("Unexpected end of input") //nolint:staticcheck // the original's text
	case errors.As(err, &corrupt):
		return errors.New("Invalid kind of block") //nolint:staticcheck // the original's text
	}
	return err
}

// remembering gives its first error again and again.
type remembering struct {
	from io.Reader
	err  error
}

func (r *remembering) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.from.Read(p)
	r.err = err
	return n, err
}

func (s *images) keep(file *os.File, digest []byte) (*image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := hex.EncodeToString(digest)
	if known := s.all[key]; known != nil {
		known.users++
		return known, nil
	}
	kept := &image{digest: digest, path: filepath.Join(s.dir, key), users: 1}
	if err := kept.inspect(file); err != nil {
		return nil, err
	}
	if err := os.Rename(file.Name(), kept.path); err != nil {
		return nil, fmt.Errorf("keep image: %w", err)
	}
	if s.all == nil {
		s.all = map[string]*image{}
	}
	s.all[key] = kept
	return kept, nil
}

// load takes an image that an earlier host kept.
func (s *images) load(digest []byte) (*image, error) {
	file, err := os.Open(filepath.Join(s.dir, hex.EncodeToString(digest)))
	if err != nil {
		return nil, fmt.Errorf("kept image: %w", err)
	}
	defer file.Close()
	return s.keep(file, digest)
}

// use counts one more unikernel that needs the image.
func (s *images) use(i *image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.users++
}

// release counts one less, and deletes the image after the last.
func (s *images) release(i *image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.users--; i.users == 0 {
		delete(s.all, hex.EncodeToString(i.digest))
		_ = os.Remove(i.path) // it would be replaced by its own content anyway
	}
}

func (i *image) inspect(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("kept image: %w", err)
	}
	i.size = info.Size()
	i.manifest, err = solo5.Read(file, i.size)
	switch {
	case errors.Is(err, solo5.ErrNoABI):
		i.damage = refusal("section .note.solo5.abi not found")
	case errors.Is(err, solo5.ErrNoManifest):
		i.damage = refusal("section .note.solo5.manifest not found")
	case err != nil:
		i.damage = refusal("error during ELF parsing")
	}
	i.program = recordedImages[hex.EncodeToString(i.digest)]
	if i.program == "" {
		i.program = standInProgram(file)
	}
	return nil
}

// recordedImages are the six of images.json.
var recordedImages = map[string]string{
	"71ae936fa0e67d77416360c03b0631426da0777e4976db3f96d8f24769829037": "test_blk",
	"fccaff442034e95ecb31aae58f1f3574ff6673353f71f5bd2ad645604d7de747": "test_blktick",
	"e33104604608961292f5ad5cbfbd29ecfbff151fd2a5a8267c6a9910571db09e": "test_net",
	"bcef018242f86a12c28e32dd126b6e2cf599ad7794b162313a5c0a496cc61a98": "test_net_2if",
	"01734043d37375c1f2c4731a3300fa48c5f691b6c15cea000521fdf7c25ba87a": "test_tick",
	"ed43982905d78690f3188eb72823b434fa35e84ebe628b32ccdf60f9ebd0d28e": "test_tick",
}

// programMark comes before the name of a program in a stand-in's payload.
const programMark = "albatrosstest program: "

// markWithin is how much of an image is searched for the mark, in bytes: notes
// are before it.
const markWithin = 16 << 10

// StandIn makes an image that behaves on a simulated host as the recorded test
// image of the same name does on a real one: test_tick, test_blk, test_blktick,
// test_net or test_net_2if. It has size bytes, or as few as possible when that
// is less.
func StandIn(program string, notes solo5.Image, size int) ([]byte, error) {
	payload := []byte(programMark + program + "\n")
	small, err := solo5.Build(notes, payload)
	if err != nil {
		return nil, err
	}
	for missing := size - len(small); missing > 0; missing = size - len(small) {
		payload = append(payload, make([]byte, missing)...)
		larger, err := solo5.Build(notes, payload)
		if err != nil {
			return nil, err
		}
		if len(larger) > size { // the end is aligned
			return larger[:size:size], nil
		}
		small = larger
	}
	return small, nil
}

func standInProgram(file io.ReaderAt) string {
	buf := make([]byte, markWithin)
	n, _ := file.ReadAt(buf, 0) // a shorter file is fine
	_, rest, found := bytes.Cut(buf[:n], []byte(programMark))
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(string(rest), "\n")
	return name
}

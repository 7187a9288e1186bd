package solo5

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Errors that say what kind of file was given. All others mean that the file is
// damaged.
var (
	ErrNotELF     = errors.New("not an ELF file")
	ErrNoManifest = errors.New("an ELF file without a Solo5 manifest: not a Solo5 unikernel")
	ErrNoABI      = errors.New("an ELF file without a Solo5 ABI note: not a Solo5 unikernel, or one of a Solo5 before 0.6")
)

// Bounds on what is looked at. Real images have about ten segments, twenty
// sections and 7 KiB of notes at the very most.
const (
	maxHeaders = 4096
	maxNotes   = 256 << 10
)

// notes are the contents of the two notes of the owner "Solo5"; nil is one that
// was not found.
type notes struct{ abi, manifest []byte }

const (
	noteABI      = 0x31494241 // "ABI1"
	noteManifest = 0x3154464d // "MFT1"
	noteOwner    = "Solo5"
)

// Read reads the notes of an image of size bytes. It reads little more than the
// headers and the notes, and keeps only the latter.
func Read(r io.ReaderAt, size int64) (Image, error) {
	f := &file{r: r, size: size, budget: maxNotes}
	found, err := f.notes()
	if err != nil {
		return Image{}, err
	}
	if found.abi == nil {
		return Image{}, fmt.Errorf("%w (it is %s)", ErrNoABI, f.kind())
	}
	if found.manifest == nil {
		return Image{}, fmt.Errorf("%w (it is %s)", ErrNoManifest, f.kind())
	}
	var image Image
	if err := image.readABI(found.abi); err != nil {
		return Image{}, err
	}
	if err := image.readManifest(found.manifest); err != nil {
		return Image{}, err
	}
	return image, nil
}

// file is an ELF file of which only small parts are read.
type file struct {
	r      io.ReaderAt
	size   int64
	header elfHeader
	// budget is how many bytes of notes may still be read.
	budget uint64
	// interpreted says that an operating system has to load it.
	interpreted bool
}

// elfHeader is the header of an ELF64 file as it is on disk.
type elfHeader struct {
	Ident                 [16]byte
	Type, Machine         uint16
	Version               uint32
	Entry, PhOff, ShOff   uint64
	Flags                 uint32
	EhSize, PhEntSize     uint16
	PhNum, ShEntSize      uint16
	ShNum, SectionNamesAt uint16
}

type programHeader struct {
	Type, Flags                         uint32
	Offset, VAddr, PAddr, FileSz, MemSz uint64
	Align                               uint64
}

type sectionHeader struct {
	Name, Type                uint32
	Flags, Addr, Offset, Size uint64
	Link, Info                uint32
	AddrAlign, EntrySize      uint64
}

const (
	headerSize  = 64
	programSize = 56
	sectionSize = 64

	segmentInterpreter = 3
	segmentNote        = 4
	sectionNote        = 7

	typeRelocatable = 1
	typeExecutable  = 2
	typeShared      = 3
	typeCore        = 4
)

// read gives n bytes at offset or says that the file is too short.
func (f *file) read(offset uint64, n int64, what string) ([]byte, error) {
	if offset > uint64(f.size) || n > f.size-int64(offset) { //nolint:gosec // compared just before
		return nil, fmt.Errorf("damaged ELF file: %s at byte %d lies beyond the end of the file (%d bytes)", what, offset, f.size)
	}
	buf := make([]byte, n)
	if _, err := f.r.ReadAt(buf, int64(offset)); err != nil { //nolint:gosec // compared above
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return buf, nil
}

func (f *file) readHeader() error {
	if f.size < 4 {
		return fmt.Errorf("%w: it has only %d bytes", ErrNotELF, f.size)
	}
	begin, err := f.read(0, min(f.size, beginSize), "magic number")
	if err != nil {
		return err
	}
	if magic := begin[:4]; string(magic) != "\x7fELF" {
		return fmt.Errorf("%w: it begins with %q%s", ErrNotELF, magic, hint(begin))
	}
	raw, err := f.read(0, headerSize, "ELF header")
	if err != nil {
		return err
	}
	if class, data := raw[4], raw[5]; class != 2 || data != 1 {
		return fmt.Errorf("ELF file of class %d and byte order %d, want a 64 bit little-endian one (2 and 1)", class, data)
	}
	return decode(raw, &f.header)
}

// kind says what an ELF file without the notes is.
func (f *file) kind() string {
	switch {
	case f.interpreted:
		return "a program for an operating system"
	case f.header.Type == typeRelocatable:
		return "an object file, which has to be linked"
	case f.header.Type == typeExecutable:
		return "a program"
	case f.header.Type == typeShared:
		return "a shared library or a program that can be anywhere in memory"
	case f.header.Type == typeCore:
		return "a core dump"
	}
	return fmt.Sprintf("of type %d", f.header.Type)
}

// beginSize is how much of a file is looked at to say what else it is.
const beginSize = 512

// signatures are what files begin with that are taken for images by mistake.
var signatures = []struct {
	at    int
	bytes string
	what  string
}{
	{0, "\x1f\x8b", "gzip; unpack it first"},
	{0, "\xfd7zXZ", "xz; unpack it first"},
	{0, "\x28\xb5\x2f\xfd", "zstd; unpack it first"},
	{0, "BZh", "bzip2; unpack it first"},
	{0, "PK", "a zip archive"},
	{257, "ustar", "a tar archive"},
	{0, "#!", "a script"},
	{0, "MZ", "a program for Windows"},
	{0, "\xcf\xfa\xed\xfe", "a program for macOS"},
	{0, "QFI\xfb", "a disk image of QEMU"},
	{0, "-----BEGIN ", "a key or certificate"},
	{0, "version https://git-lfs", "a pointer of Git LFS; fetch what it points to"},
	{510, "\x55\xaa", "a disk image"},
}

// hint helps with the mistakes that are made most.
func hint(begin []byte) string {
	for _, s := range signatures {
		if len(begin) >= s.at && bytes.HasPrefix(begin[s.at:], []byte(s.bytes)) {
			return " (" + s.what + ")"
		}
	}
	text := bytes.ToLower(bytes.TrimSpace(begin))
	switch {
	case begin[0] == 0x78 && (uint(begin[0])<<8|uint(begin[1]))%31 == 0:
		return " (a zlib stream; is it marked as compressed?)"
	case bytes.HasPrefix(text, []byte("<!doctype html")), bytes.HasPrefix(text, []byte("<html")):
		return " (a web page; is the address right?)"
	case bytes.HasPrefix(text, []byte("<?xml")), bytes.HasPrefix(text, []byte("{")):
		return " (a text for programs; is the address right?)"
	}
	return ""
}

func decode(raw []byte, into any) error {
	if _, err := binary.Decode(raw, binary.LittleEndian, into); err != nil {
		return fmt.Errorf("damaged ELF file: %w", err)
	}
	return nil
}

// notes looks in segments first, then in sections: a stripped image has only
// segments, one from an old linker only sections.
func (f *file) notes() (found notes, err error) {
	if err := f.readHeader(); err != nil {
		return found, err
	}
	h := f.header
	if int(h.PhNum) > maxHeaders || int(h.ShNum) > maxHeaders {
		return found, fmt.Errorf("damaged ELF file: %d segments and %d sections", h.PhNum, h.ShNum)
	}
	if h.PhNum > 0 && h.PhEntSize != programSize || h.ShNum > 0 && h.ShEntSize != sectionSize {
		return found, fmt.Errorf("damaged ELF file: segment headers of %d and section headers of %d bytes, want %d and %d",
			h.PhEntSize, h.ShEntSize, programSize, sectionSize)
	}
	if err := f.segmentNotes(&found); err != nil || found.abi != nil && found.manifest != nil {
		return found, err
	}
	return found, f.sectionNotes(&found)
}

func (f *file) segmentNotes(found *notes) error {
	for i := range uint64(f.header.PhNum) {
		var p programHeader
		if err := f.readInto(f.header.PhOff+i*programSize, programSize, "segment header", &p); err != nil {
			return err
		}
		f.interpreted = f.interpreted || p.Type == segmentInterpreter
		if p.Type == segmentNote {
			if err := f.notesAt(p.Offset, p.FileSz, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *file) sectionNotes(found *notes) error {
	for i := range uint64(f.header.ShNum) {
		var s sectionHeader
		if err := f.readInto(f.header.ShOff+i*sectionSize, sectionSize, "section header", &s); err != nil {
			return err
		}
		if s.Type == sectionNote {
			if err := f.notesAt(s.Offset, s.Size, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *file) readInto(offset uint64, size int64, what string, into any) error {
	raw, err := f.read(offset, size, what)
	if err != nil {
		return err
	}
	return decode(raw, into)
}

func (f *file) notesAt(offset, size uint64, found *notes) error {
	if size > f.budget {
		return fmt.Errorf("damaged ELF file: more than %d bytes of notes", maxNotes)
	}
	f.budget -= size
	raw, err := f.read(offset, int64(size), "notes") //nolint:gosec // compared just before
	if err != nil {
		return err
	}
	return found.parse(raw)
}

// parse reads notes one after the other; each has the sizes of its owner and
// content, its type, and both padded to four bytes.
func (found *notes) parse(raw []byte) error {
	for len(raw) > 0 {
		if len(raw) < 12 {
			return fmt.Errorf("damaged ELF note: %d bytes left over", len(raw))
		}
		owner, desc := binary.LittleEndian.Uint32(raw), binary.LittleEndian.Uint32(raw[4:])
		typ := binary.LittleEndian.Uint32(raw[8:])
		raw = raw[12:]
		if padded(owner)+int(desc) > len(raw) {
			return fmt.Errorf("damaged ELF note: owner of %d and content of %d bytes in %d", owner, desc, len(raw))
		}
		name := raw[:owner]
		raw = raw[padded(owner):]
		if string(name) == noteOwner+"\x00" {
			found.keep(typ, raw[:desc])
		}
		raw = raw[min(padded(desc), len(raw)):]
	}
	return nil
}

func (found *notes) keep(typ uint32, desc []byte) {
	switch {
	case typ == noteABI && found.abi == nil:
		found.abi = bytes.Clone(desc)
	case typ == noteManifest && found.manifest == nil:
		found.manifest = bytes.Clone(desc)
	}
}

func padded(n uint32) int { return (int(n) + 3) &^ 3 }

func (i *Image) readABI(desc []byte) error {
	if len(desc) < 8 {
		return fmt.Errorf("damaged Solo5 ABI note: %d bytes, want 16", len(desc))
	}
	i.Target = Target(binary.LittleEndian.Uint32(desc))
	i.ABIVersion = binary.LittleEndian.Uint32(desc[4:])
	if _, known := targetNames[i.Target]; !known {
		return fmt.Errorf("damaged Solo5 ABI note: unknown target %d", uint32(i.Target))
	}
	return nil
}

const (
	manifestVersion = 1
	entrySize       = 104
	nameSize        = 68
	reservedFirst   = 1 << 30
)

func (i *Image) readManifest(desc []byte) error {
	if len(desc) < 12 {
		return fmt.Errorf("damaged Solo5 manifest: %d bytes", len(desc))
	}
	version, entries := binary.LittleEndian.Uint32(desc[4:]), binary.LittleEndian.Uint32(desc[8:])
	if version != manifestVersion {
		return fmt.Errorf("solo5 manifest of version %d, want %d", version, manifestVersion)
	}
	if entries < 1 || entries > 1+MaxDevices || len(desc)-12 < int(entries)*entrySize {
		return fmt.Errorf("damaged Solo5 manifest: %d entries in %d bytes", entries, len(desc))
	}
	for n := range int(entries) {
		entry := desc[12+n*entrySize:][:entrySize]
		typ := binary.LittleEndian.Uint32(entry[nameSize:])
		name, _, terminated := bytes.Cut(entry[:nameSize], []byte{0})
		switch {
		case n == 0 && typ == reservedFirst && len(name) == 0:
		case n > 0 && terminated && validName(string(name)) && (typ == uint32(Block) || typ == uint32(Network)):
			i.Devices = append(i.Devices, Device{Name: string(name), Type: DeviceType(typ)})
		default:
			return fmt.Errorf("damaged Solo5 manifest: entry %d has type %#x and name %q", n, typ, name)
		}
	}
	return nil
}

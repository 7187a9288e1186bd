package solo5

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Build makes the smallest valid image with these notes, followed by payload in
// a segment of its own. It has no code: a simulated host runs it, a real one
// does not. The same input gives the same bytes. A zero Target means HVT with
// ABI version 2, which is what current Solo5 makes.
func Build(image Image, payload []byte) ([]byte, error) {
	if image.Target == 0 {
		image.Target, image.ABIVersion = HVT, 2
	}
	if len(image.Devices) > MaxDevices {
		return nil, fmt.Errorf("%d devices, a manifest has room for %d", len(image.Devices), MaxDevices)
	}
	seen := map[string]bool{}
	for _, d := range image.Devices {
		if !validName(d.Name) || d.Type != Block && d.Type != Network {
			return nil, fmt.Errorf("device %s: a name has 1 to %d letters and digits, a type is block or net", d, MaxNameLength)
		}
		if seen[d.Name] {
			return nil, errors.New("two devices are called " + d.Name)
		}
		seen[d.Name] = true
	}
	return image.elf(payload), nil
}

// sectionNames is the content of the section that holds the names of sections;
// hosts find the notes by these names.
const sectionNames = "\x00.note.solo5.manifest\x00.note.solo5.abi\x00.text\x00.shstrtab\x00"

// elf lays the parts out one after the other: header, three segment headers,
// manifest, ABI, payload, names, five section headers.
func (i Image) elf(payload []byte) []byte {
	const (
		segments, sections = 3, 5
		start              = headerSize + segments*programSize
		loadAddress        = 0x100000
	)
	manifest := encodeNote(noteManifest, i.manifest())
	abi := encodeNote(noteABI, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(i.Target)), i.ABIVersion), make([]byte, 8))
	abiAt := uint64(start + len(manifest))
	payloadAt := abiAt + uint64(len(abi))
	namesAt := payloadAt + uint64(len(payload))
	sectionsAt := (namesAt + uint64(len(sectionNames)) + 7) &^ 7

	var out bytes.Buffer
	put := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) } // a Buffer takes everything
	put(elfHeader{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: 2, Machine: 62, Version: 1, Entry: loadAddress,
		PhOff: headerSize, ShOff: sectionsAt, EhSize: headerSize, PhEntSize: programSize, PhNum: segments,
		ShEntSize: sectionSize, ShNum: sections, SectionNamesAt: sections - 1,
	})
	put(programHeader{Type: segmentNote, Flags: 4, Offset: start, FileSz: uint64(len(manifest)), MemSz: uint64(len(manifest)), Align: 4})
	put(programHeader{Type: segmentNote, Flags: 4, Offset: abiAt, FileSz: uint64(len(abi)), MemSz: uint64(len(abi)), Align: 4})
	put(programHeader{Type: 1, Flags: 5, Offset: payloadAt, VAddr: loadAddress, PAddr: loadAddress, FileSz: uint64(len(payload)), MemSz: uint64(len(payload)), Align: 1})
	put(manifest)
	put(abi)
	put(payload)
	put([]byte(sectionNames))
	put(make([]byte, sectionsAt-namesAt-uint64(len(sectionNames))))
	put(sectionHeader{})
	put(sectionHeader{Name: nameAt(".note.solo5.manifest"), Type: sectionNote, Flags: 2, Offset: start, Size: uint64(len(manifest)), AddrAlign: 4})
	put(sectionHeader{Name: nameAt(".note.solo5.abi"), Type: sectionNote, Flags: 2, Offset: abiAt, Size: uint64(len(abi)), AddrAlign: 4})
	put(sectionHeader{Name: nameAt(".text"), Type: 1, Flags: 6, Addr: loadAddress, Offset: payloadAt, Size: uint64(len(payload)), AddrAlign: 1})
	put(sectionHeader{Name: nameAt(".shstrtab"), Type: 3, Offset: namesAt, Size: uint64(len(sectionNames)), AddrAlign: 1})
	return out.Bytes()
}

func nameAt(name string) uint32 {
	return uint32(bytes.Index([]byte(sectionNames), []byte("\x00"+name+"\x00")) + 1) //nolint:gosec // a constant text
}

// encodeNote gives a note of the owner Solo5 with its parts joined.
func encodeNote(typ uint32, parts ...[]byte) []byte {
	desc := bytes.Join(parts, nil)
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(noteOwner)+1))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(desc))) //nolint:gosec // at most 64 entries
	out = binary.LittleEndian.AppendUint32(out, typ)
	out = append(out, noteOwner+"\x00\x00\x00"...)
	out = append(out, desc...)
	return append(out, make([]byte, padded(uint32(len(desc)))-len(desc))...) //nolint:gosec // as above
}

func (i Image) manifest() []byte {
	out := make([]byte, 4, 12+(1+len(i.Devices))*entrySize)
	out = binary.LittleEndian.AppendUint32(out, manifestVersion)
	out = binary.LittleEndian.AppendUint32(out, uint32(1+len(i.Devices))) //nolint:gosec // at most 64
	out = append(out, entry("", reservedFirst)...)
	for _, d := range i.Devices {
		out = append(out, entry(d.Name, uint32(d.Type))...)
	}
	return out
}

func entry(name string, typ uint32) []byte {
	e := make([]byte, entrySize)
	copy(e, name)
	binary.LittleEndian.PutUint32(e[nameSize:], typ)
	return e
}

package solo5_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/solo5"
)

func imageOf(r vectors.TestImage) solo5.Image {
	image := solo5.Image{Target: map[string]solo5.Target{"hvt": solo5.HVT, "spt": solo5.SPT}[r.ABI.Target], ABIVersion: r.ABI.Version}
	for _, d := range r.Devices {
		image.Devices = append(image.Devices, solo5.Device{Name: d.Name, Type: map[string]solo5.DeviceType{"BLOCK_BASIC": solo5.Block, "NET_BASIC": solo5.Network}[d.Type]})
	}
	return image
}

func read(b []byte) (solo5.Image, error) { return solo5.Read(bytes.NewReader(b), int64(len(b))) }

func equal(a, b solo5.Image) bool {
	return a.Target == b.Target && a.ABIVersion == b.ABIVersion && slices.Equal(a.Devices, b.Devices)
}

func build(t testing.TB, image solo5.Image, payload []byte) []byte {
	t.Helper()
	b, err := solo5.Build(image, payload)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRecordedNotes reads the notes of six real images, put into a file of
// sections only and one of segments only, and makes the same notes itself.
func TestRecordedNotes(t *testing.T) {
	for _, r := range vectors.TestImages(t) {
		t.Run(r.File, func(t *testing.T) {
			manifest, abi := []byte(r.Manifest), []byte(r.ABINote)
			want := imageOf(r)
			made := build(t, want, []byte("code"))
			if !bytes.Contains(made, manifest) || !bytes.Contains(made, abi) {
				t.Error("the generator makes other notes")
			}
			for name, file := range map[string][]byte{
				"sections": assemble(nil, [][]byte{manifest, abi}),
				"segments": assemble([][]byte{manifest, abi}, nil),
				"mixed":    assemble([][]byte{abi}, [][]byte{manifest}),
				"together": assemble([][]byte{slices.Concat(abi, manifest)}, nil),
				"made":     made,
			} {
				got, err := read(file)
				if err != nil || !equal(got, want) {
					t.Errorf("%s: read %+v, %v, want %+v", name, got, err, want)
				}
			}
		})
	}
}

// assemble makes an ELF file of the given notes, without names of sections.
func assemble(segments, sections [][]byte) []byte {
	var body []byte
	offset := uint64(64 + 56*len(segments) + 64*len(sections))
	place := func(note []byte) (uint64, uint64) {
		at := offset + uint64(len(body))
		body = append(body, note...)
		return at, uint64(len(note))
	}
	out := make([]byte, 64)
	copy(out, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint64(out[32:], 64)
	le.PutUint64(out[40:], uint64(64+56*len(segments)))
	le.PutUint16(out[54:], 56)
	le.PutUint16(out[56:], uint16(len(segments)))
	le.PutUint16(out[58:], 64)
	le.PutUint16(out[60:], uint16(len(sections)))
	for _, note := range segments {
		header := make([]byte, 56)
		at, size := place(note)
		le.PutUint32(header, 4)
		le.PutUint64(header[8:], at)
		le.PutUint64(header[32:], size)
		out = append(out, header...)
	}
	for _, note := range sections {
		header := make([]byte, 64)
		at, size := place(note)
		le.PutUint32(header[4:], 7)
		le.PutUint64(header[24:], at)
		le.PutUint64(header[32:], size)
		out = append(out, header...)
	}
	return append(out, body...)
}

// ofType is an ELF file without notes.
func ofType(elfType uint16) []byte {
	file := assemble(nil, nil)
	binary.LittleEndian.PutUint16(file[16:], elfType)
	return file
}

// interpreted has the first segment name a program that loads the file.
func interpreted(file []byte) []byte {
	file[64] = 3
	return file
}

func TestBuildAndRead(t *testing.T) {
	var many []solo5.Device
	for i := range solo5.MaxDevices {
		many = append(many, solo5.Device{Name: fmt.Sprintf("d%d", i), Type: solo5.DeviceType(1 + i%2)})
	}
	for _, want := range []solo5.Image{
		{Target: solo5.HVT, ABIVersion: 2},
		{Target: solo5.SPT, ABIVersion: 7, Devices: []solo5.Device{{Name: "a", Type: solo5.Block}}},
		{Target: solo5.Xen, Devices: many},
		{Target: solo5.HVT, Devices: []solo5.Device{{Name: strings.Repeat("x", solo5.MaxNameLength), Type: solo5.Network}}},
	} {
		for _, size := range []int{0, 1, 100_000} {
			b := build(t, want, make([]byte, size))
			if !bytes.Equal(b, build(t, want, make([]byte, size))) {
				t.Error("the same image twice has different bytes")
			}
			got, err := read(b)
			if err != nil || !equal(got, want) {
				t.Errorf("with %d bytes of payload: %+v, %v", size, got, err)
			}
		}
	}
	got, err := read(build(t, solo5.Image{}, nil))
	if err != nil || got.Target != solo5.HVT || got.ABIVersion != 2 {
		t.Errorf("without a target: %+v, %v", got, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, devices := range [][]solo5.Device{
		{{Name: "", Type: solo5.Block}},
		{{Name: "a-b", Type: solo5.Block}},
		{{Name: strings.Repeat("x", solo5.MaxNameLength+1), Type: solo5.Block}},
		{{Name: "a", Type: 3}},
		{{Name: "a", Type: solo5.Block}, {Name: "a", Type: solo5.Network}},
		make([]solo5.Device, solo5.MaxDevices+1),
	} {
		if _, err := solo5.Build(solo5.Image{Devices: devices}, nil); err == nil {
			t.Errorf("%d devices, the first %v: no error", len(devices), devices[0])
		}
	}
}

func TestNames(t *testing.T) {
	image := solo5.Image{Target: solo5.HVT, Devices: []solo5.Device{{"storage", solo5.Block}, {"service", solo5.Network}, {"other", solo5.Network}}}
	if got := image.DeviceList(); got != `block "storage", net "service", net "other"` {
		t.Error(got)
	}
	if got := image.Names(solo5.Network); !slices.Equal(got, []string{"service", "other"}) {
		t.Error(got)
	}
	if got := fmt.Sprint(solo5.SPT, solo5.Target(9), solo5.DeviceType(7)); got != "spt target 9 device type 7" {
		t.Error(got)
	}
}

// TestDamaged gives files that are not images, and says what is found.
func TestDamaged(t *testing.T) {
	good := build(t, solo5.Image{Devices: []solo5.Device{{Name: "a", Type: solo5.Network}}}, []byte("code"))
	change := func(at int, to ...byte) []byte {
		b := slices.Clone(good)
		copy(b[at:], to)
		return b
	}
	manifest := bytes.Index(good, []byte("MFT1Solo5")) + 12
	abi := bytes.Index(good, []byte("ABI1Solo5")) + 12
	for _, tt := range []struct {
		what string
		file []byte
		want string
	}{
		{"nothing", nil, "only 0 bytes"},
		{"a text", []byte("junk, and more of it"), `begins with "junk"`},
		{"gzip", []byte{0x1f, 0x8b, 8, 0, 0}, "gzip"},
		{"zlib", []byte{0x78, 0x9c, 8, 0, 0}, "zlib"},
		{"zip", []byte("PK\x03\x04...."), "zip archive"},
		{"xz", []byte("\xfd7zXZ\x00"), "xz; unpack"},
		{"zstd", []byte("\x28\xb5\x2f\xfd\x00"), "zstd; unpack"},
		{"bzip2", []byte("BZh91AY"), "bzip2; unpack"},
		{"tar", append(make([]byte, 257), "ustar\x0000"...), "tar archive"},
		{"a script", []byte("#!/bin/sh\n"), `begins with "#!/b" (a script)`},
		{"a program for Windows", []byte("MZ\x90\x00"), "Windows"},
		{"a program for macOS", []byte("\xcf\xfa\xed\xfe"), "macOS"},
		{"qcow2", []byte("QFI\xfb"), "QEMU"},
		{"a disk", append(make([]byte, 510), 0x55, 0xaa), "a disk image)"},
		{"a certificate", []byte("-----BEGIN CERTIFICATE-----"), "key or certificate"},
		{"Git LFS", []byte("version https://git-lfs.github.com/spec/v1\n"), "Git LFS"},
		{"a web page", []byte("<!DOCTYPE html>"), "web page"},
		{"a web page without its type", []byte("\n\n <HTML>"), "web page"},
		{"XML", []byte("<?xml version='1.0'?>"), "a text for programs"},
		{"JSON", []byte(`{"errors":[]}`), "a text for programs"},
		{"zeros", make([]byte, 1000), `begins with "\x00\x00\x00\x00"`},
		{"a short header", good[:40], "beyond the end"},
		{"32 bits", change(4, 1), "class 1"},
		{"big-endian", change(5, 2), "byte order 2"},
		{"no notes", ofType(2), solo5.ErrNoABI.Error() + " (it is a program)"},
		{"a program of the system", interpreted(assemble([][]byte{{}}, nil)), solo5.ErrNoABI.Error() + " (it is a program for an operating system)"},
		{"an object file", ofType(1), "an object file"},
		{"a shared library", ofType(3), "a shared library"},
		{"a core dump", ofType(4), "a core dump"},
		{"an odd type", ofType(0xff01), "of type 65281"},
		{"no manifest", change(manifest-12, 'X'), solo5.ErrNoManifest.Error()},
		{"segment headers beyond the end", change(32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "beyond the end"},
		{"too many segments", change(56, 0xff, 0xff), "65535 segments"},
		{"segment headers of another size", change(54, 57), "headers of 57"},
		{"huge notes", change(64+32, 0, 0, 0, 0, 1), "bytes of notes"},
		{"notes beyond the end", change(64+8, 0, 0, 0, 1), "beyond the end"},
		{"owner beyond the end", change(manifest-20, 0xff, 0xff, 0xff, 0xff), "damaged ELF note"},
		{"short notes", assemble([][]byte{{1, 2, 3}}, nil), "left over"},
		{"unknown target", change(abi, 99), "target 99"},
		{"manifest of version 2", change(manifest+4, 2), "version 2"},
		{"too many entries", change(manifest+8, 65), "65 entries"},
		{"a bad name", change(manifest+12+104, '-'), "entry 1"},
		{"a bad type", change(manifest+12+104+68, 9), "entry 1"},
	} {
		if _, err := read(tt.file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.what, err, tt.want)
		}
	}
	if _, err := read([]byte("junk")); !errors.Is(err, solo5.ErrNotELF) {
		t.Errorf("junk: %v", err)
	}
}

type broken struct{}

var errBroken = errors.New("broken disk")

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func TestReadError(t *testing.T) {
	if _, err := solo5.Read(broken{}, 1000); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}

// TestManyNotes shows that overlapping segments of notes do not add up.
func TestManyNotes(t *testing.T) {
	segments := make([][]byte, 4096)
	for i := range segments {
		segments[i] = []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'x', 0, 0, 0}
	}
	file := assemble(segments, nil)
	for i := range segments { // each as large as all of them
		binary.LittleEndian.PutUint64(file[64+56*i+8:], uint64(64+56*len(segments)))
		binary.LittleEndian.PutUint64(file[64+56*i+32:], uint64(16*len(segments)))
	}
	if _, err := read(file); err == nil || !strings.Contains(err.Error(), "bytes of notes") {
		t.Errorf("error %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, r := range vectors.TestImages(f) {
		f.Add(build(f, imageOf(r), []byte("payload")))
	}
	f.Add(assemble(nil, nil))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, file []byte) {
		image, err := solo5.Read(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		again, err := solo5.Build(image, nil)
		if err != nil { // the generator refuses two devices of one name, a reader need not
			return
		}
		if got, err := read(again); err != nil || !equal(got, image) {
			t.Errorf("made again: %+v, %v, want %+v", got, err, image)
		}
	})
}

func ExampleRead() {
	file, _ := solo5.Build(solo5.Image{Devices: []solo5.Device{{Name: "service", Type: solo5.Network}}}, nil)
	image, err := solo5.Read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		panic(err)
	}
	fmt.Println(image.Target, image.DeviceList())
	// Output: hvt net "service"
}

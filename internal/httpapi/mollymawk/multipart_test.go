package mollymawk

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"strings"
	"testing"
	"testing/iotest"
)

// readParts gives the parts of a form as text. With content, parts are read by
// that; else by mime/multipart alone.
func readParts(next func() (*multipart.Part, error), content func(*multipart.Part) io.Reader, part int) string {
	text := ""
	for {
		p, err := next()
		if err != nil {
			return text + outcome(err)
		}
		from := content(p)
		if part > 0 { // a part is not read to its end
			from = io.LimitReader(from, int64(part))
		}
		all, err := io.ReadAll(from)
		if err != nil { // how much of it was given does not matter
			return text + outcome(err)
		}
		text += fmt.Sprintf("%q: %q\n", p.FormName(), all)
	}
}

// outcome leaves out how errors are worded.
func outcome(err error) string {
	switch {
	case err == nil:
		return "fine"
	case errors.Is(err, io.EOF):
		return "end"
	}
	return "broken"
}

const header = "Content-Disposition: form-data; name=\"a\"\r\n\r\n"

var forms = map[string]string{
	"one":                          "--b\r\n" + header + "content\r\n--b--\r\n",
	"two":                          "--b\r\n" + header + "content\r\n--b\r\n" + header + "more\r\n--b--\r\n",
	"empty":                        "--b\r\n" + header + "\r\n--b--\r\n",
	"empty without a line":         "--b\r\n" + header + "--b--\r\n",
	"empty, then another":          "--b\r\n" + header + "--b\r\n" + header + "more\r\n--b--",
	"preamble":                     "this\r\nis not --b\r\n--b \t\r\n" + header + "content\r\n--b--\r\n",
	"epilogue":                     "--b\r\n" + header + "content\r\n--b--\r\nand more\r\n--b\r\n",
	"lines that end in \\n":        "--b\n" + strings.ReplaceAll(header, "\r", "") + "con\r\n--b\n" + strings.ReplaceAll(header, "\r", "") + "tent\n--b--\n",
	"\\n does not end a CRLF part": "--b\r\n" + header + "con\n--b\ntent\r\n--b--\r\n",
	"looks like a boundary":        "--b\r\n" + header + "con\r\n--bb\r\n--\r\n-\r\n--btent\r\n--b--\r\n",
	"begins like a boundary":       "--b\r\n" + header + "--bcontent\r\n--b--\r\n",
	"spaces after a boundary":      "--b\r\n" + header + "content\r\n--b  \r\n" + header + "more\r\n--b--\r\n",
	"nothing after a boundary":     "--b\r\n" + header + "content\r\n--b",
	"cut in the content":           "--b\r\n" + header + "content",
	"cut in a delimiter":           "--b\r\n" + header + "content\r\n--",
	"cut in a header":              "--b\r\nContent-Disposition: form",
	"no boundary":                  "content\r\n",
	"nothing":                      "",
	"large":                        "--b\r\n" + header + strings.Repeat("x\r\n-", 60_000) + "\r\n--b--\r\n",
	"as large as the buffer":       "--b\r\n" + header + strings.Repeat("x", buffered-len("--b\r\n"+header)) + "\r\n--b--\r\n",
}

// TestPartsAsTheLibraryReadsThem compares with mime/multipart, however the form
// comes, and whether or not a part is read to its end.
func TestPartsAsTheLibraryReadsThem(t *testing.T) {
	for name, form := range forms {
		for way, cut := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "in halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			for _, part := range []int{0, 3} {
				compareParts(t, fmt.Sprintf("%s, %s, %d", name, way, part), form, cut, part)
			}
		}
	}
}

func compareParts(t *testing.T, name, form string, cut func(io.Reader) io.Reader, part int) {
	t.Helper()
	library := multipart.NewReader(cut(strings.NewReader(form)), "b")
	want := readParts(library.NextRawPart, func(p *multipart.Part) io.Reader { return p }, part)
	ours := newPartReader(cut(strings.NewReader(form)), "b")
	if got := readParts(ours.NextRawPart, func(*multipart.Part) io.Reader { return ours.content() }, part); got != want {
		t.Errorf("%s:\n%.500s\nand by the library\n%.500s", name, got, want)
	}
}

// TestPartsByChance puts pieces together that are near to what matters.
func TestPartsByChance(t *testing.T) {
	pieces := []string{"\r", "\n", "\r\n", "-", "--", "--b", "\r\n--b", "\n--b", "b", " ", "x", header, "--b\r\n" + header, "\r\n--b\r\n" + header, "\r\n--b--\r\n"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		form := "--b\r\n" + header
		for range random.IntN(12) {
			form += pieces[random.IntN(len(pieces))]
		}
		compareParts(t, fmt.Sprintf("%q", form), form, iotest.HalfReader, random.IntN(2))
	}
}

// FuzzParts does so with any form.
func FuzzParts(f *testing.F) {
	for _, form := range forms {
		f.Add(form, 0)
	}
	f.Fuzz(func(t *testing.T, form string, part int) {
		compareParts(t, "form", form, iotest.HalfReader, part)
	})
}

package mollymawk

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

var (
	errTooLong   = errors.New("too long")
	errTooMany   = errors.New("too many parts")
	errDuplicate = errors.New("duplicate part")
)

// form reads a multipart body part by part. Small parts are kept in fields, of
// namesakes the last one; the one part that is a file is streamed.
type form struct {
	reader *partReader
	budget *budget
	parts  int
	limit  int
	// file is the name of the streamed part; seen tells whether it came.
	file   string
	seen   bool
	fields map[string]string
}

// openForm begins to read a form whose streamed part has this name.
func (c *call) openForm(file string) (*form, reply, bool) {
	contentType := c.r.Header.Get("Content-Type")
	switch {
	case contentType == "":
		return nil, bad("Missing Content-Type header"), false
	case !strings.HasPrefix(contentType, "multipart/form-data"):
		return nil, bad("Expected multipart/form-data"), false
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, bad("Invalid Content-Type: " + err.Error()), false
	}
	if params["boundary"] == "" {
		return nil, bad("Invalid Content-Type: no boundary"), false
	}
	// A refusal can be sent while the rest of the body still arrives.
	_ = http.NewResponseController(c.w).EnableFullDuplex()
	limits := c.options().Limits
	b := &budget{from: c.r.Body, left: limits.Fields + buffered}
	return &form{
		reader: newPartReader(b, params["boundary"]), budget: b, limit: limits.Parts, file: file, fields: map[string]string{},
	}, reply{}, true
}

// next reads until the file begins and gives its content, or io.EOF at the end
// of the form.
func (f *form) next() (*content, error) {
	f.budget.free = false
	for {
		part, err := f.reader.NextRawPart()
		if err != nil {
			return nil, err
		}
		if f.parts++; f.parts > f.limit {
			return nil, errTooMany
		}
		name := part.FormName()
		if name == f.file {
			if f.seen {
				return nil, errDuplicate
			}
			f.seen = true
			f.budget.free = true
			return &content{Reader: bufio.NewReaderSize(f.reader.content(), peek), named: part.FileName() != ""}, nil
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		if name != "" {
			f.fields[name] = string(value)
		}
	}
}

// finish reads what follows the file.
func (f *form) finish() error {
	_, err := f.next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// has tells whether all of these fields came; they may be empty.
func (f *form) has(names ...string) bool {
	for _, name := range names {
		if _, given := f.fields[name]; !given {
			return false
		}
	}
	return true
}

// budget bounds how much of a body is read for anything but the file: fields,
// headers of parts, and what is between them.
type budget struct {
	from io.Reader
	left int64
	free bool
}

func (b *budget) Read(p []byte) (int, error) {
	if b.free {
		return b.from.Read(p)
	}
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// buffered is how much of a body may have been read before it is looked at.
const buffered = 64 << 10

// peek is how much of a file is looked at before it is used.
const peek = 512

// content is the file of a form.
type content struct {
	*bufio.Reader
	// named is true for a file that came with a name.
	named bool
}

// isNothing tells whether there is no data: an empty file, or the word that
// browsers and the document put in its place.
func (c *content) isNothing() (bool, error) {
	start, err := c.Peek(len("undefined") + 1)
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, io.EOF) {
		return false, err
	}
	word := string(start)
	return word == "" || !c.named && (word == "undefined" || word == "null"), nil
}

// unreadableForm is for forms that cannot be read to their end.
func (c *call) unreadableForm(err error) reply {
	switch {
	case errors.Is(err, errTooMany):
		return bad("The form has too many parts.")
	case errors.Is(err, errDuplicate):
		return bad("The form has a part twice that may come once only.")
	case errors.Is(err, errTooLong):
		return c.unreadable(err)
	}
	return bad("Couldn't process multipart request: it is malformed or ended before its end.")
}

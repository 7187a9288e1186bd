package mollymawk

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime/multipart"
)

// partReader reads forms as [multipart.Reader] does, which reads all but the content
// of files: it would look at that in pieces of 4 KiB, byte by byte.
type partReader struct {
	*multipart.Reader
	lines *lines
	// file is the content that was asked for last.
	file *partContent
}

func newPartReader(from io.Reader, boundary string) *partReader {
	l := &lines{from: bufio.NewReaderSize(from, buffered), dashes: []byte("--" + boundary)}
	return &partReader{Reader: multipart.NewReader(l, boundary), lines: l}
}

// NextRawPart begins the next part. What was not read of a file is passed over.
func (r *partReader) NextRawPart() (*multipart.Part, error) {
	if r.file != nil {
		_, _ = io.Copy(io.Discard, r.file) // what is wrong with it shows again
		r.file = nil
	}
	return r.Reader.NextRawPart()
}

// content gives that of the part which was just begun. It may be read to any point
// before the next part is asked for.
func (r *partReader) content() io.Reader {
	delimiter := append([]byte("\r\n"), r.lines.dashes...)
	if r.lines.unix {
		delimiter = delimiter[1:]
	}
	r.file = &partContent{from: r.lines.from, delimiter: delimiter, dashes: r.lines.dashes}
	return r.file
}

// lines gives at most a line at a time. So when the headers of a part have been
// read, nothing of what follows them has.
type lines struct {
	from   *bufio.Reader
	dashes []byte
	// begun is set by the first boundary. Its line ends as all others do: in \n alone
	// when unix is set.
	begun, unix bool
}

// Read implements io.Reader.
func (l *lines) Read(p []byte) (int, error) {
	line, err := l.line()
	if len(line) == 0 {
		return 0, err
	}
	n, _ := l.from.Read(p[:min(len(p), len(line))]) // it is in the buffer
	if rest, isBoundary := bytes.CutPrefix(p[:n], l.dashes); isBoundary && !l.begun {
		rest = bytes.TrimLeft(rest, " \t")
		l.unix = string(rest) == "\n"
		l.begun = l.unix || string(rest) == "\r\n"
	}
	return n, nil
}

// line gives the next one, or as much of it as fits into the buffer or comes at all.
func (l *lines) line() (line []byte, err error) {
	for err == nil {
		line, _ = l.from.Peek(l.from.Buffered())
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			return line[:end+1], nil
		}
		_, err = l.from.Peek(len(line) + 1)
	}
	line, _ = l.from.Peek(l.from.Buffered()) // where it may be now
	return line, err
}

// partContent gives what comes before a delimiter, and leaves that.
type partContent struct {
	from *bufio.Reader
	// dashes may begin an empty part without the end of a line before them.
	delimiter, dashes []byte
	begun, ended      bool
	// sure is how much of what is buffered belongs to the content.
	sure int
}

// Read implements io.Reader.
func (c *partContent) Read(p []byte) (int, error) {
	for c.sure == 0 && !c.ended {
		if err := c.look(); err != nil {
			return 0, err
		}
	}
	if c.sure == 0 {
		return 0, io.EOF
	}
	n, err := c.from.Read(p[:min(len(p), c.sure)])
	c.sure -= n
	return n, err
}

// look finds out how much of what is buffered belongs to the content, and reads
// more when that is not sure of any of it.
func (c *partContent) look() error {
	buffer, _ := c.from.Peek(c.from.Buffered())
	if c.find(buffer, false) {
		return nil
	}
	_, err := c.from.Peek(len(buffer) + 1)
	if !errors.Is(err, io.EOF) {
		return err
	}
	buffer, _ = c.from.Peek(len(buffer)) // where it may be now
	if !c.find(buffer, true) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// find looks for the delimiter in what is buffered. It is false when more is needed
// to say anything; complete says that there is no more.
func (c *partContent) find(buffer []byte, complete bool) bool {
	delimiter := c.delimiter
	if !c.begun && bytes.HasPrefix(buffer, c.dashes) {
		delimiter = c.dashes
	}
	at := bytes.Index(buffer, delimiter)
	if at < 0 {
		c.sure = len(buffer) - len(c.begins(buffer))
		if !complete {
			// The end of what is buffered may begin the delimiter.
			c.sure = max(0, len(buffer)-len(c.delimiter))
		}
		c.begun = c.begun || c.sure > 0
		return c.sure > 0
	}
	switch isEnd, known := endsBoundary(buffer[at+len(delimiter):]); {
	case !known && !complete:
		c.sure = at
	case isEnd:
		c.sure, c.ended = at, true
	default: // it only looks like the delimiter
		c.sure = at + len(delimiter)
	}
	c.begun = c.begun || c.sure > 0
	return c.sure > 0 || c.ended
}

// begins gives the end of what is buffered that begins a delimiter.
func (c *partContent) begins(buffer []byte) []byte {
	if !c.begun && bytes.HasPrefix(c.dashes, buffer) {
		return buffer
	}
	end := buffer[max(0, len(buffer)-len(c.delimiter)):]
	for !bytes.HasPrefix(c.delimiter, end) {
		end = end[1:]
	}
	return end
}

// endsBoundary tells whether what follows a boundary may do so, as far as it is known.
func endsBoundary(rest []byte) (isEnd, known bool) {
	switch {
	case len(rest) == 0:
		return true, false
	case rest[0] != '-':
		return bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0, true
	case len(rest) == 1:
		return false, false
	}
	return rest[1] == '-', true
}

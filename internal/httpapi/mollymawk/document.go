package mollymawk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxDepth bounds how deep a document may be nested. No request needs more than
// five levels.
const maxDepth = 64

// object is a JSON object as it came: its members in their order. Of members
// with the same name the first counts, and unknown ones are of no interest.
type object struct {
	members []member
}

type member struct {
	name  string
	value any
}

// A value is nil, a bool, a string, a json.Number, a []any or an *object.

func (o *object) get(name string) (any, bool) {
	for _, m := range o.members {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

func (o *object) text(name string) (string, bool) {
	value, _ := o.get(name)
	text, ok := value.(string)
	return text, ok
}

func (o *object) integer(name string) (int64, bool) {
	value, _ := o.get(name)
	return asInteger(value)
}

func (o *object) boolean(name string) (value, ok bool) {
	v, _ := o.get(name)
	value, ok = v.(bool)
	return value, ok
}

// asInteger accepts integers only: neither 5.0 nor "5" is one.
func asInteger(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	return n, err == nil
}

// parse reads one JSON document. Its errors are texts for the caller.
func parse(text []byte) (any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("Blank input data") //nolint:staticcheck // the original's text
	}
	var raw json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, syntaxError(text, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	value, err := readValue(decoder, 0)
	if err != nil {
		return nil, syntaxError(text, err)
	}
	return value, nil
}

func readValue(decoder *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	}
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := readValue(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := decoder.Token()
		return list, err
	case json.Delim('{'):
		return readObject(decoder, depth)
	}
	return token, nil
}

func readObject(decoder *json.Decoder, depth int) (*object, error) {
	o := &object{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		value, err := readValue(decoder, depth+1)
		if err != nil {
			return nil, err
		}
		o.members = append(o.members, member{name.(string), value})
	}
	_, err := decoder.Token()
	return o, err
}

// syntaxError says where and what, in the form of the original. Which words a
// parser uses is its own; those for the commonest mistakes are the same.
func syntaxError(text []byte, err error) error {
	at, problem := len(text), err.Error()
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || problem == "unexpected end of JSON input":
		problem = "Unexpected end of input"
	case errors.As(err, &syntax):
		at = int(syntax.Offset)
		if character, _, found := strings.Cut(strings.TrimPrefix(problem, "invalid character "), " looking for beginning of "); found {
			problem = "Invalid token " + character
			if strings.HasSuffix(err.Error(), "object key string") {
				problem = "Expected string or identifier but found " + character
			}
		}
	}
	at = max(1, min(at, len(text)))
	before := text[:at-1]
	line, start := bytes.Count(before, []byte("\n"))+1, bytes.LastIndexByte(before, '\n')+1
	return fmt.Errorf("%s", escape(fmt.Sprintf("Line %d, bytes %d-%d:\n%s", line, at-1-start, at-start, problem)))
}

// secretMembers are never shown again, not even to who sent them.
var secretMembers = map[string]bool{
	"password": true, "current_password": true, "new_password": true, "confirm_password": true, "private_key": true,
	"molly_csrf": true, "form_csrf": true, "session_value": true, "token_value": true,
}

// hidden stands where a secret was.
const hidden = "<hidden>"

// echo shows a document on one line, escaped as the original does.
func echo(value any) string {
	var b strings.Builder
	write(&b, value)
	return escape(b.String())
}

func write(b *strings.Builder, value any) {
	switch v := value.(type) {
	case *object:
		b.WriteByte('{')
		for i, m := range v.members {
			if i > 0 {
				b.WriteByte(',')
			}
			writePlain(b, m.name)
			b.WriteByte(':')
			if _, isText := m.value.(string); isText && secretMembers[m.name] {
				writePlain(b, hidden)
				continue
			}
			write(b, m.value)
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, element := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, element)
		}
		b.WriteByte(']')
	default:
		writePlain(b, v)
	}
}

func writePlain(b *strings.Builder, value any) {
	encoder := json.NewEncoder(trimNewline{b})
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // it is a string, a number, a bool or nil
}

// trimNewline drops the line's end that an encoder adds.
type trimNewline struct{ to *strings.Builder }

func (t trimNewline) Write(p []byte) (int, error) {
	t.to.Write(bytes.TrimSuffix(p, []byte("\n")))
	return len(p), nil
}

// escape is what the original does to texts that have JSON in them: backslashes
// before quotes and backslashes, names for some control characters, and decimal
// codes for all bytes that are not printable ASCII.
func escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\b':
			b.WriteString(`\b`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

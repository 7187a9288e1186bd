package panel

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// document is the body of a call: the members of a JSON object, or the fields of a
// form. A value is nil, a bool, a string, a json.Number, a []any or a
// map[string]any; those of a form are strings.
type document map[string]any

// readBody reads a JSON document or a form.
func (c *call) readBody() (refusal reply, refused bool) {
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, c.options().Document))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return refuse(http.StatusRequestEntityTooLarge, tooLargeText), true
	case err != nil:
		return bad("The request ended before its end"), true
	}
	if c.body, err = parse(text, c.r.Header.Get("Content-Type")); err != nil {
		return bad("Invalid JSON body"), true
	}
	return reply{}, false
}

var errNotJSON = errors.New("not a JSON object")

// parse reads a body. One that begins as a JSON object is one, also where a client
// says that it sends a form: curl does so unless it is told otherwise.
func parse(text []byte, contentType string) (document, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return document{}, nil
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	if kind == "application/x-www-form-urlencoded" && text[0] != '{' {
		return parseForm(string(text)), nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	switch v := value.(type) {
	case map[string]any:
		return v, nil
	case []any: // it has no members that a call looks for
		return document{}, nil
	}
	return nil, errNotJSON
}

// parseForm reads the fields of a form. A field that is there several times is a list.
func parseForm(text string) document {
	d := document{}
	for field := range strings.SplitSeq(text, "&") {
		name, value, _ := strings.Cut(field, "=")
		if name = unescape(name); name == "" {
			continue
		}
		switch before := d[name].(type) {
		case nil:
			d[name] = unescape(value)
		case []any:
			d[name] = append(before, unescape(value))
		default:
			d[name] = []any{before, unescape(value)}
		}
	}
	return d
}

// unescape decodes what is escaped and leaves the rest as it is.
func unescape(text string) string {
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '+':
			plain = append(plain, ' ')
			continue
		case '%':
			if code, err := hex.DecodeString(text[i+1 : min(i+3, len(text))]); err == nil && len(code) == 1 {
				plain = append(plain, code[0])
				i += 2
				continue
			}
		}
		plain = append(plain, text[i])
	}
	return strings.ToValidUTF8(string(plain), string(utf8.RuneError))
}

// has tells whether something was sent that is not false, 0, empty or null.
func (d document) has(names ...string) bool {
	for _, name := range names {
		switch v := d[name].(type) {
		case nil:
			return false
		case bool:
			if !v {
				return false
			}
		case string:
			if v == "" {
				return false
			}
		case json.Number:
			if n, err := v.Float64(); err == nil && n == 0 {
				return false
			}
		}
	}
	return true
}

// text gives a text, or a number as text. Lists and objects have none.
func (d document) text(name string) (string, bool) { return asText(d[name]) }

func asText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return numeral(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// largestPlain is the largest number that is written without an exponent.
const largestPlain = 1e21

// numeral writes a number as JavaScript does, but for whole numbers, which keep all
// their digits: ids may have more than fit into one of its numbers.
func numeral(n json.Number) string {
	if !strings.ContainsAny(n.String(), ".eE") {
		return n.String()
	}
	value, err := n.Float64()
	if err != nil || math.Abs(value) >= largestPlain {
		return n.String()
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

// integer reads digits at the beginning of a text or number, and leaves out what
// follows them: "512MB" is 512.
func (d document) integer(name string) (int64, bool) {
	text, _ := d.text(name)
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		text = text[:end]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

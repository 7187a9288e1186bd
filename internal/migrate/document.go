package migrate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Document is an object with what a person should know about it.
type Document struct {
	Object client.Object
	// Notes say what is worth a look.
	Notes []string
	// Problems say why the object cannot be applied as it is. Then all of it is a
	// comment.
	Problems []string
}

// Applicable tells whether the object is more than a comment.
func (d *Document) Applicable() bool { return len(d.Problems) == 0 }

func (d *Document) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

func (d *Document) problem(format string, args ...any) {
	d.Problems = append(d.Problems, fmt.Sprintf(format, args...))
}

// lineLength is where lines of comments end.
const lineLength = 110

// Write writes the object as one YAML document, comments first.
func (d *Document) Write(w io.Writer) error {
	content, err := d.yaml()
	if err != nil {
		return fmt.Errorf("%T %s as YAML: %w", d.Object, d.Object.GetName(), err)
	}
	text := &strings.Builder{}
	text.WriteString("---\n")
	if !d.Applicable() {
		comment(text, "NOT TAKEN OVER:")
		for _, problem := range d.Problems {
			comment(text, "- "+strings.TrimSuffix(problem, ".")+".")
		}
	}
	for _, note := range d.Notes {
		comment(text, note)
	}
	if d.Applicable() {
		text.Write(content)
	} else {
		for line := range strings.Lines(string(content)) {
			text.WriteString("#   " + oneLine(strings.TrimSuffix(line, "\n")) + "\n")
		}
	}
	_, err = io.WriteString(w, text.String())
	return err
}

// yaml gives the object without what says nothing.
func (d *Document) yaml() ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d.Object)
	if err != nil {
		return nil, err
	}
	for _, field := range []string{"spec", "status"} {
		if part, _, _ := unstructured.NestedMap(content, field); len(part) == 0 {
			delete(content, field)
		}
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(escaped(text))
}

// escaped escapes what stands in JSON as it is and must not in YAML, such as other
// ends of lines.
func escaped(text []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(text) {
		if odd(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// commentText gives a text as a comment.
func commentText(text string) string {
	var w strings.Builder
	comment(&w, text)
	return w.String()
}

// comment writes a text as lines of a comment.
func comment(w *strings.Builder, text string) {
	line := "#"
	for _, word := range strings.Fields(oneLine(text)) {
		if len(line) > 1 && len(line)+1+len(word) > lineLength {
			w.WriteString(line + "\n")
			line = "#  "
		}
		line += " " + word
	}
	w.WriteString(line + "\n")
}

// oneLine replaces what could end a line for any reader of YAML, so that nothing
// that a tenant has chosen gets out of a comment.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if odd(r) {
			return '?'
		}
		return r
	}, text)
}

// odd tells whether a character ends a line or is refused, for some reader of YAML.
func odd(r rune) bool {
	return unicode.IsControl(r) || slices.Contains([]rune{0x2028, 0x2029, 0xfeff, 0xfffe, 0xffff, unicode.ReplacementChar}, r)
}

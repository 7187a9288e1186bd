package migrate

import (
	"fmt"
	"io"
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
	return yaml.Marshal(content)
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
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
}

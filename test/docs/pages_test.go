package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the root of the module, as seen from this package.
const root = "../.."

// page is a file of the documentation.
type page struct {
	// name is its path in the repository.
	name, text string
	// blocks are its fenced blocks by their language.
	blocks map[string][]string
	// spans are the pieces of code in its text, without the backticks.
	spans []string
}

var (
	fence = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```$")
	span  = regexp.MustCompile("`([^`\n]+)`")
)

func readPage(t *testing.T, name string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	p := page{name: name, text: string(text), blocks: map[string][]string{}}
	for _, block := range fence.FindAllStringSubmatch(p.text, -1) {
		p.blocks[block[1]] = append(p.blocks[block[1]], block[2])
	}
	for _, found := range span.FindAllStringSubmatch(fence.ReplaceAllString(p.text, ""), -1) {
		p.spans = append(p.spans, found[1])
	}
	return p
}

// allPages are those at the top and those of the folder docs and its folder spec.
func allPages(t *testing.T) []page {
	t.Helper()
	var all []page
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/spec/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, readPage(t, filepath.ToSlash(name)))
		}
	}
	if len(all) < 8 {
		t.Fatalf("only %d pages", len(all))
	}
	return all
}

// cells are the first cells of the rows of all tables below a heading, or of the whole page, without their backticks.
func (p page) cells(heading string) (first []string) {
	for _, line := range strings.Split(p.section(heading), "\n") {
		if cell, found := strings.CutPrefix(line, "| `"); found {
			name, _, _ := strings.Cut(cell, "`")
			first = append(first, name)
		}
	}
	return first
}

// section is the text from a heading to the next one that is not below it; without a heading, all of it.
func (p page) section(heading string) string {
	if heading == "" {
		return p.text
	}
	_, text, _ := strings.Cut(p.text, "\n"+heading+"\n")
	level, _, _ := strings.Cut(heading, " ")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		marks, _, isHeading := strings.Cut(line, " ")
		if isHeading && strings.Trim(marks, "#") == "" && marks != "" && len(marks) <= len(level) {
			return strings.Join(lines[:i], "\n")
		}
	}
	return text
}

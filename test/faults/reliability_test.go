package faults

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReliabilityPage finds every test that docs/reliability.md names, and every
// test of this package there.
func TestReliabilityPage(t *testing.T) {
	const root = "../.."
	page, err := os.ReadFile(filepath.Join(root, "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]string{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, found := range function.FindAllSubmatch(content, -1) {
			defined[string(found[1])] = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, found := range regexp.MustCompile("`((?:Test|Benchmark)\\w+)`").FindAllSubmatch(page, -1) {
		name := string(found[1])
		if named[name] = true; defined[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	for name, path := range defined {
		if filepath.Dir(path) == filepath.Join(root, "test", "faults") && !named[name] && name != "TestMain" && name != t.Name() {
			t.Errorf("%s is not on the page", name)
		}
	}
}

package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"mollymawk.dev/operator/internal/options"
)

// made are folders that exist only after a build or a start.
var made = []string{"bin", "dist", ".standalone"}

var pathLike = regexp.MustCompile(`^\.?[A-Za-z0-9_-]+(/[A-Za-z0-9_.*-]+)*\.?[A-Za-z0-9]*$`)

// TestPathsExist looks at all that begins with a file or folder of the repository.
func TestPathsExist(t *testing.T) {
	for _, p := range allPages(t) {
		words := p.spans
		for _, block := range append(slices.Clone(p.blocks["console"]), p.blocks["text"]...) {
			words = append(words, strings.Fields(block)...)
		}
		for _, word := range words {
			wantPath(t, p.name, strings.TrimPrefix(strings.TrimSuffix(word, "/"), "./"))
		}
	}
}

func wantPath(t *testing.T, page, path string) {
	t.Helper()
	first, _, nested := strings.Cut(path, "/")
	if !nested || !pathLike.MatchString(path) || slices.Contains(made, first) {
		return
	}
	if _, err := os.Stat(filepath.Join(root, first)); err != nil {
		return // not one of ours, such as a MIME type
	}
	if found, err := filepath.Glob(filepath.Join(root, path)); err != nil || len(found) == 0 {
		t.Errorf("%s names %s, which does not exist", page, path)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, p := range allPages(t) {
		for _, found := range link.FindAllStringSubmatch(p.text, -1) {
			if strings.HasPrefix(found[1], "https://") {
				continue
			}
			file, anchor, _ := strings.Cut(found[1], "#")
			target := p
			if file != "" {
				name := filepath.ToSlash(filepath.Join(filepath.Dir(p.name), file))
				if info, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s links to %s: %v", p.name, found[1], err)
					continue
				} else if info.IsDir() {
					continue
				}
				target = readPage(t, name)
			}
			if anchor != "" && !slices.Contains(anchors(target), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", p.name, found[1])
			}
		}
	}
}

var heading = regexp.MustCompile(`(?m)^#+ (.*)$`)

// anchors are what headings are called in links.
func anchors(p page) (all []string) {
	for _, found := range heading.FindAllStringSubmatch(p.text, -1) {
		keep := func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			}
			return -1
		}
		all = append(all, strings.Map(keep, strings.ToLower(found[1])))
	}
	return all
}

var (
	makeCall   = regexp.MustCompile("(?m)(?:^|`|\\$ )make((?: [a-z][a-z0-9-]*)+)(?: [A-Z_]+=|`|\\s|$)")
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):.*##`)
)

func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, found := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, found[1])
	}
	calls := 0
	for _, p := range allPages(t) {
		for _, found := range makeCall.FindAllStringSubmatch(p.text, -1) {
			for _, target := range strings.Fields(found[1]) {
				calls++
				if !slices.Contains(targets, target) {
					t.Errorf("%s names make %s, which does not exist", p.name, target)
				}
			}
		}
	}
	if calls < 10 || len(targets) < 20 {
		t.Errorf("only %d calls and %d targets found", calls, len(targets))
	}
}

// TestFlagsAreDocumented compares names and defaults.
func TestFlagsAreDocumented(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	o := options.Default()
	o.Namespace = ""
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	o.AddFlags(flags)
	section := readPage(t, "docs/installing.md").section("## Flags")
	documented := map[string]bool{}
	for _, line := range strings.Split(section, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `--") {
			continue
		}
		name := strings.Trim(cells[1], " `-")
		documented[name] = true
		flag := flags.Lookup(name)
		if flag == nil {
			t.Errorf("there is no flag --%s", name)
		} else if shown := strings.Trim(cells[2], " `"); flag.DefValue != "" && flag.DefValue != "[]" && shown != flag.DefValue {
			t.Errorf("--%s: the default is %q, not %q", name, flag.DefValue, shown)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if !documented[f.Name] {
			t.Errorf("--%s is not documented", f.Name)
		}
	})
}

// TestNothingOfOneMachine refuses paths that mean something on one machine only.
func TestNothingOfOneMachine(t *testing.T) {
	local := regexp.MustCompile(`(^|[\s"'(=])/(root|work|tmp|mnt|Users)/`)
	for _, p := range allPages(t) {
		if found := local.FindString(p.text); found != "" {
			t.Errorf("%s has the path %q", p.name, found)
		}
	}
}

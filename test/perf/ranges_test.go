package perf

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the root of the module, as seen from this package.
const root = "../.."

// rangeFile has the ranges of this package's benchmarks.
const rangeFile = "rangespec.yaml"

func readRanges(t testing.TB) *Ranges {
	t.Helper()
	text, err := os.ReadFile(rangeFile)
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := ParseRanges(text)
	if err != nil {
		t.Fatal(err)
	}
	return ranges
}

// parsed gives the syntax of this package's test files.
func parsed(t *testing.T) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob("*_test.go")
	if err != nil || len(names) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// TestEveryFigureHasARange compares what benchmarks report with the range file, in both directions.
func TestEveryFigureHasARange(t *testing.T) {
	ranges := readRanges(t)
	reported := map[string]bool{}
	for _, file := range parsed(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, ok := reportedName(t, call); ok {
					reported[name] = true
				}
			}
			return true
		})
	}
	ranged := map[string]bool{}
	for _, f := range ranges.Figures {
		ranged[f.Name] = true
		if !reported[f.Name] {
			t.Errorf("%s has a range for %q, which nothing reports", rangeFile, f.Name)
		}
	}
	for name := range reported {
		if !ranged[name] {
			t.Errorf("%q is reported, and %s has no range for it", name, rangeFile)
		}
	}
	if len(reported) < 20 {
		t.Errorf("only %d figures found in the benchmarks", len(reported))
	}
}

// reportedName gives the figure of a call of the method report, whose name must be written there.
func reportedName(t *testing.T, call *ast.CallExpr) (string, bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || method.Sel.Name != "report" {
		return "", false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		t.Error("a call of report without the name of the figure")
		return "", false
	}
	name, err := strconv.Unquote(literal.Value)
	return name, err == nil
}

// TestEveryBenchmarkHasRanges compares the benchmarks with the range file, in both directions.
func TestEveryBenchmarkHasRanges(t *testing.T) {
	found := map[string]bool{}
	for _, file := range parsed(t) {
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Benchmark") {
				found[f.Name.Name] = true
			}
		}
	}
	if ranged, benchmarks := readRanges(t).Benchmarks(), slices.Sorted(maps.Keys(found)); !slices.Equal(ranged, benchmarks) {
		t.Errorf("ranges are for %v, benchmarks are %v", ranged, benchmarks)
	}
}

// TestFiguresAreDocumented demands each figure in the table of the documentation, with its target, what was measured and its range.
func TestFiguresAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range readRanges(t).Figures {
		row := fmt.Sprintf("| `%s` | %s | %s | %s | %v | %s |", f.Name, f.Meaning, f.Kind, f.Target, *f.Measured, f.Range())
		if !strings.Contains(string(text), "\n"+row+"\n") {
			t.Errorf("docs/performance.md lacks\n%s", row)
		}
	}
}

const goodFigure = "name: a/b\n  benchmark: BenchmarkA\n  meaning: what it is\n  unit: things\n  kind: count\n  max: 3\n  target: ≤ 3\n  measured: 2\n"

func TestBadRangesAreRefused(t *testing.T) {
	file := func(figure string) string { return "figures:\n- " + figure }
	if _, err := ParseRanges([]byte(file(goodFigure))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":              {"", "no figures"},
		"no figures":         {"figures: []", "no figures"},
		"no YAML":            {"figures: [", "ranges"},
		"unknown field":      {file(strings.Replace(goodFigure, "max:", "maximum:", 1)), "unknown field"},
		"twice":              {file(goodFigure) + "- " + goodFigure, "twice"},
		"field twice":        {file(goodFigure) + "  max: 4\n", "already set"},
		"name with a space":  {file(strings.Replace(goodFigure, "a/b", "a b", 1)), "a name has"},
		"no benchmark":       {file(strings.Replace(goodFigure, "BenchmarkA", "TestA", 1)), "no benchmark"},
		"no meaning":         {file(strings.Replace(goodFigure, "what it is", `""`, 1)), "the meaning"},
		"meaning ends in .":  {file(strings.Replace(goodFigure, "what it is", "It is.", 1)), "the meaning"},
		"no unit":            {file(strings.Replace(goodFigure, "things", `""`, 1)), "unit and target"},
		"no target":          {file(strings.Replace(goodFigure, "≤ 3", `""`, 1)), "unit and target"},
		"kind":               {file(strings.Replace(goodFigure, "kind: count", "kind: guess", 1)), `kind "guess"`},
		"no bound":           {file(strings.Replace(goodFigure, "  max: 3\n", "", 1)), "min or max"},
		"bounds crossed":     {file(strings.Replace(goodFigure, "max: 3", "max: 3\n  min: 4", 1)), "min is above max"},
		"not measured":       {file(strings.Replace(goodFigure, "  measured: 2\n", "", 1)), "what was measured"},
		"measured too large": {file(strings.Replace(goodFigure, "measured: 2", "measured: 4", 1)), "not in ≤ 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseRanges([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	text := "figures:\n- " + goodFigure + "- " + strings.NewReplacer("a/b", "c", "max: 3", "min: 1\n  max: 3").Replace(goodFigure)
	ranges, err := ParseRanges([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		benchmark, figure string
		value             float64
		want              string
	}{
		{"BenchmarkA", "a/b", 3, ""},
		{"BenchmarkA", "a/b", -1, ""},
		{"BenchmarkA", "a/b", 3.01, "a/b is 3.01 things, and must be ≤ 3: what it is (target: ≤ 3)"},
		{"BenchmarkA", "a/b", math.NaN(), "a/b is NaN"},
		{"BenchmarkA", "a/b", math.Inf(1), "a/b is +Inf"},
		{"BenchmarkA", "c", 1, ""},
		{"BenchmarkA", "c", 0.5, "must be 1 to 3"},
		{"BenchmarkA", "d", 1, "no range"},
		{"BenchmarkB", "a/b", 1, "no range"},
	} {
		err := ranges.Check(c.benchmark, c.figure, c.value)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %s %v: got %v, want %q", c.benchmark, c.figure, c.value, err, c.want)
		}
	}
}

func TestRange(t *testing.T) {
	one, two := 1.0, 2.5
	for _, c := range []struct {
		figure Figure
		want   string
	}{
		{Figure{Max: &two}, "≤ 2.5"}, {Figure{Min: &one}, "≥ 1"}, {Figure{Min: &one, Max: &one}, "1"}, {Figure{Min: &one, Max: &two}, "1 to 2.5"},
	} {
		if got := c.figure.Range(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

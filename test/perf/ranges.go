package perf

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Kind says how a figure depends on the machine that it is measured on.
type Kind string

const (
	// Count is what noise does not change, such as writes and commands.
	Count Kind = "count"
	// Ratio is one measurement divided by another of the same run.
	Ratio Kind = "ratio"
	// Absolute depends on the machine.
	Absolute Kind = "absolute"
)

// Figure is one number that a benchmark reports, and what it may be.
type Figure struct {
	// Name is unique, and what go test prints as the unit of the figure.
	Name string `json:"name"`
	// Benchmark is the function that reports it.
	Benchmark string `json:"benchmark"`
	// Meaning is a phrase without a full stop.
	Meaning string `json:"meaning"`
	Unit    string `json:"unit"`
	Kind    Kind   `json:"kind"`
	// Min and Max belong to the range; at least one of them is given.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Margin says why the range is not just the target.
	Margin string `json:"margin,omitempty"`
	// Target is what the project wants, as people write it.
	Target string `json:"target"`
	// Measured is what the documentation says was measured.
	Measured *float64 `json:"measured"`
}

// Ranges has the figures of all benchmarks.
type Ranges struct {
	Figures []Figure `json:"figures"`
}

// ParseRanges reads a range file and refuses one that checks less than it seems to.
func ParseRanges(text []byte) (*Ranges, error) {
	var r Ranges
	if err := yaml.UnmarshalStrict(text, &r); err != nil {
		return nil, fmt.Errorf("ranges: %w", err)
	}
	if len(r.Figures) == 0 {
		return nil, errors.New("ranges: there are no figures")
	}
	seen := map[string]bool{}
	var problems []error
	for i := range r.Figures {
		f := &r.Figures[i]
		if seen[f.Name] {
			problems = append(problems, fmt.Errorf("figure %q is there twice", f.Name))
		}
		seen[f.Name] = true
		problems = append(problems, f.validate())
	}
	return &r, errors.Join(problems...)
}

var (
	figureName    = regexp.MustCompile(`^[a-z][a-z0-9]*([-/][a-z0-9]+)*$`)
	benchmarkName = regexp.MustCompile(`^Benchmark[A-Z][A-Za-z0-9]*$`)
)

func (f *Figure) validate() error {
	problem := ""
	switch {
	case !figureName.MatchString(f.Name):
		problem = "a name has small letters and digits, with - and / between them"
	case !benchmarkName.MatchString(f.Benchmark):
		problem = fmt.Sprintf("%q is no benchmark", f.Benchmark)
	case f.Meaning == "" || strings.HasSuffix(f.Meaning, "."):
		problem = "the meaning must be a phrase without a full stop"
	case f.Unit == "" || f.Target == "":
		problem = "unit and target must be given"
	case f.Kind != Count && f.Kind != Ratio && f.Kind != Absolute:
		problem = fmt.Sprintf("kind %q is none of count, ratio, absolute", f.Kind)
	default:
		if problem = f.boundsProblem(); problem == "" {
			return nil
		}
	}
	return fmt.Errorf("figure %q: %s", f.Name, problem)
}

// boundsProblem is empty when nothing is wrong with the range.
func (f *Figure) boundsProblem() string {
	switch {
	case f.Min == nil && f.Max == nil:
		return "min or max must be given"
	case f.Min != nil && f.Max != nil && *f.Min > *f.Max:
		return "min is above max"
	case f.Measured == nil:
		return "what was measured must be given"
	case f.outside(*f.Measured):
		return fmt.Sprintf("what was measured, %v, is not in %s", *f.Measured, f.Range())
	}
	return ""
}

// outside is also true of what is no number.
func (f *Figure) outside(value float64) bool {
	return value != value || f.Min != nil && value < *f.Min || f.Max != nil && value > *f.Max
}

// Range is the range as people write it.
func (f *Figure) Range() string {
	switch {
	case f.Min == nil:
		return fmt.Sprintf("≤ %v", *f.Max)
	case f.Max == nil:
		return fmt.Sprintf("≥ %v", *f.Min)
	case *f.Min == *f.Max:
		return fmt.Sprintf("%v", *f.Min)
	}
	return fmt.Sprintf("%v to %v", *f.Min, *f.Max)
}

// Of gives the figures of a benchmark, by name.
func (r *Ranges) Of(benchmark string) map[string]Figure {
	of := map[string]Figure{}
	for _, f := range r.Figures {
		if f.Benchmark == benchmark {
			of[f.Name] = f
		}
	}
	return of
}

// Benchmarks names those that have figures, in alphabetical order.
func (r *Ranges) Benchmarks() []string {
	names := map[string]bool{}
	for _, f := range r.Figures {
		names[f.Benchmark] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Check fails when a figure is out of its range, or has none.
func (r *Ranges) Check(benchmark, name string, value float64) error {
	f, ok := r.Of(benchmark)[name]
	switch {
	case !ok:
		return fmt.Errorf("%s has no range for %q", benchmark, name)
	case f.outside(value):
		return fmt.Errorf("%s is %.4g %s, and must be %s: %s (target: %s)", name, value, f.Unit, f.Range(), f.Meaning, f.Target)
	}
	return nil
}

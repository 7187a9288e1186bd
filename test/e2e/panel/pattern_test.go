package panel_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// known are ids by the name that patterns give them.
type known map[string]string

// kinds are what an id looks like.
var kinds = map[string]string{
	"uuid":  `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`,
	"hex8":  `[0-9a-f]{8}`,
	"hex64": `[0-9a-f]{64}`,
	"text":  `[^"]+`,
}

// variable is a part of a pattern: anything (...), an id of a kind (<uuid>), one to be known by a name (<node=uuid>), or a known one
// (<node>).
var variable = regexp.MustCompile(`\.\.\.|<(?:([a-z0-9-]+)=)?([a-z0-9-]+)>`)

// fill replaces names of known ids.
func (k known) fill(text string) string {
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		if value, isKnown := k[strings.Trim(found, "<>")]; isKnown {
			return value
		}
		return found
	})
}

// match compares a text with a pattern and learns the ids that the pattern names.
func (k known) match(pattern, text string) error {
	var expression strings.Builder
	var names []string
	at := 0
	for _, m := range variable.FindAllStringSubmatchIndex(pattern, -1) {
		expression.WriteString(regexp.QuoteMeta(pattern[at:m[0]]))
		at = m[1]
		if pattern[m[0]:m[1]] == "..." {
			expression.WriteString(`(?s:.*)`)
			continue
		}
		kind := pattern[m[4]:m[5]]
		if m[2] >= 0 {
			names = append(names, pattern[m[2]:m[3]])
			expression.WriteString("(" + kinds[kind] + ")")
		} else if value, isKnown := k[kind]; isKnown {
			expression.WriteString(regexp.QuoteMeta(value))
		} else if kinds[kind] != "" {
			expression.WriteString(kinds[kind])
		} else {
			return fmt.Errorf("nothing is known of %s", kind)
		}
	}
	expression.WriteString(regexp.QuoteMeta(pattern[at:]))
	found := regexp.MustCompile("^" + expression.String() + "$").FindStringSubmatch(text)
	if found == nil {
		return fmt.Errorf("%s is not like %s", text, pattern)
	}
	for i, name := range names {
		if before, isKnown := k[name]; isKnown && before != found[i+1] {
			return fmt.Errorf("%s is %s and %s in %s", name, before, found[i+1], text)
		}
		k[name] = found[i+1]
	}
	return nil
}

func TestPatterns(t *testing.T) {
	const id = "5cdb3c1e-0f52-4f0e-9d6b-0b6a3f7f2c11"
	for _, test := range []struct {
		pattern, text string
		matches       bool
	}{
		{`{"id":"<uuid>"}`, `{"id":"` + id + `"}`, true},
		{`{"id":"<uuid>"}`, `{"id":"` + id[1:] + `"}`, false},
		{`{"id":"<node>"}`, `{"id":"known"}`, true},
		{`{"id":"<node>"}`, `{"id":"other"}`, false},
		{`{"Id":"<x=hex8>","VolumeId":"<x=hex8>"}`, `{"Id":"0a1b2c3d","VolumeId":"0a1b2c3d"}`, true},
		{`{"Id":"<x=hex8>","VolumeId":"<x=hex8>"}`, `{"Id":"0a1b2c3d","VolumeId":"0a1b2c3e"}`, false},
		{`[...]`, `[1,2]`, true},
		{`[...]`, `[1,2]x`, false},
		{`[]`, `[1]`, false},
	} {
		k := known{"node": "known"}
		if err := k.match(test.pattern, test.text); (err == nil) != test.matches {
			t.Errorf("%s and %s: %v", test.pattern, test.text, err)
		} else if test.matches && strings.Contains(test.pattern, "x=") && k.fill("/<x>/<y>") != "/0a1b2c3d/<y>" {
			t.Errorf("learned %v", k)
		}
	}
}

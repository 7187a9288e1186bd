package panel

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mollymawk.dev/operator/api/v1alpha1"
)

var errVariables = errors.New("neither an object nor a list of NAME=VALUE")

// variables reads what is to be told to the image: an object, one in a text as forms
// have it, or a list of NAME=VALUE. Values are texts, numbers and truth values.
func (d document) variables() (map[string]string, error) {
	value := d["variables"]
	if text, isText := value.(string); isText {
		if strings.TrimSpace(text) == "" {
			return map[string]string{}, nil
		}
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return nil, errVariables
		}
	}
	said := map[string]string{}
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for name, value := range v {
			if value == nil {
				continue
			}
			text, plain := asText(value)
			if !plain {
				return nil, fmt.Errorf("%s is no text", name)
			}
			said[name] = text
		}
	case []any:
		for _, element := range v {
			text, _ := element.(string)
			name, value, both := strings.Cut(text, "=")
			if !both {
				return nil, errVariables
			}
			said[name] = value
		}
	default:
		return nil, errVariables
	}
	return said, nil
}

// errMissing says that a variable has no value that needs one.
var errMissing = errors.New("a variable of the image needs a value")

// primaryPort is the variable that gets the primary port without being said.
const primaryPort = "PRIMARY_PORT"

// arguments makes of what was said, and of the defaults of the image's declaration,
// the arguments of the unikernel. A variable takes the place of those arguments of
// the image that say the same. Without variables it is nil, which leaves the
// arguments to the image.
func arguments(entry *v1alpha1.UnikernelImageSpec, said map[string]string, primary mapping) (arguments []string, values map[string]string, err error) {
	values = map[string]string{}
	for name := range said {
		if !slices.ContainsFunc(entry.Variables, func(v v1alpha1.ImageVariable) bool { return v.Name == name }) {
			return nil, nil, fmt.Errorf("the image has no variable %q", name)
		}
	}
	all := slices.Clone(entry.Arguments)
	for _, v := range entry.Variables {
		value := said[v.Name]
		if value == "" {
			value = v.Default
		}
		if value == "" && v.Name == primaryPort {
			value = strconv.Itoa(primary.internal)
		}
		switch {
		case value != "":
			values[v.Name] = value
			all = replaced(all, v, value)
		case v.Required:
			return nil, nil, errMissing
		}
	}
	if len(values) == 0 {
		return nil, values, nil
	}
	return all, values, nil
}

// placeholder stands for the value in the argument of a variable.
const placeholder = "{value}"

// replaced adds the argument for a variable, in the place of the first that begins as
// it does. Others that do are left out: no option may be there twice.
func replaced(all []string, v v1alpha1.ImageVariable, value string) []string {
	template := v.Argument
	if template == "" {
		template = "--" + strings.ToLower(v.Name) + "=" + placeholder
	}
	argument := strings.ReplaceAll(template, placeholder, value)
	option, _, _ := strings.Cut(template, placeholder)
	at := -1
	kept := make([]string, 0, len(all)+1)
	for _, a := range all {
		if option == "" || !strings.HasPrefix(a, option) {
			kept = append(kept, a)
			continue
		}
		if at < 0 {
			at = len(kept)
		}
	}
	if at < 0 {
		at = len(kept)
	}
	return slices.Insert(kept, at, argument)
}

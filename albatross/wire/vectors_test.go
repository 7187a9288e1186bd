package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"mollymawk.dev/operator/albatross/internal/vectors"
	"mollymawk.dev/operator/albatross/wire"
)

// TestVectors proves the codec against every recorded case: Vectors/<file>/<name>.
func TestVectors(t *testing.T) {
	t.Run("cert_extensions", testExtensions)
	t.Run("replies", func(t *testing.T) { testFrames(t, "replies.json") })
	t.Run("commands_wire", func(t *testing.T) { testFrames(t, "commands_wire.json") })
	t.Run("malformed", testMalformed)
	t.Run("names", testNames)
	t.Run("mac", testMACs)
	t.Run("policy_checks", testPolicyChecks)
}

func testExtensions(t *testing.T) {
	type vector struct {
		Name         string
		Hex          vectors.Hex
		Value        vectors.Command
		DecodedValue *vectors.Command `json:"decoded_value"`
	}
	for _, v := range vectors.Load[[]vector](t, "cert_extensions.json") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := wire.EncodeExtension(v.Value.Wire())
			if err != nil || !bytes.Equal(got, v.Hex) {
				t.Errorf("encoded: %x, %v\n   want: %x", got, err, []byte(v.Hex))
			}
			want := v.Value
			if v.DecodedValue != nil {
				want = *v.DecodedValue
			}
			command, err := wire.DecodeExtension(v.Hex)
			requireEqual(t, command, want.Wire(), err)
		})
	}
}

func testFrames(t *testing.T, file string) {
	type vector struct {
		Name         string
		Hex          vectors.Hex
		Value        vectors.Frame
		DecodedValue *vectors.Frame `json:"decoded_value"`
	}
	for _, v := range vectors.Load[[]vector](t, file) {
		t.Run(v.Name, func(t *testing.T) {
			got, err := wire.EncodeFrame(v.Value.Wire())
			if err != nil || !bytes.Equal(got, v.Hex) {
				t.Errorf("encoded: %x, %v\n   want: %x", got, err, []byte(v.Hex))
			}
			want := v.Value
			if v.DecodedValue != nil {
				want = *v.DecodedValue
			}
			frame, err := wire.DecodeFrame(v.Hex)
			requireEqual(t, frame, want.Wire(), err)
		})
	}
}

// requireEqual compares through JSON, in which nil and empty byte strings, times
// of equal instants and the like do not differ.
func requireEqual(t *testing.T, got, want any, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		t.Fatalf("decoded a %T, want a %T", got, want)
	}
	if g, w := canonical(t, got), canonical(t, want); g != w {
		t.Errorf("decoded: %s\n   want: %s", g, w)
	}
}

func canonical(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(printable(reflect.ValueOf(v)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type verdict struct {
	Accepted bool
	Value    json.RawMessage
}

func testMalformed(t *testing.T) {
	type vector struct {
		Name      string
		Hex       vectors.Hex
		Extension verdict `json:"of_cert_extension"`
		Frame     verdict `json:"wire_of_str"`
	}
	for _, v := range vectors.Load[[]vector](t, "malformed.json") {
		t.Run(v.Name, func(t *testing.T) {
			command, err := wire.DecodeExtension(v.Hex)
			checkVerdict(t, "extension", v.Extension, command, err, func(c vectors.Command) wire.Command { return c.Wire() })
			frame, err := wire.DecodeFrame(v.Hex)
			checkVerdict(t, "frame", v.Frame, frame, err, vectors.Frame.Wire)
		})
	}
}

func checkVerdict[V, W any](t *testing.T, decoder string, want verdict, got W, err error, toWire func(V) W) {
	t.Helper()
	if (err == nil) != want.Accepted {
		t.Fatalf("%s: accepted is %v, want %v (%v)", decoder, err == nil, want.Accepted, err)
	}
	if !want.Accepted {
		return
	}
	var value V
	if err := json.Unmarshal(want.Value, &value); err != nil {
		t.Fatal(err)
	}
	requireEqual(t, got, toWire(value), nil)
}

func testNames(t *testing.T) {
	type vector struct {
		Name, Kind string
		Input      vectors.Text
		Valid      bool
		Result     json.RawMessage
		Error      string
	}
	for _, v := range vectors.Load[[]vector](t, "names.json") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := parse(v.Kind, string(v.Input))
			if !v.Valid {
				if err == nil || err.Error() != v.Error {
					t.Fatalf("error %v, want %q", err, v.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v.Kind == "label" {
				got = `"` + got + `"`
			} else {
				var result struct{ String string }
				if err := json.Unmarshal(v.Result, &result); err != nil {
					t.Fatal(err)
				}
				v.Result = json.RawMessage(result.String)
			}
			if got != string(v.Result) {
				t.Errorf("normal form %s, want %s", got, v.Result)
			}
		})
	}
}

// parse reads a text as the given kind of name and gives its normal form.
func parse(kind, input string) (string, error) {
	switch kind {
	case "label":
		return wire.ParseLabel(input)
	case "path":
		p, err := wire.ParsePath(input)
		return p.String(), err
	case "name":
		n, err := wire.ParseName(input)
		return n.String(), err
	}
	return "", errors.New("unknown kind " + kind)
}

func testMACs(t *testing.T) {
	type vector struct {
		Name      string
		Unikernel vectors.Name
		Bridge    string
		MAC       string
	}
	for _, v := range vectors.Load[[]vector](t, "mac.json") {
		t.Run(v.Name, func(t *testing.T) {
			if got := wire.DeriveMAC(v.Unikernel.Wire(), v.Bridge).String(); got != v.MAC {
				t.Errorf("%s, want %s", got, v.MAC)
			}
		})
	}
}

func testPolicyChecks(t *testing.T) {
	type vector struct {
		Name, Kind         string
		Policy, Super, Sub vectors.Policy
		Config             vectors.Config
		OK                 bool
		Error              string
	}
	for _, v := range vectors.Load[[]vector](t, "policy_checks.json") {
		t.Run(v.Name, func(t *testing.T) {
			var err error
			switch v.Kind {
			case "usable":
				err = v.Policy.Wire().Usable()
			case "is_smaller":
				err = v.Sub.Wire().Within(v.Super.Wire())
			case "fine_with_policy":
				err = v.Policy.Wire().Allows(v.Config.Arguments())
			default:
				t.Fatalf("unknown kind %q", v.Kind)
			}
			if (err == nil) != v.OK || err != nil && err.Error() != v.Error {
				t.Errorf("%v, want ok %v %q", err, v.OK, v.Error)
			}
		})
	}
}

// printable turns a value into what JSON shows without loss: strings and bytes
// in hexadecimal, since either need not be UTF-8.
func printable(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return printable(v.Elem())
	case reflect.String:
		return hex.EncodeToString([]byte(v.String()))
	case reflect.Slice:
		return printableSlice(v)
	case reflect.Struct:
		if m, ok := v.Interface().(json.Marshaler); ok {
			return m
		}
		fields := map[string]any{}
		for i := range v.NumField() {
			fields[v.Type().Field(i).Name] = printable(v.Field(i))
		}
		return fields
	}
	return v.Interface()
}

func printableSlice(v reflect.Value) any {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return hex.EncodeToString(v.Bytes())
	}
	if v.IsNil() && v.Type().Elem().Kind() == reflect.String {
		return nil // no arguments differ from an empty list of them
	}
	all := []any{}
	for i := range v.Len() {
		all = append(all, printable(v.Index(i)))
	}
	return all
}

package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"mollymawk.dev/operator/internal/httpapi/openapi"
)

// Reply is what a server answered.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// Send asks, reads the whole reply and demands that it is as the description of
// the API says.
func Send(t testing.TB, client *http.Client, base string, a Ask) Reply {
	t.Helper()
	request := a.Request(t, base)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := readUntil(response.Body, a.Until)
	if err != nil {
		t.Fatalf("%s %s: %v", request.Method, a.Path, err)
	}
	r := Reply{response.StatusCode, response.Header, string(body)}
	r.Check(t, request)
	return r
}

// readUntil reads to the end, or until the text has come.
func readUntil(from io.Reader, text string) (all []byte, err error) {
	if text == "" {
		return io.ReadAll(from)
	}
	for chunk := make([]byte, 4096); err == nil && !bytes.Contains(all, []byte(text)); {
		var n int
		n, err = from.Read(chunk)
		all = append(all, chunk[:n]...)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return all, err
}

// Data gives what is in the envelope, which must be one.
func (r Reply) Data(t testing.TB) string {
	t.Helper()
	_, rest, found := strings.Cut(r.Body, `,"data":`)
	if !found || !strings.HasPrefix(r.Body, `{"status":`) || !strings.HasSuffix(rest, "}") {
		t.Fatalf("not an envelope: %q", r.Body)
	}
	return strings.TrimSuffix(rest, "}")
}

// Quote is a text in JSON, with < > & as they are.
func Quote(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text)
	return strings.TrimSuffix(b.String(), "\n")
}

// description loads that of the API, once.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	document, err := loader.LoadFromData(openapi.Document)
	if err != nil {
		return nil, err
	}
	return document, document.Validate(loader.Context)
})

var router = sync.OnceValues(func() (routers.Router, error) {
	document, err := description()
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(document)
})

// Described gives the calls of the description with their tags, each by its method
// and path.
func Described(t testing.TB) map[string][]string {
	t.Helper()
	document, err := description()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			all[method+" "+path] = operation.Tags
		}
	}
	return all
}

// Check validates the reply against the description. Paths and methods that it
// does not have are answered with a failure of one of the APIs all the same.
func (r Reply) Check(t testing.TB, request *http.Request) {
	t.Helper()
	if !r.Matches(t, request) && !strings.HasPrefix(r.Body, `{"error":`) {
		r.Data(t)
	}
}

// Matches validates the reply if the description has the path, in this spelling,
// and the method.
func (r Reply) Matches(t testing.TB, request *http.Request) (described bool) {
	t.Helper()
	known, err := router()
	if err != nil {
		t.Fatal(err)
	}
	route, parameters, err := known.FindRoute(request)
	if err != nil {
		return false
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route},
		Status:                 r.Status, Header: r.Header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes([]byte(r.Body))
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s is answered otherwise than described: %v\n%.300s", request.Method, request.URL.Path, err, r.Body)
	}
	return true
}

func init() {
	for _, plain := range []string{"text/event-stream", "application/yaml"} {
		openapi3filter.RegisterBodyDecoder(plain, openapi3filter.FileBodyDecoder)
	}
}

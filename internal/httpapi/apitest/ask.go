package apitest

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"testing"
)

// Ask is a request in short. Without a method it is a POST when there is a body.
type Ask struct {
	Method, Path string
	// Bearer and Cookie are credentials; Headers are more.
	Bearer, Cookie string
	Headers        map[string]string
	// Body is sent as it is, JSON as JSON, Form as a multipart form.
	Body string
	JSON any
	Form []Part
	// Until ends the reading of a reply that has this text, for streams without an end.
	Until string
}

// Part of a form; with a file's name it is a file.
type Part struct{ Name, Value, File string }

// Request gives the request to a server.
func (a Ask) Request(t testing.TB, base string) *http.Request {
	t.Helper()
	body, contentType := []byte(a.Body), ""
	switch {
	case a.JSON != nil:
		encoded, err := json.Marshal(a.JSON)
		if err != nil {
			t.Fatal(err)
		}
		body, contentType = encoded, "application/json"
	case a.Form != nil:
		body, contentType = EncodeForm(t, a.Form)
	case a.Body != "":
		contentType = "application/json"
	}
	method := a.Method
	if method == "" {
		method = http.MethodGet
		if len(body) > 0 {
			method = http.MethodPost
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), method, base+a.Path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if a.Bearer != "" {
		request.Header.Set("Authorization", "Bearer "+a.Bearer)
	}
	if a.Cookie != "" {
		request.Header.Set("Cookie", "molly_session="+a.Cookie)
	}
	for name, value := range a.Headers {
		request.Header.Set(name, value)
	}
	return request
}

// EncodeForm gives a multipart form with the parts in their order.
func EncodeForm(t testing.TB, parts []Part) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		disposition := `form-data; name="` + p.Name + `"`
		if p.File != "" {
			disposition += `; filename="` + p.File + `"`
		}
		to, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(to, p.Value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

package mollymawk

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// reply is the answer to a call: an envelope with data. Its zero value means
// that the handler has answered by itself.
type reply struct {
	status int
	title  string
	data   any
	// retryAfter is sent when it is not zero.
	retryAfter time.Duration
}

// answered is for handlers that stream.
var answered = reply{}

func ok(data any) reply { return reply{status: http.StatusOK, data: data} }

func refuse(status int, text string) reply { return reply{status: status, data: text} }

func bad(text string) reply { return refuse(http.StatusBadRequest, text) }

func (r reply) titled(title string) reply {
	r.title = title
	return r
}

// envelope is what every reply looks like; the order of its members is part of
// the API.
type envelope struct {
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Success bool   `json:"success"`
	Data    any    `json:"data"`
}

// send writes the envelope: on one line, with / < > & as they are. The title is
// the status in decimal unless the call has one of its own.
func (r reply) send(w http.ResponseWriter) {
	if r.title == "" {
		r.title = strconv.Itoa(r.status)
	}
	parts := r.encode()
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((r.retryAfter+time.Second-1)/time.Second)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(r.status)
	for _, part := range parts {
		_, _ = w.Write(part) // whoever has gone need not be told
	}
}

// inParts are data that are JSON already, cut anywhere.
type inParts [][]byte

// encode gives the envelope in parts.
func (r reply) encode() inParts {
	e := envelope{r.status, r.title, r.status < http.StatusMultipleChoices, r.data}
	parts, are := r.data.(inParts)
	if !are {
		return inParts{encode(e)}
	}
	e.Data = nil
	before := bytes.TrimSuffix(encode(e), []byte("null}"))
	return slices.Concat(inParts{before}, parts, inParts{[]byte("}")})
}

// stamp is a time as the API shows it.
func stamp(t time.Time) string { return t.UTC().Format(time.DateTime) + "-00:00" }

// lineStamp is a time as the console shows it.
func lineStamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") + "-00:00" }

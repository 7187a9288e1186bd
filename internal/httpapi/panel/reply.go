package panel

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// reply is the answer to a call: a status with a document, or with nothing.
type reply struct {
	status int
	body   any
	// retryAfter is sent when it is not zero.
	retryAfter time.Duration
}

// failure is what each refusal looks like.
type failure struct {
	Error   string `json:"error"`
	Details string `json:"details,omitempty"`
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

func refuse(status int, text string) reply { return reply{status: status, body: failure{Error: text}} }

func bad(text string) reply { return refuse(http.StatusBadRequest, text) }

// detailed says more than clients of the original know.
func detailed(text, details string) reply {
	return reply{status: http.StatusBadRequest, body: failure{text, details}}
}

// send writes the document on one line, with < > & as they are.
func (r reply) send(w http.ResponseWriter) {
	var body bytes.Buffer
	if r.body != nil {
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(r.body); err != nil {
			panic(err) // what handlers give can be encoded
		}
		body.Truncate(body.Len() - 1) // the line's end
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds(r.retryAfter)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(r.status)
	_, _ = w.Write(body.Bytes()) // whoever has gone need not be told
}

// seconds are whole ones, of which a part counts as one.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

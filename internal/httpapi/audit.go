package httpapi

import (
	"context"
	"net/http"
	"runtime/debug"

	"github.com/go-logr/logr"
)

// Record is what the log says about a request that changes something. Handlers
// fill it in; it must never get a secret.
type Record struct {
	// User is who asked, Via with what: bearer or session.
	User, Via string
	// Object is what it was about, such as eu-west-2/hello.
	Object string
	// Changes is true for each method but GET, HEAD and OPTIONS. A handler sets
	// it if a GET changes something.
	Changes bool
	// Reason says in few words why it was refused.
	Reason string
}

type recordKey struct{}

// RecordOf gives the record of a request, to be filled in.
func RecordOf(ctx context.Context) *Record {
	if record, ok := ctx.Value(recordKey{}).(*Record); ok {
		return record
	}
	return &Record{}
}

// withAudit writes one line for each request that changes something, when it has
// been answered. A handler that panics is answered for.
func withAudit(next http.Handler, log logr.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record := &Record{Changes: r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions}
		answer := &answer{ResponseWriter: w}
		origin := OriginOf(r.Context())
		defer func() {
			failure := recover()
			if failure != nil && failure != http.ErrAbortHandler {
				log.Error(nil, "A request had no answer", "request", origin.Request, "method", r.Method, "path", r.URL.Path, "panic", failure, "stack", string(debug.Stack()))
				if answer.status == 0 {
					http.Error(answer, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
				}
			}
			if record.Changes {
				log.Info("write", "request", origin.Request, "client", origin.Client, "user", record.User, "via", record.Via, "method", r.Method,
					"path", r.URL.Path, "object", record.Object, "status", answer.status, "reason", record.Reason)
			}
			// An answer that was cut short must look so to the client.
			if failure != nil && (failure == http.ErrAbortHandler || answer.status != http.StatusInternalServerError) {
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), recordKey{}, record)))
	})
}

// answer remembers the status.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(content []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(content)
}

// Unwrap lets http.ResponseController find the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Package documented has what the document of the Mollymawk API says as a table:
// each statement with a request that brings it about. Tests compare the table with
// the document, and run it on whatever answers requests.
package documented

import (
	_ "embed" // the document's statements
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"mollymawk.dev/operator/internal/httpapi/apitest"
)

// Situation is how things are before a request. There is always the instance
// eu-west-2, and a user of the document with a token.
type Situation int

const (
	// Ordinary is how it is otherwise: nothing runs, and nothing is broken.
	Ordinary Situation = iota
	// Running has the unikernel hello-world.
	Running
	// Printed has it besides print [Printout].
	Printed
	// WithVolume has the volume data-vol-1 of 1024 MiB.
	WithVolume
	// WithData has the volume vol1 of 1 MiB with "hello block".
	WithData
	// Inactive has the user's account not active.
	Inactive
	// HostAway has a host that refuses connections.
	HostAway
	// HostGarbled has one whose answers make no sense.
	HostGarbled
	// StoreBroken has users that can be read and not be written.
	StoreBroken
	// CacheBroken has a failure where none is foreseen.
	CacheBroken
)

// Printout is what the console of hello-world has.
var Printout = []string{"[INFO] Application started", `<b> & "x"`}

// NotUnderstood is what is said of a host whose answers make no sense.
const NotUnderstood = "the host's answer is not understood: check that an Albatross of a supported version answers at this address"

// Case is one statement of the document and how to bring it about.
type Case struct {
	// Section, Status and Text are those of the document.
	Section string
	Status  int
	Text    string
	Given   Situation
	Ask     apitest.Ask
	// Title is that of the envelope if it is not the status, Data what is in it: an
	// object or a text.
	Title, Data string
	// Stream is the whole body where there is no envelope.
	Stream string
}

// Key is how the list of statements has a case.
func (c Case) Key() string { return fmt.Sprintf("%s | %d | %s", c.Section, c.Status, c.Text) }

// Envelope is the reply.
func (c Case) Envelope() string {
	title, data := c.Title, c.Data
	if title == "" {
		title = strconv.Itoa(c.Status)
	}
	if c.Status != 200 || !strings.HasPrefix(data, "{") {
		data = apitest.Quote(data)
	}
	return fmt.Sprintf(`{"status":%d,"title":%s,"success":%t,"data":%s}`, c.Status, apitest.Quote(title), c.Status == 200, data)
}

// Values stand in the table for what is another for each server.
type Values struct{ UserToken, AdminToken, UserUID string }

const (
	userToken  = "{user-token}"
	adminToken = "{admin-token}"
	userUID    = "{user-uid}"
)

// With puts the values of a server into the case.
func (c Case) With(v Values) Case {
	fill := strings.NewReplacer(userToken, v.UserToken, adminToken, v.AdminToken, userUID, v.UserUID)
	if c.Ask.JSON != nil {
		body, err := json.Marshal(c.Ask.JSON)
		if err != nil {
			panic(err) // the table's own mistake
		}
		c.Ask.JSON = json.RawMessage(fill.Replace(string(body)))
	}
	c.Ask.Bearer, c.Data = fill.Replace(c.Ask.Bearer), fill.Replace(c.Data)
	return c
}

//go:embed statements.txt
var statements string

// Statements are all that the document says, as [Case.Key] has it.
func Statements() map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(statements) {
		if !strings.HasPrefix(line, "#") {
			all[strings.TrimSuffix(line, "\n")] = true
		}
	}
	return all
}

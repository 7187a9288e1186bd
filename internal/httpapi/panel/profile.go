package panel

import (
	"net/http"
)

// Profile says with which status codes calls are answered.
type Profile string

const (
	// Documented has those of the API's documents, which are those of its releases.
	Documented Profile = "documented"
	// Source has those of the source since.
	Source Profile = "source"
)

// outcome is what the two profiles answer with different codes.
type outcome int

const (
	userFound outcome = iota
	userUnknown
	ownerUnknown
	instanceUnknown
	instanceDeleted
	instanceSuspended
	nodeUnknown
	nodeIDMissing
	nodeIDUnknown
)

// statuses are in the order of the outcomes: documented, source.
var statuses = [...][2]int{
	userFound:         {http.StatusCreated, http.StatusOK},
	userUnknown:       {http.StatusBadRequest, http.StatusNotFound},
	ownerUnknown:      {http.StatusBadRequest, http.StatusBadRequest},
	instanceUnknown:   {http.StatusBadRequest, http.StatusNotFound},
	instanceDeleted:   {http.StatusCreated, http.StatusOK},
	instanceSuspended: {http.StatusOK, http.StatusCreated},
	nodeUnknown:       {http.StatusBadRequest, http.StatusNotFound},
	nodeIDMissing:     {http.StatusBadRequest, http.StatusOK},
	nodeIDUnknown:     {http.StatusBadRequest, http.StatusCreated},
}

func (p Profile) status(o outcome) int {
	if p == Source {
		return statuses[o][1]
	}
	return statuses[o][0]
}

// when answers with the code that the profile has for an outcome.
func (c *call) when(o outcome, body any) reply {
	return reply{status: c.options().Profile.status(o), body: body}
}

// refusedWhen refuses with the code that the profile has for an outcome.
func (c *call) refusedWhen(o outcome, text string) reply { return c.when(o, failure{Error: text}) }

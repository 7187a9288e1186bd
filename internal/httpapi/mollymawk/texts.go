package mollymawk

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"mollymawk.dev/operator/internal/services"
)

// texts are what one call says about names and failures. They differ from call
// to call, as documented.
type texts struct {
	// instance and name come before what is wrong with a name.
	instance, name string
	// noInstance comes before the name of an instance that is not there.
	noInstance string
	// query comes before why a host could not be asked, refused before what it
	// answered, invalid before what is wrong with the request.
	query, refused, invalid string
	// garbled comes, if it is set, before a host's answer that makes no sense.
	garbled string
	// absent is what a host says about something that it does not have.
	absent string
}

var (
	createTexts = texts{
		instance: "Error converting instance name: ", name: "Error converting unikernel name: ", noInstance: "Error finding albatross instance: ",
		query: "Albatross Query Error: ", garbled: "Albatross JSON Error: ", refused: "Albatross Response Error: ", invalid: "Invalid unikernel arguments: ", absent: "create: not found",
	}
	destroyTexts = texts{
		instance: "Error converting instance name: ", name: "Error converting unikernel name: ", noInstance: "Error finding albatross instance: ",
		query: "Error querying albatross: ", absent: "destroy: not found",
	}
	restartTexts = texts{
		instance: "Error converting instance name: ", name: "Error converting unikernel name: ", noInstance: "Error finding albatross instance: ",
		query: "Error querying albatross: ", invalid: "Error parsing arguments: ", absent: "destroy: not found",
	}
	// queryTexts are for calls whose parameters are in the query.
	queryTexts = texts{
		instance: "Error with albatross instance name: ", name: "Couldn't convert unikernel name: ", noInstance: "Couldn't find albatross instance with name: ",
		query: "Error querying albatross: ", absent: "console: not found",
	}
	volumeTexts = texts{
		instance: "Error converting name to albatross instance ", name: "Invalid block name: ", noInstance: "Couldn't find albatross instance with name ",
		query: "an error with albatross. got ", refused: "an error with albatross. got ", absent: "set block: not found",
	}
	volumeDeleteTexts = texts{
		instance: "Error converting instance name: ", name: "Error converting block name: ", noInstance: "Couldn't find albatross instance with name: ",
		query: "Error querying albatross: ", absent: "remove block: not found",
	}
	downloadTexts = texts{
		instance: "Couldn't convert instance name: ", name: "Couldn't convert block name: ", noInstance: "Couldn't find albatross instance with name: ",
		query: "Error querying albatross: ", absent: "dump block: not found",
	}
	policyTexts = texts{
		instance: "Couldn't convert name to albatross instance: ", noInstance: "Couldn't find albatross instance with name: ",
		query: "error setting policy: ", refused: "error setting policy: ",
	}
	updateTexts = texts{
		instance: "Couldn't convert the instance name, error: ", name: "Couldn't convert the unikernel name, error: ",
		noInstance: "An error occured while finding albatross instance ", //nolint:misspell // the original's text
		invalid:    "Could not get the unikernel arguments json: ", absent: "update: not found",
	}
	rollbackTexts = texts{
		instance: "Couldn't convert instance name, ", name: "Couldn't convert unikernel name, ", noInstance: "Couldn't find albatross instance, ",
		absent: "rollback: not found",
	}
)

// names checks the names of an instance and of something on it, in this order.
func (t texts) names(instance, name string) (i, n string, refusal reply, fine bool) {
	if i, refusal, fine = t.instanceName(instance); !fine {
		return "", "", refusal, false
	}
	n, refusal, fine = t.objectName(name)
	return i, n, refusal, fine
}

func (t texts) instanceName(text string) (name string, refusal reply, fine bool) {
	name, err := label(text)
	if err != nil {
		return "", bad(t.instance + err.Error()), false
	}
	return name, reply{}, true
}

func (t texts) objectName(text string) (name string, refusal reply, fine bool) {
	name, err := label(text)
	if err != nil {
		return "", bad(t.name + err.Error()), false
	}
	return name, reply{}, true
}

// notUnderstood is in what is said about hosts that answer something else than
// Albatross does.
const notUnderstood = "answer is not understood"

// failed turns what a service answered into the documented text.
func (c *call) failed(t texts, err error) reply {
	var (
		notFound    *services.NotFound
		refused     *services.Refused
		unreachable *services.Unreachable
		notAdmitted *services.NotAdmitted
		timeout     *services.Timeout
	)
	const failed = http.StatusInternalServerError
	switch {
	case errors.As(err, &notFound) && isAbout(notFound, "instance"):
		return refuse(http.StatusNotFound, t.noInstance+notFound.Name)
	case errors.As(err, &notFound):
		return refuse(failed, t.refused+"failure: "+t.absent)
	case errors.As(err, &refused):
		return refuse(failed, t.refused+"failure: "+refused.Text)
	case errors.As(err, &notAdmitted):
		return refuse(failed, t.refused+"failure: "+notAdmitted.Error())
	case errors.As(err, &unreachable) && t.garbled != "" && strings.Contains(unreachable.Problem, notUnderstood):
		return refuse(failed, t.garbled+unreachable.Problem)
	case errors.As(err, &unreachable):
		return refuse(failed, t.query+unreachable.Problem)
	case errors.As(err, &timeout):
		return refuse(failed, t.query+timeout.Error())
	}
	return c.refusedHere(t, err)
}

// refusedHere is for what went wrong, or is not allowed, before a host was asked.
func (c *call) refusedHere(t texts, err error) reply {
	var conflict *services.Conflict
	var invalid *services.Invalid
	switch {
	case errors.As(err, &conflict):
		return refuse(http.StatusConflict, conflict.Error())
	case errors.As(err, &invalid):
		return bad(t.invalid + invalid.Error())
	case errors.Is(err, services.ErrForbidden):
		return refuse(http.StatusForbidden, notAllowedText)
	case errors.Is(err, services.ErrBusy):
		return reply{status: http.StatusServiceUnavailable, data: err.Error(), retryAfter: time.Second}
	case errors.Is(err, errTooLong):
		return c.unreadable(err)
	}
	return refuse(http.StatusInternalServerError, t.query+c.details(err))
}

// isAbout tells whether something is missing of which the services speak so.
func isAbout(missing *services.NotFound, what string) bool {
	return strings.Contains(missing.What, what)
}

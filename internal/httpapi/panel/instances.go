package panel

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

func (c *call) listInstances() reply {
	all, err := c.options().Unikernels.DeclaredUnikernels(c.ctx(), c.admin, "")
	if err != nil {
		return c.failed(err)
	}
	return c.shown(all)
}

// shown answers with the views of unikernels.
func (c *call) shown(all []v1alpha1.Unikernel) reply {
	known, err := c.surroundings()
	if err != nil {
		return c.failed(err)
	}
	views := make([]instanceView, 0, len(all))
	for i := range all {
		view, err := known.show(&all[i])
		if err != nil {
			return c.failed(err)
		}
		views = append(views, view)
	}
	return ok(views)
}

func (c *call) getUserInstance() reply {
	if !c.body.has("userId") {
		return bad(`Parameter "userId" is required`)
	}
	id, _ := c.body.text("userId")
	owner, refusal, fine := c.owner(id, userUnknown)
	if !fine {
		return refusal
	}
	if owner.Namespace == "" {
		return ok([]instanceView{})
	}
	all, err := c.options().Unikernels.DeclaredUnikernels(c.ctx(), c.admin, owner.Namespace)
	if err != nil {
		return c.failed(err)
	}
	return c.shown(all)
}

func (c *call) getInstance() reply {
	if !c.body.has("id") {
		return bad(`Parameter "id" is required`)
	}
	id, _ := c.body.text("id")
	uk, refusal, fine := c.instance(id)
	if !fine {
		return refusal
	}
	return c.shownOne(uk, "")
}

// shownOne answers with one unikernel and what was done with it.
func (c *call) shownOne(uk *v1alpha1.Unikernel, success string) reply {
	known, err := c.surroundings()
	if err != nil {
		return c.failed(err)
	}
	view, err := known.show(uk)
	if err != nil {
		return c.failed(err)
	}
	view.Success = success
	return ok(view)
}

// Texts about ids that name none, or several.
const (
	unknownInstanceText = "Instance not found"
	severalText         = "Several instances have this id; name one by its uid or by namespace/name"
)

// instance finds a unikernel by its id, its uid or its namespace and name.
func (c *call) instance(id string) (uk *v1alpha1.Unikernel, refusal reply, fine bool) {
	namespace, _, _ := strings.Cut(id, "/")
	if namespace == id {
		namespace = ""
	}
	all, err := c.options().Unikernels.DeclaredUnikernels(c.ctx(), c.admin, namespace)
	if err != nil {
		return nil, c.failed(err), false
	}
	found := slices.DeleteFunc(all, func(uk v1alpha1.Unikernel) bool { return !answersTo(&uk, id) })
	switch len(found) {
	case 0:
		return nil, c.refusedWhen(instanceUnknown, unknownInstanceText), false
	case 1:
		c.about(found[0].Namespace + "/" + found[0].Name)
		return &found[0], reply{}, true
	}
	return nil, c.when(instanceUnknown, failure{unknownInstanceText, severalText}), false
}

// idOf is by what a unikernel is known here: the first group of its uid.
func idOf(uk *v1alpha1.Unikernel) string {
	id, _, _ := strings.Cut(string(uk.UID), "-")
	return id
}

func answersTo(uk *v1alpha1.Unikernel, id string) bool {
	return id == idOf(uk) || id == string(uk.UID) || id == uk.Namespace+"/"+uk.Name
}

func (c *call) deleteInstance() reply {
	id, given := c.named("id")
	if !given {
		return bad("Missing ID parameter")
	}
	uk, refusal, fine := c.instance(id)
	if !fine {
		return refusal
	}
	if err := c.options().Unikernels.RemoveUnikernel(c.ctx(), c.admin, uk); err != nil {
		return c.refused(err)
	}
	return c.when(instanceDeleted, map[string]string{"message": "The instance has been successfully deleted."})
}

// named gives an id of the body, or of the query: some proxies drop the body of a
// DELETE.
func (c *call) named(name string) (id string, given bool) {
	if c.body.has(name) {
		return c.body.text(name)
	}
	id = c.r.URL.Query().Get(name)
	return id, id != ""
}

func (c *call) suspend() reply { return c.setSuspended(true, "Instance Suspended Successfully") }

func (c *call) unsuspend() reply { return c.setSuspended(false, "Instance Unsuspended Successfully") }

// setSuspended takes the id of the path, or of the body where the path has none.
func (c *call) setSuspended(suspended bool, done string) reply {
	id := c.id
	if id == "" {
		if !c.body.has("id") {
			return bad("Missing ID parameter")
		}
		id, _ = c.body.text("id")
	}
	uk, refusal, fine := c.instance(id)
	if !fine {
		return refusal
	}
	now, err := c.options().Unikernels.SuspendUnikernel(c.ctx(), c.admin, uk, suspended)
	switch {
	case isNotFound(err):
		return c.refusedWhen(instanceUnknown, unknownInstanceText)
	case err != nil:
		return c.refused(err)
	}
	if c.options().Profile == Source {
		return c.when(instanceSuspended, map[string]string{"success": done})
	}
	shown := c.shownOne(now, done)
	if shown.status == http.StatusOK {
		shown.status = c.options().Profile.status(instanceSuspended)
	}
	return shown
}

func isNotFound(err error) bool {
	var notFound *services.NotFound
	return errors.As(err, &notFound)
}

// refused turns what a service answered into what the caller is told.
func (c *call) refused(err error) reply {
	var (
		conflict    *services.Conflict
		invalid     *services.Invalid
		refused     *services.Refused
		notAdmitted *services.NotAdmitted
	)
	switch {
	case errors.As(err, &conflict):
		return refuse(http.StatusConflict, conflict.Error())
	case errors.As(err, &notAdmitted):
		return detailed("The node does not admit the user", notAdmitted.Error())
	case errors.As(err, &refused):
		return detailed(c.route.failure, refused.Error())
	case errors.As(err, &invalid):
		return detailed(invalidText(invalid.Field), invalid.Error())
	}
	return c.failed(err)
}

// invalidText says which of the parameters a field of an object stands for.
func invalidText(field string) string {
	for _, known := range []struct{ field, parameter string }{
		{"cpus", "cpu"}, {"cpuIDs", "cpu"}, {"memory", "memory"}, {"arguments", "variables"}, {"endpoint.host", "address"}, {"endpoint.port", "port"},
	} {
		if strings.Contains(field, known.field) {
			return "Invalid " + known.parameter
		}
	}
	return "Invalid parameters"
}

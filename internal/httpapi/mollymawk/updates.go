package mollymawk

import (
	"errors"
	"net/http"

	"mollymawk.dev/operator/internal/services"
)

// updateUnikernel has a unikernel run another build of its job.
func (c *call) updateUnikernel() reply {
	fields := map[string]string{}
	for _, name := range []string{"albatross_instance", "job", "to_be_updated_unikernel", "currently_running_unikernel", "unikernel_name"} {
		value, given := c.document.text(name)
		if !given {
			return bad("Couldn't find job or build in json. Received " + echo(c.document))
		}
		fields[name] = value
	}
	instance, refusal, fine := updateTexts.instanceName(fields["albatross_instance"])
	if !fine {
		return refusal.titled("Error: Bad instance name")
	}
	name, refusal, fine := updateTexts.objectName(fields["unikernel_name"])
	if !fine {
		return refusal.titled("Error: Bad unikernel name")
	}
	c.about(instance + "/" + name)
	request := services.UpdateRequest{
		Instance: instance, Name: name, Server: c.options().BuildServer, Job: fields["job"], Build: fields["to_be_updated_unikernel"],
	}
	if value, _ := c.document.get("unikernel_arguments"); value != nil {
		spec, err := parseConfig(value)
		if err != nil {
			return bad(updateTexts.invalid + err.Error()).titled("Error with Unikernel Arguments Json")
		}
		request.Spec = &spec
	}
	err := c.options().Updates.UpdateUnikernel(c.ctx(), c.id, request)
	if err == nil {
		return ok("Update successful. " + name + " is now running on build " + request.Build).titled("Update Successful")
	}
	failed := c.failed(updateTexts, err)
	switch {
	case isNotFound(err, "instance"):
		return failed.titled("Albatross Instance Error")
	case failed.status == http.StatusInternalServerError:
		failed.data = "Update failed. " + name + " failed to update to build " + request.Build + " with error " + failed.data.(string)
	}
	return failed.titled("Update Error")
}

func isNotFound(err error, what string) bool {
	var notFound *services.NotFound
	return errors.As(err, &notFound) && isAbout(notFound, what)
}

// rollbackUnikernel has a unikernel run what it ran before.
func (c *call) rollbackUnikernel() reply {
	name, named := c.document.text("unikernel_name")
	instance, given := c.document.text("albatross_instance")
	if !named || !given {
		return bad(textUnikernelName)
	}
	instance, name, refusal, fine := rollbackTexts.names(instance, name)
	if !fine {
		return refusal
	}
	c.about(instance + "/" + name)
	build, err := c.options().Updates.RollbackUnikernel(c.ctx(), c.id, instance, name)
	switch {
	case err == nil:
		return ok("Rollback successful. " + name + " is now running on build " + build).titled("Rollback Successful")
	case isNotFound(err, "instance"):
		return c.failed(rollbackTexts, err)
	case isNotFound(err, ""):
		return refuse(http.StatusNotFound, name+" rollback failed. Could not find the build information.").titled("Rollback Error")
	}
	failed := c.failed(rollbackTexts, err)
	if failed.status == http.StatusInternalServerError {
		failed.data = "Rollback failed. " + name + " failed to revert with error " + failed.data.(string)
	}
	return failed.titled("Rollback Error")
}

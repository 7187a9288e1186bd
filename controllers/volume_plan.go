package controllers

import (
	"fmt"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// What a host can be told about a volume; besides, what must be found out first.
const (
	actionAdd      action = "add"
	actionPopulate action = "populate"
	actionRemove   action = "remove"
	// actionInspect finds out whether a block that may be ours holds data.
	actionInspect action = "inspect"
)

// volumeInput is everything that the plan of a volume depends on.
type volumeInput struct {
	// size in MiB as declared.
	size int64
	// observed is the block of that name, nil when there is none.
	observed *albatross.Block
	// owned says that the object has our finalizer.
	owned bool
	// added says that the status has recorded that we made the block, and
	// populated that it was filled, or adopted as it was.
	added, populated bool
	// hasSource says that it shall be filled.
	hasSource bool
	name      albatross.Name
}

// planVolume decides what to do. Data is written only to a block that we made and
// have not filled yet. After a crash between making it and recording so, a block
// of zeros is as good as new, and anything else is somebody's data.
func planVolume(in volumeInput) decision {
	switch b := in.observed; {
	case b == nil: // also when it is gone with its data, which nothing can bring back but its source
		return decision{actionAdd, v1alpha1.ReasonCreating, "being added on the host"}
	case b.Size != in.size:
		return decision{actionRefuse, v1alpha1.ReasonNameTaken, fmt.Sprintf(
			"%s exists on the host with %d MiB, not %d MiB; choose another name, or remove it", in.name, b.Size, in.size)}
	case in.populated || !in.hasSource || !in.owned:
		// Without our finalizer we have not made it: it is adopted as it is.
		return decision{actionNone, v1alpha1.ReasonSucceeded, "there as declared"}
	case b.Active:
		return decision{actionRefuse, v1alpha1.ReasonNameTaken, fmt.Sprintf("%s is in use before it was filled; stop what uses it", in.name)}
	case in.added:
		return decision{actionPopulate, v1alpha1.ReasonPopulating, "being filled from its source"}
	}
	return decision{actionInspect, v1alpha1.ReasonPopulating, "being looked at before it is filled"}
}

package v1alpha1

// Finalizer keeps an object until what it stands for is gone from the host, and an AlbatrossInstance while objects need it.
const Finalizer = "mollymawk.dev/finalizer"

// Annotations that users set. The operator reads them and never writes them.
const (
	// AnnotationRestartedAt restarts a Unikernel whenever its value changes, like kubectl rollout restart. By convention the
	// value is the current time in RFC 3339; any text of at most 64 characters works.
	AnnotationRestartedAt = "mollymawk.dev/restartedAt"
	// AnnotationForce with the value "true" lets a Unikernel replace a unikernel of the same name that was not made for it.
	AnnotationForce = "mollymawk.dev/force"
	// AnnotationPaused with the value "true" makes the operator leave the object, and what it stands for on the host, alone.
	AnnotationPaused = "mollymawk.dev/paused"
	// AnnotationUpdateTo with the SHA-256 of the image in status.availableImage, or its first digits (12 at least), takes that
	// image up at once.
	AnnotationUpdateTo = "mollymawk.dev/updateTo"
	// AnnotationRollback with the number of a revision in status.history brings that image and configuration back and keeps it
	// until the annotation is removed.
	AnnotationRollback = "mollymawk.dev/rollback"
)

const (
	// AnnotationUserUID with the metadata.uid of a User gives a namespace to that user. The operator writes it into a namespace that
	// it makes for a user, and never changes it: a namespace whose user was deleted, and which a namesake of that user must not
	// inherit, is given to somebody else by an administrator only.
	AnnotationUserUID = "mollymawk.dev/user-uid"
	// LabelUser has the name of the User for whom a namespace or a Secret was made. It is for selectors, such as those of tenants of
	// an AlbatrossInstance, and says nothing about whose it is.
	LabelUser = "mollymawk.dev/user"
)

// Annotations in which the Panel API keeps what its callers sent and no field has. They are for the Panel API to answer with, and
// nothing else depends on them.
const (
	// PanelAnnotationPrefix is what they all begin with.
	PanelAnnotationPrefix = "panel.mollymawk.dev/"
	// AnnotationPanelName is the name as sent, of a Unikernel or an AlbatrossInstance: any text, while the name of an object is none.
	AnnotationPanelName = "panel.mollymawk.dev/name"
	// AnnotationPanelPorts is the port mapping of a Unikernel as sent, such as "8080:80": external ports and those of the unikernel.
	AnnotationPanelPorts = "panel.mollymawk.dev/ports"
	// AnnotationPanelPrimary is the external port of a Unikernel that is shown to people.
	AnnotationPanelPrimary = "panel.mollymawk.dev/primary"
	// AnnotationPanelVariables is a JSON object with the values that a Unikernel was given for the variables of its image.
	AnnotationPanelVariables = "panel.mollymawk.dev/variables"
	// AnnotationPanelImage is the image of a Unikernel as sent, with which the entry of the catalogue was found.
	AnnotationPanelImage = "panel.mollymawk.dev/image"
	// AnnotationPanelTags are the tags of an AlbatrossInstance as sent, in JSON.
	AnnotationPanelTags = "panel.mollymawk.dev/tags"
	// AnnotationPanelRAM, AnnotationPanelDisk and AnnotationPanelProcessor say in words what an AlbatrossInstance has.
	AnnotationPanelRAM       = "panel.mollymawk.dev/ram"
	AnnotationPanelDisk      = "panel.mollymawk.dev/disk"
	AnnotationPanelProcessor = "panel.mollymawk.dev/processor"
)

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Condition types of all kinds. They follow the kstatus conventions: Reconciling and Stalled are abnormal when True and are
// present only while they are True.
const (
	// ConditionReady is the sum of the other conditions. True: the object is as declared. False: it is not, and Reconciling or
	// Stalled says whether the operator goes on. Unknown: the host cannot be asked, the last known facts stay in status.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the operator is working on the object or waits for something that may change by itself.
	// The user need do nothing.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when the operator cannot go on before the user changes something; reason and message say what.
	ConditionStalled = "Stalled"
)

// Condition types of AlbatrossInstance.
const (
	// ConditionConnected is True while the host answers. Three failed probes in a row make it False, one good one True.
	ConditionConnected = "Connected"
	// ConditionCredentialsValid is True while the Secret holds a usable certificate and key. A broken new Secret makes it False;
	// the last good credential stays in use.
	ConditionCredentialsValid = "CredentialsValid"
	// ConditionPoliciesApplied is True when the policies of all tenants are in force on the host.
	ConditionPoliciesApplied = "PoliciesApplied"
)

// Condition types of Unikernel and Volume.
const (
	// ConditionHostAvailable is True while the instance exists, admits the namespace and is connected. Unikernel and Volume.
	ConditionHostAvailable = "HostAvailable"
	// ConditionImageReady is True when the image is at hand, verified, and fits the declared devices. Unikernel.
	ConditionImageReady = "ImageReady"
	// ConditionRunning is True while the host reports the unikernel as running. Unikernel.
	ConditionRunning = "Running"
	// ConditionHealthy is True while the probe succeeds; present when spec.probe is set. It is part of Ready. Unikernel.
	ConditionHealthy = "Healthy"
	// ConditionUpdateAvailable is True when the source delivers a newer image than the one in use; present for sources that may
	// change. Unknown: the source could not be asked lately. Unikernel.
	ConditionUpdateAvailable = "UpdateAvailable"
	// ConditionRolledBack is True, and present only, while an earlier revision runs instead of what spec declares: after a change
	// that did not become healthy, or as the annotation mollymawk.dev/rollback asks. Unikernel.
	ConditionRolledBack = "RolledBack"
	// ConditionProvisioned is True when the volume exists on the host in the declared size. Volume.
	ConditionProvisioned = "Provisioned"
	// ConditionPopulated is True when the volume was filled from its source, or has none. Volume.
	ConditionPopulated = "Populated"
)

// Condition types of User.
const (
	// ConditionNamespaceReady is True while the user's namespace exists and belongs to the user, and the user has rights in it.
	ConditionNamespaceReady = "NamespaceReady"
)

// Reasons of conditions that are as they should be.
const (
	// ReasonSucceeded is set when the condition holds. There is nothing to do.
	ReasonSucceeded = "Succeeded"
	// ReasonSuspended is set on Ready and Running when spec.suspended is true and the unikernel is stopped. Set suspended to
	// false to start it.
	ReasonSuspended = "Suspended"
	// ReasonInactive is set on Ready and NamespaceReady when spec.active of a User is false: the user can neither log in nor use
	// tokens, and has no rights in its namespace. Set active to true to admit the user.
	ReasonInactive = "Inactive"
	// ReasonPaused is set on Ready when the annotation mollymawk.dev/paused is "true": the operator leaves the object and what is
	// on the host alone. Ready stays True if it was; else the object is Stalled. Remove the annotation to go on.
	ReasonPaused = "Paused"
)

// Reasons of Reconciling: the operator is working or waiting; the user need do nothing.
const (
	// ReasonProgressing is set when work is going on that has no reason of its own, and before the first look at the host.
	ReasonProgressing = "Progressing"
	// ReasonResolving is set while the source is asked what a tag, the latest build or a catalogue entry stands for.
	ReasonResolving = "Resolving"
	// ReasonFetching is set while an image or the content of a volume is being fetched.
	ReasonFetching = "Fetching"
	// ReasonCreating is set while the unikernel or volume is being made on the host.
	ReasonCreating = "Creating"
	// ReasonReplacing is set while the running unikernel is being replaced because its image changed.
	ReasonReplacing = "Replacing"
	// ReasonReconfiguring is set while the unikernel is being restarted with other arguments, memory, CPUs or devices.
	ReasonReconfiguring = "Reconfiguring"
	// ReasonRestarting is set while the unikernel is being restarted on demand, or brought back after it was gone. The time until
	// the next try grows from 10 s to 5 min.
	ReasonRestarting = "Restarting"
	// ReasonStopping is set while the unikernel is being destroyed because it was suspended.
	ReasonStopping = "Stopping"
	// ReasonMoving is set while the unikernel is being moved to another instance.
	ReasonMoving = "Moving"
	// ReasonRollingBack is set while an earlier revision is being brought back.
	ReasonRollingBack = "RollingBack"
	// ReasonProbing is set until the probe of a unikernel that was just started succeeds.
	ReasonProbing = "Probing"
	// ReasonUnhealthy is set when the probe of a running unikernel fails; the message says how. The operator goes on probing. See
	// the unikernel's console.
	ReasonUnhealthy = "Unhealthy"
	// ReasonUpdateAvailable is set on UpdateAvailable when it is True. Take the image up with the annotation
	// mollymawk.dev/updateTo, or set the update policy Automatic.
	ReasonUpdateAvailable = "UpdateAvailable"
	// ReasonPopulating is set while a volume is being filled from its source.
	ReasonPopulating = "Populating"
	// ReasonDeleting is set while the object is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonInUse is set when a deletion waits: a volume is attached to a unikernel, or objects still need the instance. Delete
	// these first.
	ReasonInUse = "InUse"
	// ReasonWaitingForVolume is set when a Volume that the unikernel needs does not exist or is not ready yet. See that Volume.
	ReasonWaitingForVolume = "WaitingForVolume"
	// ReasonInstanceNotFound is set when the AlbatrossInstance of instanceRef does not exist. Create it, or mend the name.
	ReasonInstanceNotFound = "InstanceNotFound"
	// ReasonInstanceNotReady is set when the AlbatrossInstance exists and the operator has not connected to it yet. See the
	// conditions of the instance.
	ReasonInstanceNotReady = "InstanceNotReady"
	// ReasonHostUnreachable is set when the host does not answer. The last known facts stay in status. Check the host and the
	// network; the operator tries again by itself. While an object is being deleted, deletionPolicy Orphan frees it without the
	// host.
	ReasonHostUnreachable = "HostUnreachable"
	// ReasonHostError is set when the host failed in a way that may pass. The operator tries again with growing pauses; the
	// message has the host's text.
	ReasonHostError = "HostError"
	// ReasonImageFetchFailed is set when fetching failed in a way that may pass, such as a server that does not answer. The
	// operator tries again with growing pauses.
	ReasonImageFetchFailed = "ImageFetchFailed"
	// ReasonCatalogEntryNotFound is set when the UnikernelImage of image.catalog does not exist. Create it, or mend the name.
	ReasonCatalogEntryNotFound = "CatalogEntryNotFound"
	// ReasonSecretNotFound is set when a Secret that the source needs, or a key in it, does not exist. Create it, or mend the name.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonUnschedulable is set when the instance takes no new unikernels and volumes. Set spec.unschedulable of the instance to
	// false, or choose another instance.
	ReasonUnschedulable = "Unschedulable"
)

// Reasons of Stalled: the operator goes on when the user has changed something.
const (
	// ReasonCredentialsMissing is set when the Secret of credentialsSecretRef, or one of its keys, does not exist. Create it in
	// the operator's namespace with tls.crt, tls.key and ca.crt.
	ReasonCredentialsMissing = "CredentialsMissing"
	// ReasonCredentialsInvalid is set when the Secret holds no usable certificate and key, they do not belong together or have
	// expired, or the host refuses them. Put a right pair into the Secret.
	ReasonCredentialsInvalid = "CredentialsInvalid"
	// ReasonCredentialsExpiring is set on CredentialsValid (which stays True) when a certificate of the credential expires in less
	// than 7 days. Renew it.
	ReasonCredentialsExpiring = "CredentialsExpiring"
	// ReasonHostCertificateInvalid is set when the host's certificate does not verify with ca.crt. Put the right certificate
	// authority into the Secret, or mend the host.
	ReasonHostCertificateInvalid = "HostCertificateInvalid"
	// ReasonNamespaceNotAdmitted is set when no tenant of the instance admits the object's namespace. Have the namespace added to
	// spec.tenants of the instance.
	ReasonNamespaceNotAdmitted = "NamespaceNotAdmitted"
	// ReasonNoPolicy is set when the tenant has no policy in spec and none is in force on the host; without one the path would be
	// unlimited. Have a policy added to the tenant in the instance.
	ReasonNoPolicy = "NoPolicy"
	// ReasonPolicyRefused is set when the host refuses the policy of a tenant; the message has the host's text. The last accepted
	// policy stays in use. Change the policy in the instance.
	ReasonPolicyRefused = "PolicyRefused"
	// ReasonPolicyExceeded is set when what is declared does not fit into the tenant's policy. Declare less, delete other objects,
	// or have the policy widened.
	ReasonPolicyExceeded = "PolicyExceeded"
	// ReasonEmailTaken is set when a User that was made earlier has the same e-mail address, and logs in by it. Choose another
	// address, or delete the other User.
	ReasonEmailTaken = "EmailTaken"
	// ReasonNamespaceMissing is set when the user's namespace does not exist and the operator does not make namespaces. Create it
	// with the annotation mollymawk.dev/user-uid; the message has its value.
	ReasonNamespaceMissing = "NamespaceMissing"
	// ReasonNamespaceTaken is set when the user's namespace exists and belongs to somebody else, such as an earlier user of the same
	// name. Choose another namespace, or give this one to the user by its annotation mollymawk.dev/user-uid; the message has its
	// value.
	ReasonNamespaceTaken = "NamespaceTaken"
	// ReasonNameTaken is set when the host has something of this name that was not made for this object and differs from what is
	// declared. Choose another name, remove the other, or set the annotation mollymawk.dev/force to "true" to replace it.
	ReasonNameTaken = "NameTaken"
	// ReasonImageInvalid is set when the fetched bytes are not an image that can run as declared: no Solo5 unikernel, or its
	// manifest names other devices than spec. The message says which. Change the image or the devices.
	ReasonImageInvalid = "ImageInvalid"
	// ReasonImageNotFound is set when the source says for certain that there is no such image. Mend the source.
	ReasonImageNotFound = "ImageNotFound"
	// ReasonImageForbidden is set when the source refuses the operator's credentials, or its address may not be fetched from. Mend
	// the Secret or the address.
	ReasonImageForbidden = "ImageForbidden"
	// ReasonDigestMismatch is set when the fetched bytes do not have the declared SHA-256. They are not used. Mend sha256 or the
	// source.
	ReasonDigestMismatch = "DigestMismatch"
	// ReasonContentTooLarge is set when the content of a volume does not fit into its size, or an image is above the operator's
	// limit. Declare a larger volume or a smaller content.
	ReasonContentTooLarge = "ContentTooLarge"
	// ReasonExited is set when a unikernel with restartPolicy OnFailure or Never has ended for good; the host does not tell whether
	// as it was meant to. Set the annotation mollymawk.dev/restartedAt to start it again.
	ReasonExited = "Exited"
	// ReasonRefused is set when the host refused the command for good; the message has the host's text. Change what is declared.
	ReasonRefused = "Refused"
	// ReasonRolledBack is set when a change did not become healthy in time and the last good revision was brought back. It is not
	// tried again before the declaration changes or a newer image appears. With the annotation mollymawk.dev/rollback the object
	// is ready with this reason. See the message and status.rollback.
	ReasonRolledBack = "RolledBack"
	// ReasonProgressDeadlineExceeded is set when a unikernel did not become healthy in time and there is no good revision to bring
	// back. The operator goes on probing. See the unikernel's console, and mend the image, the configuration or the probe.
	ReasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// ReasonRevisionNotFound is set when the annotation mollymawk.dev/rollback names no revision of status.history that can be
	// brought back. Mend or remove the annotation.
	ReasonRevisionNotFound = "RevisionNotFound"
)

// GetConditions gives the conditions of the object's status.
func (in *AlbatrossInstance) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the object's status.
func (in *AlbatrossInstance) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetConditions gives the conditions of the object's status.
func (in *Unikernel) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the object's status.
func (in *Unikernel) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetConditions gives the conditions of the object's status.
func (in *Volume) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the object's status.
func (in *Volume) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetConditions gives the conditions of the object's status.
func (in *User) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the object's status.
func (in *User) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"mollymawk.dev/operator/api/v1alpha1"
)

const (
	// maxHistory is how many revisions status keeps.
	maxHistory = 10
	// maxHistoryConfig is how many bytes the configurations of all revisions may
	// have, far below what an API server takes for an object.
	maxHistoryConfig = 128 << 10
)

// revisionConfig is the part of spec that a rollback brings back: all that the
// host is told, but not the image.
type revisionConfig struct {
	Memory             *resource.Quantity          `json:"memory,omitempty"`
	CPUIDs             []v1alpha1.CPUID            `json:"cpuIDs,omitempty"`
	CPUs               int32                       `json:"cpus,omitempty"`
	Arguments          []string                    `json:"arguments,omitempty"`
	NetworkInterfaces  []v1alpha1.NetworkInterface `json:"networkInterfaces,omitempty"`
	BlockDevices       []v1alpha1.BlockDevice      `json:"blockDevices,omitempty"`
	RestartPolicy      *v1alpha1.RestartPolicy     `json:"restartPolicy,omitempty"`
	StartupPriority    int32                       `json:"startupPriority,omitempty"`
	LinuxBootPartition string                      `json:"linuxBootPartition,omitempty"`
}

func configOf(spec *v1alpha1.UnikernelSpec) *runtime.RawExtension {
	text, err := json.Marshal(revisionConfig{
		Memory: spec.Memory, CPUIDs: spec.CPUIDs, CPUs: spec.CPUs, Arguments: spec.Arguments,
		NetworkInterfaces: spec.NetworkInterfaces, BlockDevices: spec.BlockDevices, RestartPolicy: spec.RestartPolicy,
		StartupPriority: spec.StartupPriority, LinuxBootPartition: spec.LinuxBootPartition,
	})
	if err != nil {
		panic(fmt.Sprintf("a configuration has no cycles and no functions: %v", err))
	}
	return &runtime.RawExtension{Raw: text}
}

// withConfig gives spec with the configuration of a revision.
func withConfig(spec *v1alpha1.UnikernelSpec, config *runtime.RawExtension) (*v1alpha1.UnikernelSpec, error) {
	var c revisionConfig
	if err := json.Unmarshal(config.Raw, &c); err != nil {
		return nil, fmt.Errorf("the configuration in history cannot be read: %w", err)
	}
	with := spec.DeepCopy()
	with.Memory, with.CPUIDs, with.CPUs, with.Arguments = c.Memory, c.CPUIDs, c.CPUs, c.Arguments
	with.NetworkInterfaces, with.BlockDevices, with.RestartPolicy = c.NetworkInterfaces, c.BlockDevices, c.RestartPolicy
	with.StartupPriority, with.LinuxBootPartition = c.StartupPriority, c.LinuxBootPartition
	return with, nil
}

// inForce is what shall run: what spec declares, or a revision that was brought
// back.
type inForce struct {
	spec *v1alpha1.UnikernelSpec
	// digest of the image; empty for type bhyve, which has none, and while it is
	// not known.
	digest  string
	version string
	// source names where the image comes from.
	source string
	// revision is set when it is not what spec declares.
	revision *v1alpha1.Revision
}

// findInForce works it out from spec and status. A revision that cannot be brought
// back is an error, and what spec declares is given too.
func findInForce(uk *v1alpha1.Unikernel) (inForce, error) {
	declared := declaredInForce(uk)
	number, asked := revisionAsked(uk)
	if !asked {
		return declared, nil
	}
	i := slices.IndexFunc(uk.Status.History, func(r v1alpha1.Revision) bool { return strconv.FormatInt(r.Revision, 10) == number })
	if i < 0 {
		return declared, fmt.Errorf("status.history has no revision %q", number)
	}
	revision := uk.Status.History[i].DeepCopy()
	if revision.Config == nil {
		return declared, fmt.Errorf("status.history does not have the configuration of revision %s any more", number)
	}
	spec, err := withConfig(&uk.Spec, revision.Config)
	if err != nil {
		return declared, err
	}
	return inForce{spec: spec, digest: revision.Digest, version: revision.Version, source: revision.Source, revision: revision}, nil
}

// revisionAsked gives the revision that shall run instead of what spec declares:
// the user's, or the one that a failed change was rolled back to.
func revisionAsked(uk *v1alpha1.Unikernel) (number string, asked bool) {
	if number = uk.Annotations[v1alpha1.AnnotationRollback]; number != "" {
		return number, true
	}
	if rollback := uk.Status.Rollback; rollback != nil {
		return strconv.FormatInt(rollback.Revision, 10), true
	}
	return "", false
}

func declaredInForce(uk *v1alpha1.Unikernel) inForce {
	f := inForce{spec: &uk.Spec}
	switch image, found := uk.Spec.Image, uk.Status.Image; {
	case image == nil:
	case image.URL != "":
		f.digest, f.source = string(image.SHA256), image.URL
	case image.Stored != nil:
		f.digest, f.source = string(image.Stored.SHA256), sourceText(&image.ContentSource)
	case found != nil:
		f.digest, f.version, f.source = found.Digest, found.Version, found.Source
		if len(found.Arguments) > 0 && len(uk.Spec.Arguments) == 0 {
			f.spec = uk.Spec.DeepCopy()
			f.spec.Arguments = found.Arguments
		}
	}
	return f
}

// declarationHash names what is declared, with the image that a source was found
// to have, so that a change that failed is not tried again while it is the same.
func declarationHash(uk *v1alpha1.Unikernel) string {
	text := strconv.FormatInt(uk.Generation, 10)
	if image := uk.Status.Image; image != nil {
		text = fmt.Sprintf("%s %s %q", text, image.Digest, image.Arguments)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// recordRevision puts what was deployed at the front of the history, unless it
// is what stands there.
func (s *unikernelScope) recordRevision(reason string) {
	st := &s.uk.Status
	next := v1alpha1.Revision{
		Revision: 1, Digest: s.desired.digest, Version: s.inForce.version, Source: s.inForce.source, ConfigHash: s.desired.configHash(),
		Config: configOf(s.inForce.spec), Reason: reason, DeployedAt: new(metav1.NewTime(s.now()).Rfc3339Copy()),
	}
	if len(st.History) > 0 {
		if sameRevision(st.History[0], next) {
			return
		}
		next.Revision = st.History[0].Revision + 1
	}
	st.History = trimHistory(append([]v1alpha1.Revision{next}, st.History...), s.inForce.revision)
}

func sameRevision(a, b v1alpha1.Revision) bool {
	return a.Digest == b.Digest && a.ConfigHash == b.ConfigHash
}

// trimHistory keeps the newest revisions and as many configurations as there is
// room for. The one in force is never lost, nor the last good one.
func trimHistory(history []v1alpha1.Revision, inForce *v1alpha1.Revision) []v1alpha1.Revision {
	good := lastGood(history)
	needed := func(r v1alpha1.Revision) bool {
		return inForce != nil && r.Revision == inForce.Revision || good != nil && r.Revision == good.Revision
	}
	for len(history) > maxHistory {
		i := len(history) - 1
		for needed(history[i]) {
			i--
		}
		history = slices.Delete(history, i, i+1)
	}
	room := maxHistoryConfig
	for _, keepNeeded := range []bool{true, false} { // what is needed has the first claim on the room
		for i := range history {
			if config := history[i].Config; config != nil && needed(history[i]) == keepNeeded {
				if room -= len(config.Raw); room < 0 && !keepNeeded {
					history[i].Config = nil
				}
			}
		}
	}
	return history
}

// lastGood gives the newest revision before the first one with which the unikernel
// was ready and which differs from it, if it can be brought back.
func lastGood(history []v1alpha1.Revision) *v1alpha1.Revision {
	for i := range history {
		if r := &history[i]; i > 0 && r.Healthy && r.Config != nil && !sameRevision(*r, history[0]) {
			return r
		}
	}
	return nil
}

package controllers

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/outcome"
)

// Configurations of earlier revisions are in a Secret of the operator's namespace,
// since arguments may hold secrets and everybody who may read a Unikernel can read
// its status.
// +kubebuilder:rbac:groups="",namespace=system,resources=secrets,verbs=create;patch;delete

const (
	// revisionsSecret is how the names of these Secrets begin; the UID follows.
	revisionsSecret = "revisions-"
	// annotationUnikernel says to people whose revisions a Secret has.
	annotationUnikernel = v1alpha1.GroupName + "/unikernel"
	// maxConfigs is how many bytes the kept configurations of a unikernel may have,
	// far below what an API server takes for an object.
	maxConfigs = 256 << 10
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

// runningConfig is the configuration that the host reports. Spec has been changed
// by then. Whether the operator or nobody brings back what is gone, a host does not
// know; that stays as it is declared.
func runningConfig(info albatross.Info, declared *v1alpha1.UnikernelSpec) revisionConfig {
	c := revisionConfig{
		Memory: new(v1alpha1.FromMiB(info.Memory)), CPUIDs: cpuIDs(info.CPUIDs), CPUs: int32(info.NumCPUs), Arguments: info.Argv, //nolint:gosec // hosts have few
		StartupPriority: int32(priority(info.Startup)), LinuxBootPartition: orEmpty(info.LinuxBootPartition), //nolint:gosec // at most 100
	}
	if declared.RestartPolicyOrDefault() != v1alpha1.RestartOnFailure {
		c.RestartPolicy = declared.RestartPolicy
	}
	if info.FailBehaviour.Restart {
		c.RestartPolicy = &v1alpha1.RestartPolicy{Type: v1alpha1.RestartOnFailure}
		for _, code := range info.FailBehaviour.ExitCodes {
			c.RestartPolicy.ExitCodes = append(c.RestartPolicy.ExitCodes, v1alpha1.ExitCode(code)) //nolint:gosec // at most 255
		}
	}
	for _, b := range info.Bridges {
		c.NetworkInterfaces = append(c.NetworkInterfaces, v1alpha1.NetworkInterface{Name: b.Device, Bridge: v1alpha1.BridgeName(b.HostDevice), MAC: b.MAC.String()})
	}
	for _, b := range info.Blocks {
		c.BlockDevices = append(c.BlockDevices, v1alpha1.BlockDevice{Name: b.Device, HostDevice: b.HostDevice, SectorSize: int32(b.SectorSize)}) //nolint:gosec // a sector is small
	}
	return c
}

// onto gives spec with the configuration.
func (c revisionConfig) onto(spec *v1alpha1.UnikernelSpec) *v1alpha1.UnikernelSpec {
	with := spec.DeepCopy()
	with.Memory, with.CPUIDs, with.CPUs, with.Arguments = c.Memory, c.CPUIDs, c.CPUs, c.Arguments
	with.NetworkInterfaces, with.BlockDevices, with.RestartPolicy = c.NetworkInterfaces, c.BlockDevices, c.RestartPolicy
	with.StartupPriority, with.LinuxBootPartition = c.StartupPriority, c.LinuxBootPartition
	return with
}

func (s *unikernelScope) configsKey() client.ObjectKey {
	return client.ObjectKey{Namespace: s.Namespace, Name: revisionsSecret + string(s.uk.UID)}
}

// keptConfigs reads the configurations of earlier revisions.
func (s *unikernelScope) keptConfigs(ctx context.Context) (map[int64]revisionConfig, error) {
	var secret corev1.Secret
	if err := s.Get(ctx, s.configsKey(), &secret); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return readConfigs(secret.Data), nil
}

// readConfigs leaves out what it cannot read.
func readConfigs(data map[string][]byte) map[int64]revisionConfig {
	configs := map[int64]revisionConfig{}
	for key, text := range data {
		var c revisionConfig
		if revision, err := strconv.ParseInt(key, 10, 64); err == nil && json.Unmarshal(text, &c) == nil {
			configs[revision] = c
		}
	}
	return configs
}

// keepConfig saves the configuration of what runs before something else does. It
// is that of the newest revision; when that is not what runs, nothing is kept.
func (s *unikernelScope) keepConfig(ctx context.Context) (kept bool, err error) {
	running, ok := s.snapshot.Unikernels[s.at.name.String()]
	history := s.uk.Status.History
	if !ok || len(history) == 0 || history[0].Digest != hex.EncodeToString(running.Info.Digest) {
		return false, nil
	}
	text, err := json.Marshal(runningConfig(running.Info, &s.uk.Spec))
	if err != nil {
		panic(fmt.Sprintf("a configuration has no cycles and no functions: %v", err))
	}
	var secret corev1.Secret
	err = s.Get(ctx, s.configsKey(), &secret)
	if client.IgnoreNotFound(err) != nil {
		return false, err
	}
	missing := apierrors.IsNotFound(err)
	next := secret.DeepCopy()
	next.Data = withConfig(secret.Data, history, text)
	if !missing {
		return true, s.Patch(ctx, next, client.MergeFrom(&secret))
	}
	next.ObjectMeta = metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.configsKey().Name, Annotations: map[string]string{annotationUnikernel: client.ObjectKeyFromObject(s.uk).String()},
	}
	return true, s.Create(ctx, next)
}

// withConfig adds the configuration of the newest revision, and keeps of the others
// what history still has and there is room for, the newest first.
func withConfig(data map[string][]byte, history []v1alpha1.Revision, newest []byte) map[string][]byte {
	kept, room := map[string][]byte{}, maxConfigs
	for i, r := range history {
		key := strconv.FormatInt(r.Revision, 10)
		text := data[key]
		if i == 0 {
			text = newest
		}
		if room -= len(text); len(text) == 0 || room < 0 {
			continue
		}
		kept[key] = slices.Clone(text)
	}
	return kept
}

// forget removes what is kept of an object that is about to go.
func (s *unikernelScope) forget(ctx context.Context) outcome.Outcome {
	s.updates.forget(s.uk.UID)
	var secret corev1.Secret
	err := s.Get(ctx, s.configsKey(), &secret)
	if err == nil {
		err = s.Delete(ctx, &secret)
	}
	if client.IgnoreNotFound(err) != nil {
		return outcome.Retry(err)
	}
	return outcome.Continue()
}

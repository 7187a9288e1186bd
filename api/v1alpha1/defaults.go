package v1alpha1

import (
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// What the operator takes for a field that is absent. The values are never written into spec.
const (
	// DefaultPort is the TCP port of albatross-tls-endpoint.
	DefaultPort int32 = 1025
	// DefaultPollInterval is the time between two looks at a host.
	DefaultPollInterval = 30 * time.Second
	// DefaultMemoryMiB is the memory of a unikernel in MiB.
	DefaultMemoryMiB int64 = 32
	// DefaultCPUs is the number of virtual CPUs of a unikernel.
	DefaultCPUs int32 = 1
	// DefaultStartupPriority is the startup priority that hosts take when none is sent.
	DefaultStartupPriority int32 = 50
	// DefaultUpdateInterval is the time between two looks for a new image.
	DefaultUpdateInterval = time.Hour
	// DefaultProgressDeadline is how long a changed unikernel may take until its probe succeeds.
	DefaultProgressDeadline = time.Minute
	// DefaultBuildServer is the build server of a BuildSource.
	DefaultBuildServer = "https://builds.robur.coop"
	// DefaultProbePeriod is the time between two probes.
	DefaultProbePeriod = 10 * time.Second
	// DefaultProbeTimeout is how long one probe may take.
	DefaultProbeTimeout = 5 * time.Second
	// DefaultSuccessThreshold is how many probes in a row must succeed.
	DefaultSuccessThreshold int32 = 1
	// DefaultFailureThreshold is how many probes in a row must fail.
	DefaultFailureThreshold int32 = 3
	// DefaultDNSPort is the port of a name server.
	DefaultDNSPort int32 = 53
)

const bytesPerMiB = 1 << 20

// MiB gives a quantity in MiB. The schema admits whole MiB only; anything else is rounded down.
func MiB(q resource.Quantity) int64 { return q.Value() / bytesPerMiB }

// FromMiB gives a number of MiB as a quantity, printed with a binary suffix.
func FromMiB(n int64) resource.Quantity {
	return *resource.NewQuantity(n*bytesPerMiB, resource.BinarySI)
}

// PortOrDefault gives the TCP port of the endpoint.
func (e Endpoint) PortOrDefault() int32 {
	if e.Port == 0 {
		return DefaultPort
	}
	return e.Port
}

// PollIntervalOrDefault gives the time between two looks at the host.
func (s *AlbatrossInstanceSpec) PollIntervalOrDefault() time.Duration {
	if s.PollInterval == nil {
		return DefaultPollInterval
	}
	return s.PollInterval.Duration
}

// TypeOrDefault gives the kind of virtual machine.
func (s *UnikernelSpec) TypeOrDefault() UnikernelType {
	if s.Type == "" {
		return UnikernelTypeSolo5
	}
	return s.Type
}

// MemoryMiB gives the memory of the unikernel in MiB.
func (s *UnikernelSpec) MemoryMiB() int64 {
	if s.Memory == nil {
		return DefaultMemoryMiB
	}
	return MiB(*s.Memory)
}

// CPUsOrDefault gives the number of virtual CPUs.
func (s *UnikernelSpec) CPUsOrDefault() int32 {
	if s.CPUs == 0 {
		return DefaultCPUs
	}
	return s.CPUs
}

// RestartPolicyOrDefault gives the type of the restart policy.
func (s *UnikernelSpec) RestartPolicyOrDefault() RestartPolicyType {
	if s.RestartPolicy == nil {
		return RestartAlways
	}
	return s.RestartPolicy.Type
}

// IsActive tells whether the user may log in and use tokens.
func (u *User) IsActive() bool { return u.Spec.Active == nil || *u.Spec.Active }

// NamespaceOrDefault gives the name of the namespace with the user's unikernels and volumes.
func (u *User) NamespaceOrDefault() string {
	if u.Spec.Namespace == "" {
		return u.Name
	}
	return u.Spec.Namespace
}

// ExternalIDOrDefault gives the id by which another system knows the user.
func (u *User) ExternalIDOrDefault() string {
	if u.Spec.ExternalID == "" {
		return string(u.UID)
	}
	return u.Spec.ExternalID
}

// Precedes tells which of two users with the same e-mail address or external id has it: the one made first.
func (u *User) Precedes(other *User) bool {
	if !u.CreationTimestamp.Equal(&other.CreationTimestamp) {
		return u.CreationTimestamp.Before(&other.CreationTimestamp)
	}
	return u.UID < other.UID
}

// CPUIDsFor gives the physical CPUs for the unikernel: those of spec; else those it runs on already, when the policy allows all
// of them; else one of the allowed ones, chosen by the unikernel's name so that many unikernels spread. It is nil when neither
// spec nor allowed names a CPU.
func (s *UnikernelSpec) CPUIDsFor(name string, allowed, running []CPUID) []CPUID {
	if len(s.CPUIDs) > 0 {
		return s.CPUIDs
	}
	permitted := func(id CPUID) bool { return slices.Contains(allowed, id) }
	if len(running) > 0 && !slices.ContainsFunc(running, func(id CPUID) bool { return !permitted(id) }) {
		return running
	}
	if len(allowed) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(allowed))
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return []CPUID{sorted[int(h.Sum32()%uint32(len(sorted)))]} //nolint:gosec // a list of CPUs is short
}

// PolicyOrDefault says who takes up a new image.
func (u *UpdateStrategy) PolicyOrDefault() UpdatePolicy {
	if u == nil || u.Policy == "" {
		return UpdateManual
	}
	return u.Policy
}

// IntervalOrDefault gives the time between two looks for a new image.
func (u *UpdateStrategy) IntervalOrDefault() time.Duration {
	if u == nil || u.Interval == nil {
		return DefaultUpdateInterval
	}
	return u.Interval.Duration
}

// ProgressDeadlineOrDefault gives how long a changed unikernel may take until its probe succeeds.
func (u *UpdateStrategy) ProgressDeadlineOrDefault() time.Duration {
	if u == nil || u.ProgressDeadline == nil {
		return DefaultProgressDeadline
	}
	return u.ProgressDeadline.Duration
}

// ServerOrDefault gives the address of the build server.
func (b *BuildSource) ServerOrDefault() string {
	if b.Server == "" {
		return DefaultBuildServer
	}
	return b.Server
}

// HasDigest tells whether the reference names one artifact for ever.
func (o *OCISource) HasDigest() bool { return strings.Contains(o.Reference, "@") }

// PeriodOrDefault gives the time between two probes.
func (p *Probe) PeriodOrDefault() time.Duration {
	if p.Period == nil {
		return DefaultProbePeriod
	}
	return p.Period.Duration
}

// TimeoutOrDefault gives how long one probe may take.
func (p *Probe) TimeoutOrDefault() time.Duration {
	if p.Timeout == nil {
		return DefaultProbeTimeout
	}
	return p.Timeout.Duration
}

// SuccessThresholdOrDefault gives how many probes in a row must succeed.
func (p *Probe) SuccessThresholdOrDefault() int32 {
	if p.SuccessThreshold == 0 {
		return DefaultSuccessThreshold
	}
	return p.SuccessThreshold
}

// FailureThresholdOrDefault gives how many probes in a row must fail.
func (p *Probe) FailureThresholdOrDefault() int32 {
	if p.FailureThreshold == 0 {
		return DefaultFailureThreshold
	}
	return p.FailureThreshold
}

// PortOrDefault gives the port of the name server.
func (p *DNSProbe) PortOrDefault() int32 {
	if p.Port == 0 {
		return DefaultDNSPort
	}
	return p.Port
}

// RecordTypeOrDefault gives the type of the records that are asked for.
func (p *DNSProbe) RecordTypeOrDefault() DNSRecordType {
	if p.RecordType == "" {
		return DNSRecordA
	}
	return p.RecordType
}

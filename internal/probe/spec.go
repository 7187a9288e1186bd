package probe

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"mollymawk.dev/operator/api/v1alpha1"
)

// Spec says what to ask, how often, and how many answers decide. All of HTTP, TCP
// and DNS that are set must succeed. Who has handed it to a [Prober] must not
// change what it points to.
type Spec struct {
	HTTP *HTTP
	TCP  *TCP
	DNS  *DNS
	// Period is the time between two probes, Timeout how long one may take.
	Period, Timeout time.Duration
	// SuccessThreshold and FailureThreshold are how many in a row decide.
	SuccessThreshold, FailureThreshold int
}

// HTTP asks a web address.
type HTTP struct {
	URL string
	// Statuses that count as success; none means 200 to 299.
	Statuses []int
}

// TCP opens a connection.
type TCP struct {
	// Address is host:port.
	Address string
}

// DNS asks a name server.
type DNS struct {
	// Server is host:port.
	Server string
	// Name is asked for, as it is: without a domain being added.
	Name string
	// IPv6 asks for the IPv6 addresses (AAAA) of the name instead of the IPv4 ones (A).
	IPv6 bool
	// Answers of which one must be among those given; none means that any will do.
	Answers []netip.Addr
}

// FromAPI gives what an object declares, with the defaults.
func FromAPI(declared *v1alpha1.Probe) Spec {
	spec := Spec{
		Period: declared.PeriodOrDefault(), Timeout: declared.TimeoutOrDefault(),
		SuccessThreshold: int(declared.SuccessThresholdOrDefault()), FailureThreshold: int(declared.FailureThresholdOrDefault()),
	}
	if declared.HTTP != nil {
		spec.HTTP = &HTTP{URL: declared.HTTP.URL}
		for _, status := range declared.HTTP.ExpectedStatuses {
			spec.HTTP.Statuses = append(spec.HTTP.Statuses, int(status))
		}
	}
	if declared.TCP != nil {
		spec.TCP = &TCP{Address: hostPort(declared.TCP.Host, declared.TCP.Port)}
	}
	if declared.DNS != nil {
		spec.DNS = &DNS{
			Server: hostPort(declared.DNS.Server, declared.DNS.PortOrDefault()),
			Name:   declared.DNS.Name, IPv6: declared.DNS.RecordTypeOrDefault() == v1alpha1.DNSRecordAAAA,
		}
		for _, text := range declared.DNS.ExpectedAnswers {
			// The schema admits addresses only. What is none is kept as one that no answer equals.
			address, _ := netip.ParseAddr(text)
			spec.DNS.Answers = append(spec.DNS.Answers, address.Unmap())
		}
	}
	return spec
}

func hostPort(host v1alpha1.Host, port int32) string {
	return net.JoinHostPort(string(host), strconv.Itoa(int(port)))
}

// setDefaults keeps a Spec that was not made by [FromAPI] from probing without pause.
func (s *Spec) setDefaults() {
	if s.Period <= 0 {
		s.Period = v1alpha1.DefaultProbePeriod
	}
	if s.Timeout <= 0 {
		s.Timeout = min(v1alpha1.DefaultProbeTimeout, s.Period)
	}
	s.SuccessThreshold = max(s.SuccessThreshold, 1)
	s.FailureThreshold = max(s.FailureThreshold, 1)
}

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Probe says how to find out whether a running unikernel works. When several of http, tcp and dns are set, all must succeed.
//
// +kubebuilder:validation:XValidation:rule="has(self.http) || has(self.tcp) || has(self.dns)",message="at least one of http, tcp and dns must be set"
// +kubebuilder:validation:XValidation:rule="(has(self.timeout) && !self.timeout.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')) || (has(self.period) && !self.period.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')) || duration(has(self.timeout) ? self.timeout : '5s') <= duration(has(self.period) ? self.period : '10s')",message="timeout must not be longer than period"
type Probe struct {
	// http asks a web address with GET and follows up to five redirects on the same host.
	// +optional
	HTTP *HTTPProbe `json:"http,omitempty"`

	// tcp opens a TCP connection.
	// +optional
	TCP *TCPProbe `json:"tcp,omitempty"`

	// dns asks a name server.
	// +optional
	DNS *DNSProbe `json:"dns,omitempty"`

	// period is the time between two probes, from 1s to 1h.
	// Within one period after a start, failures do not count and are followed by the next probe sooner.
	// Default: 10s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration between 1s and 1h, such as 30s"
	Period *metav1.Duration `json:"period,omitempty"`

	// timeout is how long one probe may take, from 100ms to 1m and not longer than period.
	// Default: 5s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="must be a duration between 100ms and 1m, such as 5s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// successThreshold is how many probes in a row must succeed before the unikernel counts as healthy, 1 to 100.
	// Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	SuccessThreshold int32 `json:"successThreshold,omitempty"`

	// failureThreshold is how many probes in a row must fail before the unikernel counts as unhealthy, 1 to 100.
	// Default: 3.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	FailureThreshold int32 `json:"failureThreshold,omitempty"`
}

// HTTPProbe asks a web address with GET and follows redirects.
type HTTPProbe struct {
	// url is the http or https address, without credentials.
	// The certificate of an https address must be one that the operator's system trusts.
	// Example: http://10.0.0.2/healthz
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https?://[^/?#@]+([/?#].*)?$')",message="must be an http or https URL without credentials"
	URL string `json:"url"`

	// expectedStatuses are the HTTP status codes that count as success, each 100 to 599.
	// A redirect that is among them is not followed.
	// Default: 200 to 299.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ExpectedStatuses []HTTPStatus `json:"expectedStatuses,omitempty"`
}

// HTTPStatus is an HTTP status code.
//
// +kubebuilder:validation:Minimum=100
// +kubebuilder:validation:Maximum=599
type HTTPStatus int32

// TCPProbe opens a TCP connection and closes it again.
type TCPProbe struct {
	// host is the DNS name or the IP address to connect to.
	// Example: 10.0.0.2
	// +required
	Host Host `json:"host"`

	// port is the TCP port.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// DNSRecordType is the type of a DNS record.
//
// +kubebuilder:validation:Enum=A;AAAA
type DNSRecordType string

const (
	// DNSRecordA asks for IPv4 addresses. It is the default.
	DNSRecordA DNSRecordType = "A"
	// DNSRecordAAAA asks for IPv6 addresses.
	DNSRecordAAAA DNSRecordType = "AAAA"
)

// DNSProbe asks a name server for the addresses of a name, over UDP and, when the answer is cut, over TCP.
type DNSProbe struct {
	// server is the DNS name or the IP address of the name server.
	// Example: 10.0.0.53
	// +required
	Server Host `json:"server"`

	// port is the port of the name server.
	// Default: 53.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// name is the DNS name to ask for.
	// Example: www.example.org
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?[.])*[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?[.]?$')",message="must be a DNS name"
	Name string `json:"name"`

	// recordType is A (IPv4 addresses) or AAAA (IPv6 addresses).
	// Default: A.
	// +optional
	RecordType DNSRecordType `json:"recordType,omitempty"`

	// expectedAnswers are the IP addresses of which at least one must be among the answers.
	// Default: any answer is a success.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="must be an IP address"
	ExpectedAnswers []string `json:"expectedAnswers,omitempty"`
}

// UpdatePolicy says who takes up a new image.
//
// +kubebuilder:validation:Enum=Manual;Automatic
type UpdatePolicy string

const (
	// UpdateManual shows in status that a new image is available and waits for the user. It is the default.
	UpdateManual UpdatePolicy = "Manual"
	// UpdateAutomatic takes up a new image by itself, within the window.
	UpdateAutomatic UpdatePolicy = "Automatic"
)

// UpdateStrategy says how a new image behind a tag, the latest build or a catalogue entry is taken up.
type UpdateStrategy struct {
	// policy is Manual (a new image is shown in status and waits for the user) or Automatic (it is taken up).
	// Default: Manual.
	// +optional
	Policy UpdatePolicy `json:"policy,omitempty"`

	// interval is the time between two looks for a new image, from 1m to 720h.
	// Default: 1h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('720h')",message="must be a duration between 1m and 720h, such as 1h"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// window is when automatic updates may happen.
	// Default: at any time.
	// +optional
	Window *UpdateWindow `json:"window,omitempty"`

	// progressDeadline is how long a changed unikernel may take until its probe succeeds, from 1s to 1h.
	// After that the last good image and configuration are brought back.
	// Default: 1m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="must be a duration between 1s and 1h, such as 30s"
	ProgressDeadline *metav1.Duration `json:"progressDeadline,omitempty"`
}

// Weekday is a day of the week.
//
// +kubebuilder:validation:Enum=Monday;Tuesday;Wednesday;Thursday;Friday;Saturday;Sunday
type Weekday string

// UpdateWindow is a span of time that comes back every week.
type UpdateWindow struct {
	// days are the days on which the window opens: Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.
	// Default: every day.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`

	// start is the time of day when the window opens, as hours and minutes from 00:00 to 23:59.
	// Example: 02:30
	// +required
	// +kubebuilder:validation:MinLength=5
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",message="must be a time of day between 00:00 and 23:59, such as 02:30"
	Start string `json:"start"`

	// duration is how long the window stays open, from 1m to 24h.
	// Example: 2h
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="must be a duration between 1m and 24h, such as 2h"
	Duration metav1.Duration `json:"duration"`

	// timeZone is the name of the time zone of start in the IANA database.
	// Example: Europe/Berlin.
	// Default: UTC.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')",message="must be the name of a time zone, such as Europe/Berlin"
	TimeZone string `json:"timeZone,omitempty"`
}

package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Usage is what a host measured of one unikernel.
type Usage struct {
	// CPUSeconds in user and system mode since its start.
	CPUSeconds float64
	// ResidentBytes is the largest resident set so far.
	ResidentBytes float64
	// Network counts by bridge.
	Network []Network
}

// Network is the traffic of one network device, seen from the unikernel.
type Network struct {
	Bridge                   string
	ReceivedBytes, SentBytes float64
}

// Unikernels shows the statistics of single unikernels. Its series grow with the
// number of unikernels, so it is bounded and must be asked for.
type Unikernels struct {
	limit int

	mu    sync.Mutex
	usage map[unikernel]Usage
	// dropped counts unikernels that were not shown, by instance.
	dropped map[string]int
}

type unikernel struct{ instance, name string }

// NewUnikernels makes a collector that shows at most limit unikernels.
func NewUnikernels(limit int) *Unikernels {
	return &Unikernels{limit: limit, usage: map[unikernel]Usage{}, dropped: map[string]int{}}
}

// Set keeps what was measured last.
func (c *Unikernels) Set(instance, name string, usage Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := unikernel{instance, name}
	if _, shown := c.usage[key]; !shown && len(c.usage) >= c.limit {
		c.dropped[instance]++
		return
	}
	c.usage[key] = usage
}

// Keep drops the unikernels of an instance that no longer run.
func (c *Unikernels) Keep(instance string, runs func(name string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.usage {
		if key.instance == instance && !runs(key.name) {
			delete(c.usage, key)
		}
	}
}

// The series of a unikernel.
var (
	cpuSeconds    = unikernelDesc("cpu_seconds_total", "CPU time of a unikernel since its start.")
	residentBytes = unikernelDesc("resident_bytes", "Largest resident memory of a unikernel so far.")
	receivedBytes = unikernelDesc("network_received_bytes_total", "Bytes that a unikernel received over a bridge.", "bridge")
	sentBytes     = unikernelDesc("network_sent_bytes_total", "Bytes that a unikernel sent over a bridge.", "bridge")
	notShown      = prometheus.NewDesc(namespace+"_unikernel_statistics_dropped_total",
		"Measurements that were dropped because the limit of unikernels was reached.", []string{labelInstance}, nil)
)

func unikernelDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_unikernel_"+name, help, append([]string{labelInstance, "unikernel"}, labels...), nil)
}

// Describe implements prometheus.Collector.
func (c *Unikernels) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{cpuSeconds, residentBytes, receivedBytes, sentBytes, notShown} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *Unikernels) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, usage := range c.usage {
		ch <- prometheus.MustNewConstMetric(cpuSeconds, prometheus.CounterValue, usage.CPUSeconds, key.instance, key.name)
		ch <- prometheus.MustNewConstMetric(residentBytes, prometheus.GaugeValue, usage.ResidentBytes, key.instance, key.name)
		for _, n := range usage.Network {
			ch <- prometheus.MustNewConstMetric(receivedBytes, prometheus.CounterValue, n.ReceivedBytes, key.instance, key.name, n.Bridge)
			ch <- prometheus.MustNewConstMetric(sentBytes, prometheus.CounterValue, n.SentBytes, key.instance, key.name, n.Bridge)
		}
	}
	for instance, count := range c.dropped {
		ch <- prometheus.MustNewConstMetric(notShown, prometheus.CounterValue, float64(count), instance)
	}
}

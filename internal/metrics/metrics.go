// Package metrics has the operator's own metrics; controller-runtime adds those
// of its queues, workers and requests. They are listed in docs/metrics.md. No
// series belongs to a single object, but for the statistics of unikernels, which
// must be asked for (see [Unikernels]).
package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

const namespace = "mollymawk"

// Labels.
const (
	labelInstance = "instance"
	labelCommand  = "command"
	labelResult   = "result"
	labelKind     = "kind"
	labelAction   = "action"
)

// resultOK is the result of a command or a look that worked.
const resultOK = "ok"

var (
	hostCommands = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "host_commands_total",
		Help: "Commands that change something on a host, by what they do and how they ended: ok, or the class of the failure.",
	}, []string{labelInstance, labelCommand, labelResult})
	hostCommandSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "host_command_duration_seconds",
		Help:    "Time from sending a command to its answer, uploads included.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	}, []string{labelInstance, labelCommand})
	hostCommandsWaiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "host_commands_waiting",
		Help: "Objects that stand in line for one of the places for commands of a host.",
	}, []string{labelInstance})
	hostLooks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "host_looks_total",
		Help: "Looks at a host, each of which sees everything on it, by how they ended: ok or failed.",
	}, []string{labelInstance, labelResult})
	hostConnected = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "host_connected",
		Help: "1 while a host answers, 0 when three looks in a row have failed.",
	}, []string{labelInstance})
	driftRepairs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "drift_repairs_total",
		Help: "Commands sent because a host was no longer as declared, though the declaration had not changed.",
	}, []string{labelKind, labelAction})
	readySeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "ready_duration_seconds",
		Help:    "Time from a change of an object's declaration to Ready.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
	}, []string{labelKind})
	probes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "probes_total",
		Help: "Probes of unikernels, by how they ask (http, tcp or dns) and how they ended: ok, failed, or impossible when the operator could not open a connection.",
	}, []string{labelKind, labelResult})
	probeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "probe_duration_seconds",
		Help:    "Time that a probe took, whatever its result.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{labelKind})
	probesWaiting = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "probes_waiting",
		Help: "Probes that are due and wait until others end.",
	})
	imagesCollected = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "images_collected_total",
		Help: "Images and other contents removed from the image store because nobody needed them.",
	})
	imagesCollectedBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "images_collected_bytes_total",
		Help: "Bytes removed from the image store because nobody needed them.",
	})
	snapshotAge = &ageCollector{
		desc: prometheus.NewDesc(namespace+"_host_snapshot_age_seconds", "Time since the beginning of the last look at a host that worked.", []string{labelInstance}, nil),
	}
)

// byInstance are the metrics with series of an instance.
var byInstance = []interface {
	DeletePartialMatch(prometheus.Labels) int
}{hostCommands, hostCommandSeconds, hostCommandsWaiting, hostLooks, hostConnected}

func init() {
	metrics.Registry.MustRegister(hostCommands, hostCommandSeconds, hostCommandsWaiting, hostLooks, hostConnected, driftRepairs, readySeconds,
		probes, probeSeconds, probesWaiting, imagesCollected, imagesCollectedBytes, snapshotAge)
}

// Command counts a command that changes something on a host. failure is the
// class of its failure, empty when it worked.
func Command(instance, command, failure string, took time.Duration) {
	if failure == "" {
		failure = resultOK
	}
	hostCommands.WithLabelValues(instance, command, failure).Inc()
	hostCommandSeconds.WithLabelValues(instance, command).Observe(took.Seconds())
}

// Waiting tells how many stand in line for a host.
func Waiting(instance string, count int) {
	hostCommandsWaiting.WithLabelValues(instance).Set(float64(count))
}

// Look counts a look at a host and whether the host counts as connected after it.
// began is when the look began.
func Look(instance string, worked, connected bool, began time.Time) {
	result, value := "failed", 0.0
	if worked {
		result = resultOK
		snapshotAge.set(instance, began)
	}
	if connected {
		value = 1
	}
	hostLooks.WithLabelValues(instance, result).Inc()
	hostConnected.WithLabelValues(instance).Set(value)
}

// ForgetHost drops all series of an instance.
func ForgetHost(instance string) {
	for _, m := range byInstance {
		m.DeletePartialMatch(prometheus.Labels{labelInstance: instance})
	}
	snapshotAge.forget(instance)
}

// DriftRepaired counts a command that brought a host back to what is declared.
func DriftRepaired(kind, action string) { driftRepairs.WithLabelValues(kind, action).Inc() }

// Ready tells how long a change took to become real.
func Ready(kind string, took time.Duration) {
	readySeconds.WithLabelValues(kind).Observe(took.Seconds())
}

// Results of a probe.
const (
	ProbeSucceeded = resultOK
	ProbeFailed    = "failed"
	// ProbeImpossible says nothing about the unikernel.
	ProbeImpossible = "impossible"
)

// Probed counts a probe; kind is http, tcp or dns.
func Probed(kind, result string, took time.Duration) {
	probes.WithLabelValues(kind, result).Inc()
	probeSeconds.WithLabelValues(kind).Observe(took.Seconds())
}

// ProbesWaiting tells how many probes are late.
func ProbesWaiting(count int) { probesWaiting.Set(float64(count)) }

// ImagesCollected counts what was removed from the image store.
func ImagesCollected(count int, bytes int64) {
	imagesCollected.Add(float64(count))
	imagesCollectedBytes.Add(float64(bytes))
}

// ageCollector works out ages when it is asked.
type ageCollector struct {
	desc *prometheus.Desc

	mu    sync.Mutex
	since map[string]time.Time
}

func (c *ageCollector) set(instance string, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == nil {
		c.since = map[string]time.Time{}
	}
	c.since[instance] = since
}

func (c *ageCollector) forget(instance string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.since, instance)
}

// Describe implements prometheus.Collector.
func (c *ageCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *ageCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for instance, since := range c.since {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, time.Since(since).Seconds(), instance)
	}
}

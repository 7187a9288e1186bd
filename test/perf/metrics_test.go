package perf

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// reading is what a process told about itself at one time.
type reading map[string]*dto.MetricFamily

// parseReading reads Prometheus' text format.
func parseReading(text io.Reader) (reading, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(text)
}

// read asks a process for its metrics, each time by a connection of its own, so that none stays open that would be counted.
func read(address string) (reading, error) {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return parseReading(response.Body)
}

// sum adds up the series of a metric that fit.
func (r reading) sum(name string, fits func(labels map[string]string) bool) (sum float64) {
	for _, m := range r[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if fits == nil || fits(labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return sum
}

// writes counts the requests to the API server that change something, also those that it refused.
func (r reading) writes() float64 {
	return r.sum("rest_client_requests_total", func(labels map[string]string) bool { return labels["method"] != http.MethodGet })
}

// reconciles counts those of Unikernels.
func (r reading) reconciles() float64 {
	return r.sum("controller_runtime_reconcile_total", func(labels map[string]string) bool { return labels["controller"] == "unikernel" })
}

// busy counts what is being worked on and what waits for it.
func (r reading) busy() float64 {
	return r.sum("workqueue_depth", nil) + r.sum("controller_runtime_active_workers", nil)
}

func (r reading) connected() float64  { return r.sum("mollymawk_host_connected", nil) }
func (r reading) looks() float64      { return r.sum("mollymawk_host_looks_total", nil) }
func (r reading) cpuSeconds() float64 { return r.sum("process_cpu_seconds_total", nil) }
func (r reading) resident() float64   { return r.sum("process_resident_memory_bytes", nil) }
func (r reading) goroutines() float64 { return r.sum("go_goroutines", nil) }
func (r reading) files() float64      { return r.sum("process_open_fds", nil) }

func TestReading(t *testing.T) {
	r, err := parseReading(strings.NewReader(`# TYPE rest_client_requests_total counter
rest_client_requests_total{code="200",host="a",method="GET"} 100
rest_client_requests_total{code="200",host="a",method="PATCH"} 3
rest_client_requests_total{code="409",host="a",method="PATCH"} 2
rest_client_requests_total{code="201",host="a",method="POST"} 1
# TYPE controller_runtime_reconcile_total counter
controller_runtime_reconcile_total{controller="unikernel",result="success"} 4
controller_runtime_reconcile_total{controller="unikernel",result="error"} 1
controller_runtime_reconcile_total{controller="volume",result="success"} 8
# TYPE workqueue_depth gauge
workqueue_depth{name="unikernel"} 5
# TYPE controller_runtime_active_workers gauge
controller_runtime_active_workers{controller="volume"} 1
# TYPE process_open_fds gauge
process_open_fds 12
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ got, want float64 }{
		"writes": {r.writes(), 6}, "reconciles": {r.reconciles(), 5}, "busy": {r.busy(), 6}, "files": {r.files(), 12}, "absent": {r.cpuSeconds(), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", name, c.got, c.want)
		}
	}
}

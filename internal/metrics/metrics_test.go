package metrics_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"mollymawk.dev/operator/internal/metrics"
)

// gathered gives the operator's own families by name.
func gathered(t *testing.T, from prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]*dto.MetricFamily{}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "mollymawk_") {
			own[f.GetName()] = f
		}
	}
	return own
}

// everything has each metric show at least one series.
func everything() *metrics.Unikernels {
	metrics.Command("local", "create", "", time.Second)
	metrics.Command("local", "create", "transient", time.Second)
	metrics.Waiting("local", 3)
	metrics.Look("local", true, true, time.Now().Add(-time.Minute))
	metrics.DriftRepaired("Unikernel", "create")
	metrics.Ready("Unikernel", time.Second)
	metrics.Probed("http", metrics.ProbeSucceeded, time.Millisecond)
	metrics.Probed("dns", metrics.ProbeFailed, time.Second)
	metrics.ProbesWaiting(1)
	metrics.ImagesCollected(1, 1<<20)
	unikernels := metrics.NewUnikernels(1)
	unikernels.Set("local", "alice:web", metrics.Usage{CPUSeconds: 1.5, ResidentBytes: 1 << 20, Network: []metrics.Network{{Bridge: "service", ReceivedBytes: 1, SentBytes: 2}}})
	unikernels.Set("local", "alice:surplus", metrics.Usage{})
	return unikernels
}

// TestDocumented compares the registry with the documented list.
func TestDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(everything())
	var names []string
	for _, from := range []prometheus.Gatherer{ctrlmetrics.Registry, registry} {
		for name := range gathered(t, from) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile("(?m)^\\| `(mollymawk_[a-z_]+)`").FindAllStringSubmatch(string(text), -1)
	var listed []string
	for _, match := range documented {
		listed = append(listed, match[1])
	}
	slices.Sort(listed)
	if !slices.Equal(names, listed) {
		t.Errorf("registered: %v\ndocumented: %v", names, listed)
	}
}

// TestNoSeriesOutlivesItsHost counts series: they depend on the hosts only.
func TestNoSeriesOutlivesItsHost(t *testing.T) {
	before := series(t)
	for _, command := range []string{"create", "destroy"} {
		metrics.Command("passing", command, "", time.Second)
	}
	metrics.Waiting("passing", 1)
	metrics.Look("passing", true, true, time.Now())
	metrics.Look("passing", false, false, time.Now())
	if series(t) == before {
		t.Fatal("nothing was counted")
	}
	metrics.ForgetHost("passing")
	if got := series(t); got != before {
		t.Errorf("%d series, %d before the host came and went", got, before)
	}
}

func series(t *testing.T) (count int) {
	t.Helper()
	for _, f := range gathered(t, ctrlmetrics.Registry) {
		count += len(f.GetMetric())
	}
	return count
}

func TestUnikernelsAreBounded(t *testing.T) {
	unikernels := everything()
	registry := prometheus.NewRegistry()
	registry.MustRegister(unikernels)
	families := gathered(t, registry)
	if got := len(families["mollymawk_unikernel_cpu_seconds_total"].GetMetric()); got != 1 {
		t.Errorf("%d unikernels are shown, the limit is 1", got)
	}
	if got := families["mollymawk_unikernel_statistics_dropped_total"].GetMetric()[0].GetCounter().GetValue(); got != 1 {
		t.Errorf("%v measurements dropped", got)
	}
	unikernels.Keep("local", func(string) bool { return false })
	unikernels.Set("local", "alice:surplus", metrics.Usage{CPUSeconds: 2})
	if got := gathered(t, registry)["mollymawk_unikernel_cpu_seconds_total"].GetMetric()[0].GetCounter().GetValue(); got != 2 {
		t.Errorf("the place of one that ended is not free: %v", got)
	}
}

// TestAlertsNameMetrics has every metric in the shipped rules exist.
func TestAlertsNameMetrics(t *testing.T) {
	everything()
	known := gathered(t, ctrlmetrics.Registry)
	text, err := os.ReadFile("../../config/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`mollymawk_[a-z_]+`).FindAllString(string(text), -1)
	if len(named) == 0 {
		t.Fatal("the rules name no metric")
	}
	for _, name := range named {
		if known[name] == nil {
			t.Errorf("%s does not exist", name)
		}
	}
}

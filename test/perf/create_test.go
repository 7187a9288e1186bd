package perf

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
)

// BenchmarkCreate creates unikernels over the HTTP API, one after another, each with an image of its own, on a host that answers in 11 ms.
// What is measured is from the request to the reply, which comes when the unikernel runs and the API server knows.
func BenchmarkCreate(b *testing.B) {
	const (
		creates     = 60
		imageSize   = 130 << 10
		hostLatency = 11 * time.Millisecond
	)
	a := newAPI(b, hostLatency, false)
	var took []time.Duration
	for i := range creates {
		image, err := albatrosstest.StandIn(fmt.Sprintf("image%d", i), solo5.Image{}, imageSize)
		a.must(err)
		fields := map[string]string{"albatross_instance": "host", "unikernel_name": fmt.Sprintf("web%d", i), "unikernel_config": `{"memory":16,"cpuids":[0],"arguments":[]}`, "molly_csrf": ""}
		began := time.Now()
		a.must(a.post("/api/unikernel/create", fields, "binary", bytes.NewReader(image), imageSize))
		took = append(took, time.Since(began))
	}
	if runs := len(a.hosts[0].Unikernels(apiUser)); runs != creates {
		b.Errorf("%d unikernels run", runs)
	}
	a.report("api-create-p50-ms", milliseconds(percentile(took, 50)))
	a.report("api-create-p95-ms", milliseconds(percentile(took, 95)))
}

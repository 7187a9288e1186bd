package hosts

import (
	"context"
	"errors"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/metrics"
)

// statisticsPause is the time between two subscriptions. A host has one
// subscriber at a path: somebody who subscribes too ends our stream, and to come
// back at once would end theirs, for ever in turns.
const statisticsPause = time.Minute

// StatisticsSink takes what hosts measure of unikernels.
type StatisticsSink interface {
	// Set keeps what was measured last of a unikernel.
	Set(instance, name string, usage metrics.Usage)
	// Keep drops the unikernels of an instance that no longer run.
	Keep(instance string, runs func(name string) bool)
}

// follow subscribes to a host's statistics until the context ends.
func (h *Host) follow(ctx context.Context, sink StatisticsSink) {
	if elected := h.pool.options.Elected; elected != nil {
		select {
		case <-ctx.Done():
		case <-elected:
		}
	}
	for ctx.Err() == nil {
		for sample, err := range h.client.Statistics(ctx, nil) {
			if err != nil {
				if !errors.Is(err, albatross.ErrTimeout) {
					h.log.V(1).Info("Statistics ended", "error", err.Error())
				}
				break
			}
			sink.Set(h.instance, sample.Name.String(), usageOf(sample.Stats))
			h.keepRunning(sink)
		}
		select {
		case <-ctx.Done():
		case <-time.After(jitter(statisticsPause)):
		}
	}
}

func (h *Host) keepRunning(sink StatisticsSink) {
	if snapshot := h.Snapshot(); snapshot != nil {
		sink.Keep(h.instance, func(name string) bool { _, runs := snapshot.Unikernels[name]; return runs })
	}
}

// usageOf turns a measurement into the units of metrics. The host counts from its
// own end of a network device: what it sends, the unikernel receives.
func usageOf(s albatross.Stats) metrics.Usage {
	usage := metrics.Usage{CPUSeconds: seconds(s.Usage.UserTime) + seconds(s.Usage.SystemTime), ResidentBytes: float64(s.Usage.MaxRSS) * 1024}
	for _, i := range s.Interfaces {
		usage.Network = append(usage.Network, metrics.Network{
			Bridge: i.Bridge, ReceivedBytes: float64(i.OutputBytes), SentBytes: float64(i.InputBytes),
		})
	}
	return usage
}

func seconds(t albatross.Timeval) float64 { return float64(t.Seconds) + float64(t.Microseconds)/1e6 }

package images

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"

	"mollymawk.dev/operator/internal/metrics"
)

// DefaultCollectEvery is how often a [Collector] works.
const DefaultCollectEvery = 30 * time.Minute

// Collector removes content that nobody needs from a [Store], now and then. It is
// a Runnable of a manager.
type Collector struct {
	Store *Store
	// Needed learns which digests are needed. An error has nothing removed.
	Needed func(context.Context) (func(digest string) bool, error)
	// Every is how often it works, give or take a tenth.
	Every time.Duration
	// Grace is how long content is kept that nobody needs.
	Grace time.Duration
	Log   logr.Logger
}

// Start works until the context ends. It implements manager.Runnable.
func (c *Collector) Start(ctx context.Context) error {
	wait.JitterUntilWithContext(ctx, c.collect, c.Every, 0.1, true)
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: one process at a
// time collects.
func (c *Collector) NeedLeaderElection() bool { return true }

func (c *Collector) collect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.Every)
	defer cancel()
	needed, err := c.Needed(ctx)
	if err != nil {
		c.failed(ctx, err)
		return
	}
	collected, err := c.Store.Collect(ctx, func(digest string) bool {
		if needed(digest) {
			return true
		}
		// Objects may have come since; who cannot be asked may need it.
		newer, err := c.Needed(ctx)
		if err != nil {
			return true
		}
		needed = newer
		return needed(digest)
	}, c.Grace)
	if collected.Blobs > 0 {
		metrics.ImagesCollected(collected.Blobs, collected.Bytes)
		c.Log.Info("Removed images that nobody needs", "count", collected.Blobs, "bytes", collected.Bytes)
	}
	if err != nil {
		c.failed(ctx, err)
	}
}

func (c *Collector) failed(ctx context.Context, err error) {
	if ctx.Err() == nil || context.Cause(ctx) == context.DeadlineExceeded {
		c.Log.Error(err, "Images that nobody needs could not be removed; it is tried again later")
	}
}

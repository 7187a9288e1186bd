package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// etcdStartLimit bounds etcd's start, which replays its log after a crash.
	etcdStartLimit = 60 * time.Second

	// etcdQuota is the size in bytes at which etcd refuses to grow, the largest
	// that its documentation recommends.
	etcdQuota = 8 << 30
)

// etcdConfig is that of an etcd alone in its cluster: it listens on a unix
// socket for its one client, and not at all for peers.
func etcdConfig(folder *dataFolder, logger *zap.Logger) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Dir = folder.etcd()
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: folder.socket()}}
	cfg.ListenPeerUrls = nil
	// Nobody dials these, but etcd wants them as host and port, and the peer's
	// one must stay the same for the life of the data.
	advertised := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	cfg.AdvertiseClientUrls = []url.URL{advertised}
	cfg.AdvertisePeerUrls = []url.URL{advertised}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.QuotaBackendBytes = etcdQuota
	// Nobody else stands for election, so a short time-out only means that the
	// start does not wait a second for one.
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger.Named("etcd").WithOptions(zap.IncreaseLevel(zapcore.WarnLevel)))
	return cfg
}

// startEtcd answers when etcd serves.
func startEtcd(ctx context.Context, folder *dataFolder, logger *zap.Logger) (*embed.Etcd, error) {
	// A process that was killed leaves its socket.
	if err := os.Remove(folder.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing etcd's old socket: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, etcdStartLimit)
	defer cancel()
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan result, 1)
	go func() {
		e, err := embed.StartEtcd(etcdConfig(folder, logger))
		started <- result{e, err}
	}()
	var e *embed.Etcd
	select {
	case r := <-started:
		if r.err != nil {
			return nil, fmt.Errorf("starting etcd: %w", r.err)
		}
		e = r.etcd
	case <-ctx.Done():
		return nil, fmt.Errorf("starting etcd: %w", context.Cause(ctx))
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err := <-e.Err():
		e.Close()
		return nil, fmt.Errorf("starting etcd: %w", err)
	case <-ctx.Done():
		e.Close()
		return nil, fmt.Errorf("starting etcd: %w", context.Cause(ctx))
	}
}

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
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

// etcdServer is a running etcd.
type etcdServer struct {
	*embed.Etcd
	logLevel  zap.AtomicLevel
	closeOnce sync.Once
}

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
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	return cfg
}

// startEtcd answers when etcd serves.
func startEtcd(ctx context.Context, folder *dataFolder, logger *zap.Logger) (*etcdServer, error) {
	// A process that was killed leaves its socket.
	if err := os.Remove(folder.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing etcd's old socket: %w", err)
	}
	if err := folder.discardUnfinished(); err != nil {
		return nil, err
	}
	e := &etcdServer{logLevel: zap.NewAtomicLevelAt(zapcore.WarnLevel)}
	config := etcdConfig(folder, logger.Named("etcd").WithOptions(zap.IncreaseLevel(e.logLevel)))
	ctx, cancel := context.WithTimeout(ctx, etcdStartLimit)
	defer cancel()
	started := make(chan error, 1)
	go func() {
		var err error
		e.Etcd, err = embed.StartEtcd(config)
		started <- err
	}()
	select {
	case err := <-started:
		if err != nil {
			return nil, fmt.Errorf("starting etcd: %w", err)
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("starting etcd: %w", context.Cause(ctx))
	}
	err := e.waitReady(ctx)
	if err == nil {
		err = folder.markInitialised()
	}
	if err != nil {
		stopCtx, stop := context.WithTimeout(context.WithoutCancel(ctx), etcdStopLimit)
		defer stop()
		return nil, errors.Join(fmt.Errorf("starting etcd: %w", err), e.close(stopCtx))
	}
	return e, nil
}

func (e *etcdServer) waitReady(ctx context.Context) error {
	select {
	case <-e.Server.ReadyNotify():
		return nil
	case err := <-e.Err():
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ended is closed when etcd has ended for whatever reason.
func (e *etcdServer) ended() <-chan struct{} { return e.Server.StopNotify() }

// close ends etcd and waits for that until the context ends. It may be called
// more than once.
func (e *etcdServer) close(ctx context.Context) error {
	// It logs the end of its listeners as errors.
	e.logLevel.SetLevel(zapcore.FatalLevel)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		e.closeOnce.Do(e.Close)
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

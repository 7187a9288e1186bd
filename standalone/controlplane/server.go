package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// readyLimit bounds the time from etcd serving to the API server being
	// ready. It takes two seconds on an idle machine.
	readyLimit = 2 * time.Minute

	// readyPoll is how often readiness is asked for.
	readyPoll = 25 * time.Millisecond

	// Bounds of the parts' shutdown, which takes two seconds for all of them on
	// an idle machine.
	controllersStopLimit = 20 * time.Second
	apiServerStopLimit   = 20 * time.Second
	etcdStopLimit        = 20 * time.Second

	// failedStopLimit bounds each of them when a part has failed: without etcd
	// the API server waits for minutes.
	failedStopLimit = 3 * time.Second
)

// running keeps a process from having two control planes at a time.
var running atomic.Bool

// Server is a running control plane.
type Server struct {
	folder *dataFolder
	config *rest.Config

	// stop asks for the end.
	stop context.CancelFunc
	done chan struct{}
	// err is set before done is closed.
	err error

	// closers end the parts that have been started, in the order of their start.
	closers []closer
}

// closer ends one part of a server.
type closer struct {
	part  string
	limit time.Duration
	close func(context.Context) error
}

// Start starts a control plane and answers when its API server is ready, the
// namespace default exists and its controllers run. The control plane runs
// until the context ends, Stop is called, or one of its parts fails; whoever
// starts it watches Done. A context that ends during the start ends the control
// plane as soon as it has started.
//
// When another process uses the data folder, the error is an *InUseError.
func Start(ctx context.Context, opts Options) (*Server, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	if !running.CompareAndSwap(false, true) {
		return nil, errors.New("this process runs a control plane already")
	}
	s := &Server{done: make(chan struct{})}
	// Parts do not end with the caller's context, but one after the other; and a
	// start that has begun is finished, because Kubernetes ends the process when
	// the hooks of its start are interrupted.
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	failed := make(chan error, 2)
	if err := s.start(parts, opts, failed); err != nil {
		return nil, errors.Join(fmt.Errorf("starting control plane: %w", err), s.shutDown(failedStopLimit))
	}
	go s.supervise(ctx, parts, failed)
	return s, nil
}

// RESTConfig is the administrator's access to the API server: a copy, which
// the caller may change.
func (s *Server) RESTConfig() *rest.Config { return rest.CopyConfig(s.config) }

// Kubeconfig is the path of the administrator's kubeconfig.
func (s *Server) Kubeconfig() string { return s.folder.kubeconfig() }

// Done is closed when the control plane has ended and its data folder is free.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the control plane ended: nil when it was asked to and all its
// parts ended in time. Otherwise parts of it may be left in the process, which
// had better end. Err must not be called before Done is closed.
func (s *Server) Err() error { return s.err }

// Stop ends the control plane and waits until it has ended, at the latest
// until the context ends. It may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	s.stop()
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the control plane to end: %w", context.Cause(ctx))
	}
}

func (s *Server) onClose(part string, limit time.Duration, end func(context.Context) error) {
	s.closers = append(s.closers, closer{part: part, limit: limit, close: end})
}

// start starts the parts in order. Parts that fail later send to failed.
func (s *Server) start(ctx context.Context, opts Options, failed chan<- error) error {
	folder, err := openDataFolder(opts.DataDir)
	if err != nil {
		return err
	}
	s.folder = folder
	s.onClose("data folder", time.Second, func(context.Context) error { return folder.close() })
	logger := captureLogs()
	closeLog := openLog(opts.Log, folder.log())
	s.onClose("log", time.Second, func(context.Context) error { return closeLog() })

	p, err := ensurePKI(folder.pki(), net.ParseIP(opts.BindAddress), time.Now())
	if err != nil {
		return err
	}
	etcd, err := startEtcd(ctx, folder, logger)
	if err != nil {
		return err
	}
	s.onClose("etcd", etcdStopLimit, etcd.close)
	go func() {
		<-etcd.ended()
		failed <- errors.New("etcd ended")
	}()
	return s.startAPI(ctx, opts, p, failed)
}

// startAPI starts what needs etcd.
func (s *Server) startAPI(ctx context.Context, opts Options, p *pki, failed chan<- error) error {
	opened, err := listen(opts.BindAddress, opts.Port, keptPort(s.folder.kubeconfig()))
	if err != nil {
		return err
	}
	listener := track(opened)
	s.onClose("connections", time.Second, func(context.Context) error {
		listener.closeConnections()
		return nil
	})
	api, err := newAPIServer(ctx, listener, s.folder, p)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	// From here on the listener is the API server's, which panics when somebody
	// else closes it.
	s.runAPIServer(ctx, api, failed)
	kubeconfig, err := newKubeconfig(api.address, p)
	if err != nil {
		return err
	}
	s.config, err = clientcmd.NewDefaultClientConfig(*kubeconfig, nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("making client configuration: %w", err)
	}
	if err := waitReady(ctx, api.loopback); err != nil {
		return err
	}
	if err := s.runControllers(ctx, api.loopback); err != nil {
		return err
	}
	return writeKubeconfig(s.folder.kubeconfig(), kubeconfig)
}

func (s *Server) runAPIServer(ctx context.Context, api *apiServer, failed chan<- error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := api.run(ctx)
		ended <- err
		failed <- errors.Join(errors.New("the API server ended"), err)
	}()
	s.onClose("API server", apiServerStopLimit, func(stopCtx context.Context) error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-stopCtx.Done():
			return context.Cause(stopCtx)
		}
	})
}

func (s *Server) runControllers(ctx context.Context, config *rest.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	c, err := newControllers(ctx, config)
	if err != nil {
		cancel()
		return err
	}
	c.start(ctx)
	s.onClose("controllers", controllersStopLimit, func(stopCtx context.Context) error {
		cancel()
		return c.wait(stopCtx)
	})
	return nil
}

// waitReady waits for the API server to be ready and for the namespace that
// kubectl uses by default, which the server makes a moment later.
func waitReady(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making client: %w", err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, readyPoll, readyLimit, true, func(ctx context.Context) (bool, error) {
		last = client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		if last == nil {
			_, last = client.CoreV1().Namespaces().Get(ctx, corev1.NamespaceDefault, metav1.GetOptions{})
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the API server is not ready: %w", errors.Join(err, last))
	}
	return nil
}

// supervise waits for the reason to end, ends all parts and says so.
func (s *Server) supervise(ctx, parts context.Context, failed <-chan error) {
	defer close(s.done)
	longest := max(controllersStopLimit, apiServerStopLimit, etcdStopLimit)
	var reason error
	select {
	case <-ctx.Done():
	case <-parts.Done():
	case reason = <-failed:
		longest = failedStopLimit
	}
	s.err = errors.Join(reason, s.shutDown(longest))
}

// shutDown ends the parts in the reverse order of their start, each within its
// limit and the longest one, so that one that hangs does not keep the others.
// After that the process cannot have another control plane.
func (s *Server) shutDown(longest time.Duration) error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		c := s.closers[i]
		ctx, cancel := context.WithTimeout(context.Background(), min(c.limit, longest))
		if err := c.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("ending %s: %w", c.part, err))
		}
		cancel()
	}
	s.stop()
	if len(errs) == 0 {
		running.Store(false)
	}
	return errors.Join(errs...)
}

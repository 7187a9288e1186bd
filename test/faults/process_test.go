package faults

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/controllers"
	"mollymawk.dev/operator/internal/egress"
	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
	"mollymawk.dev/operator/internal/probe"
	"mollymawk.dev/operator/internal/redact"
)

// process is an operator that can be killed: from then on nothing that it does
// reaches the API server or a host, and its connections are closed.
type process struct {
	w      *world
	cancel context.CancelFunc
	ended  chan error
	died   chan struct{}
	// away has the API server refuse everything.
	away atomic.Bool

	mu    sync.Mutex
	fuse  fuse
	dead  bool
	conns map[net.Conn]struct{}
}

// fuse says where an operator dies.
type fuse struct {
	// request chooses one to the API server; the operator dies before it is
	// sent or, with after, when it was carried out and not yet answered.
	request func(*http.Request) bool
	after   bool
	// dial chooses a connection to a host, before which the operator dies.
	dial func() bool
}

var (
	errKilled = errors.New("the operator was killed")
	errAway   = errors.New("the API server is away")
)

// startOperator starts the operator for the world's objects only, so that those
// of other tests do not meet.
func (w *world) startOperator() {
	w.Helper()
	p := &process{w: w, ended: make(chan error, 1), died: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	access := rest.CopyConfig(w.access)
	access.Wrap(func(rt http.RoundTripper) http.RoundTripper { return gate{rt, p} })
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	mgr := p.manager(ctx, access)
	go func() { p.ended <- mgr.Start(ctx) }()
	w.operator = p
	w.Cleanup(func() { p.stop() })
}

func (p *process) manager(ctx context.Context, access *rest.Config) ctrl.Manager {
	w := p.w
	w.Helper()
	log := redact.Log(funcr.New(w.log.add, funcr.Options{Verbosity: 10}))
	own := cache.Options{
		DefaultNamespaces: map[string]cache.Config{w.namespace: {}, w.system: {}},
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.AlbatrossInstance{}: {Label: labels.SelectorFromSet(labels.Set{worldLabel: w.instance})},
		},
	}
	if len(w.otherNamespaces) == 0 { // one name is all that a field selector takes
		own.ByObject[&corev1.Namespace{}] = cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", w.namespace)}
	}
	for _, namespace := range w.otherNamespaces {
		own.DefaultNamespaces[namespace] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(access, ctrl.Options{
		Scheme: w.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}, Cache: own, Logger: log,
		Controller:              config.Controller{SkipNameValidation: new(true)},
		GracefulShutdownTimeout: new(5 * time.Second),
	})
	if err != nil {
		w.Fatal(err)
	}
	pool := hosts.New(hosts.Options{Log: log, RetryDelay: 50 * time.Millisecond, ProbeTimeout: probeTimeout, Dial: p.dial})
	store, err := images.OpenStore(ctx, w.imageDir)
	if err != nil {
		w.Fatal(err)
	}
	wakeups := &controllers.Wakeups{}
	fetcher := images.NewFetcher(store, images.Options{Egress: egress.Policy{AllowLoopback: true}}, wakeups.Wake)
	prober := probe.New(probe.Options{}, wakeups.Wake)
	for _, err := range []error{
		mgr.Add(pool), mgr.Add(fetcher), mgr.Add(prober),
		controllers.Setup(ctx, mgr, controllers.Config{Namespace: w.system, Hosts: pool, Images: fetcher, Probes: prober, Wakeups: wakeups, Workers: 4}),
	} {
		if err != nil {
			w.Fatal(err)
		}
	}
	return mgr
}

// stop ends the operator as SIGTERM does.
func (p *process) stop() {
	p.cancel()
	err := <-p.ended
	p.ended <- nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && !p.dead {
		p.w.Errorf("operator: %v", err)
	}
}

// kill ends the operator as SIGKILL does.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	p.dead = true
	for conn := range p.conns {
		conn.Close()
	}
	p.w.killed(time.Now())
	close(p.died)
	p.cancel()
}

// set has the operator die at the fuse.
func (p *process) set(f fuse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fuse = f
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *process) diesAtRequest(r *http.Request, after bool) bool {
	p.mu.Lock()
	f := p.fuse
	p.mu.Unlock()
	return f.request != nil && f.after == after && f.request(r)
}

// dial opens the operator's connections to hosts.
func (p *process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	strikes := p.fuse.dial
	p.mu.Unlock()
	if strikes != nil && strikes() {
		p.kill()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		conn.Close()
		return nil, errKilled
	}
	p.conns[conn] = struct{}{}
	return &tracked{conn, p}, nil
}

// tracked is a connection that ends with its process.
type tracked struct {
	net.Conn
	process *process
}

func (c *tracked) Close() error {
	c.process.mu.Lock()
	delete(c.process.conns, c.Conn)
	c.process.mu.Unlock()
	return c.Conn.Close()
}

// gate stands between the operator and the API server.
type gate struct {
	http.RoundTripper
	process *process
}

func (g gate) RoundTrip(r *http.Request) (*http.Response, error) {
	p := g.process
	if p.diesAtRequest(r, false) {
		p.kill()
	}
	switch {
	case p.isDead():
		return nil, errKilled
	case p.away.Load():
		return nil, errAway
	}
	response, err := g.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if p.diesAtRequest(r, true) {
		p.kill()
	}
	if p.isDead() {
		response.Body.Close()
		return nil, errKilled
	}
	return response, nil
}

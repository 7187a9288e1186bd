package services

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/internal/hosts"
	"mollymawk.dev/operator/internal/images"
)

// Defaults of [Options].
const (
	DefaultPatience     = 2 * time.Minute
	DefaultMaxTransfers = 16
	DefaultMaxConsoles  = 256
	DefaultMaxViewers   = 4096
)

// Store keeps what callers upload.
type Store interface {
	// Add keeps content whose digest is found out while it is written.
	Add(ctx context.Context, from io.Reader, limit int64) (images.Blob, error)
	// Grant remembers who delivered a digest and so may use it.
	Grant(ctx context.Context, digest string, by images.Provenance) error
}

// Options of [New]. All but the limits must be given.
type Options struct {
	// Config is the access that impersonates callers.
	Config *rest.Config
	// Client reads from the cache. It writes the operator's own things only.
	Client client.Client
	// Live reads past the cache.
	Live client.Reader
	// Cache tells of changes of objects.
	Cache cache.Informers
	Hosts *hosts.Pool
	// Store keeps uploads; without one there are none.
	Store Store
	// Namespace is the operator's own, where the Secrets of instances are.
	Namespace string
	// WatchNamespaces are the only ones that are looked after; none means all.
	WatchNamespaces []string
	Log             logr.Logger
	// Patience is how long the controllers' verdict is waited for.
	Patience time.Duration
	// MaxTransfers is how many uploads to and downloads from volumes there are at
	// a time.
	MaxTransfers int
	// MaxConsoles is how many consoles are followed at a time, and MaxViewers how
	// many viewers all of them have.
	MaxConsoles, MaxViewers int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.MaxTransfers == 0 {
		o.MaxTransfers = DefaultMaxTransfers
	}
	if o.MaxConsoles == 0 {
		o.MaxConsoles = DefaultMaxConsoles
	}
	if o.MaxViewers == 0 {
		o.MaxViewers = DefaultMaxViewers
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Services does what callers ask for. It is a Runnable of a manager, on every
// replica; calls work once it was started.
type Services struct {
	Options
	writers   *writers
	news      news
	looks     looks
	lists     lists
	consoles  *hub
	transfers chan struct{}
	direct    names
}

// New makes services that are to be started.
func New(options Options) (*Services, error) {
	options.setDefaults()
	w, err := newWriters(options.Config, options.Client.Scheme())
	if err != nil {
		return nil, err
	}
	s := &Services{Options: options, writers: w, transfers: make(chan struct{}, options.MaxTransfers)}
	s.consoles = newHub(s.follow, options.MaxConsoles, options.MaxViewers)
	return s, nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (s *Services) NeedLeaderElection() bool { return false }

// Start hears of changes until the context ends, and then waits for what is under
// way.
func (s *Services) Start(ctx context.Context) error {
	stop, err := s.hear(ctx)
	if err != nil {
		return err
	}
	<-ctx.Done()
	stop()
	s.consoles.close()
	s.looks.end()
	return nil
}

// names are locks by name, for what must not be done twice at a time.
type names struct {
	mu   sync.Mutex
	held map[string]bool
}

// take is false while somebody else holds the name.
func (n *names) take(name string) (release func(), ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[name] {
		return nil, false
	}
	if n.held == nil {
		n.held = map[string]bool{}
	}
	n.held[name] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.held, name)
	}, true
}

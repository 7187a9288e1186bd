package accounts

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/testenv"
)

// limit is how long something may take that normally takes milliseconds.
const limit = time.Minute

// cheap are costs that do not slow tests down.
var cheap = Argon2id{Memory: 64, Time: 1, Threads: 1}

const (
	password = "correct horse"
	address  = "192.0.2.7:4711"
	browser  = "Mozilla/5.0 (X11; Linux x86_64)"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	testenv.Main(m)
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// world is an API server with users whose names nobody else has.
type world struct {
	*testing.T
	client.WithWatch
	// system is the operator's namespace.
	system string
	prefix string
	clock  *testClock
}

// testClock is moved by tests.
type testClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *testClock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += by
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := client.NewWithWatch(testenv.Config(t), client.Options{Scheme: newScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, WithWatch: c, system: testenv.Namespace(t, c), prefix: "u" + uuid.NewString()[:8], clock: &testClock{}}
	t.Cleanup(func() {
		// Users belong to the whole server.
		if err := c.DeleteAllOf(context.Background(), &v1alpha1.User{}); err != nil {
			t.Error(err)
		}
	})
	return w
}

// replica is an operator's accounts.
type replica struct {
	*Accounts
	// stop ends it as an operator ends.
	stop func()
}

// start begins a replica with a cache of its own and waits until it is ready.
func (w *world) start(options Options) *replica {
	w.Helper()
	c, err := cache.New(testenv.Config(w.T), cache.Options{
		Scheme: w.Scheme(), ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{w.system: {}}}},
		DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		w.Fatal(err)
	}
	cached, err := client.New(testenv.Config(w.T), client.Options{Scheme: w.Scheme(), Cache: &client.CacheOptions{Reader: c}})
	if err != nil {
		w.Fatal(err)
	}
	options.Client, options.Live, options.Cache, options.Namespace, options.Log = cached, w.WithWatch, c, w.system, logr.Discard()
	options.Argon2id = orCheap(options.Argon2id)
	if options.Now == nil {
		options.Now = w.clock.now
	}
	r := &replica{Accounts: New(options)}
	cacheContext, endCache := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	ended := make(chan error, 1)
	parts.Go(func() { _ = c.Start(cacheContext) })
	go func() { ended <- r.Start(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("accounts: %v", err)
		}
		endCache()
		parts.Wait()
	})
	w.Cleanup(r.stop)
	w.until("ready", func() bool { return r.Ready() })
	return r
}

func orCheap(costs Argon2id) Argon2id {
	if costs == (Argon2id{}) {
		return cheap
	}
	return costs
}

func (w *world) until(what string, holds func() bool) {
	w.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("still not %s", what)
		}
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) email(name string) string { return name + "@" + w.prefix + ".example.org" }

// user makes an active user and waits until the replicas know it.
func (w *world) user(name string, replicas ...*replica) string {
	w.Helper()
	full := w.prefix + "-" + name
	_, err := replicas[0].CreateUser(w.Context(), NewUser{Name: full, Email: w.email(name), Password: password, Active: true})
	w.must(err)
	for _, r := range replicas {
		w.until("known", func() bool {
			found, ok := r.index.byName(full)
			return ok && found.record.password != ""
		})
	}
	return full
}

// token makes a token and waits until the replicas know it.
func (w *world) token(user, name string, expiry time.Duration, replicas ...*replica) Token {
	w.Helper()
	token, err := replicas[0].CreateToken(w.Context(), user, name, expiry)
	w.must(err)
	for _, r := range replicas {
		w.until("known", func() bool { _, _, ok := r.index.byToken(token.Value); return ok })
	}
	return token
}

// secret reads the Secret of a user.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	var user v1alpha1.User
	w.must(w.Get(w.Context(), client.ObjectKey{Name: name}, &user))
	var secret corev1.Secret
	w.must(w.Get(w.Context(), client.ObjectKey{Namespace: w.system, Name: secretPrefix + string(user.UID)}, &secret))
	return &secret
}

// stored is how a token was used as the Secret says.
func (w *world) stored(name string, token Token) storedUsage {
	w.Helper()
	return parseRecord(w.secret(name).Data).usage[digestOf(token.Value).id()]
}

func bearer(token Token) Credential { return Credential{Bearer: token.Value} }
func cookie(session Session) Credential {
	return Credential{Session: session.Value, UserAgent: browser}
}

// newUser and newAccountSecret are objects as a watch brings them.
func newTestUser(name string, uid types.UID, version int) *v1alpha1.User {
	return &v1alpha1.User{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid, ResourceVersion: fmt.Sprint(version)},
		Spec:       v1alpha1.UserSpec{Email: v1alpha1.Email(name + "@example.org")},
	}
}

func newTestSecret(t *testing.T, uid types.UID, version int, tokens ...storedToken) *corev1.Secret {
	t.Helper()
	d := newDraft(nil)
	for _, token := range tokens {
		if err := d.putToken(token); err != nil {
			t.Fatal(err)
		}
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretPrefix + string(uid), ResourceVersion: fmt.Sprint(version)}, Data: d.data}
}

func newTestToken(name string) storedToken {
	return storedToken{Value: uuid.NewString(), Name: name, CreatedAt: time.Unix(1_700_000_000, 0).UTC(), ExpiresIn: 60}
}

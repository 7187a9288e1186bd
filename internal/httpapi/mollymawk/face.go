// Package mollymawk is the face of the HTTP API that Mollymawk's own API
// documents: its paths, texts and replies, for scripts and pipelines that were
// written for it. It decides nothing: accounts say who asks, and services do
// what is asked.
package mollymawk

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/internal/httpapi"
)

// Options say what stands behind the face, and its limits.
type Options struct {
	Gate       Gate
	Account    Account
	Tokens     Tokens
	Users      Users
	Unikernels Unikernels
	Volumes    Volumes
	Instances  Instances
	Policies   Policies
	Updates    Updates
	// BuildServer is where deploy_mode builder and update find builds.
	BuildServer string
	// Limiter bounds how often each credential may ask; nil means no bound.
	Limiter *httpapi.Limiter
	Limits  Limits
	// Heartbeat is how often a silent console says that it lives.
	Heartbeat time.Duration
	Log       logr.Logger
}

// Limits bound what a request may have; 0 means the default.
type Limits struct {
	// Document is the size of a JSON body, Fields that of all parts of a form
	// but its file, Parts their number.
	Document, Fields int64
	Parts            int
	// Image is the size of a unikernel's image, Volume that of the data for a
	// volume.
	Image, Volume int64
	// Spool is how much data for a volume is kept on disk, in SpoolDir, when it
	// arrives before it is known what it is for; Spools is for how many calls at
	// a time. SpoolDir is by default that for temporary files.
	Spool    int64
	Spools   int
	SpoolDir string
}

func (l *Limits) setDefaults() {
	for _, limit := range []struct {
		value *int64
		or    int64
	}{{&l.Document, 1 << 20}, {&l.Fields, 2 << 20}, {&l.Image, 1 << 30}, {&l.Volume, 1 << 40}, {&l.Spool, 1 << 30}} {
		if *limit.value == 0 {
			*limit.value = limit.or
		}
	}
	if l.Parts == 0 {
		l.Parts = 32
	}
	if l.Spools == 0 {
		l.Spools = 4
	}
}

// Face answers the paths of the API.
type Face struct {
	options Options
	routes  map[string]map[string]route
	// spools has a place for each call that may keep data on disk.
	spools chan struct{}
	// rendered has lists of unikernels.
	rendered rendered
}

// New makes the face.
func New(options Options) *Face {
	options.Limits.setDefaults()
	if options.Limiter == nil {
		options.Limiter = httpapi.NewLimiter(0, 1, nil)
	}
	if options.Heartbeat == 0 {
		options.Heartbeat = 15 * time.Second
	}
	f := &Face{options: options, routes: map[string]map[string]route{}, spools: make(chan struct{}, options.Limits.Spools)}
	for _, r := range f.table() {
		for _, path := range r.paths {
			if f.routes[path] == nil {
				f.routes[path] = map[string]route{}
			}
			f.routes[path][r.method] = r
		}
	}
	return f
}

// Serves tells whether the path is one of the API's, so that several faces can
// share a server.
func (f *Face) Serves(path string) bool { return f.routes[path] != nil }

// ServeHTTP always answers with an envelope, but for streams.
func (f *Face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{face: f, w: w, r: r}
	body := &touched{ReadCloser: r.Body}
	r.Body = body
	answer := f.answer(c)
	record := httpapi.RecordOf(r.Context())
	if text, isText := answer.data.(string); isText && answer.status >= http.StatusBadRequest {
		record.Reason = reasonFor(answer.status, text)
	}
	if answer.status != 0 {
		answer.send(w)
	}
	body.drain(w)
}

// reasonFor is what the log says about a refusal: texts that repeat what the
// caller sent are left out.
func reasonFor(status int, text string) string {
	if status < http.StatusInternalServerError {
		return http.StatusText(status)
	}
	const enough = 200
	return text[:min(len(text), enough)]
}

func (f *Face) answer(c *call) (answer reply) {
	defer func() {
		failure := recover()
		if failure == nil {
			return
		}
		if err, isError := failure.(error); isError && errors.Is(err, http.ErrAbortHandler) {
			panic(failure)
		}
		answer = c.broken(failure)
	}()
	methods, known := f.routes[c.r.URL.Path]
	if !known {
		return bad("This page cannot be found.").titled("Page not found")
	}
	route, allowed := methods[c.r.Method]
	if !allowed {
		return bad("Bad HTTP request method.")
	}
	return route.answer(c)
}

// Routes are all calls that are answered, each as its method and path.
func (f *Face) Routes() (all []string) {
	for path, methods := range f.routes {
		for method := range methods {
			all = append(all, method+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

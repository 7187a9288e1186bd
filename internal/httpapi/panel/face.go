// Package panel is the face of the HTTP API that the Panel API documents: users,
// instances, images and nodes for scripts and bots that were written for it. Its
// instances are Unikernels, its nodes AlbatrossInstances. It decides nothing:
// accounts say who asks, and services do what is asked.
package panel

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"mollymawk.dev/operator/internal/httpapi"
)

// Options say what stands behind the face, and how it speaks.
type Options struct {
	Gate       Gate
	Users      Users
	Namespaces Namespaces
	Unikernels Unikernels
	Nodes      Nodes
	Images     Images
	// Profile says with which status codes calls are answered.
	Profile Profile
	// Name is what the panel calls itself.
	Name string
	// NodeCredentials names the Secret of nodes for which there is none of their own.
	NodeCredentials string
	// PostRate is how many POSTs there may be of an address in each [PostWindow]; 0
	// is no bound.
	PostRate int
	// Limiter bounds how often each token may ask; nil means no bound.
	Limiter *httpapi.Limiter
	// Document is the size of a body; 0 means the default.
	Document int64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	Log logr.Logger
}

func (o *Options) setDefaults() {
	if o.Profile == "" {
		o.Profile = Documented
	}
	if o.Limiter == nil {
		o.Limiter = httpapi.NewLimiter(0, 1, nil)
	}
	if o.Document == 0 {
		o.Document = 100 << 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Face answers the paths of the API.
type Face struct {
	options Options
	routes  map[string]map[string]route
	window  *window
}

// New makes the face.
func New(options Options) *Face {
	options.setDefaults()
	f := &Face{options: options, routes: map[string]map[string]route{}, window: newWindow(options.PostRate, options.Now)}
	for _, r := range table() {
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
func (f *Face) Serves(path string) bool {
	_, _, known := f.find(path)
	return known
}

// Authenticates tells whether a request brings a credential of this API, good or
// bad.
func Authenticates(r *http.Request) bool { return r.Header.Get(keyHeader) != "" }

// Routes are all calls that are answered, each as its method and path in lower
// case, an id as {id}.
func (f *Face) Routes() (all []string) {
	for path, methods := range f.routes {
		for method := range methods {
			all = append(all, method+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// ServeHTTP always answers with JSON.
func (f *Face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{face: f, w: w, r: r}
	answer := f.answer(c)
	if answer.status >= http.StatusBadRequest {
		httpapi.RecordOf(r.Context()).Reason = http.StatusText(answer.status)
	}
	answer.send(w)
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
	methods, id, known := f.find(c.r.URL.Path)
	if !known {
		return refuse(http.StatusNotFound, notFoundText)
	}
	method := c.r.Method
	switch method {
	case http.MethodHead:
		method = http.MethodGet
	case http.MethodOptions:
		c.w.Header().Set("Allow", allowed(methods))
		return reply{status: http.StatusOK}
	}
	route, fine := methods[method]
	if !fine {
		c.w.Header().Set("Allow", allowed(methods))
		return refuse(http.StatusNotFound, notFoundText)
	}
	c.id = id
	return route.answer(c)
}

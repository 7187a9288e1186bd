// Package processlog is where the log of all Kubernetes and etcd code of a
// process ends. That code keeps its loggers in global variables, which must not
// change while they are used, hence the loggers are set once and only the
// target of what they write changes.
//
// The logger of Kubernetes' etcd clients is even made when its package is
// initialised, from a global configuration. This package changes that
// configuration when it is initialised itself. Go initialises packages in the
// order of their import paths as far as their imports allow it. This one
// imports little besides the package of that configuration, while Kubernetes'
// package waits for packages such as sigs.k8s.io/json, whose paths come later
// in the alphabet than this one's. A test of the control plane sees to it that
// nothing is logged past this package.
package processlog

import (
	"io"
	"net/url"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.uber.org/zap"
)

// scheme is that of the URL by which zap's configurations name Log.
const scheme = "processlog"

// Log is the process's log. It discards what is written until a target is set.
var Log = &Target{}

func init() {
	err := zap.RegisterSink(scheme, func(*url.URL) (zap.Sink, error) { return Log, nil })
	if err != nil {
		// Only a second registration of the name fails.
		panic(err)
	}
	logutil.DefaultZapLoggerConfig.OutputPaths = []string{scheme + ":log"}
	logutil.DefaultZapLoggerConfig.ErrorOutputPaths = []string{scheme + ":log"}
}

// Target is a writer whose destination can be changed while others write.
type Target struct {
	mu          sync.Mutex
	destination io.Writer
	name        string
}

// Set directs all further writes to the destination, which is called by one
// caller at a time; with nil they are discarded. The name is for people.
func (t *Target) Set(destination io.Writer, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.destination, t.name = destination, name
}

// Name is the present destination's name.
func (t *Target) Name() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.name
}

// Write writes to the present destination.
func (t *Target) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.destination == nil {
		return len(p), nil
	}
	return t.destination.Write(p)
}

// Sync does nothing, as Write buffers nothing.
func (t *Target) Sync() error { return nil }

// Close does nothing: the log lives as long as the process.
func (t *Target) Close() error { return nil }

// Package redact keeps secrets out of what the operator tells.
package redact

import "github.com/go-logr/logr"

// bodies is the level from which on the Kubernetes client logs what it sends and
// receives, Secrets included.
const bodies = 8

// Log drops what is logged at levels at which texts have secrets in them,
// whatever verbosity is asked for.
func Log(log logr.Logger) logr.Logger {
	inner := log.GetSink()
	if inner == nil {
		return log
	}
	return logr.New(deeper(inner, 1))
}

// sink is below that level all that it wraps.
type sink struct{ logr.LogSink }

// deeper wraps a sink that finds its caller some frames further up.
func deeper(inner logr.LogSink, depth int) logr.LogSink {
	if with, ok := inner.(logr.CallDepthLogSink); ok {
		inner = with.WithCallDepth(depth)
	}
	return sink{inner}
}

// Init does nothing: the wrapped sink is in use already.
func (sink) Init(logr.RuntimeInfo) {}

func (s sink) Enabled(level int) bool { return level < bodies && s.LogSink.Enabled(level) }

func (s sink) Info(level int, message string, keysAndValues ...any) {
	if level < bodies {
		s.LogSink.Info(level, message, keysAndValues...)
	}
}

func (s sink) Error(err error, message string, keysAndValues ...any) {
	s.LogSink.Error(err, message, keysAndValues...)
}

func (s sink) WithValues(keysAndValues ...any) logr.LogSink {
	return sink{s.LogSink.WithValues(keysAndValues...)}
}

func (s sink) WithName(name string) logr.LogSink { return sink{s.LogSink.WithName(name)} }

func (s sink) WithCallDepth(depth int) logr.LogSink { return deeper(s.LogSink, depth) }

package controlplane

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zapgrpc"
	"google.golang.org/grpc/grpclog"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"
)

// processLog is where Kubernetes, etcd and gRPC log to. They keep their logger
// in global variables that must not change once it is used, hence the logger is
// set once and only its target changes.
var processLog = &logTarget{}

// captureLogs makes the process's Kubernetes log, of the control plane and of
// every client-go in the process, end in processLog.
var captureLogs = sync.OnceValue(func() *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	logger := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), processLog, zapcore.InfoLevel))
	klog.SetLoggerWithOptions(zapr.NewLogger(logger), klog.ContextualLogger(true))
	klog.OsExit = exitWithNote
	grpclog.SetLoggerV2(zapgrpc.NewLogger(logger.WithOptions(zap.IncreaseLevel(zapcore.ErrorLevel))))
	return logger
})

// exitWithNote ends the process the way Kubernetes does when it cannot go on.
// Without the note the reason would be in the log file only.
func exitWithNote(code int) {
	fmt.Fprintln(os.Stderr, "the Kubernetes control plane cannot go on; the end of its log says why:", processLog.name())
	os.Exit(code)
}

// logTarget is a writer whose target can be changed while others write.
type logTarget struct {
	mu     sync.Mutex
	target io.Writer // nil discards
	file   string
}

func (l *logTarget) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.target == nil {
		return len(p), nil
	}
	return l.target.Write(p)
}

// Sync does nothing: neither a log file nor the other targets need it.
func (l *logTarget) Sync() error { return nil }

func (l *logTarget) name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == "" {
		return "(not a file)"
	}
	return l.file
}

// open directs the log to the writer, or when that is nil to the file. The
// answered function ends that; what is logged later is lost.
func (l *logTarget) open(writer io.Writer, file string) (closeLog func() error) {
	closeFile := func() error { return nil }
	if writer == nil {
		rotated := &lumberjack.Logger{Filename: file, MaxSize: 10, MaxBackups: 2}
		writer, closeFile = rotated, rotated.Close
	} else {
		file = ""
	}
	l.set(writer, file)
	return func() error {
		l.set(nil, "")
		return closeFile()
	}
}

func (l *logTarget) set(writer io.Writer, file string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target, l.file = writer, file
}

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

	"mollymawk.dev/operator/standalone/controlplane/internal/processlog"
)

const (
	// logFileSize is the size in MiB at which a new log file is begun.
	logFileSize = 10
	// logFilesKept is the number of full log files that are kept.
	logFilesKept = 2
)

// captureLogs makes the log of Kubernetes, of the control plane and of every
// client-go in the process, and of gRPC, end in the process's log.
var captureLogs = sync.OnceValue(func() *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	logger := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), processlog.Log, zapcore.InfoLevel))
	klog.SetLoggerWithOptions(zapr.NewLogger(logger), klog.ContextualLogger(true))
	klog.OsExit = exitWithNote
	grpclog.SetLoggerV2(zapgrpc.NewLogger(logger.WithOptions(zap.IncreaseLevel(zapcore.ErrorLevel))))
	return logger
})

// exitWithNote ends the process the way Kubernetes does when it cannot go on.
// Without the note the reason would be in the log file only.
func exitWithNote(code int) {
	fmt.Fprintln(os.Stderr, "the Kubernetes control plane cannot go on; the end of its log says why:", processlog.Log.Name())
	os.Exit(code)
}

// openLog directs the process's log to the writer, or when that is nil to the
// file. The answered function ends that; what is logged later is lost.
func openLog(writer io.Writer, file string) (closeLog func() error) {
	if writer != nil {
		processlog.Log.Set(writer, "(not a file)")
		return func() error {
			processlog.Log.Set(nil, "")
			return nil
		}
	}
	rotated := &lumberjack.Logger{Filename: file, MaxSize: logFileSize, MaxBackups: logFilesKept}
	processlog.Log.Set(rotated, file)
	return func() error {
		processlog.Log.Set(nil, "")
		return rotated.Close()
	}
}

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// maxSocketPath is the longest path of a unix socket that every system we know
// accepts (sun_path has 104 bytes on BSD and macOS, 108 on Linux, with a NUL).
const maxSocketPath = 103

// dataFolder is a data folder that this process has locked.
type dataFolder struct {
	path string
	lock *fileutil.LockedFile
	// tempSocketDir holds etcd's socket when the data folder's path is too long
	// for one; empty otherwise.
	tempSocketDir string
}

// openDataFolder creates the folder if need be and locks it against a second
// control plane.
func openDataFolder(path string) (*dataFolder, error) {
	if err := prepareFolder(path); err != nil {
		return nil, err
	}
	lockPath := filepath.Join(path, "lock")
	lock, err := fileutil.TryLockFile(lockPath, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, &InUseError{DataDir: path, PID: readPID(lockPath)}
	}
	if err != nil {
		return nil, fmt.Errorf("locking data folder %s: %w", path, err)
	}
	folder := &dataFolder{path: path, lock: lock}
	if err := folder.populate(); err != nil {
		return nil, errors.Join(err, folder.close())
	}
	return folder, nil
}

// InUseError is Start's answer when another control plane uses the data folder.
type InUseError struct {
	// DataDir is the data folder's absolute path.
	DataDir string
	// PID is the process that uses it, 0 if that is not known.
	PID int
}

func (e *InUseError) Error() string {
	process := "another process"
	if e.PID != 0 {
		process = fmt.Sprintf("another process (pid %d)", e.PID)
	}
	return fmt.Sprintf("data folder %s is in use by %s; stop it or choose another with --data-dir", e.DataDir, process)
}

// prepareFolder makes a folder that only its owner can enter. A folder with
// foreign content is refused rather than closed to everybody else: it may be
// one that all users share.
func prepareFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("creating data folder: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("reading data folder: %w", err)
	}
	if len(entries) > 0 && !fileutil.Exist(filepath.Join(path, "lock")) {
		return fmt.Errorf("folder %s holds files of something else; choose an empty or a new one with --data-dir", path)
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // Only its owner may enter, who has to.
		return fmt.Errorf("closing data folder to other users: %w", err)
	}
	return nil
}

func readPID(lockPath string) int {
	content, err := os.ReadFile(lockPath)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0
	}
	return pid
}

// populate writes this process's id and makes the folders that hold the rest.
func (f *dataFolder) populate() error {
	if err := f.lock.Truncate(0); err != nil {
		return fmt.Errorf("writing process id: %w", err)
	}
	if _, err := f.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("writing process id: %w", err)
	}
	for _, dir := range []string{f.pki(), f.etcd()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("creating folder: %w", err)
		}
	}
	if len(f.socketIn(f.etcd())) <= maxSocketPath {
		return nil
	}
	dir, err := os.MkdirTemp("", "etcd-")
	if err != nil {
		return fmt.Errorf("creating folder of etcd's socket: %w", err)
	}
	f.tempSocketDir = dir
	return nil
}

func (f *dataFolder) kubeconfig() string { return filepath.Join(f.path, "kubeconfig") }
func (f *dataFolder) log() string        { return filepath.Join(f.path, "control-plane.log") }
func (f *dataFolder) pki() string        { return filepath.Join(f.path, "pki") }
func (f *dataFolder) etcd() string       { return filepath.Join(f.path, "etcd") }

// etcdInitialised is a file that is there once etcd has been ready. A process
// that is killed before leaves data that etcd can neither use nor make again.
func (f *dataFolder) etcdInitialised() string { return filepath.Join(f.etcd(), "initialised") }

// discardUnfinished removes the data of an etcd that never was ready, hence
// holds nothing.
func (f *dataFolder) discardUnfinished() error {
	if fileutil.Exist(f.etcdInitialised()) {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(f.etcd(), "member")); err != nil {
		return fmt.Errorf("removing what an interrupted start left: %w", err)
	}
	return nil
}

// markInitialised says that etcd's data is to be kept from now on.
func (f *dataFolder) markInitialised() error {
	if fileutil.Exist(f.etcdInitialised()) {
		return nil
	}
	if err := renameio.WriteFile(f.etcdInitialised(), nil, 0o600); err != nil {
		return fmt.Errorf("marking etcd's data as complete: %w", err)
	}
	return nil
}

// socket is the path of etcd's unix socket, in a folder only its owner can
// enter: who reaches it reads every Secret.
func (f *dataFolder) socket() string {
	if f.tempSocketDir != "" {
		return f.socketIn(f.tempSocketDir)
	}
	return f.socketIn(f.etcd())
}

func (f *dataFolder) socketIn(dir string) string { return filepath.Join(dir, "client.sock") }

// close gives the folder back to other processes.
func (f *dataFolder) close() error {
	var err error
	if f.tempSocketDir != "" {
		err = os.RemoveAll(f.tempSocketDir)
	}
	return errors.Join(err, f.lock.Close())
}

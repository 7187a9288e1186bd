package testenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	// buildLimit bounds waiting for another process's build and one's own. With
	// an empty cache and two busy processors a build takes about seven minutes.
	buildLimit = 30 * time.Minute

	// lockPoll is how often a process asks whether another one's build is done.
	lockPoll = 200 * time.Millisecond
)

// buildStandalone answers the path of the program standalone, which it builds
// when there is none of the present sources. Test processes that start at the
// same time wait for the one that builds.
func buildStandalone(ctx context.Context, root string) (program string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, buildLimit, fmt.Errorf("not built within %v", buildLimit))
	defer cancel()
	dir := filepath.Join(root, "bin", "testenv")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("building standalone: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return "", fmt.Errorf("waiting for the build of standalone: %w", errors.Join(err, context.Cause(ctx)))
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()

	source := filepath.Join(root, "standalone")
	key, err := sourceKey(source)
	if err != nil {
		return "", fmt.Errorf("reading the sources of standalone: %w", err)
	}
	program, stamp := filepath.Join(dir, "standalone"), filepath.Join(dir, "standalone.key")
	if upToDate(program, stamp, key) {
		return program, nil
	}
	if err := compile(ctx, source, program); err != nil {
		return "", err
	}
	if err := os.WriteFile(stamp, []byte(key), 0o644); err != nil {
		return "", fmt.Errorf("building standalone: %w", err)
	}
	return program, nil
}

func upToDate(program, stamp, key string) bool {
	built, err := os.ReadFile(stamp)
	if err != nil || string(built) != key {
		return false
	}
	_, err = os.Stat(program)
	return err == nil
}

// compile builds beside the program and then renames, so that a process that
// runs the old one is not disturbed.
func compile(ctx context.Context, source, program string) error {
	fmt.Fprintln(os.Stderr, "testenv: building the control plane for tests; this takes some minutes the first time")
	started := time.Now()
	fresh := program + ".new"
	cmd := exec.CommandContext(ctx, filepath.Join(source, "build.sh"), fresh)
	// Compilers that a killed build leaves hold its output open for a while.
	cmd.WaitDelay = 10 * time.Second
	dieWithParent(cmd)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("building standalone: %w\n%s", errors.Join(err, context.Cause(ctx)), output)
	}
	if err := os.Rename(fresh, program); err != nil {
		return fmt.Errorf("building standalone: %w", err)
	}
	fmt.Fprintf(os.Stderr, "testenv: built in %v\n", time.Since(started).Round(time.Second))
	return nil
}

// sourceKey is a hash over what the control plane is built from: the Go
// version, and the module's files but those of tests. The operator, which the
// same program can run as well, is not part of it: no test uses it from there.
func sourceKey(source string) (string, error) {
	files, err := sourceFiles(source)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range files {
		file, err := os.Open(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		info, err := file.Stat()
		if err != nil {
			return "", errors.Join(err, file.Close())
		}
		fmt.Fprintln(hash, name, info.Size())
		_, err = io.Copy(hash, file)
		if err := errors.Join(err, file.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// sourceFiles are the names, relative to the source folder and in order, of the
// files that the key covers.
func sourceFiles(source string) ([]string, error) {
	files := []string{"build.sh", "go.mod", "go.sum"}
	for _, pattern := range []string{"*.go", "command/*.go", "controlplane/*.go"} {
		matches, err := filepath.Glob(filepath.Join(source, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		for _, match := range matches {
			name, err := filepath.Rel(source, match)
			if err != nil {
				return nil, err
			}
			if !strings.HasSuffix(name, "_test.go") {
				files = append(files, name)
			}
		}
	}
	slices.Sort(files)
	return files, nil
}

package testenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
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

// buildStandalone answers the path of the program standalone, without the
// operator, which it builds when there is none of the present sources. Test processes that start at the
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
	cmd := exec.CommandContext(ctx, filepath.Join(source, "build.sh"), "--control-plane", fresh)
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
// version, and the files of it in the module but those of tests.
func sourceKey(source string) (string, error) {
	files, err := sourceFiles(source)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(hash, name, len(content))
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// sourceFiles are the names, relative to the source folder and in order, of the
// files that the key covers.
func sourceFiles(source string) ([]string, error) {
	files := []string{"build.sh", "go.mod", "go.sum"}
	for _, dir := range []string{"cmd/control-plane", "controlplane"} {
		err := filepath.WalkDir(filepath.Join(source, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, err := filepath.Rel(source, path)
			files = append(files, filepath.ToSlash(name))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return files, nil
}

package controlplane

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestOpenDataFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	folder, err := openDataFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openDataFolder(path)
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() || inUse.DataDir != path {
		t.Errorf("opened twice: %v", err)
	}
	want := "data folder " + path + " is in use by another process (pid " + strconv.Itoa(os.Getpid()) + "); stop it or choose another with --data-dir"
	if err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if err := folder.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openDataFolder(path)
	if err != nil {
		t.Fatalf("opened again after it was closed: %v", err)
	}
	if err := again.close(); err != nil {
		t.Error(err)
	}
}

func TestOpenDataFolderClosesAnEmptyOne(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	folder, err := openDataFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenDataFolderRefusesOtherFolders(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, "letter.txt")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataFolder(path); err == nil || !strings.Contains(err.Error(), "holds files of something else") {
		t.Errorf("a folder with other files: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("its mode is %v now (%v)", info.Mode(), err)
	}
	if _, err := openDataFolder(file); err == nil {
		t.Error("a file was taken for a folder")
	}
}

func TestInUseErrorWithoutProcess(t *testing.T) {
	for _, content := range []string{"", "x", "12 34"} {
		path := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid := readPID(path); pid != 0 {
			t.Errorf("readPID of %q = %d", content, pid)
		}
	}
	if pid := readPID(filepath.Join(t.TempDir(), "none")); pid != 0 {
		t.Errorf("readPID of no file = %d", pid)
	}
	err := &InUseError{DataDir: "d"}
	if got := err.Error(); got != "data folder d is in use by another process; stop it or choose another with --data-dir" {
		t.Errorf("%q", got)
	}
}

func TestSocketPathFits(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, length := range []int{1, 60, 200} {
		path := filepath.Join(temp, strings.Repeat("d", length))
		folder, err := openDataFolder(path)
		if err != nil {
			t.Fatal(err)
		}
		fits := len(filepath.Join(path, "etcd", "client.sock")) <= maxSocketPath
		if inside := strings.HasPrefix(folder.socket(), path+"/"); inside != fits {
			t.Errorf("folder name of %d: socket %s", length, folder.socket())
		}
		if err := folder.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(folder.tempSocketDir); folder.tempSocketDir != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left", folder.tempSocketDir)
		}
	}
}

package command

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// adminEmail is the administrator's address unless another is asked for.
const adminEmail = "admin@localhost"

// passwordFile in the data folder has the first administrator's password.
const passwordFile = "admin-password"

// adminPassword gives the file with the first administrator's password. It makes
// one that nobody can guess when there is no file. Who has changed the password
// since may remove the file.
func adminPassword(dataDir string) (path string, made bool, err error) {
	path = filepath.Join(dataDir, passwordFile)
	_, err = os.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return path, false, err
	}
	if err := renameio.WriteFile(path, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return "", false, fmt.Errorf("the administrator's password: %w", err)
	}
	return path, true, nil
}

// prepareAdmin has the first administrator's password at hand, and says where it is
// when it was made just now.
func (e *everything) prepareAdmin() error {
	if e.operator.BootstrapAdmin == "" || e.operator.BootstrapAdminPasswordFile != "" {
		return nil
	}
	file, made, err := adminPassword(e.controlPlane.DataDir)
	if err != nil {
		return err
	}
	e.operator.BootstrapAdminPasswordFile = file
	if made {
		fmt.Fprintf(e.out, "Making the administrator %s; the password is in %s\n", e.operator.BootstrapAdmin, file)
	}
	return nil
}

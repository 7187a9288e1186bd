package albatrosstest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mollymawk.dev/operator/albatross/wire"
)

// stateFolder keeps what outlives a host: a file for each policy, unikernel,
// image and block device, named for it. A file appears with all its content or
// not at all.
type stateFolder string

const (
	policyFolder    = "policies"
	unikernelFolder = "unikernels"
	imageFolder     = "images"
	blockFolder     = "block"
)

func (s stateFolder) make() error {
	for _, sub := range []string{policyFolder, unikernelFolder, imageFolder, blockFolder} {
		if err := os.MkdirAll(filepath.Join(string(s), sub), 0o700); err != nil {
			return fmt.Errorf("folder of the host: %w", err)
		}
	}
	return nil
}

func (s stateFolder) file(folder string, n wire.Name) string {
	return filepath.Join(string(s), folder, n.String())
}

func (s stateFolder) blockFile(n wire.Name) string { return s.file(blockFolder, n) }

// temporary marks files that are not complete. Names have a ':' and no '~'.
const temporary = "~"

func (s stateFolder) save(file string, content []byte) error {
	if err := os.WriteFile(file+temporary, content, 0o600); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := os.Rename(file+temporary, file); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

func (s stateFolder) savePolicy(path wire.Path, p wire.Policy) error {
	der, err := wire.EncodeExtension(wire.PolicyAdd{Policy: p})
	if err != nil {
		return err
	}
	return s.save(s.file(policyFolder, wire.Name{Path: path}), der)
}

// each calls f with every complete file of a folder.
func (s stateFolder) each(folder string, f func(n wire.Name, content []byte) error) error {
	entries, err := os.ReadDir(filepath.Join(string(s), folder))
	if err != nil {
		return fmt.Errorf("kept state: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), temporary) {
			continue
		}
		n, err := wire.ParseName(e.Name())
		if err != nil {
			return fmt.Errorf("kept state: %s: %w", e.Name(), err)
		}
		content, err := os.ReadFile(filepath.Join(string(s), folder, e.Name()))
		if err != nil {
			return fmt.Errorf("kept state: %w", err)
		}
		if err := f(n, content); err != nil {
			return fmt.Errorf("kept state: %s: %w", e.Name(), err)
		}
	}
	return nil
}

func (s stateFolder) loadPolicies(into *tree[wire.Policy]) error {
	return s.each(policyFolder, func(n wire.Name, content []byte) error {
		command, err := wire.DecodeExtension(content)
		if add, ok := command.(wire.PolicyAdd); ok {
			into.put(n.Path, add.Policy)
		}
		return err
	})
}

// saveUnikernel writes the digest of the image and the configuration.
func (s stateFolder) saveUnikernel(u *unikernel) error {
	der, err := wire.EncodeExtension(wire.UnikernelCreate{Config: u.config})
	if err != nil {
		return err
	}
	return s.save(s.file(unikernelFolder, u.name), append(append([]byte(nil), u.image.digest...), der...))
}

func (s stateFolder) removeUnikernel(n wire.Name) error {
	return os.Remove(s.file(unikernelFolder, n))
}

// loadUnikernels gives unikernels that are not started yet.
func (s stateFolder) loadUnikernels(from *images) (all []*unikernel, err error) {
	err = s.each(unikernelFolder, func(n wire.Name, content []byte) error {
		if len(content) < sha256.Size {
			return fmt.Errorf("only %d bytes", len(content))
		}
		command, err := wire.DecodeExtension(content[sha256.Size:])
		if err != nil {
			return err
		}
		create, ok := command.(wire.UnikernelCreate)
		if !ok {
			return fmt.Errorf("not a unikernel but %s", wire.CommandName(command))
		}
		image, err := from.load(content[:sha256.Size])
		if err != nil {
			return err
		}
		all = append(all, &unikernel{name: n, config: create.Config, image: image})
		return nil
	})
	return all, err
}

// loadBlocks takes every file of whole MiB for a block device; what else there
// is blocks its name.
func (d *daemon) loadBlocks() error {
	entries, err := os.ReadDir(filepath.Join(string(d.state), blockFolder))
	if err != nil {
		return fmt.Errorf("kept block devices: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("kept block device: %w", err)
		}
		n, err := wire.ParseName(e.Name())
		if err != nil || n.IsPath() || info.Size() == 0 || info.Size()%(1<<20) != 0 {
			continue
		}
		d.blocks.put(labels(n), &block{size: info.Size() >> 20, path: d.state.blockFile(n)})
	}
	return nil
}

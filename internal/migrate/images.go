package migrate

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/images"
)

// maxImage bounds an image in memory: a host sends it in one piece.
const maxImage = 256 << 20

// keeper is where images go that hosts have.
type keeper interface {
	// keep has an image at hand for a namespace and says where it is now.
	keep(ctx context.Context, digest, namespace string, image []byte) (where string, err error)
}

// folder keeps images as files for a person to publish.
type folder string

func (f folder) keep(_ context.Context, digest, _ string, image []byte) (string, error) {
	file := filepath.Join(string(f), digest)
	if present, err := os.ReadFile(file); err == nil && digestOf(present) == digest {
		return f.note(file), nil
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return "", err
	}
	return f.note(file), os.WriteFile(file, image, 0o600)
}

func (f folder) note(file string) string {
	return fmt.Sprintf("a copy from the host is in %s. The operator has none; publish it, and replace stored by its source (url with sha256, or oci).", file)
}

// store keeps images where the operator looks for them.
type store struct{ *images.Store }

func (s store) keep(ctx context.Context, digest, namespace string, image []byte) (string, error) {
	if _, err := s.Put(ctx, bytes.NewReader(image), digest, maxImage); err != nil {
		return "", err
	}
	return "a copy from the host is in the operator's store, for the namespaces that run it.", s.Grant(ctx, digest, images.UploadedFor(namespace))
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// keepImages fetches the images of a host's unikernels and notes where they are. One
// that cannot be had is noted too, and ends nothing.
func keepImages(ctx context.Context, client *albatross.Client, seen *Seen, c *converter, to keeper, notes map[string]string) error {
	fetched := map[string]bool{}
	for _, u := range sortedBy(seen.Unikernels, func(u albatross.Unikernel) string { return u.Name.String() }) {
		digest := hex.EncodeToString(u.Info.Digest)
		namespace, err := c.namespace(u.Name.Path)
		if err != nil || u.Info.Type == albatross.BHyve || fetched[digest+"/"+namespace] {
			continue
		}
		fetched[digest+"/"+namespace] = true
		image, err := fetchImage(ctx, client, seen, &u)
		if err != nil {
			if notes[digest] == "" {
				notes[digest] = fmt.Sprintf("the host does not give it (%v). The operator has none with this SHA-256.", err)
			}
			continue
		}
		where, err := to.keep(ctx, digest, namespace, image)
		if err != nil {
			return fmt.Errorf("keep the image of %s: %w", u.Name, err)
		}
		notes[digest] = where
	}
	return nil
}

// fetchImage has the host's bytes checked. The command carries the policies that are
// in force, which changes nothing; without them it is not sent.
func fetchImage(ctx context.Context, client *albatross.Client, seen *Seen, u *albatross.Unikernel) ([]byte, error) {
	scope, missing := seen.scope(u.Name.Path)
	if missing != nil {
		return nil, fmt.Errorf("the path %s has no policy", missing)
	}
	image, compressed, err := client.GetImage(ctx, scope, u.Name.Label, 0)
	if err != nil {
		return nil, err
	}
	if compressed {
		if image, err = inflate(image, maxImage); err != nil {
			return nil, err
		}
	}
	if digestOf(image) != hex.EncodeToString(u.Info.Digest) {
		return nil, errors.New("what it sends has another SHA-256")
	}
	return image, nil
}

func inflate(packed []byte, limit int64) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	image, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(image)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return image, err
}

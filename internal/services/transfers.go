package services

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross"
)

// transferQueue is how long a transfer waits for one of the places.
const transferQueue = 10 * time.Second

// transfer takes one of the places for transfers. They are apart from the places
// for commands: a slow caller must not keep the controllers from a host.
func (s *Services) transfer(ctx context.Context) (release func(), err error) {
	select {
	case s.transfers <- struct{}{}:
	default:
		timer := time.NewTimer(transferQueue)
		defer timer.Stop()
		select {
		case s.transfers <- struct{}{}:
		case <-timer.C:
			return nil, ErrBusy
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return sync.OnceFunc(func() { <-s.transfers }), nil
}

// checkFits refuses data that is known not to fit before the host sees any of it.
func checkFits(r VolumeRequest, size int64) error {
	if !r.Compressed && r.DataSize > size<<20 {
		return &Invalid{"data", fmt.Sprintf("has %d bytes, and the volume %d MiB", r.DataSize, size)}
	}
	return nil
}

// fill streams data to a volume. Data whose size is not known is counted on its
// way, so that a host never gets more than fits.
func (s *Services) fill(ctx context.Context, p place, name string, r VolumeRequest) error {
	release, err := s.transfer(ctx)
	if err != nil {
		return err
	}
	defer release()
	at, err := s.site(ctx, p)
	if err != nil {
		return err
	}
	block, exists := at.snapshot.Blocks[p.name(name).String()]
	if exists {
		if err := checkFits(r, block.Size); err != nil {
			return err
		}
	}
	free, ok := s.direct.take(at.instance + " " + at.name(name).String())
	if !ok {
		return &Conflict{Text: "somebody is doing something with it at the moment"}
	}
	defer free()
	return hostError(at.instance, at.host.Measure("populate", func() error {
		_, err := at.host.Client().SetBlock(ctx, at.scope, name, albatross.BlockContent{
			Reader: &ending{ctx, r.Data}, Compressed: r.Compressed, Deflate: r.Compressed,
		})
		return err
	}))
}

// ending reads until the context ends.
type ending struct {
	ctx  context.Context
	from io.Reader
}

// Read implements io.Reader.
func (r *ending) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.from.Read(p)
}

// DownloadVolume reads a volume that no unikernel uses, whoever made it: as it is
// with level 0, as a zlib stream with a level up to 9. It fails when the host
// refuses, before there is any data. The caller closes the reader. Reading ends
// with io.EOF only at the true end, and the transfer with the context.
func (s *Services) DownloadVolume(ctx context.Context, id Identity, instance, name string, level int) (io.ReadCloser, error) {
	instance, name, err := labels(instance, "name", name)
	if err != nil {
		return nil, err
	}
	if level < 0 || level > 9 {
		return nil, &Invalid{"level", "must be 0 to 9"}
	}
	p, err := s.place(ctx, id, instance)
	if err != nil {
		return nil, err
	}
	release, err := s.transfer(ctx)
	if err != nil {
		return nil, err
	}
	at, err := s.site(ctx, p)
	if err != nil {
		release()
		return nil, err
	}
	r, _, err := at.host.Client().OpenBlock(ctx, at.scope, name, int64(level))
	if err != nil {
		release()
		return nil, hostError(at.instance, err)
	}
	return &download{r, release}, nil
}

// download gives its place back when it is closed.
type download struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (d *download) Close() error {
	defer d.release()
	return d.ReadCloser.Close()
}

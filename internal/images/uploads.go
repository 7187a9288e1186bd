package images

import (
	"context"
	"io"
)

// Keep stores an upload for a namespace, which may use it from then on as its
// stored source. More than limit bytes fail with [ErrTooLarge]; nothing of it is
// kept.
func (s *Store) Keep(ctx context.Context, namespace string, from io.Reader, limit int64) (digest string, size int64, err error) {
	blob, err := s.Add(ctx, from, limit)
	if err != nil {
		return "", 0, err
	}
	return blob.Digest, blob.Size, s.Grant(ctx, blob.Digest, UploadedFor(namespace))
}

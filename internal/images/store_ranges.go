package images

import (
	"context"
	"errors"
	"io"
)

const (
	// windowSize is how much is read at a time, at least.
	windowSize = 64 << 10
	// maxWindows is how often something is read. Real images need two or three.
	maxWindows = 64
)

// errScattered stops images that are made to be read in very many pieces.
var errScattered = errors.New("damaged ELF file: headers and notes lie too far apart")

// ranges reads parts of content. It keeps the last two that it read: headers and
// notes, between which the reading of an image goes back and forth.
type ranges struct {
	ctx    context.Context
	bucket *bucket
	key    string
	size   int64
	// windows has what was used last first.
	windows [2]window
	reads   int
	// err is the first failure of the store.
	err error
}

// window is a part of the content.
type window struct {
	at      int64
	content []byte
}

func (w *window) holds(at, size int64) bool {
	return w.content != nil && at >= w.at && at+size <= w.at+int64(len(w.content))
}

// ReadAt implements io.ReaderAt.
func (r *ranges) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at > r.size || int64(len(p)) > r.size-at {
		return 0, io.ErrUnexpectedEOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.windows[1].holds(at, int64(len(p))) {
		r.windows[0], r.windows[1] = r.windows[1], r.windows[0]
	}
	if !r.windows[0].holds(at, int64(len(p))) {
		if r.reads++; r.reads > maxWindows {
			return 0, errScattered
		}
		content, err := r.read(at, min(max(int64(len(p)), windowSize), r.size-at))
		if err != nil {
			r.err = err
			return 0, err
		}
		r.windows[0], r.windows[1] = window{at, content}, r.windows[0]
	}
	return copy(p, r.windows[0].content[at-r.windows[0].at:]), nil
}

func (r *ranges) read(at, size int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.ctx, requestLimit)
	defer cancel()
	from, err := r.bucket.NewRangeReader(ctx, r.key, at, size, nil)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	content := make([]byte, size)
	_, err = io.ReadFull(from, content)
	return content, err
}

package images

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

// What is where in a bucket. Nothing else in it is looked at or touched.
const (
	blobPrefix       = "blobs/"      // blobs/<digest>
	grantPrefix      = "grants/"     // grants/<digest>/<provenance>
	incomingPrefix   = "incoming/"   // incoming/<id>, and incoming/<digest>-<id> for what is on its way
	collectingPrefix = "collecting/" // collecting/<digest>
)

func blobKey(digest string) string { return blobPrefix + digest }

// newID gives a name that nobody else chooses.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// contentType is what clouds show for what is kept.
const contentType = "application/octet-stream"

// Deadlines of what needs one or a few requests, and of removing something
// superfluous. What takes as long as the content is large has the caller's.
const (
	requestLimit = 30 * time.Second
	tidyLimit    = 10 * time.Second
)

// bucket is where things are kept. For a folder it supplies what the driver of
// the library lacks: renaming, and that what was acknowledged survives a power
// failure.
type bucket struct {
	*blob.Bucket
	// folder is its path; empty for one in a cloud.
	folder string
}

// openBucket opens the one that an administrator has named. Errors do not repeat
// the location, since parameters of a URL may be secrets.
func openBucket(ctx context.Context, location string) (*bucket, error) {
	if !strings.Contains(location, "://") {
		return openFolder(location)
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("image store: the location is not a URL")
	}
	if u.Scheme == fileblob.Scheme {
		if u.Host != "" && u.Host != "localhost" || u.RawQuery != "" || u.Path == "" {
			return nil, errors.New("image store: a folder's URL has the form file:///absolute/path")
		}
		return openFolder(filepath.FromSlash(u.Path))
	}
	opened, err := blob.OpenBucket(ctx, forS3(*u).String())
	if err != nil {
		return nil, fmt.Errorf("image store: %s: %s", (&url.URL{Scheme: u.Scheme, Host: u.Host}).String(), withoutURL(err, u))
	}
	b := &bucket{Bucket: opened}
	b.tryAgain()
	return b, nil
}

// withoutURL gives the text of an error without a URL and without the values of
// its parameters.
func withoutURL(err error, u *url.URL) string {
	hide := []string{u.String(), "the URL"}
	for _, values := range u.Query() {
		for _, value := range values {
			if value != "" {
				hide = append(hide, value, "...")
			}
		}
	}
	if u.RawQuery != "" {
		hide = append(hide, u.RawQuery, "...")
	}
	if u.User != nil {
		hide = append(hide, u.User.String(), "...")
	}
	return strings.NewReplacer(hide...).Replace(err.Error())
}

// openFolder names files in its errors: who named the folder reads them.
func openFolder(dir string) (*bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	for _, sub := range []string{"", blobPrefix, grantPrefix, incomingPrefix, collectingPrefix} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	b := &bucket{folder: dir}
	if err := b.takeOver(); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	b.Bucket, err = fileblob.OpenBucket(dir, &fileblob.Options{
		DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	return b, nil
}

// takeOver brings a folder of an earlier version into the present layout, in
// which content was in the folder itself.
func (b *bucket) takeOver() error {
	entries, err := os.ReadDir(b.folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(b.folder, entry.Name())
		switch {
		case !entry.Type().IsRegular():
		case digestForm.MatchString(entry.Name()):
			err = os.Rename(path, filepath.Join(b.folder, blobPrefix, entry.Name()))
		case strings.HasPrefix(entry.Name(), "incoming-"):
			if info, infoErr := entry.Info(); infoErr == nil && time.Since(info.ModTime()) > abandoned {
				err = os.Remove(path)
			}
		}
		// Another process may do the same at this moment.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return b.sync("", blobPrefix)
}

// sync has the names in folders survive a power failure. Clouds see to that.
func (b *bucket) sync(dirs ...string) error {
	if b.folder == "" {
		return nil
	}
	for _, dir := range dirs {
		f, err := os.Open(filepath.Join(b.folder, dir))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// rename moves content within a folder.
func (b *bucket) rename(from, to string) error {
	if err := os.Rename(filepath.Join(b.folder, from), filepath.Join(b.folder, to)); err != nil {
		return err
	}
	return b.sync(filepath.Dir(to))
}

// writer is content on its way into a bucket.
type writer struct {
	*blob.Writer
	cancel context.CancelFunc
	// file is the one of a folder that is written.
	file *os.File
	// parts are written instead when it is S3.
	parts *parts
}

// create begins content under a key, where it appears at commit.
func (b *bucket) create(ctx context.Context, key string) (*writer, error) {
	ctx, cancel := context.WithCancel(ctx)
	own, drop := context.WithCancel(ctx)
	w := &writer{cancel: func() { drop(); cancel() }}
	var err error
	w.Writer, err = b.NewWriter(own, key, &blob.WriterOptions{
		ContentType: contentType, BufferSize: partSize, MaxConcurrency: partsAtATime,
		BeforeWrite: func(as func(any) bool) error {
			if as(&w.file) {
				return w.file.Chmod(0o600)
			}
			w.parts = b.partsInto(ctx, as)
			return nil
		},
	})
	if err != nil {
		w.cancel()
		return nil, err
	}
	if w.parts != nil { // the library's own writer has sent nothing, and will not
		drop()
		_ = w.Close()
	}
	return w, nil
}

// Write implements io.Writer.
func (w *writer) Write(content []byte) (int, error) {
	if w.parts != nil {
		return w.parts.Write(content)
	}
	return w.Writer.Write(content)
}

// commit has the content appear under its key.
func (w *writer) commit() error {
	if w.file != nil {
		if err := w.file.Sync(); err != nil {
			w.abort()
			return err
		}
	}
	defer w.cancel()
	if w.parts != nil {
		return w.parts.commit()
	}
	return w.Close()
}

// abort leaves nothing of the content.
func (w *writer) abort() {
	w.cancel()
	if w.parts != nil {
		w.parts.abort()
		return
	}
	_ = w.Close() // says that it was cancelled
}

// mark writes an empty entry.
func (b *bucket) mark(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	w, err := b.create(ctx, key)
	if err != nil {
		return err
	}
	w.file = nil // holds nothing that could be lost
	return w.commit()
}

// remove deletes an entry that nobody needs any more, even when the work that it
// was for has been cancelled. Should it fail, the entry is cleared later.
func (b *bucket) remove(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyLimit)
	defer cancel()
	_ = b.Delete(ctx, key)
}

// removeFolder removes the one of a prefix when it is empty. Clouds have none.
func (b *bucket) removeFolder(prefix string) {
	if b.folder != "" {
		_ = os.Remove(filepath.Join(b.folder, prefix)) // fails when it is not empty
	}
}

// version is what tells content from other content under the same key without
// reading it.
type version struct {
	size          int64
	modified      time.Time
	etag, md5Hash string
}

func (b *bucket) version(ctx context.Context, key string) (version, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	a, err := b.Attributes(ctx, key)
	if err != nil {
		return version{}, err
	}
	return version{size: a.Size, modified: a.ModTime.UTC(), etag: a.ETag, md5Hash: string(a.MD5)}, nil
}

// entry is something in a bucket.
type entry struct {
	// name is its key without the prefix.
	name     string
	size     int64
	modified time.Time
}

// list gives everything whose key begins with a prefix.
func (b *bucket) list(ctx context.Context, prefix string) ([]entry, error) {
	if b.folder != "" {
		return b.listFolder(prefix)
	}
	var found []entry
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := b.page(ctx, token, prefix)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			found = append(found, entry{strings.TrimPrefix(o.Key, prefix), o.Size, o.ModTime})
		}
		token = next
	}
	return found, nil
}

func (b *bucket) page(ctx context.Context, token []byte, prefix string) (page []*blob.ListObject, next []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	return b.ListPage(ctx, token, 1000, &blob.ListOptions{Prefix: prefix})
}

// listFolder bears with files that come and go meanwhile, as the library does not.
func (b *bucket) listFolder(prefix string) (found []entry, err error) {
	root := filepath.Join(b.folder, filepath.FromSlash(prefix[:strings.LastIndex(prefix, "/")+1]))
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		key, err := filepath.Rel(b.folder, path)
		if name, ok := strings.CutPrefix(filepath.ToSlash(key), prefix); ok && err == nil {
			found = append(found, entry{name, info.Size(), info.ModTime()})
		}
		return err
	})
	return found, err
}

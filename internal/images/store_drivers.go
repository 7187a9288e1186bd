package images

// Where a store can be besides a folder: these make their kinds of URL known.
import (
	"net/url"

	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/memblob"   // mem://, for tests
	_ "gocloud.dev/blob/s3blob"    // s3://
)

// Uploads to a cloud are cut into parts, of which so many are under way at a
// time. S3 takes at most 10,000 parts, which is 50 GB.
const (
	partSize     = 5 << 20
	partsAtATime = 1
)

// forS3 has Amazon's library not say on standard error, at each reading, that a
// server has no checksums of its own. The store has better ones.
func forS3(u url.URL) *url.URL {
	q := u.Query()
	if u.Scheme == "s3" && !q.Has("response_checksum_validation") {
		q.Set("response_checksum_validation", "when_required")
		u.RawQuery = q.Encode()
	}
	return &u
}

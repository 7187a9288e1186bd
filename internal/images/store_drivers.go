package images

// Where a store can be besides a folder: these make their kinds of URL known.
import (
	"net/url"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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

// boundMemory has an upload to S3 cut into parts from the beginning. What it
// uploads by, the library gives to change as a whole only; left alone it first
// gathers 16 MB, and three times that on the way there.
func (b *bucket) boundMemory(as func(any) bool) {
	var client *s3.Client
	var manager *transfermanager.Client
	if as(&manager) && b.As(&client) {
		*manager = *transfermanager.New(client, func(o *transfermanager.Options) {
			o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = partSize, partSize, partsAtATime
		})
	}
}

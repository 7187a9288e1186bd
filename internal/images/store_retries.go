package images

import gcs "cloud.google.com/go/storage"

// attempts is how often Google's cloud is asked for the same, at most, as Amazon's
// library does. Azure's asks once more.
const attempts = 3

// tryAgain has Google's library try again what has failed, as the other two do by
// themselves. It does not know that all that a store asks for may be done twice.
func (b *bucket) tryAgain() {
	var client *gcs.Client
	if b.As(&client) {
		client.SetRetry(gcs.WithPolicy(gcs.RetryAlways), gcs.WithMaxAttempts(attempts))
	}
}

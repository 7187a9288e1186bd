package images

import (
	"bytes"
	"context"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// parts is content on its way into S3, cut into parts that go one after another
// from one buffer. The library's own uploader has several of these at a time, and
// more to be collected.
type parts struct {
	ctx    context.Context
	client *s3.Client
	// to says where it goes, and how it is kept there.
	to *transfermanager.UploadObjectInput
	// buffer has what was not sent yet.
	buffer []byte
	// upload is set with the first part; done are those that were sent.
	upload *string
	done   []s3types.CompletedPart
}

// partsInto gives parts when it is S3 that is about to be written to.
func (b *bucket) partsInto(ctx context.Context, as func(any) bool) *parts {
	p := &parts{ctx: ctx}
	if !b.As(&p.client) || !as(&p.to) {
		return nil
	}
	return p
}

// Write implements io.Writer.
func (p *parts) Write(content []byte) (written int, err error) {
	for written < len(content) {
		// More is known to come, so this is not the last part.
		if len(p.buffer) == partSize {
			if err := p.send(); err != nil {
				return written, err
			}
		}
		p.reserve(len(content) - written)
		n := min(len(content)-written, cap(p.buffer)-len(p.buffer))
		p.buffer = append(p.buffer, content[written:written+n]...)
		written += n
	}
	return written, nil
}

// firstBuffer is enough for most images. One that is larger gets the whole buffer.
const firstBuffer = 256 << 10

// reserve makes room for so many bytes, or for as many as a part may have.
func (p *parts) reserve(n int) {
	if n <= cap(p.buffer)-len(p.buffer) || cap(p.buffer) == partSize {
		return
	}
	size := partSize
	if p.buffer == nil && n <= firstBuffer {
		size = firstBuffer
	}
	p.buffer = append(make([]byte, 0, size), p.buffer...)
}

// send sends what is in the buffer as the next part.
func (p *parts) send() error {
	if p.upload == nil {
		begun, err := p.client.CreateMultipartUpload(p.ctx, &s3.CreateMultipartUploadInput{
			Bucket: p.to.Bucket, Key: p.to.Key, ContentType: p.to.ContentType, ChecksumAlgorithm: s3types.ChecksumAlgorithmCrc32,
			ServerSideEncryption: s3types.ServerSideEncryption(p.to.ServerSideEncryption), SSEKMSKeyId: p.to.SSEKMSKeyID,
		})
		if err != nil {
			return err
		}
		p.upload = begun.UploadId
	}
	number := int32(len(p.done) + 1) //nolint:gosec // S3 refuses more than 10,000
	sent, err := p.client.UploadPart(p.ctx, &s3.UploadPartInput{
		Bucket: p.to.Bucket, Key: p.to.Key, UploadId: p.upload, PartNumber: &number, Body: bytes.NewReader(p.buffer),
		ChecksumAlgorithm: s3types.ChecksumAlgorithmCrc32,
	})
	if err != nil {
		return err
	}
	p.done = append(p.done, s3types.CompletedPart{PartNumber: &number, ETag: sent.ETag, ChecksumCRC32: sent.ChecksumCRC32})
	p.buffer = p.buffer[:0]
	return nil
}

// commit has the content appear. What fits into one part needs no more than one
// request.
func (p *parts) commit() error {
	if p.upload == nil {
		_, err := p.client.PutObject(p.ctx, &s3.PutObjectInput{
			Bucket: p.to.Bucket, Key: p.to.Key, ContentType: p.to.ContentType, Body: bytes.NewReader(p.buffer), ChecksumAlgorithm: s3types.ChecksumAlgorithmCrc32,
			ServerSideEncryption: s3types.ServerSideEncryption(p.to.ServerSideEncryption), SSEKMSKeyId: p.to.SSEKMSKeyID,
		})
		return err
	}
	err := p.send()
	if err == nil {
		_, err = p.client.CompleteMultipartUpload(p.ctx, &s3.CompleteMultipartUploadInput{
			Bucket: p.to.Bucket, Key: p.to.Key, UploadId: p.upload, MultipartUpload: &s3types.CompletedMultipartUpload{Parts: p.done},
		})
	}
	if err != nil {
		p.abort()
	}
	return err
}

// abort has S3 forget the parts, also when the context has ended. Should that fail,
// a rule of the bucket clears them.
func (p *parts) abort() {
	if p.upload == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), tidyLimit)
	defer cancel()
	_, _ = p.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: p.to.Bucket, Key: p.to.Key, UploadId: p.upload})
}

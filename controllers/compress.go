package controllers

import (
	"compress/zlib"
	"io"
)

// compressedSize reads all and gives how many bytes [compressed] makes of it: a
// host is told before.
func compressedSize(from io.Reader) (int64, error) {
	packed := compressed(from)
	defer packed.Close()
	return io.Copy(io.Discard, packed)
}

// compressed gives a zlib stream of what it reads. It must be closed, which ends
// the compressing also in the middle.
func compressed(from io.Reader) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() {
		// The level is known to be right.
		packer, err := zlib.NewWriterLevel(writer, zlib.BestSpeed)
		if err == nil {
			_, err = io.Copy(packer, from)
		}
		if err == nil {
			err = packer.Close()
		}
		writer.CloseWithError(err)
	}()
	return reader
}

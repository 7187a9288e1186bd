package mollymawk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// inMemory is how much of early data is kept in memory; the rest is on disk.
const inMemory = 1 << 20

// spool has data that came before it was known what they are for. Its file has
// no name, so nothing is left of it when the call ends, however it ends.
type spool struct {
	start []byte
	file  *os.File
	some  bool
	size  int64
	leave func()
}

// setAside reads the data of a form to their end. Nil is no data, and remains so.
func (c *call) setAside(data io.Reader, client *sensitive) (s *spool, refusal reply, fine bool) {
	if data == nil {
		return &spool{leave: func() {}}, reply{}, true
	}
	start, err := io.ReadAll(io.LimitReader(data, inMemory))
	if err != nil {
		return nil, c.unreadableForm(err), false
	}
	s = &spool{start: start, some: true, size: int64(len(start)), leave: func() {}}
	if len(start) < inMemory {
		return s, reply{}, true
	}
	select {
	case c.face.spools <- struct{}{}:
		s.leave = func() { <-c.face.spools }
	default:
		return nil, reply{
			status: http.StatusServiceUnavailable, retryAfter: time.Second,
			data: "Too many volumes are uploaded at the moment. Send block_data as the last part, or try again.",
		}, false
	}
	err = s.fill(data, c.options().Limits)
	switch {
	case err == nil:
		return s, reply{}, true
	case client.err != nil:
		refusal = c.unreadableForm(client.err)
	case errors.Is(err, errTooLong):
		refusal = refuse(http.StatusRequestEntityTooLarge, "That much data must come last: send block_data after all other parts.")
	default:
		refusal = c.storageError(err)
	}
	s.Close()
	return nil, refusal, false
}

// fill writes what did not fit into memory to a file and goes back to its start.
func (s *spool) fill(data io.Reader, limits Limits) error {
	file, err := os.CreateTemp(limits.SpoolDir, "mollymawk-upload-")
	if err != nil {
		return fmt.Errorf("early data: %w", err)
	}
	s.file = file
	if err := os.Remove(file.Name()); err != nil {
		return fmt.Errorf("early data: %w", err)
	}
	most := limits.Spool - inMemory
	n, err := io.Copy(file, io.LimitReader(data, most+1))
	if err == nil && n > most {
		err = errTooLong
	}
	if err != nil {
		return err
	}
	s.size += n
	_, err = file.Seek(0, io.SeekStart)
	return err
}

// reader gives the data, or nil if there were none.
func (s *spool) reader() io.Reader {
	switch {
	case !s.some:
		return nil
	case s.file == nil:
		return bytes.NewReader(s.start)
	}
	return io.MultiReader(bytes.NewReader(s.start), s.file)
}

// Close gives up the file and its place.
func (s *spool) Close() error {
	s.leave()
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

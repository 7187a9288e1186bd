package albatross

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mollymawk.dev/operator/albatross/wire"
)

// Image is a unikernel's binary on its way to a host.
type Image struct {
	// Reader gives the image; it is read once and not closed.
	Reader io.Reader
	// Size in bytes of what Reader gives, for the deadline; it must be right.
	Size int64
	// Compressed says that Reader gives a zlib stream.
	Compressed bool
}

// query sends a command that has one answer.
func query[P wire.Payload](ctx context.Context, c *Client, scope Scope, label string, command wire.Command) (payload P, header wire.Name, err error) {
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return payload, header, err
	}
	defer s.close()
	s.wait(c.options.Timeout)
	return answer[P](s)
}

// do sends a command that answers with a text.
func (c *Client) do(ctx context.Context, scope Scope, label string, command wire.Command) (string, error) {
	if err := needLabel(scope, label, command); err != nil {
		return "", err
	}
	text, _, err := query[wire.Text](ctx, c, scope, label, command)
	return text.Text, err
}

// needLabel refuses a command about a thing without its name: a create of that
// kind breaks a host for everybody.
func needLabel(scope Scope, label string, command wire.Command) error {
	if label != "" {
		return nil
	}
	return invalid(scope, label, command, errors.New("a name must be given"))
}

func invalid(scope Scope, label string, command wire.Command, cause error) *Error {
	return &Error{
		Kind: ErrInvalid, Command: wire.CommandName(command), Name: wire.Name{Path: scope.Path(), Label: label}.String(), Err: cause,
	}
}

// Unikernels lists what runs in the scope's path and below it.
func (c *Client) Unikernels(ctx context.Context, scope Scope) ([]Unikernel, error) {
	return c.infos(ctx, scope, "")
}

// Unikernel looks for one; found is false when it does not run.
func (c *Client) Unikernel(ctx context.Context, scope Scope, label string) (u Unikernel, found bool, err error) {
	if err := needLabel(scope, label, wire.UnikernelInfo{}); err != nil {
		return Unikernel{}, false, err
	}
	infos, err := c.infos(ctx, scope, label)
	if err != nil || len(infos) == 0 {
		return Unikernel{}, false, err
	}
	return infos[0], true, nil
}

func (c *Client) infos(ctx context.Context, scope Scope, label string) ([]Unikernel, error) {
	reply, header, err := query[wire.UnikernelInfos](ctx, c, scope, label, wire.UnikernelInfo{})
	if err != nil {
		return nil, err
	}
	for i := range reply.Infos {
		reply.Infos[i].Name = c.absolute(header, reply.Infos[i].Name)
	}
	return reply.Infos, nil
}

// Create starts a unikernel and gives the host's text ("created unikernel"),
// which means that it was started and not that it is healthy. It fails when one
// of that name runs, but only after the whole upload: ask first. The image in
// config must be empty; type bhyve needs none at all.
func (c *Client) Create(ctx context.Context, scope Scope, label string, config Config, image Image) (string, error) {
	config.Compressed = image.Compressed
	return c.upload(ctx, scope, label, wire.UnikernelCreate{Config: config}, config, image)
}

// ForceCreate replaces a unikernel. It ends the old one before it looks at the
// new image: check manifest, devices and policy before, or neither may run.
func (c *Client) ForceCreate(ctx context.Context, scope Scope, label string, config Config, image Image) (string, error) {
	config.Compressed = image.Compressed
	return c.upload(ctx, scope, label, wire.UnikernelForceCreate{Config: config}, config, image)
}

func (c *Client) upload(ctx context.Context, scope Scope, label string, command wire.Command, config Config, image Image) (string, error) {
	if err := needLabel(scope, label, command); err != nil {
		return "", err
	}
	if config.Type == BHyve && image.Reader == nil {
		image = Image{Reader: strings.NewReader("")} // it boots from a disk
	} else if len(config.Image) != 0 || image.Reader == nil || image.Size <= 0 {
		return "", invalid(scope, label, command, errors.New("an image of known size must be given, and none in the config"))
	}
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return "", err
	}
	defer s.close()
	return s.stream(ctx, image.Reader, image.Size, image.Size)
}

// stream uploads between atLeast and size bytes and gives the host's answer.
// When reading fails or the size is wrong the final zero chunk is not sent,
// without which the host does not act.
func (s *session) stream(ctx context.Context, from io.Reader, atLeast, size int64) (string, error) {
	limit := s.client.options.Timeout + time.Duration(float64(size)/float64(s.client.options.MinRate)*float64(time.Second))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s.until(ctx)
	source := &source{from: from}
	w := newChunks(s)
	_, err := io.Copy(w, io.LimitReader(source, size+1))
	switch {
	case source.err != nil:
		return "", s.fail(ErrInvalid, fmt.Errorf("read what is to be sent: %w", source.err))
	case err != nil:
		return s.afterWriteError(err)
	}
	if source.n > size || source.n < atLeast {
		return "", s.fail(ErrInvalid, fmt.Errorf("the data has %d bytes, not %d as was said", source.n, size))
	}
	if err := w.end(); err != nil {
		return s.afterWriteError(err)
	}
	s.wait(limit)
	reply, _, err := answer[wire.Text](s)
	return reply.Text, err
}

// until has the session end with a context that is narrower than its own.
func (s *session) until(ctx context.Context) {
	s.stop()
	s.ctx = ctx
	raw := s.conn.NetConn()
	s.stop = context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
}

// afterWriteError reads what the host said before it stopped listening: a refusal
// comes with a connection that can no longer be written to, often reset.
func (s *session) afterWriteError(cause error) (string, error) {
	s.wait(s.client.options.Timeout)
	reply, _, err := answer[wire.Text](s)
	var refused *Error
	if errors.As(err, &refused) && errors.Is(refused.Kind, ErrRefused) {
		return "", err
	}
	if err == nil {
		return "", s.fail(ErrProtocol, fmt.Errorf("answered %q to an upload that it stopped taking", reply.Text))
	}
	return "", s.broken(s.ctx, cause)
}

// source counts what is read and remembers its failure, to tell it from one of
// the connection.
type source struct {
	from io.Reader
	n    int64
	err  error
}

func (r *source) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// Restart ends a unikernel and starts it again with its image. Arguments replace
// the old ones; nil keeps them. The old unikernel is gone when the new arguments
// are refused: check manifest, devices and policy before.
func (c *Client) Restart(ctx context.Context, scope Scope, label string, arguments *Arguments) (string, error) {
	return c.do(ctx, scope, label, wire.UnikernelRestart{Arguments: arguments})
}

// Destroy ends a unikernel. A second destroy may succeed too (the host forgets
// that it was to restart it), a third says "destroy: not found". Never run two
// for the same name at a time: the second gets no answer.
func (c *Client) Destroy(ctx context.Context, scope Scope, label string) (string, error) {
	return c.do(ctx, scope, label, wire.UnikernelDestroy{})
}

// GetImage fetches the image of a running unikernel, compressed with zlib when
// level is above 0. The host sends it in one piece.
func (c *Client) GetImage(ctx context.Context, scope Scope, label string, level int64) (image []byte, compressed bool, err error) {
	command := wire.UnikernelGet{Level: level}
	if err := needLabel(scope, label, command); err != nil {
		return nil, false, err
	}
	if level < 0 || level > 9 {
		return nil, false, invalid(scope, label, command, fmt.Errorf("compression level %d is not within 0 to 9", level))
	}
	reply, _, err := query[wire.UnikernelImage](ctx, c, scope, label, command)
	return reply.Image, reply.Compressed, err
}

// Policies lists the policies at the scope's path and below. The root's policy is
// the host itself: its memory, CPU ids and bridges.
func (c *Client) Policies(ctx context.Context, scope Scope) ([]PathPolicy, error) {
	reply, header, err := query[wire.Policies](ctx, c, scope, "", wire.PolicyInfo{})
	if err != nil {
		return nil, err
	}
	for i := range reply.Policies {
		reply.Policies[i].Name = c.absolute(header, reply.Policies[i].Name)
	}
	return reply.Policies, nil
}

package albatross

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"mollymawk.dev/operator/albatross/wire"
)

// Image is a unikernel's binary on its way to a host.
type Image struct {
	// Reader gives the image; it is read once and not closed. A read that hangs is
	// not interrupted by a context.
	Reader io.Reader
	// Size in bytes of what Reader gives, for the deadline; it must be right.
	Size int64
	// Compressed says that Reader gives a zlib stream.
	Compressed bool
}

// query sends a command that has one answer.
func query[P wire.Payload](ctx context.Context, c *Client, scope Scope, label string, command wire.Command) (r reply[P], err error) {
	s, err := c.open(ctx, scope, label, command)
	if err != nil {
		return r, err
	}
	defer s.close()
	s.allowed = c.options.Timeout
	s.wait(c.options.Timeout)
	return answer[P](s)
}

// do sends a command that answers with a text.
func (c *Client) do(ctx context.Context, scope Scope, label string, command wire.Command) (string, error) {
	if err := needLabel(scope, label, command); err != nil {
		return "", err
	}
	r, err := query[wire.Text](ctx, c, scope, label, command)
	return r.payload.Text, err
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
	r, err := query[wire.UnikernelInfos](ctx, c, scope, label, wire.UnikernelInfo{})
	if err != nil {
		return nil, err
	}
	for i := range r.payload.Infos {
		if err := r.resolve(&r.payload.Infos[i].Name); err != nil {
			return nil, err
		}
	}
	return r.payload.Infos, nil
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
	return s.stream(exactly(image.Reader, image.Size), false)
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

func checkLevel(scope Scope, label string, command wire.Command, level int64) error {
	if level < 0 || level > 9 {
		return invalid(scope, label, command, fmt.Errorf("compression level %d is not within 0 to 9", level))
	}
	return nil
}

// GetImage fetches the image of a running unikernel, compressed with zlib when
// level is above 0. The host sends it in one piece, which must not be larger
// than [Options.MaxReply].
func (c *Client) GetImage(ctx context.Context, scope Scope, label string, level int64) (image []byte, compressed bool, err error) {
	command := wire.UnikernelGet{Level: level}
	if err := needLabel(scope, label, command); err != nil {
		return nil, false, err
	}
	if err := checkLevel(scope, label, command, level); err != nil {
		return nil, false, err
	}
	r, err := query[wire.UnikernelImage](ctx, c, scope, label, command)
	return r.payload.Image, r.payload.Compressed, err
}

// Policies lists the policies at the scope's path and below. The root's policy is
// the host itself: its memory, CPU ids and bridges.
func (c *Client) Policies(ctx context.Context, scope Scope) ([]PathPolicy, error) {
	r, err := query[wire.Policies](ctx, c, scope, "", wire.PolicyInfo{})
	if err != nil {
		return nil, err
	}
	for i := range r.payload.Policies {
		if err := r.resolve(&r.payload.Policies[i].Name); err != nil {
			return nil, err
		}
	}
	return r.payload.Policies, nil
}

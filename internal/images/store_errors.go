package images

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"

	"gocloud.dev/gcerrors"
)

// storeProblem is a failure of the store itself. Its text names no files, of
// which some are chosen at random, and no addresses, which may hold secrets: it
// ends up in a condition.
type storeProblem struct {
	text string
	// cause is for errors.Is and errors.As, and is never shown.
	cause error
}

// Error implements error.
func (p *storeProblem) Error() string { return "image store: " + p.text }

// Unwrap gives the cause.
func (p *storeProblem) Unwrap() error { return p.cause }

// storeError says in words of this package or of the operating system what is
// wrong with the store. What has been said already stays as it is.
func storeError(err error) error {
	var said *storeProblem
	if err == nil || errors.As(err, &said) || errors.Is(err, errGone) {
		return err
	}
	return &storeProblem{text: problemText(err), cause: err}
}

func problemText(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	var timeout net.Error
	var name *net.DNSError
	var code syscall.Errno
	switch {
	case errors.As(err, &path):
		return path.Op + ": " + path.Err.Error()
	case errors.As(err, &link):
		return link.Op + ": " + link.Err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the bucket does not answer in time"
	case errors.Is(err, context.Canceled):
		return "the work was broken off"
	case errors.As(err, &name):
		return "the name of the bucket's server cannot be resolved"
	case errors.As(err, &code):
		return "the bucket's server: " + code.Error()
	}
	text := map[gcerrors.ErrorCode]string{
		gcerrors.NotFound: "there is no such bucket or entry", gcerrors.PermissionDenied: "the bucket refuses us",
		gcerrors.ResourceExhausted: "the bucket has too much to do",
	}[gcerrors.Code(err)]
	if text == "" {
		text = "the bucket fails"
	}
	if code := apiCode(err); code != "" {
		text += " (" + code + ")"
	}
	return text
}

// apiCode is the word that S3 and what is like it has for an error.
func apiCode(err error) string {
	var coded interface{ ErrorCode() string }
	if !errors.As(err, &coded) {
		return ""
	}
	code := coded.ErrorCode()
	for _, r := range code {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return ""
		}
	}
	return code[:min(len(code), 40)]
}

func isNotFound(err error) bool { return err != nil && gcerrors.Code(err) == gcerrors.NotFound }

// hopeless tells whether an error at opening stays until somebody changes
// something: everything of a folder, and what a cloud is sure about.
func (b *bucket) hopeless(err error) bool {
	return b.folder != "" ||
		slices.Contains([]gcerrors.ErrorCode{gcerrors.NotFound, gcerrors.PermissionDenied, gcerrors.InvalidArgument}, gcerrors.Code(err)) ||
		slices.Contains([]string{"InvalidAccessKeyId", "SignatureDoesNotMatch"}, apiCode(err))
}

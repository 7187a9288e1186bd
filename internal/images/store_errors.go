package images

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"
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
	}[codeOf(err)]
	if text == "" {
		text = "the bucket fails"
	}
	if code := apiCode(err); code != "" {
		text += " (" + code + ")"
	}
	return text
}

// codeOf is the kind of a failure. The library takes a refusal by Google's cloud,
// and a name that cannot be resolved for Azure's, for content that is not there,
// and does not know other refusals.
func codeOf(err error) gcerrors.ErrorCode {
	var name *net.DNSError
	switch code := gcerrors.Code(err); {
	case errors.As(err, &name):
		return gcerrors.Unknown
	case code != gcerrors.Unknown && code != gcerrors.NotFound:
		return code
	default:
		return codeOfStatus(statusOf(err), code)
	}
}

// statusOf is the status of HTTP with which Google's or Azure's cloud has refused
// something, and 0 for all else.
func statusOf(err error) int {
	var google *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.As(err, &google):
		return google.Code
	case errors.As(err, &azure):
		return azure.StatusCode
	}
	return 0
}

func codeOfStatus(status int, otherwise gcerrors.ErrorCode) gcerrors.ErrorCode {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return gcerrors.PermissionDenied
	case http.StatusNotFound:
		return gcerrors.NotFound
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return gcerrors.ResourceExhausted
	}
	return otherwise
}

// apiCode is the word that a cloud has for an error.
func apiCode(err error) string {
	var coded interface{ ErrorCode() string } // S3 and what is like it
	var google *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.As(err, &coded):
		return onlyWord(coded.ErrorCode())
	case errors.As(err, &azure):
		return onlyWord(azure.ErrorCode)
	case errors.As(err, &google) && len(google.Errors) > 0:
		return onlyWord(google.Errors[0].Reason)
	}
	return ""
}

// onlyWord gives a server's word for something, unless it is more than a word.
func onlyWord(code string) string {
	for _, r := range code {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return ""
		}
	}
	return code[:min(len(code), 40)]
}

func isNotFound(err error) bool { return err != nil && codeOf(err) == gcerrors.NotFound }

// hopeless tells whether an error at opening stays until somebody changes
// something: everything of a folder, and what a cloud is sure about.
func (b *bucket) hopeless(err error) bool {
	return b.folder != "" ||
		slices.Contains([]gcerrors.ErrorCode{gcerrors.NotFound, gcerrors.PermissionDenied, gcerrors.InvalidArgument}, codeOf(err)) ||
		slices.Contains([]string{"InvalidAccessKeyId", "SignatureDoesNotMatch"}, apiCode(err))
}

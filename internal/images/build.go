package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
)

// The parts of a build server's interface. It answers in JSON to those who accept
// it; a question about the latest build, or about a digest, leads to a build.
const (
	mainBinary = "/main-binary"
	hashPath   = "/hash?sha256="
)

// maxBuildAnswer is how large a description of a build may be.
const maxBuildAnswer = 1 << 20

// maxBuilt is how many builds are remembered.
const maxBuilt = 4096

// built is what a build has delivered.
type built struct {
	digest string
	size   int64
}

// buildAnswer is what is used of a build server's description of a build.
type buildAnswer struct {
	Job        string `json:"job"`
	UUID       string `json:"uuid"`
	MainBinary bool   `json:"main_binary"`
	// MainBinarySize is null when there is none.
	MainBinarySize *int64 `json:"main_binary_size"`
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// errNoBuild is said of what is no description of a build.
var errNoBuild = errors.New("the answer is not understood; is it a build server?")

// resolveBuild says which build is meant and what its main binary is. The server
// tells no digests, so the binary is fetched, once for each build.
func (f *Fetcher) resolveBuild(ctx context.Context, source Source) (Resolved, error) {
	var answer buildAnswer
	err := inTurn(ctx, f.asking, func() (err error) {
		answer, err = f.askBuild(ctx, source.Build.address())
		return err
	})
	if err == nil {
		err = answer.fits(source.Build)
	}
	if err == nil && answer.MainBinarySize != nil && *answer.MainBinarySize > f.options.MaxSize {
		err = tooLarge(f.options.MaxSize)
	}
	if err != nil {
		return Resolved{}, fmt.Errorf("%s: %w", source, err)
	}
	source.Build.UUID = answer.UUID
	binary, err := f.binaryOf(ctx, source, answer)
	if err != nil {
		return Resolved{}, err
	}
	if err := pinned(source, binary.digest); err != nil {
		return Resolved{}, err
	}
	source.SHA256 = binary.digest
	return Resolved{Source: source, Version: answer.UUID, Size: binary.size}, nil
}

// fits looks whether an answer is about the build that was asked for, and whether
// there is something to fetch.
func (a buildAnswer) fits(build Build) error {
	switch {
	case a.Job != build.Job || !uuidForm.MatchString(a.UUID) || build.UUID != LatestBuild && a.UUID != build.UUID:
		return errNoBuild
	case !a.MainBinary || a.MainBinarySize != nil && *a.MainBinarySize < 0:
		return fmt.Errorf("%w: the build has no main binary", ErrNotFound)
	}
	return nil
}

// binaryOf gives what a build delivers, which is fetched unless it is known.
func (f *Fetcher) binaryOf(ctx context.Context, source Source, answer buildAnswer) (built, error) {
	f.mu.Lock()
	known, found := f.built[source.Build]
	f.mu.Unlock()
	if found {
		return known, nil
	}
	var blob Blob
	err := inTurn(ctx, f.fetching, func() (err error) {
		blob, err = f.fetchBinary(ctx, source, answer)
		return err
	})
	if err != nil {
		return built{}, err
	}
	binary := built{blob.Digest, blob.Size}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.built) >= maxBuilt {
		clear(f.built)
	}
	f.built[source.Build] = binary
	return binary, nil
}

// fetchBinary fetches a main binary and has the server confirm its digest, so that
// what was damaged on the way is not taken for what was built.
func (f *Fetcher) fetchBinary(ctx context.Context, source Source, answer buildAnswer) (Blob, error) {
	ctx, cancel := f.withDeadline(ctx)
	defer cancel()
	what := content{client: f.client, address: source.Build.address() + mainBinary, size: unknownSize}
	if answer.MainBinarySize != nil {
		what.size = *answer.MainBinarySize
	}
	blob, err := f.download(ctx, what, source)
	if err != nil {
		return Blob{}, err
	}
	confirmed, err := f.askBuild(ctx, source.Build.server()+hashPath+blob.Digest)
	switch {
	case errors.Is(err, ErrNotFound):
		err = fmt.Errorf("%w: the build server delivered content with SHA-256 %s, which it does not know", ErrDigestMismatch, blob.Digest)
	case err == nil && !uuidForm.MatchString(confirmed.UUID):
		err = errNoBuild
	}
	if err != nil {
		return Blob{}, fmt.Errorf("%s: %w", source, err)
	}
	return blob, nil
}

// askBuild asks for the description of a build.
func (f *Fetcher) askBuild(ctx context.Context, address string) (answer buildAnswer, err error) {
	ctx, cancel := f.forQuestion(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || request.URL.Host == "" {
		return answer, fmt.Errorf("%w: not an address", ErrNotFound)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", userAgent)
	response, err := f.client.Do(request)
	if err != nil {
		return answer, networkError(ctx, err)
	}
	defer response.Body.Close()
	if err := statusError(response.StatusCode); err != nil {
		return answer, err
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxBuildAnswer+1))
	if err != nil {
		return answer, networkError(ctx, err)
	}
	if len(raw) > maxBuildAnswer || json.Unmarshal(raw, &answer) != nil {
		return buildAnswer{}, errNoBuild
	}
	return answer, nil
}
